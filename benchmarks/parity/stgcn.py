"""STGCN against the authors' TensorFlow code, which runs on the stand-in beside this file."""

import importlib
from pathlib import Path

import numpy as np
import torch
from benchmarks.parity._tensorflow import TensorFlow, tensor, tensorflow
from benchmarks.parity._weights import Outputs, Weights, batch, compared, difference, renamed
from torch import Tensor

from cmust.baselines.graphs import polynomials
from cmust.baselines.stgcn import STGCN

PUBLISHED = "VeritasYin/STGCN_IJCAI-18"
Widths = tuple[tuple[int, int], ...]
END = {
    "layer_norm_output_layer/gamma": "norm.norm.weight", "layer_norm_output_layer/beta": "norm.norm.bias",
    "w_output_layer": "last.weight", "b_output_layer": "bias", "output_layer_in/wt": "over_time.conv.weight",
    "output_layer_in/bt": "over_time.conv.bias", "output_layer_out/wt": "mix.weight", "output_layer_out/bt": "mix.bias",
}  # fmt: skip
BLOCK = {
    "stn_block_{}_in/wt_input": "before.fit.narrow.weight", "stn_block_{}_in/wt": "before.conv.weight",
    "stn_block_{}_in/bt": "before.conv.bias", "stn_block_{}_in/ws": "theta.weight", "stn_block_{}_in/bs": "theta.bias",
    "stn_block_{}_out/wt_input": "after.fit.narrow.weight", "stn_block_{}_out/wt": "after.conv.weight",
    "stn_block_{}_out/bt": "after.conv.bias", "layer_norm_{}/gamma": "norm.norm.weight",
    "layer_norm_{}/beta": "norm.norm.bias",
}  # fmt: skip


def parity(repo: Path) -> dict[str, float]:
    """Published sizes, and small ones with a bottleneck; the polynomials."""
    np.mat = np.asmatrix  # type: ignore[attr-defined]  # as it was called in the days of the published code
    tf = tensorflow()
    return differences(tf, "published sizes", 9, 12, 3, ((32, 64), (32, 128))) | differences(
        tf, "small, a bottleneck, 4 polynomials", 5, 15, 4, ((6, 4), (3, 5), (5, 2))
    )


def differences(tf: TensorFlow, case: str, nodes: int, steps: int, count: int, widths: Widths) -> dict[str, float]:
    graph = torch.rand(nodes, nodes) * (torch.rand(nodes, nodes) < 0.7)
    graph = (graph + graph.T).fill_diagonal_(1)
    graphs, published_graphs = polynomials(graph, count, normalised=True), importlib.import_module("utils.math_graph")
    laplacian = published_graphs.scaled_laplacian((graph - torch.eye(nodes)).numpy())
    kernels = torch.as_tensor(published_graphs.cheb_poly_approx(laplacian, count, nodes))
    seen = batch(3, steps, 1, nodes)
    tf.variables.clear()
    with torch.enable_grad():
        forecast = published(tf, graphs, seen.values, widths)
    ours = STGCN(graphs, 1, steps, 1, widths).eval()

    def in_our_terms(weights: Weights) -> Weights:
        names = END | {a.format(i): f"blocks.{i}.{b}" for i in range(len(widths)) for a, b in BLOCK.items()}
        return renamed({name: in_torch_order(name, weight) for name, weight in weights.items()}, names)

    def outputs() -> Outputs:
        return {"forecast": (ours(seen)[:, 0], forecast)}

    told = {f"{case}: polynomials": difference(torch.cat(list(graphs), dim=1), kernels)}
    return told | compared(case, tf.variables, ours, in_our_terms, outputs)


def published(tf: TensorFlow, graphs: Tensor, x: Tensor, widths: Widths) -> Tensor:
    """One step ahead of ``x``, ``(B, T, N, 1)``, by their network with new random weights; ``(B, N, 1)``."""
    tf.collections["graph_kernel"] = [tensor(torch.cat(list(graphs), dim=1))]
    into = [1, *(last for _, last in widths)]
    blocks = [[a, inner, last] for a, (inner, last) in zip(into, widths, strict=False)]
    inputs = tensor(torch.cat((x, torch.zeros_like(x[:, :1])), dim=1))  # what is forecast is in there, too
    model = importlib.import_module("models.base_model")
    _, forecast = model.build_model(inputs, x.shape[1], len(graphs), 3, blocks, 1.0)
    found: Tensor = forecast.as_subclass(Tensor)
    return found


def in_torch_order(name: str, weight: Tensor) -> Tensor:
    """A kernel ``(h, w, in, out)`` to ``(out, in, h, w)``, a matrix turned; others as they are."""
    if name.endswith("/ws"):
        return weight.T
    return weight.permute(3, 2, 0, 1) if weight.dim() == 4 and not name.endswith(("gamma", "beta")) else weight
