"""STID: each node by itself, a multi-layer perceptron over its recent values and learned identities.

Shao, Zhang, Wang, Wei, Xu: "Spatial-Temporal Identity: A Simple yet Effective Baseline for Multivariate Time Series
Forecasting", CIKM 2022; published as zezhishao/STID, whose sizes these are: four parts of width 32 (series, node, slot
of the day, day of the week), three residual layers, dropout 0.15.

Shapes: B batch, T input steps, F forecast steps, N nodes, C channels, D width of a part.
"""

from typing import Any

import torch
from torch import Tensor, nn

from cmust.baselines.clock_channels import with_clock
from cmust.baselines.scene import Glimpse, Scene

TRAINING: dict[str, Any] = {
    "loss": "masked_mae",
    "rate": 2e-3,
    "milestones": (1, 50, 80),
    "milestone_factor": 0.5,
    "weight_decay": 1e-4,
    "batch_size": 32,
    "start_epochs": 200,
    "patience": 200,
}


class Residual(nn.Module):
    """``x + W2 dropout(relu(W1 x))``; ``(..., D)`` to ``(..., D)``."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        added: Tensor = self.layers(x)
        return x + added


class STID(nn.Module):
    """Four parts side by side, then residual layers of width 4 D.

    Args:
        nodes, channels, input_steps, horizon, slots_per_day: of the scene.
        width: D.
        layers: residual ones.
        dropout: in these.
    """

    def __init__(
        self,
        nodes: int,
        channels: int,
        input_steps: int,
        horizon: int,
        slots_per_day: int,
        width: int = 32,
        layers: int = 3,
        dropout: float = 0.15,
    ) -> None:
        super().__init__()
        self.horizon, self.slots_per_day = horizon, slots_per_day
        self.series = nn.Linear(input_steps * (channels + 2), width)
        self.node = nn.Parameter(torch.empty(nodes, width))
        self.slot = nn.Parameter(torch.empty(slots_per_day, width))
        self.day = nn.Parameter(torch.empty(7, width))
        for identity in (self.node, self.slot, self.day):
            nn.init.xavier_uniform_(identity)
        self.layers = nn.Sequential(*(Residual(4 * width, dropout) for _ in range(layers)))
        self.output = nn.Linear(4 * width, horizon * channels)

    def forward(self, seen: Glimpse) -> Tensor:
        """``(B, F, N, C)``; of the clock, the identities are those of the last input step."""
        history = with_clock(seen, self.slots_per_day, weekday=True).transpose(1, 2).flatten(2)  # (B, N, T (C + 2))
        batch, nodes = history.shape[:2]
        when = torch.cat((self.slot[seen.slot[:, -1]], self.day[seen.dow[:, -1]]), dim=-1)  # (B, 2 D)
        parts = (self.series(history), self.node.expand(batch, -1, -1), when[:, None].expand(-1, nodes, -1))
        forecast: Tensor = self.output(self.layers(torch.cat(parts, dim=-1))).unflatten(-1, (self.horizon, -1))
        return forecast.transpose(1, 2)


def make(scene: Scene) -> STID:
    """In the published sizes; the graph is not used."""
    return STID(scene.nodes, scene.channels, scene.input_steps, scene.horizon, scene.slots_per_day)
