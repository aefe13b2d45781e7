"""GMAN against the authors' TensorFlow code for PeMS, which runs on the stand-in beside this file."""

import importlib
import sys
from pathlib import Path

import torch
from benchmarks.parity._tensorflow import TensorFlow, tensor, tensorflow
from benchmarks.parity._weights import SLOTS, Outputs, Weights, batch, compared
from torch import Tensor

from cmust.baselines.gman import GMAN
from cmust.baselines.scene import Glimpse

PUBLISHED = "zhengchuanpan/GMAN"
NORMED = {
    "kernel": "linear.weight", "beta": "norm.bias", "gamma": "norm.weight", "mean": "norm.running_mean",
    "variance": "norm.running_var",
}  # fmt: skip
PLAIN = {"kernel": "weight", "bias": "bias"}


def parity(repo: Path) -> dict[str, float]:
    """Published sizes, and small ones with two blocks."""
    tf = tensorflow()
    sys.path.insert(0, str(repo / "PeMS"))
    published_sizes = differences(tf, "published sizes", 9, 12, 12, 1, 8, 8)
    # A shift of keys adds the same to all scores, unless the ReLU behind it cuts some: here it may cut none.
    return published_sizes | differences(tf, "small", 5, 7, 4, 2, 2, 10, faint=("key.norm.bias",))


def differences(
    tf: TensorFlow, case: str, nodes: int, steps: int, horizon: int, blocks: int, heads: int, width: int,
    faint: tuple[str, ...] = (),
) -> dict[str, float]:  # fmt: skip
    places, seen = torch.randn(nodes, heads * width), batch(3, steps, horizon, nodes)
    tf.variables.clear()
    with torch.enable_grad():
        forecast = published(seen, places, blocks, heads, width)
    ours = GMAN(places, 1, SLOTS, heads, width, blocks).eval()

    def in_our_terms(weights: Weights) -> Weights:
        found = {}
        for mine, layer in zip(layers(blocks), published_layers(weights), strict=True):
            kinds = NORMED if "gamma" in layer else PLAIN
            found |= {f"{mine}.{kinds[kind]}": value for kind, value in layer.items()}
        return found

    def outputs() -> Outputs:
        return {"forecast": (ours(seen), forecast)}

    return compared(case, tf.variables, ours, in_our_terms, outputs, faint=faint)


def published(seen: Glimpse, places: Tensor, blocks: int, heads: int, width: int) -> Tensor:
    """``(B, F, N, 1)``, by their network with new random weights."""
    dow, slot = torch.cat((seen.dow, seen.dow_ahead), dim=1), torch.cat((seen.slot, seen.slot_ahead), dim=1)
    inputs = [tensor(seen.values[..., 0]), tensor(torch.stack((dow, slot), dim=-1)), tensor(places)]
    sizes = [seen.slot.shape[1], seen.slot_ahead.shape[1], SLOTS, blocks, heads, width]
    forecast: Tensor = importlib.import_module("model").GMAN(*inputs, *sizes, True, 0.9, False)
    return forecast.as_subclass(Tensor)[..., None]


def layers(blocks: int) -> list[str]:
    """Our layers in the order in which the published network, a function, makes its own."""
    attention = ["query", "key", "value", "out.0", "out.1"]
    block = [f"{kind}.{layer}" for kind in ("spatial", "temporal") for layer in attention]
    block += ["gate_spatial", "gate_temporal", "fuse.0", "fuse.1"]
    encoder, decoder = (
        [f"{side}.{i}.{layer}" for i in range(blocks) for layer in block] for side in ("encoder", "decoder")
    )
    ends = [f"{name}.{i}" for name in ("lift", "place", "time") for i in range(2)]
    return [*ends, *encoder, *(f"transform.{layer}" for layer in attention), *decoder, "last.0", "last.1"]


def published_layers(weights: Weights) -> list[Weights]:
    """Their variables by layer; a layer begins with its kernel.

    A bias before a batch normalisation only shifts the running mean; it goes into it, as ours has none there.
    """
    found: list[Weights] = []
    for name, value in weights.items():
        kind = name.split("_")[0]
        if kind == "kernel":
            found.append({"kernel": value[0, 0].T})
        else:
            found[-1][kind] = value
    for layer in found:
        if "mean" in layer:
            layer["mean"] = layer["mean"] - layer.pop("bias")
    return found
