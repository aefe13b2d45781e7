"""DCRNN beside chnsh/DCRNN_PyTorch, the PyTorch port of the authors' TensorFlow 1 code (liyaguang/DCRNN).

The port imports TensorFlow, which it does not need here. A cell of the authors' own code: ``dcrnn_cell``.
"""

import importlib
import logging
import sys
from pathlib import Path
from types import ModuleType

import torch
from benchmarks.parity._compare import Once, compare, some_glimpse
from benchmarks.parity._scipy import stand_in_for_scipy
from torch import Tensor

from cmust.baselines.clock_channels import with_clock
from cmust.baselines.dcrnn import DCRNN

PUBLISHED = "chnsh/DCRNN_PyTorch"


def parity(repo: Path) -> dict[str, float]:
    stand_in_for_scipy()
    sys.modules.setdefault("tensorflow", ModuleType("tensorflow"))
    small = _differences(nodes=5, channels=2, steps=4, horizon=3, width=4, layers=3, walk=3)
    published = _differences(nodes=8, channels=1, steps=12, horizon=12, width=64, layers=2, walk=2)
    return {
        "small, forecast": small[0],
        "small, gradients": small[1],
        "published sizes, forecast": published[0],
        "published sizes, gradients": published[1],
    }


def _differences(
    nodes: int, channels: int, steps: int, horizon: int, width: int, layers: int, walk: int
) -> tuple[float, float]:
    weight = torch.rand(nodes, nodes)  # directed
    adjacency = torch.where(weight < 0.4, 0.0, weight).fill_diagonal_(1.0)
    theirs = importlib.import_module("model.pytorch.dcrnn_model").DCRNNModel(
        adjacency.numpy(), logging.getLogger("dcrnn"), max_diffusion_step=walk, filter_type="dual_random_walk",
        num_nodes=nodes, num_rnn_layers=layers, rnn_units=width, seq_len=steps, horizon=horizon,
        input_dim=channels + 1, output_dim=channels,
    ).eval()  # fmt: skip
    ours = DCRNN(adjacency, channels, horizon, 8, width, layers, walk)
    seen = some_glimpse(3, steps, nodes, channels, horizon, 8)
    history = with_clock(seen, 8, weekday=False).transpose(0, 1).flatten(2)  # (T, B, N (C + 1))
    theirs(history)  # its weights come to be in the first pass

    def forecasts() -> tuple[Tensor, Tensor]:
        return theirs(history).unflatten(-1, (nodes, channels)).transpose(0, 1), ours(seen)

    def translate(weights: Once) -> dict[str, Tensor]:
        copies = weights.layer("output", "decoder_model.projection_layer")
        for part, inputs in (("encoder", channels + 1), ("decoder", channels)):
            for i in range(layers):
                gathered = (2 * walk + 1) * ((width if i else inputs) + width)
                for kind, outputs in (("gates", 2 * width), ("candidate", width)):
                    cell = f"{part}_model.dcgru_layers.{i}.gconv"
                    copies[f"{part}.{i}.{kind}.mix.weight"] = weights.take(f"{cell}_weight_({gathered}, {outputs})").T
                    copies[f"{part}.{i}.{kind}.mix.bias"] = weights.take(f"{cell}_biases_{outputs}")
        return copies

    return compare(theirs, ours, translate, forecasts)
