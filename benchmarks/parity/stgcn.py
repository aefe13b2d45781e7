"""STGCN against the authors' TensorFlow code, which runs on the stand-in beside this file."""

import importlib
from pathlib import Path

import torch
from benchmarks.parity._tensorflow import TensorFlow, numpy_of_its_day, stand_in, tensor
from benchmarks.parity._weights import all_matter, batch, carry, difference
from torch import Tensor

from cmust.baselines.stgcn import STGCN, polynomials

PUBLISHED = "VeritasYin/STGCN_IJCAI-18"


def names(widths: tuple[tuple[int, int], ...]) -> dict[str, str]:
    """Of our weights to theirs."""
    pairs, width_in = {}, 1
    for i, (inner, last) in enumerate(widths):
        ours, inside, outside = f"blocks.{i}.", f"stn_block_{i}_in/", f"stn_block_{i}_out/"
        pairs |= {f"{ours}before.conv.weight": inside + "wt", f"{ours}before.conv.bias": inside + "bt"}
        pairs |= {f"{ours}theta.weight": inside + "ws", f"{ours}theta.bias": inside + "bs"}
        pairs |= {f"{ours}after.conv.weight": outside + "wt", f"{ours}after.conv.bias": outside + "bt"}
        pairs |= {f"{ours}before.narrow.weight": inside + "wt_input"} if width_in > inner else {}
        pairs |= {f"{ours}after.narrow.weight": outside + "wt_input"} if inner > last else {}
        pairs |= norm(f"{ours}norm.norm", f"layer_norm_{i}")
        width_in = last
    pairs |= norm("norm.norm", "layer_norm_output_layer")
    pairs |= {"last.weight": "w_output_layer", "bias": "b_output_layer"}
    for mine, scope in (("over_time.conv", "output_layer_in"), ("mix", "output_layer_out")):
        pairs |= {f"{mine}.weight": f"{scope}/wt", f"{mine}.bias": f"{scope}/bt"}
    return pairs


def norm(mine: str, scope: str) -> dict[str, str]:
    return {f"{mine}.weight": f"{scope}/gamma", f"{mine}.bias": f"{scope}/beta"}


def in_torch_order(name: str, weight: Tensor) -> Tensor:
    """A kernel ``(h, w, in, out)`` to ``(out, in, h, w)``; matrices and norms without lengths of one."""
    if name.endswith(("gamma", "beta")):
        return weight[0, 0]
    if name == "w_output_layer":
        return weight[0, 0].T
    if name.endswith("/ws"):
        return weight.T[:, :, None, None]
    return weight.permute(3, 2, 0, 1) if weight.dim() == 4 else weight


def published(module: object, tf: TensorFlow, graphs: Tensor, x: Tensor, widths: tuple[tuple[int, int], ...]) -> Tensor:
    """One step ahead of ``x``, ``(B, T, N, 1)``, by their network with new random weights; ``(B, N, 1)``."""
    tf.collections["graph_kernel"] = [tensor(torch.cat(list(graphs), dim=1))]
    into = [1, *(last for _, last in widths)]
    blocks = [[a, inner, last] for a, (inner, last) in zip(into, widths, strict=False)]
    label = torch.zeros_like(x[:, :1])
    inputs = tensor(torch.cat((x, label), dim=1))
    _, forecast = module.build_model(inputs, x.shape[1], len(graphs), 3, blocks, 1.0)  # type: ignore[attr-defined]
    return forecast.as_subclass(Tensor)


def parity(repo: Path) -> dict[str, float]:
    """Published sizes, and small ones with a bottleneck; the Laplacian. ``repo`` is on the path."""
    torch.set_default_dtype(torch.float64)
    numpy_of_its_day()
    tf = stand_in()
    module, graph_module = importlib.import_module("models.base_model"), importlib.import_module("utils.math_graph")
    found = {}
    for case, nodes, steps, count, widths in (
        ("published sizes", 9, 12, 3, ((32, 64), (32, 128))),
        ("small, a bottleneck, 4 polynomials", 5, 15, 4, ((6, 4), (3, 5), (5, 2))),
    ):
        graph = torch.rand(nodes, nodes) * (torch.rand(nodes, nodes) < 0.7)
        graph = (graph + graph.T).fill_diagonal_(1)
        graphs = polynomials(graph, count)
        laplacian = graph_module.scaled_laplacian((graph - torch.eye(nodes)).numpy())
        kernels = torch.as_tensor(graph_module.cheb_poly_approx(laplacian, count, nodes))
        found[f"{case}: polynomials"] = difference(torch.cat(list(graphs), dim=1), kernels)
        tf.variables.clear()
        seen = batch(3, steps, 1, nodes)
        theirs = published(module, tf, graphs, seen.values, widths)
        ours = STGCN(graphs, 1, steps, 1, widths)
        weights = {name: in_torch_order(name, weight) for name, weight in tf.variables.items()}
        carry(weights, ours, names(widths))
        found[case] = difference(ours.eval()(seen)[:, 0], theirs)
        all_matter(ours, seen, found[case])
    return found
