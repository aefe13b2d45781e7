"""STTN against the authors' TensorFlow code, which runs on the stand-in beside this file."""

import importlib
import io
import sys
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import torch
from benchmarks.parity._tensorflow import TensorFlow, stand_in, tensor
from benchmarks.parity._weights import all_matter, batch, carry, difference
from torch import Tensor

from cmust.baselines.sttn import STTN

PUBLISHED = "xumingxingsjtu/STTN"
STEPS = 12  # the published code has this number written into it


def transformer(mine: str, scope: str, narrow: bool) -> dict[str, str]:
    """Of our weights of an encoder layer to theirs."""
    attention = f"{scope}layer_0/attention/"
    pairs = {f"{mine}.fit.narrow.weight": f"{scope}layer_0/transformer/ws_input"} if narrow else {}
    pairs |= {f"{mine}.layer.self_attn.in_proj_{kind}": f"{attention}self/{kind}" for kind in ("weight", "bias")}
    for layer, theirs in (
        ("self_attn.out_proj", f"{attention}output/dense"),
        ("linear1", f"{scope}layer_0/intermediate/dense"),
        ("linear2", f"{scope}layer_0/output/dense"),
    ):
        pairs |= {f"{mine}.layer.{layer}.weight": f"{theirs}/kernel", f"{mine}.layer.{layer}.bias": f"{theirs}/bias"}
    for layer, theirs in (("norm1", f"{attention}output"), ("norm2", f"{scope}layer_0/output")):
        pairs |= norm(f"{mine}.layer.{layer}", f"{theirs}/LayerNorm")
    return pairs


def norm(mine: str, scope: str) -> dict[str, str]:
    return {f"{mine}.weight": f"{scope}/gamma", f"{mine}.bias": f"{scope}/beta"}


def names(ours: STTN) -> dict[str, str]:
    """Of all our weights to theirs."""
    pairs = {"lift.weight": "aggregation/w1", "lift.bias": "aggregation/b1"}
    decoder = "temporal_transformer_decoder"
    pairs |= {"over_time.weight": f"{decoder}/wt", "over_time.bias": f"{decoder}/bt"}
    pairs |= norm("norm", "layer_norm_output_layer")
    for i, layer in enumerate(("first", "second"), start=1):
        pairs |= {f"{layer}.weight": f"w{i}_output_layer", f"{layer}_bias": f"b{i}_output_layer"}
    for i, block in enumerate(ours.blocks):
        mine, space, time = f"blocks.{i}.", f"stn_block_{i}_spatial/", f"stn_block_{i}_temporal/"
        pairs |= {
            f"{mine}place": f"{space}spatial_embeddings/spatial_position_embeddings",
            f"{mine}step": f"{space}temporal_embeddings/temporal_position_embeddings",
            f"{mine}step_again": f"{time}temporal_embedding/temporal_position_embeddings",
            f"{mine}shortcut.weight": f"{space}ws_input",
            f"{mine}theta.weight": f"{space}ws",
            f"{mine}theta.bias": f"{space}bs",
            f"{mine}shortcut_again.narrow.weight": f"{time}ws_input",
        }
        pairs |= transformer(f"{mine}between_nodes", space, block.between_nodes.fit.narrow is not None)
        pairs |= transformer(f"{mine}between_steps", f"{time}encoder/", True) | norm(f"{mine}norm", f"layer_norm_{i}")
    return pairs


def in_torch_order(variables: dict[str, Tensor]) -> dict[str, Tensor]:
    """Kernels as (out, in), queries, keys and values in one, norms without lengths of one."""
    found: dict[str, Tensor] = {}
    for name, value in variables.items():
        if name.endswith(("gamma", "beta")):
            value = value.squeeze()
        elif value.dim() == 4:
            value = value.permute(3, 2, 0, 1)
            value = value if name.endswith("/wt") else value[:, :, 0, 0]
        elif name.endswith(("kernel", "/ws")):
            value = value.T
        found[name] = value
    for scope in [name.removesuffix("query/kernel") for name in variables if name.endswith("query/kernel")]:
        for ours, theirs in (("weight", "kernel"), ("bias", "bias")):
            parts = [found.pop(f"{scope}{part}/{theirs}") for part in ("query", "key", "value")]
            found[f"{scope}{ours}"] = torch.cat(parts)
    return found


def published(tf: TensorFlow, graphs: Tensor, x: Tensor, width: int, blocks: int) -> Tensor:
    """One step ahead of ``x``, ``(B, T, N, 1)``, by their network with new random weights; ``(B, N, 1)``."""
    module = importlib.import_module("models.base_model")
    tf.collections["graph_kernel"] = [tensor(torch.cat(list(graphs), dim=1))]
    inputs = tensor(torch.cat((x, torch.zeros_like(x[:, :1])), dim=1))
    with redirect_stdout(io.StringIO()):  # it prints its tensors
        _, forecast = module.build_model(
            inputs, {"mean": 0.0, "std": 1.0}, STEPS, len(graphs), [[width, width]] * blocks, 1.0, is_training=False
        )
    return forecast.as_subclass(Tensor)


def parity(repo: Path) -> dict[str, float]:
    """Published sizes, at numbers of nodes where the transformer pads and where it narrows; two small blocks."""
    torch.set_default_dtype(torch.float64)
    tf = stand_in()
    sys.modules["six"] = SimpleNamespace(integer_types=(int,))  # type: ignore[assignment]
    found = {}
    for case, nodes, count, width, blocks in (
        ("published sizes", 25, 3, 64, 1),
        ("published sizes, few nodes", 9, 3, 64, 1),
        ("two small blocks, 4 polynomials", 5, 4, 12, 2),
    ):
        tf.variables.clear()
        graphs, seen = torch.randn(count, nodes, nodes) / nodes**0.5, batch(2, STEPS, 1, nodes)
        theirs = published(tf, graphs, seen.values, width, blocks)
        ours = STTN(graphs, torch.eye(nodes), 1, STEPS, 1, width=width, blocks=blocks).eval()
        carry(in_torch_order(tf.variables), ours, names(ours))
        found[case] = difference(ours(seen)[:, 0], theirs)
        all_matter(ours, seen, found[case])
    return found
