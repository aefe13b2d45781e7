"""MTGNN: dilated convolutions over time and mix-hop propagation over a learned graph of one-way edges.

Wu, Pan, Long, Jiang, Chang, Zhang: "Connecting the Dots: Multivariate Time Series Forecasting with Graph Neural
Networks", KDD 2020; published as nnzhan/MTGNN, whose sizes for several steps ahead these are: three layers without
growing dilation, width 32, skips of 64, 128 before the output, node vectors of 40, 20 neighbours, two hops, dropout
0.3.

Shapes: B batch, T input steps, F forecast steps, N nodes, C channels, D width, S width of skips.
"""

from typing import Any

import torch
from torch import Tensor, nn

from cmust.baselines.clock_channels import with_clock
from cmust.baselines.scene import Glimpse, Scene

KERNELS = (2, 3, 6, 7)
SATURATION = 3.0
KEPT = 0.05  # of the input of a propagation, at each hop
TRAINING: dict[str, Any] = {"loss": "masked_mae", "weight_decay": 1e-4, "clip": 5.0, "patience": 100}


class LearnedGraph(nn.Module):
    """Edges from two learned vectors per node; of i to j and j to i at most one is there (Section 4.2)."""

    def __init__(self, nodes: int, vector: int, neighbours: int) -> None:
        super().__init__()
        self.neighbours = min(neighbours, nodes)
        self.source = nn.Parameter(torch.randn(nodes, vector))
        self.target = nn.Parameter(torch.randn(nodes, vector))
        self.from_source = nn.Linear(vector, vector)
        self.from_target = nn.Linear(vector, vector)

    def forward(self) -> Tensor:
        """``(N, N)`` in [0, 1], at most ``neighbours`` in a row; in training, noise decides between near ties."""
        source = torch.tanh(SATURATION * self.from_source(self.source))
        target = torch.tanh(SATURATION * self.from_target(self.target))
        one_way = source @ target.T - target @ source.T
        edges = torch.relu(torch.tanh(SATURATION * one_way))
        ranked = edges + torch.rand_like(edges) * 0.01 if self.training else edges
        strongest = ranked.topk(self.neighbours, dim=1).indices
        return edges * torch.zeros_like(edges).scatter_(1, strongest, 1.0)


class MixHop(nn.Module):
    """What has arrived after 0, 1, ... hops, part of the input kept at each, mixed by one layer (Section 4.3)."""

    def __init__(self, width: int, hops: int) -> None:
        super().__init__()
        self.hops = hops
        self.mix = nn.Conv2d((hops + 1) * width, width, 1)

    def forward(self, x: Tensor, graph: Tensor) -> Tensor:
        """``(B, D, N, T)`` to the same, over ``graph`` ``(N, N)``; a row's node gathers from the others."""
        edges = graph + torch.eye(len(graph), device=graph.device, dtype=graph.dtype)
        edges = edges / edges.sum(dim=1, keepdim=True)
        arrived = [x]
        for _ in range(self.hops):
            arrived.append(KEPT * x + (1 - KEPT) * torch.einsum("vw,bdwt->bdvt", edges, arrived[-1]))
        mixed: Tensor = self.mix(torch.cat(arrived, dim=1))
        return mixed


class Inception(nn.Module):
    """Convolutions over time of four lengths side by side, cut to the shortest (Section 4.4)."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        parts = len(KERNELS)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(width, width // parts, (1, kernel), dilation=(1, dilation)) for kernel in KERNELS
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, D, N, T)`` to ``(B, D, N, T - 6 dilation)``, ending at the same step."""
        found = [convolution(x) for convolution in self.convolutions]
        length = found[-1].shape[-1]
        return torch.cat([part[..., -length:] for part in found], dim=1)


class Layer(nn.Module):
    """Gated convolutions over time, then propagation along and against the edges; a skip over all steps left."""

    def __init__(
        self, nodes: int, width: int, skip: int, length: int, dilation: int, hops: int, dropout: float
    ) -> None:
        super().__init__()
        self.values = Inception(width, dilation)
        self.gate = Inception(width, dilation)
        self.dropout = nn.Dropout(dropout)
        self.skip = nn.Conv2d(width, skip, (1, length))
        self.along = MixHop(width, hops)
        self.against = MixHop(width, hops)
        self.norm = nn.LayerNorm((width, nodes, length))

    def forward(self, x: Tensor, graph: Tensor) -> tuple[Tensor, Tensor]:
        """``(B, D, N, T)`` to ``(B, D, N, length)`` and the skip ``(B, S, N, 1)``."""
        gated = self.dropout(torch.tanh(self.values(x)) * torch.sigmoid(self.gate(x)))
        spread = self.along(gated, graph) + self.against(gated, graph.T)
        return self.norm(spread + x[..., -spread.shape[-1] :]), self.skip(gated)


class MTGNN(nn.Module):
    """Layers over the learned graph, with skips from each to the output.

    Args:
        nodes, channels, input_steps, horizon, slots_per_day: of the scene.
        width, skip, end: D, S, and channels of the layer before the last.
        layers: how many.
        growth: factor from one layer's dilation to the next.
        hops: of the propagation.
        vector, neighbours: of the learned graph.
        dropout: in every layer.
    """

    def __init__(
        self,
        nodes: int,
        channels: int,
        input_steps: int,
        horizon: int,
        slots_per_day: int,
        width: int = 32,
        skip: int = 64,
        end: int = 128,
        layers: int = 3,
        growth: int = 1,
        hops: int = 2,
        vector: int = 40,
        neighbours: int = 20,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.horizon, self.slots_per_day = horizon, slots_per_day
        dilations = [growth**i for i in range(layers)]
        lost = [(max(KERNELS) - 1) * sum(dilations[: i + 1]) for i in range(layers)]
        self.length = max(input_steps, lost[-1] + 1)
        self.graph = LearnedGraph(nodes, vector, neighbours)
        self.start = nn.Conv2d(channels + 1, width, 1)
        self.layers = nn.ModuleList(
            Layer(nodes, width, skip, self.length - less, dilation, hops, dropout)
            for dilation, less in zip(dilations, lost, strict=True)
        )
        self.dropout = nn.Dropout(dropout)
        self.skip_input = nn.Conv2d(channels + 1, skip, (1, self.length))
        self.skip_last = nn.Conv2d(width, skip, (1, self.length - lost[-1]))
        self.output = nn.Sequential(
            nn.ReLU(), nn.Conv2d(skip, end, 1), nn.ReLU(), nn.Conv2d(end, horizon * channels, 1)
        )

    def forward(self, seen: Glimpse) -> Tensor:
        """``(B, F, N, C)``; zeros stand before a history shorter than the convolutions reach."""
        history = with_clock(seen, self.slots_per_day, weekday=False).permute(0, 3, 2, 1)  # (B, C + 1, N, T)
        history = nn.functional.pad(history, (self.length - history.shape[-1], 0))
        graph = self.graph()
        x, skips = self.start(history), self.skip_input(self.dropout(history))
        for layer in self.layers:
            x, skip = layer(x, graph)
            skips = skips + skip
        forecast: Tensor = self.output(skips + self.skip_last(x)).squeeze(-1).unflatten(1, (self.horizon, -1))
        return forecast.transpose(2, 3)  # of (B, F, C, N)


def make(scene: Scene) -> MTGNN:
    """In the published sizes; the graph is learned, that of the scene is not used."""
    return MTGNN(scene.nodes, scene.channels, scene.input_steps, scene.horizon, scene.slots_per_day)
