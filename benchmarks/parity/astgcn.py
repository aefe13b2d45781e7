"""ASTGCN against the authors' PyTorch code, the recent component."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from benchmarks.parity._weights import all_matter, batch, carry, difference, randomise, state
from torch import Tensor

from cmust.baselines.astgcn import ASTGCN, scaled_laplacian

PUBLISHED = "guoshnBJTU/ASTGCN-2019-pytorch"
ATTENTION = {"pool": "1", "left": "2", "right": "3"}


def stand_ins() -> None:
    """What the published helpers import: scikit-learn isn't called here, of SciPy one eigenvalue."""
    metrics, linalg = ModuleType("sklearn.metrics"), ModuleType("scipy.sparse.linalg")
    metrics.mean_absolute_error = metrics.mean_squared_error = None  # type: ignore[attr-defined]
    linalg.eigs = lambda L, k, which: (np.sort(np.linalg.eigvals(L).real)[-k:], None)  # type: ignore[attr-defined]
    for module in (ModuleType("sklearn"), metrics, ModuleType("scipy"), ModuleType("scipy.sparse"), linalg):
        sys.modules.setdefault(module.__name__, module)


def names(blocks: int, polynomials: int) -> dict[str, str]:
    """Of our weights to theirs."""
    pairs = {f"last.{kind}": f"final_conv.{kind}" for kind in ("weight", "bias")}
    for i in range(blocks):
        ours, theirs = f"blocks.{i}.", f"BlockList.{i}."
        for mine, letter, layer in (("between_steps", "U", "TAt"), ("between_nodes", "W", "SAt")):
            pairs |= {f"{ours}{mine}.{a}": f"{theirs}{layer}.{letter}{b}" for a, b in ATTENTION.items()}
            pairs |= {f"{ours}{mine}.shift": f"{theirs}{layer}.b{'e' if letter == 'U' else 's'}"}
            pairs |= {f"{ours}{mine}.mix": f"{theirs}{layer}.V{'e' if letter == 'U' else 's'}"}
        pairs |= {f"{ours}theta.{k}": f"{theirs}cheb_conv_SAt.Theta.{k}" for k in range(polynomials)}
        for mine, layer in (("time", "time_conv"), ("residual", "residual_conv"), ("norm", "ln")):
            pairs |= {f"{ours}{mine}.{kind}": f"{theirs}{layer}.{kind}" for kind in ("weight", "bias")}
    return pairs


def pair(
    make_model: type, graph: Tensor, filters: int, blocks: int, polynomials: int, steps: int
) -> tuple[torch.nn.Module, ASTGCN]:
    """Theirs and ours with the same weights and polynomials."""
    edges, nodes = graph - graph.diagonal().diag(), len(graph)
    theirs = make_model(
        torch.device("cpu"), blocks, 1, polynomials, filters, filters, 1, edges.numpy(), 12, steps, nodes
    )
    given = theirs.BlockList[0].cheb_conv_SAt.cheb_polynomials
    ours = ASTGCN(torch.stack(given).double(), 1, steps, 12, filters, blocks)
    weights = state(theirs)
    randomise(weights)
    flat = {name: w.squeeze(0) if name.endswith(("bs", "be")) else w for name, w in weights.items()}
    carry(flat, ours, names(blocks, polynomials))
    return theirs.double().eval(), ours.double().eval()


def parity(repo: Path) -> dict[str, float]:
    """Published sizes and small ones; ``repo`` is on the path.

    The polynomials are theirs: from the third on they aren't ours, as the published code multiplies element by element
    where the recurrence multiplies matrices.
    """
    stand_ins()
    torch.set_default_dtype(torch.float64)
    module = importlib.import_module("model.ASTGCN_r")
    found = {}
    for case, sizes in {"published sizes": (9, 64, 2, 3, 12), "small, 4 polynomials": (5, 4, 3, 4, 7)}.items():
        nodes, filters, blocks, polynomials, steps = sizes
        graph = torch.rand(nodes, nodes)
        theirs, ours = pair(module.make_model, (graph + graph.T) / 2, filters, blocks, polynomials, steps)
        seen = batch(3, steps, 12, nodes)
        found[case] = difference(ours(seen), theirs(seen.values.permute(0, 2, 3, 1)).transpose(1, 2)[..., None])
        all_matter(ours, seen, found[case])
        their_laplacian = theirs.BlockList[0].cheb_conv_SAt.cheb_polynomials[1].double()
        found[f"{case}: Laplacian"] = difference(scaled_laplacian((graph + graph.T) / 2), their_laplacian)
    return found
