"""ASTGCN against the authors' PyTorch code, the recent component."""

import importlib
from pathlib import Path

import torch
from benchmarks.parity._weights import Outputs, Weights, batch, compared, difference, redraw, renamed, state

from cmust.baselines import graphs
from cmust.baselines.astgcn import ASTGCN

PUBLISHED = "guoshnBJTU/ASTGCN-2019-pytorch"
BLOCK = {
    "TAt.U1": "between_steps.pool", "TAt.U2": "between_steps.left", "TAt.U3": "between_steps.right",
    "TAt.be": "between_steps.shift", "TAt.Ve": "between_steps.mix", "SAt.W1": "between_nodes.pool",
    "SAt.W2": "between_nodes.left", "SAt.W3": "between_nodes.right", "SAt.bs": "between_nodes.shift",
    "SAt.Vs": "between_nodes.mix", "cheb_conv_SAt.Theta": "theta", "time_conv": "time", "residual_conv": "residual",
    "ln": "norm",
}  # fmt: skip


def parity(repo: Path) -> dict[str, float]:
    """Published sizes and small ones.

    The polynomials are theirs: from the third on they are not ours, as the published code multiplies element by element
    where the recurrence multiplies matrices. The Laplacian they keep in single precision.
    """
    return differences("published sizes", 9, 64, 2, 3, 12) | differences("small, 4 polynomials", 5, 4, 3, 4, 7)


def differences(case: str, nodes: int, filters: int, blocks: int, polynomials: int, steps: int) -> dict[str, float]:
    graph = torch.rand(nodes, nodes)
    graph = (graph + graph.T).fill_diagonal_(0)
    theirs = importlib.import_module("model.ASTGCN_r").make_model(
        torch.device("cpu"), blocks, 1, polynomials, filters, filters, 1, graph.numpy(), 12, steps, nodes
    )
    given = [terms.double() for terms in theirs.BlockList[0].cheb_conv_SAt.cheb_polynomials]
    for block in theirs.BlockList:
        block.cheb_conv_SAt.cheb_polynomials = given
    ours = ASTGCN(torch.stack(given), 1, steps, 12, filters, blocks).eval()
    redraw(weights := state(theirs.double().eval()))
    seen = batch(3, steps, 12, nodes)

    def in_our_terms(weights: Weights) -> Weights:
        names = {"final_conv": "last"}
        for i in range(blocks):
            names |= {f"BlockList.{i}.{a}": f"blocks.{i}.{b}" for a, b in BLOCK.items()}
        return renamed(weights, names)

    def outputs() -> Outputs:
        return {"forecast": (ours(seen), theirs(seen.values.permute(0, 2, 3, 1)).transpose(1, 2)[..., None])}

    told = compared(case, weights, ours, in_our_terms, outputs)
    return told | {f"{case}: Laplacian": difference(graphs.polynomials(graph, 2, normalised=False)[1], given[1])}
