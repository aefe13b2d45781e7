"""STTN against the authors' TensorFlow code, which runs on the stand-in beside this file."""

import importlib
import io
from contextlib import redirect_stdout
from pathlib import Path

import torch
from benchmarks.parity._stand_ins import stand_in
from benchmarks.parity._tensorflow import TensorFlow, tensor, tensorflow
from benchmarks.parity._weights import Outputs, Weights, batch, compared, joined, renamed
from torch import Tensor

from cmust.baselines.sttn import STTN

PUBLISHED = "xumingxingsjtu/STTN"
STEPS = 12  # the published code has this number written into it
END = {
    "aggregation/w1": "lift.weight", "aggregation/b1": "lift.bias",
    "temporal_transformer_decoder/wt": "over_time.weight", "temporal_transformer_decoder/bt": "over_time.bias",
    "layer_norm_output_layer/gamma": "norm.weight", "layer_norm_output_layer/beta": "norm.bias",
    "w1_output_layer": "first.weight", "b1_output_layer": "first_bias", "w2_output_layer": "second.weight",
    "b2_output_layer": "second_bias",
}  # fmt: skip
BLOCK = {
    "stn_block_{}_spatial/spatial_embeddings/spatial_position_embeddings": "place",
    "stn_block_{}_spatial/temporal_embeddings/temporal_position_embeddings": "step",
    "stn_block_{}_temporal/temporal_embedding/temporal_position_embeddings": "step_again",
    "stn_block_{}_spatial/ws_input": "shortcut.weight",
    "stn_block_{}_spatial/ws": "theta.weight",
    "stn_block_{}_spatial/bs": "theta.bias",
    "stn_block_{}_temporal/ws_input": "shortcut_again.narrow.weight",
    "layer_norm_{}/gamma": "norm.weight",
    "layer_norm_{}/beta": "norm.bias",
}
TRANSFORMER = {
    "transformer/ws_input": "fit.narrow.weight",
    "attention/self/in_proj_weight": "layer.self_attn.in_proj_weight",
    "attention/self/in_proj_bias": "layer.self_attn.in_proj_bias",
    "attention/output/dense": "layer.self_attn.out_proj", "intermediate/dense": "layer.linear1",
    "output/dense": "layer.linear2", "attention/output/LayerNorm": "layer.norm1", "output/LayerNorm": "layer.norm2",
}  # fmt: skip
KINDS = {"/kernel": ".weight", "/bias": ".bias", "/gamma": ".weight", "/beta": ".bias"}


def parity(repo: Path) -> dict[str, float]:
    """Published sizes, at numbers of nodes where the transformer narrows and where it pads; two small blocks."""
    tf = tensorflow()
    stand_in("six", integer_types=(int,))
    return (
        differences(tf, "published sizes", 25, 3, 64, 1)
        | differences(tf, "published sizes, few nodes", 9, 3, 64, 1)
        | differences(tf, "two small blocks, 4 polynomials", 5, 4, 12, 2)
    )


def differences(tf: TensorFlow, case: str, nodes: int, count: int, width: int, blocks: int) -> dict[str, float]:
    graphs, seen = torch.randn(count, nodes, nodes) / nodes**0.5, batch(2, STEPS, 1, nodes)
    tf.variables.clear()
    with torch.enable_grad():
        forecast = published(tf, graphs, seen.values, width, blocks)
    ours = STTN(graphs, torch.eye(nodes), 1, STEPS, 1, width=width, blocks=blocks).eval()

    def in_our_terms(weights: Weights) -> Weights:
        turned = {name: in_torch_order(name, weight) for name, weight in weights.items()}
        for theirs, own in (("kernel", "weight"), ("bias", "bias")):
            parts = tuple(f"self/{part}/{theirs}" for part in ("query", "key", "value"))
            turned = joined(turned, parts, f"self/in_proj_{own}")
        return renamed(turned, names(blocks))

    def outputs() -> Outputs:
        return {"forecast": (ours(seen)[:, 0], forecast)}

    return compared(case, tf.variables, ours, in_our_terms, outputs)


def names(blocks: int) -> dict[str, str]:
    """Of their weights to ours."""
    pairs = dict(END)
    for i in range(blocks):
        pairs |= {a.format(i): f"blocks.{i}.{b}" for a, b in BLOCK.items()}
        stacks = {"spatial/": "between_nodes", "temporal/encoder/": "between_steps"}
        for scope, mine in stacks.items():
            for theirs, own in TRANSFORMER.items():
                kinds = KINDS if theirs.endswith(("dense", "LayerNorm")) else {"": ""}
                for a, b in kinds.items():
                    pairs[f"stn_block_{i}_{scope}layer_0/{theirs}{a}"] = f"blocks.{i}.{mine}.{own}{b}"
    return pairs


def in_torch_order(name: str, weight: Tensor) -> Tensor:
    """A kernel ``(h, w, in, out)`` to ``(out, in, h, w)``, a matrix turned; norms and embeddings as they are."""
    if weight.dim() == 4 and not name.endswith(("gamma", "beta")):
        return weight.permute(3, 2, 0, 1)
    return weight.T if name.endswith(("kernel", "/ws")) else weight


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
