"""DCRNN against chnsh/DCRNN_PyTorch, the PyTorch port of the authors' TensorFlow 1 code (liyaguang/DCRNN).

The port imports TensorFlow, which it does not need here. A cell of the authors' own code: ``dcrnn_cell``.
"""

import importlib
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.parity._stand_ins import stand_in
from benchmarks.parity._weights import SLOTS, Outputs, Weights, adjacency, batch, compared, redraw, renamed, state

from cmust.baselines.clock_channels import with_clock
from cmust.baselines.dcrnn import DCRNN

PUBLISHED = "chnsh/DCRNN_PyTorch"


def parity(repo: Path) -> dict[str, float]:
    """Published sizes and small ones with more layers and steps of diffusion."""
    stand_in("tensorflow")
    utils = importlib.import_module("lib.utils")
    utils.calculate_random_walk_matrix = partial(row_by_row, utils.calculate_random_walk_matrix)
    return differences(
        "published sizes", nodes=8, channels=1, steps=12, horizon=12, width=64, layers=2, walk=2
    ) | differences("small", nodes=5, channels=2, steps=4, horizon=3, width=4, layers=3, walk=3)


def row_by_row(made: Callable[[Any], Any], graph: Any) -> Any:
    """A sparse matrix in order: the port sorts the places of its entries but not their values."""
    matrix = made(graph).tocsr()
    matrix.sort_indices()
    return matrix.tocoo()


def differences(
    case: str, nodes: int, channels: int, steps: int, horizon: int, width: int, layers: int, walk: int
) -> dict[str, float]:
    graph = adjacency(nodes)
    theirs = importlib.import_module("model.pytorch.dcrnn_model").DCRNNModel(
        graph.numpy(), logging.getLogger("dcrnn"), max_diffusion_step=walk, filter_type="dual_random_walk",
        num_nodes=nodes, num_rnn_layers=layers, rnn_units=width, seq_len=steps, horizon=horizon,
        input_dim=channels + 1, output_dim=channels,
    ).eval()  # fmt: skip
    ours = DCRNN(graph, channels, horizon, SLOTS, width, layers, walk)
    seen = batch(3, steps, horizon, nodes, channels)
    history = with_clock(seen, SLOTS, weekday=False).transpose(0, 1).flatten(2)  # (T, B, N (C + 1))
    theirs(history)  # its weights come to be in the first pass
    redraw(weights := state(theirs))

    def in_our_terms(weights: Weights) -> Weights:
        names = {"decoder_model.projection_layer": "output"}
        for part, inputs in (("encoder", channels + 1), ("decoder", channels)):
            for i in range(layers):
                gathered = (2 * walk + 1) * ((width if i else inputs) + width)
                cell = f"{part}_model.dcgru_layers.{i}.gconv"
                for kind, outputs in (("gates", 2 * width), ("candidate", width)):
                    names[f"{cell}_weight_({gathered}, {outputs})"] = f"{part}.{i}.{kind}.mix.weight"
                    names[f"{cell}_biases_{outputs}"] = f"{part}.{i}.{kind}.mix.bias"
        turned = {name: w.T if "gconv_weight" in name else w for name, w in weights.items()}
        return renamed(turned, names)

    def outputs() -> Outputs:
        published = theirs(history).unflatten(-1, (nodes, channels)).transpose(0, 1)
        return {"forecast": (ours(seen), published)}

    return compared(case, weights, ours, in_our_terms, outputs)
