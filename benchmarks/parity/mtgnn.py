"""MTGNN against the authors' code: in training with the same noise of the graph, else without it, as ours."""

import importlib
from pathlib import Path
from unittest.mock import patch

import torch
from benchmarks.parity._weights import SLOTS, Outputs, Weights, batch, compared, redraw, renamed, state

from cmust.baselines.clock_channels import with_clock
from cmust.baselines.mtgnn import MTGNN

PUBLISHED = "nnzhan/MTGNN"
NAMES = {
    "gc.emb1.weight": "graph.source", "gc.emb2.weight": "graph.target", "gc.lin1": "graph.from_source",
    "gc.lin2": "graph.from_target", "start_conv": "start", "skip0": "skip_input", "skipE": "skip_last",
    "end_conv_1": "output.1", "end_conv_2": "output.3",
}  # fmt: skip
LAYER = {
    "filter_convs.{}.tconv": "values.convolutions", "gate_convs.{}.tconv": "gate.convolutions", "skip_convs.{}": "skip",
    "gconv1.{}.mlp.mlp": "along.mix", "gconv2.{}.mlp.mlp": "against.mix", "norm.{}": "norm",
}  # fmt: skip
UNREAD = ("residual_convs.",)  # they stand in for the graph where it is off


def parity(repo: Path) -> dict[str, float]:
    """Published sizes; small ones in training, and with a history longer than the convolutions reach."""
    small = {"nodes": 6, "width": 8, "skip": 5, "end": 7, "vector": 4, "neighbours": 3}
    return (
        differences(
            "published sizes", nodes=9, steps=12, horizon=12, width=32, skip=64, end=128, layers=3, growth=1, hops=2,
            vector=40, neighbours=5, training=False,
        )
        | differences("small, a long history", steps=15, horizon=3, layers=2, growth=1, hops=3, training=False, **small)
        | differences("small, in training", steps=20, horizon=3, layers=3, growth=2, hops=2, training=True, **small)
    )  # fmt: skip


def differences(
    case: str, *, nodes: int, steps: int, horizon: int, width: int, skip: int, end: int, layers: int, growth: int,
    hops: int, vector: int, neighbours: int, training: bool,
) -> dict[str, float]:  # fmt: skip
    theirs = importlib.import_module("net").gtnet(
        True, True, hops, nodes, torch.device("cpu"), dropout=0.0, subgraph_size=neighbours, node_dim=vector,
        dilation_exponential=growth, conv_channels=width, residual_channels=width, skip_channels=skip,
        end_channels=end, seq_length=steps, in_dim=2, out_dim=horizon, layers=layers,
    ).train(training)  # fmt: skip
    ours = MTGNN(
        nodes, 1, steps, horizon, SLOTS, width, skip, end, layers, growth, hops, vector, neighbours, dropout=0.0
    ).train(training)
    redraw(weights := state(theirs))
    seen = batch(3, steps, horizon, nodes)

    def in_our_terms(weights: Weights) -> Weights:
        names = dict(NAMES)
        for i in range(layers):
            names |= {f"{a.format(i)}.": f"layers.{i}.{b}." for a, b in LAYER.items()}
        return renamed(weights, names, UNREAD)

    def outputs() -> Outputs:
        history = with_clock(seen, SLOTS, weekday=False).transpose(1, 3)
        if not training:
            with patch("torch.rand_like", torch.zeros_like):
                return {"forecast": (ours(seen), theirs(history))}
        noise = torch.random.get_rng_state()
        published = theirs(history)
        torch.random.set_rng_state(noise)
        return {"forecast": (ours(seen), published)}

    return compared(case, weights, ours, in_our_terms, outputs, UNREAD)
