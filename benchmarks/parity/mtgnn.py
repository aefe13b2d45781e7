"""MTGNN beside nnzhan/MTGNN: in training with the same noise of the graph, else without it (ours has none then)."""

import importlib
from pathlib import Path
from unittest.mock import patch

import torch
from benchmarks.parity._compare import Once, compare, some_glimpse
from torch import Tensor

from cmust.baselines.clock_channels import with_clock
from cmust.baselines.mtgnn import MTGNN

PUBLISHED = "nnzhan/MTGNN"


def parity(repo: Path) -> dict[str, float]:
    small = {"nodes": 6, "width": 8, "skip": 5, "end": 7, "vector": 4, "neighbours": 3}
    long = _differences(steps=15, horizon=3, layers=2, growth=1, hops=3, training=False, **small)
    dilated = _differences(steps=20, horizon=3, layers=3, growth=2, hops=2, training=True, **small)
    published = _differences(
        nodes=9, steps=12, horizon=12, width=32, skip=64, end=128, layers=3, growth=1, hops=2, vector=40,
        neighbours=5, training=False,
    )  # fmt: skip
    return {
        "small, longer than it reaches, forecast": long[0],
        "small, longer than it reaches, gradients": long[1],
        "small, growing dilation, in training, forecast": dilated[0],
        "small, growing dilation, in training, gradients": dilated[1],
        "published sizes, forecast": published[0],
        "published sizes, gradients": published[1],
    }


def _differences(
    *, nodes: int, steps: int, horizon: int, width: int, skip: int, end: int, layers: int, growth: int, hops: int,
    vector: int, neighbours: int, training: bool,
) -> tuple[float, float]:  # fmt: skip
    theirs = importlib.import_module("net").gtnet(
        True, True, hops, nodes, torch.device("cpu"), dropout=0.0, subgraph_size=neighbours, node_dim=vector,
        dilation_exponential=growth, conv_channels=width, residual_channels=width, skip_channels=skip,
        end_channels=end, seq_length=steps, in_dim=2, out_dim=horizon, layers=layers,
    ).train(training)  # fmt: skip
    ours = MTGNN(
        nodes, 1, steps, horizon, 8, width, skip, end, layers, growth, hops, vector, neighbours, dropout=0.0
    ).train(training)
    seen = some_glimpse(3, steps, nodes, 1, horizon, 8)

    def forecasts() -> tuple[Tensor, Tensor]:
        history = with_clock(seen, 8, weekday=False).transpose(1, 3)
        if not training:
            with patch("torch.rand_like", torch.zeros_like):
                return theirs(history), ours(seen)
        seed = torch.random.get_rng_state()
        expected = theirs(history)
        torch.random.set_rng_state(seed)
        return expected, ours(seen)

    idle = {f"residual_convs.{i}.{kind}" for i in range(layers) for kind in ("weight", "bias")}
    return compare(theirs, ours, lambda weights: _translate(weights, layers), forecasts, idle)


def _translate(weights: Once, layers: int) -> dict[str, Tensor]:
    copies = {
        "graph.source": weights.take("gc.emb1.weight"),
        "graph.target": weights.take("gc.emb2.weight"),
        **weights.layer("graph.from_source", "gc.lin1"),
        **weights.layer("graph.from_target", "gc.lin2"),
        **weights.layer("start", "start_conv"),
        **weights.layer("skip_input", "skip0"),
        **weights.layer("skip_last", "skipE"),
        **weights.layer("output.1", "end_conv_1"),
        **weights.layer("output.3", "end_conv_2"),
    }
    for i in range(layers):
        for kernel in range(4):
            copies |= weights.layer(f"layers.{i}.values.convolutions.{kernel}", f"filter_convs.{i}.tconv.{kernel}")
            copies |= weights.layer(f"layers.{i}.gate.convolutions.{kernel}", f"gate_convs.{i}.tconv.{kernel}")
        copies |= weights.layer(f"layers.{i}.skip", f"skip_convs.{i}")
        copies |= weights.layer(f"layers.{i}.along.mix", f"gconv1.{i}.mlp.mlp")
        copies |= weights.layer(f"layers.{i}.against.mix", f"gconv2.{i}.mlp.mlp")
        copies |= weights.layer(f"layers.{i}.norm", f"norm.{i}")
    return copies
