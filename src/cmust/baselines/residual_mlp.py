"""A small multi-layer perceptron that forecasts what is left over the weekly average, each node by itself.

No attention, no other nodes: it tells how much of a result is the seasonal average and a little recent history. Node
    and slot
embeddings as in STID (Shao et al., CIKM 2022); the rest is ours.
"""

import torch
from torch import Tensor, nn

from cmust.model import Inputs, ModelConfig


class ResidualMLP(nn.Module):
    """Recent values, recent deviations and the average ahead of one node, with embeddings of node, slot and day.

    Shapes: B batch, T input steps, F forecast steps, N nodes, C channels.
    """

    def __init__(self, config: ModelConfig, slots_per_day: int, channels: int, width: int = 128) -> None:
        super().__init__()
        self.config = config
        self.slot = nn.Embedding(slots_per_day, 16)
        self.day = nn.Embedding(7, 8)
        observed = (2 * config.input_steps + config.horizon) * channels
        self.layers = nn.Sequential(
            nn.Linear(observed + 16 + 16 + 8, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, config.horizon * channels),
        )


class NodeHead(nn.Module):
    """A task's scale and its node embeddings, ``(N, 16)``."""

    mean: Tensor
    std: Tensor

    def __init__(self, nodes: int, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.clone())
        self.register_buffer("std", std.clone())
        self.node = nn.Parameter(torch.randn(nodes, 16))


def forecast(network: ResidualMLP, head: NodeHead, inputs: Inputs) -> Tensor:
    """``(B, F, N, C)`` in original units."""
    parts = (
        (inputs.values - head.mean) / head.std,
        (inputs.values - inputs.average) / head.std,
        (inputs.average_ahead - head.mean) / head.std,
    )
    series = torch.cat(parts, dim=1).permute(0, 2, 1, 3).flatten(2)  # (B, N, (2T + F) * C)
    batch, nodes = series.shape[:2]
    context = torch.cat((network.slot(inputs.slot[:, -1]), network.day(inputs.dow[:, -1])), dim=-1)
    features = torch.cat((series, head.node.expand(batch, -1, -1), context[:, None].expand(-1, nodes, -1)), dim=-1)
    y: Tensor = network.layers(features).unflatten(-1, (network.config.horizon, -1)).transpose(1, 2)
    return inputs.average_ahead + y * head.std
