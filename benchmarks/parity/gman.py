"""GMAN against the authors' TensorFlow code for PeMS, which runs on the stand-in beside this file."""

import importlib
import sys
from pathlib import Path

import torch
from benchmarks.parity._tensorflow import TensorFlow, stand_in, tensor
from benchmarks.parity._weights import SLOTS, all_matter, batch, carry, difference
from torch import Tensor

from cmust.baselines.gman import GMAN
from cmust.baselines.scene import Glimpse

PUBLISHED = "zhengchuanpan/GMAN"


def layers(blocks: int) -> list[str]:
    """Our layers in the order in which the published network, a function, makes its own."""
    attention = ["query", "key", "value", "out.0", "out.1"]
    block = [f"{kind}.{layer}" for kind in ("spatial", "temporal") for layer in attention]
    block += ["gate_spatial", "gate_temporal", "fuse.0", "fuse.1"]
    stacks = {
        side: [f"{side}.{i}.{layer}" for i in range(blocks) for layer in block] for side in ("encoder", "decoder")
    }
    ends = [f"{name}.{i}" for name in ("lift", "place", "time") for i in range(2)]
    transform = [f"transform.{layer}" for layer in attention]
    return [*ends, *stacks["encoder"], *transform, *stacks["decoder"], "last.0", "last.1"]


def published_layers(variables: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """Their variables by layer; a layer begins with its kernel.

    A bias before a batch normalisation only shifts the running mean; it goes into it, as ours has none there.
    """
    found: list[dict[str, Tensor]] = []
    for name, value in variables.items():
        kind = name.split("_")[0]
        if kind == "kernel":
            found.append({"kernel": value[0, 0].T})
        else:
            found[-1][kind] = value
    for layer in found:
        if "mean" in layer:
            layer["mean"] = layer["mean"] - layer.pop("bias")
    return found


def weights_and_names(variables: dict[str, Tensor], blocks: int) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Their weights, and of our names to theirs."""
    weights, names = {}, {}
    normed = {
        "kernel": "linear.weight", "beta": "norm.bias", "gamma": "norm.weight", "mean": "norm.running_mean",
        "variance": "norm.running_var",
    }  # fmt: skip
    plain = {"kernel": "weight", "bias": "bias"}
    for mine, layer in zip(layers(blocks), published_layers(variables), strict=True):
        for kind, value in layer.items():
            weights[f"{mine}/{kind}"] = value
            names[f"{mine}.{(normed if 'gamma' in layer else plain)[kind]}"] = f"{mine}/{kind}"
    return weights, names


def published(tf: TensorFlow, seen: Glimpse, places: Tensor, blocks: int, heads: int, width: int) -> Tensor:
    """``(B, F, N, 1)``, by their network with new random weights."""
    module = importlib.import_module("model")
    dow, slot = torch.cat((seen.dow, seen.dow_ahead), dim=1), torch.cat((seen.slot, seen.slot_ahead), dim=1)
    clock, steps, horizon = tensor(torch.stack((dow, slot), dim=-1)), seen.slot.shape[1], seen.slot_ahead.shape[1]
    forecast = module.GMAN(
        tensor(seen.values[..., 0]),
        clock,
        tensor(places),
        steps,
        horizon,
        SLOTS,
        blocks,
        heads,
        width,
        True,
        0.9,
        False,
    )
    return forecast.as_subclass(Tensor)[..., None]


def parity(repo: Path) -> dict[str, float]:
    """Published sizes, and small ones with two blocks."""
    torch.set_default_dtype(torch.float64)
    tf = stand_in()
    sys.path.insert(0, str(repo / "PeMS"))
    found = {}
    for case, nodes, steps, horizon, blocks, heads, width in (
        ("published sizes", 9, 12, 12, 1, 8, 8),
        ("small, two blocks", 5, 7, 4, 2, 2, 10),
    ):
        tf.variables.clear()
        places, seen = torch.randn(nodes, heads * width), batch(3, steps, horizon, nodes)
        theirs = published(tf, seen, places, blocks, heads, width)
        ours = GMAN(places, 1, SLOTS, heads, width, blocks).eval()
        weights, names = weights_and_names(tf.variables, blocks)
        carry(weights, ours, names)
        found[case] = difference(ours(seen), theirs)
        all_matter(ours, seen, found[case])
    return found
