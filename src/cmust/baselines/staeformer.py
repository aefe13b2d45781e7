"""STAEformer: a plain transformer over steps, then over nodes; what it knows of both is a learned vector for each.

Liu, Dong, Jiang, Deng, Deng, Chen, Song: "Spatio-Temporal Adaptive Embedding Makes Vanilla Transformer SOTA for Traffic
Forecasting", CIKM 2023; published as XDZhelheim/STAEformer, whose sizes these are: width 24 each for the input, slot of
the day and weekday, 80 for the adaptive embedding of step and node; three layers over steps and three over nodes, four
heads, feed-forward width 256, dropout 0.1.

Shapes: B batch, T input steps, F forecast steps, N nodes, C channels, D width of all parts.
"""

from typing import Any

import torch
from torch import Tensor, nn

from cmust.baselines.clock_channels import with_clock
from cmust.baselines.scene import Glimpse, Scene

TRAINING: dict[str, Any] = {
    "loss": "huber",
    "milestones": (15, 30, 50),
    "weight_decay": 5e-4,
    "batch_size": 16,
    "start_epochs": 100,
    "patience": 20,
}  # of PEMS04 (flows); published: at most 300 epochs, 20 without improvement, the last fall of the rate at the 50th


def layer(width: int, heads: int, feed_forward: int, dropout: float) -> nn.TransformerEncoderLayer:
    """Post-norm; dropout only on what attention and the feed-forward network add, as published."""
    made = nn.TransformerEncoderLayer(width, heads, feed_forward, dropout, batch_first=True)
    made.self_attn.dropout = 0.0
    made.dropout.p = 0.0
    return made


class STAEformer(nn.Module):
    """Embeddings side by side, layers over steps, layers over nodes.

    Args:
        nodes, channels, input_steps, horizon, slots_per_day: of the scene.
        width: of the input's, the slot's and the weekday's part.
        adaptive: of the part learned for each step and node.
        layers: over steps, and as many over nodes.
        heads, feed_forward, dropout: of a layer.
    """

    def __init__(
        self,
        nodes: int,
        channels: int,
        input_steps: int,
        horizon: int,
        slots_per_day: int,
        width: int = 24,
        adaptive: int = 80,
        layers: int = 3,
        heads: int = 4,
        feed_forward: int = 256,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.horizon, self.slots_per_day = horizon, slots_per_day
        self.input = nn.Linear(channels + 2, width)
        self.slot = nn.Embedding(slots_per_day, width)
        self.day = nn.Embedding(7, width)
        self.adaptive = nn.Parameter(nn.init.xavier_uniform_(torch.empty(input_steps, nodes, adaptive)))
        whole = 3 * width + adaptive
        self.over_steps = nn.Sequential(*(layer(whole, heads, feed_forward, dropout) for _ in range(layers)))
        self.over_nodes = nn.Sequential(*(layer(whole, heads, feed_forward, dropout) for _ in range(layers)))
        self.output = nn.Linear(input_steps * whole, horizon * channels)

    def forward(self, seen: Glimpse) -> Tensor:
        """``(B, F, N, C)``."""
        batch, steps, nodes, _ = seen.values.shape
        clock = torch.cat((self.slot(seen.slot), self.day(seen.dow)), dim=-1)[:, :, None].expand(-1, -1, nodes, -1)
        values = self.input(with_clock(seen, self.slots_per_day, weekday=True))
        x = torch.cat((values, clock, self.adaptive.expand(batch, -1, -1, -1)), dim=-1)  # (B, T, N, D)
        x = self.over_steps(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (batch, nodes))  # (B, N, T, D)
        x = self.over_nodes(x.transpose(1, 2).flatten(0, 1)).unflatten(0, (batch, steps))  # (B, T, N, D)
        forecast: Tensor = self.output(x.transpose(1, 2).flatten(2)).unflatten(-1, (self.horizon, -1))
        return forecast.transpose(1, 2)


def make(scene: Scene) -> STAEformer:
    """In the published sizes; the graph is not used."""
    return STAEformer(scene.nodes, scene.channels, scene.input_steps, scene.horizon, scene.slots_per_day)
