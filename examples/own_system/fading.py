"""A forecasting system of one's own, complete: what a place is above or below its weekly average fades.

Put beside the others by its module's name (docs/baselines.md):

    export PYTHONPATH=examples
    cmust experiment table1 demo.zarr.zip results/own --budget smoke --systems naive,stid,own_system.fading

Shapes: B batch, T input steps, F forecast steps, N nodes, C channels.
"""

from typing import Any

import torch
from torch import Tensor, nn

from cmust.baselines.scene import Glimpse, Scene

TRAINING: dict[str, Any] = {"loss": "mae", "rate": 1e-2, "batch_size": 64, "start_epochs": 20, "patience": 5}


class Fading(nn.Module):
    """The weekly average ahead, and of the last difference from it a share that is learned for every step ahead."""

    def __init__(self, horizon: int) -> None:
        super().__init__()
        self.share = nn.Parameter(torch.linspace(1, 0, horizon))

    def forward(self, seen: Glimpse) -> Tensor:
        """``(B, F, N, C)`` in standardised units."""
        last = seen.values[:, -1:] - seen.average[:, -1:]  # (B, 1, N, C)
        return seen.average_ahead + self.share[:, None, None] * last


def make(scene: Scene) -> Fading:
    """One for the data of ``scene``; the graph is not used."""
    return Fading(scene.horizon)
