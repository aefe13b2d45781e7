"""Graph WaveNet against the authors' code."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import torch
from benchmarks.parity._weights import SLOTS, Outputs, Weights, adjacency, batch, compared, redraw, renamed, state

from cmust.baselines.clock_channels import with_clock
from cmust.baselines.graphs import transitions
from cmust.baselines.gwnet import GraphWaveNet

PUBLISHED = "nnzhan/Graph-WaveNet"
NAMES = {
    "nodevec1": "source", "nodevec2": "target", "start_conv": "start", "end_conv_1": "end.1", "end_conv_2": "end.3",
    "filter_convs.{}.": "gated.{}.signal.", "gate_convs.{}.": "gated.{}.gate.", "skip_convs.{}.": "skips.{}.",
    "gconv.{}.mlp.mlp.": "diffusion.{}.mix.", "bn.{}.": "norm.{}.",
}  # fmt: skip


def names(layers: int) -> dict[str, str]:
    """Of their weights to ours."""
    return {a.format(i): b.format(i) for i in range(layers) for a, b in NAMES.items()}


def unread(layers: int) -> tuple[str, ...]:
    """Residual convolutions stand in for the diffusion where it is off; nothing is read from the last one's output."""
    return ("residual_convs.", f"gconv.{layers - 1}.", f"bn.{layers - 1}.")


def parity(repo: Path) -> dict[str, float]:
    """Published sizes, and small ones with inputs shorter and longer than the reach."""
    published = importlib.import_module("model")
    # It convolves four-dimensional tensors with nn.Conv1d, which PyTorch of its day let pass.
    published.nn = SimpleNamespace(**(vars(torch.nn) | {"Conv1d": torch.nn.Conv2d}))
    return (
        differences("published sizes", published.gwnet, 9, 12, 32, 4, 2)
        | differences("small, 7 steps", published.gwnet, 5, 7, 4, 2, 3)
        | differences("small, 20 steps", published.gwnet, 5, 20, 4, 2, 3)
    )


def differences(
    case: str, network: type, nodes: int, steps: int, width: int, blocks: int, layers: int
) -> dict[str, float]:
    graphs = transitions(adjacency(nodes))
    theirs = network(
        torch.device("cpu"), nodes, supports=graphs, in_dim=2, out_dim=12, residual_channels=width,
        dilation_channels=width, skip_channels=8 * width, end_channels=16 * width, blocks=blocks, layers=layers,
    ).eval()  # fmt: skip
    ours = GraphWaveNet(graphs, 1, 12, SLOTS, width, 8 * width, 16 * width, blocks, layers).eval()
    redraw(weights := state(theirs))
    seen, silent = batch(3, steps, 12, nodes), unread(blocks * layers)

    def in_our_terms(weights: Weights) -> Weights:
        return renamed(weights, names(blocks * layers), silent)

    def outputs() -> Outputs:
        history = with_clock(seen, SLOTS, weekday=False).permute(0, 3, 2, 1)  # (B, 2, N, T)
        return {"forecast": (ours(seen), theirs(history)[..., -1:])}

    return compared(case, weights, ours, in_our_terms, outputs, silent)
