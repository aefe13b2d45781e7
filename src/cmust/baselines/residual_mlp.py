"""A small multi-layer perceptron that forecasts what is left over the weekly average, each node by itself.

No attention, no other nodes: it tells how much of a result is the seasonal average and a little recent history. Node
and slot embeddings as in STID (Shao et al., CIKM 2022); the rest is ours.
"""

from typing import Any

import torch
from torch import Tensor, nn

from cmust.baselines.scene import Glimpse, Scene

TRAINING: dict[str, Any] = {
    "loss": "mae",
    "rate": 2e-3,
    "schedule": "cosine",
    "weight_decay": 3e-4,
    "batch_size": 16,
    "start_epochs": 20,
    "patience": 20,
}


class ResidualMLP(nn.Module):
    """Recent values, recent deviations and the average ahead of one node, with embeddings of node, slot and day.

    Shapes: B batch, T input steps, F forecast steps, N nodes, C channels.
    """

    def __init__(
        self, nodes: int, channels: int, input_steps: int, horizon: int, slots_per_day: int, width: int = 128
    ) -> None:
        super().__init__()
        self.horizon = horizon
        self.slot = nn.Embedding(slots_per_day, 16)
        self.day = nn.Embedding(7, 8)
        observed = (2 * input_steps + horizon) * channels
        self.layers = nn.Sequential(
            nn.Linear(observed + 16 + 16 + 8, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, horizon * channels),
        )
        self.node = nn.Parameter(torch.randn(nodes, 16))

    def forward(self, seen: Glimpse) -> Tensor:
        """``(B, F, N, C)``."""
        assert seen.average is not None and seen.average_ahead is not None
        parts = (seen.values, seen.values - seen.average, seen.average_ahead)
        series = torch.cat(parts, dim=1).permute(0, 2, 1, 3).flatten(2)  # (B, N, (2T + F) * C)
        batch, nodes = series.shape[:2]
        context = torch.cat((self.slot(seen.slot[:, -1]), self.day(seen.dow[:, -1])), dim=-1)
        features = torch.cat((series, self.node.expand(batch, -1, -1), context[:, None].expand(-1, nodes, -1)), dim=-1)
        left: Tensor = self.layers(features).unflatten(-1, (self.horizon, -1)).transpose(1, 2)
        return seen.average_ahead + left


def make(scene: Scene) -> ResidualMLP:
    """The graph is not used."""
    return ResidualMLP(scene.nodes, scene.channels, scene.input_steps, scene.horizon, scene.slots_per_day)
