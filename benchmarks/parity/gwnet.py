"""Graph WaveNet against the authors' code."""

import importlib
from pathlib import Path
from types import SimpleNamespace

import torch
from benchmarks.parity._weights import SLOTS, adjacency, all_matter, batch, carry, difference, randomise, state
from torch import Tensor

from cmust.baselines.gwnet import GraphWaveNet, transitions
from cmust.baselines.scene import Glimpse

PUBLISHED = "nnzhan/Graph-WaveNet"


def names(layers: int) -> dict[str, str]:
    """Of our weights to theirs."""
    pairs = {"source": "nodevec1", "target": "nodevec2"}
    modules = {"start": "start_conv", "end.1": "end_conv_1", "end.3": "end_conv_2"}
    for i in range(layers):
        modules |= {f"gated.{i}.signal": f"filter_convs.{i}", f"gated.{i}.gate": f"gate_convs.{i}"}
        modules |= {f"skips.{i}": f"skip_convs.{i}"}
    for i in range(layers - 1):
        modules |= {f"diffusion.{i}.mix": f"gconv.{i}.mlp.mlp", f"norm.{i}": f"bn.{i}"}
        pairs |= {f"norm.{i}.{kind}": f"bn.{i}.{kind}" for kind in ("running_mean", "running_var")}
    return pairs | {f"{a}.{kind}": f"{b}.{kind}" for a, b in modules.items() for kind in ("weight", "bias")}


def unread(theirs: dict[str, Tensor], layers: int) -> set[str]:
    """Residual convolutions stand in for the diffusion where it's off; nothing is read from the last one's output."""
    last = (f"gconv.{layers - 1}.", f"bn.{layers - 1}.")
    return {name for name in theirs if name.startswith(("residual_convs.", *last))}


def pair(module: type, nodes: int, width: int, blocks: int, layers: int) -> tuple[torch.nn.Module, GraphWaveNet]:
    graphs = transitions(adjacency(nodes))
    theirs = module(
        torch.device("cpu"), nodes, supports=graphs, in_dim=2, out_dim=12, residual_channels=width,
        dilation_channels=width, skip_channels=8 * width, end_channels=16 * width, blocks=blocks, layers=layers,
    )  # fmt: skip
    ours = GraphWaveNet(graphs, 1, 12, SLOTS, width, 8 * width, 16 * width, blocks, layers)
    weights = state(theirs)
    randomise(weights)
    carry(weights, ours, names(blocks * layers), unread(weights, blocks * layers))
    return theirs.eval(), ours.eval()


def published(theirs: torch.nn.Module, seen: Glimpse) -> Tensor:
    """Their forecast in our form; time of day goes in as a fraction, behind the value."""
    time = (seen.slot / SLOTS)[:, :, None].expand(-1, -1, seen.values.shape[2])
    x = torch.stack((seen.values[..., 0], time), dim=1).transpose(2, 3)  # (B, 2, N, T)
    return theirs(x)[..., -1:]


def parity(repo: Path) -> dict[str, float]:
    """Published sizes, and small ones with inputs shorter and longer than the reach; ``repo`` is on the path."""
    torch.set_default_dtype(torch.float64)
    published_code = importlib.import_module("model")
    # It convolves four-dimensional tensors with nn.Conv1d, which PyTorch of its day let pass.
    published_code.nn = SimpleNamespace(**(vars(torch.nn) | {"Conv1d": torch.nn.Conv2d}))
    module = published_code.gwnet
    small, full = pair(module, 5, 4, 2, 3), pair(module, 9, 32, 4, 2)
    cases = {"published sizes": (full, 12), "small, 7 steps": (small, 7), "small, 20 steps": (small, 20)}
    found = {}
    for case, ((theirs, ours), steps) in cases.items():
        seen = batch(3, steps, 12, len(ours.source))
        found[case] = difference(ours(seen), published(theirs, seen))
        all_matter(ours, seen, found[case])
    ours, theirs = full[1], full[0]
    counts = sum(p.numel() for p in ours.parameters()), sum(p.numel() for p in theirs.parameters())
    print(f"parameters: ours {counts[0]}, published {counts[1]}, read by neither {counts[1] - counts[0]}")
    return found
