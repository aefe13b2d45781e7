"""STTN: a transformer between nodes beside a Chebyshev graph convolution, then one between steps.

Xu, Dai, Liu, Gao, Lin, Qi, Xiong: "Spatial-Temporal Transformer Networks for Traffic Flow Forecasting", arXiv
2001.02908, 2020; published as xumingxingsjtu/STTN, the sizes of whose training command these are: one block of 64
channels, one head, 128 channels between a transformer's linear layers, three polynomials, 512 channels before the last
layer. It sees the values. The published network forecasts one step, which goes back in for the next; this one forecasts
all at once.

Shapes: B batch, T input steps, F forecast steps, N nodes, C channels, W width.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmust.baselines.graphs import polynomials
from cmust.baselines.parts import Fit
from cmust.baselines.scene import Glimpse, Scene

GRAPH_SHARE = 0.1  # of the graph convolution beside the transformer, as published
TRAINING: dict[str, Any] = {
    "milestones": tuple(range(5, 50, 5)),
    "milestone_factor": 0.7,
    "batch_size": 50,
    "start_epochs": 50,
    "patience": 50,
}


class Transformer(nn.Module):
    """One encoder layer with one head over the items before the last dimension."""

    def __init__(self, width_in: int, width: int, inner: int, dropout: float) -> None:
        super().__init__()
        self.fit = Fit(width_in, width)
        self.layer = nn.TransformerEncoderLayer(
            width, nhead=1, dim_feedforward=inner, dropout=dropout, batch_first=True, layer_norm_eps=1e-12
        )

    def forward(self, x: Tensor) -> Tensor:
        """``(B, sets, items, width_in)`` to ``(B, sets, items, W)``."""
        y: Tensor = self.layer(self.fit(x).flatten(0, 1)).unflatten(0, x.shape[:2])
        return y


def with_embedding(x: Tensor, embedding: Tensor) -> Tensor:
    """``(B, sets, items, c)`` and each item's embedding, ``(items, e)``, behind it."""
    return torch.cat((x, embedding.expand(*x.shape[:2], -1, -1)), dim=-1)


class Block(nn.Module):
    """Embeddings of place and time, the spatial transformer, time again, the temporal transformer.

    The embeddings start as the paper has them: of a place its edges, of a step its position.
    """

    def __init__(
        self, count: int, edges: Tensor, steps: int, width_in: int, width: int, inner: int, dropout: float
    ) -> None:
        super().__init__()
        nodes = len(edges)
        entry, later = width_in + nodes + steps, width + steps
        self.place = nn.Parameter(edges.clone())
        self.step = nn.Parameter(torch.eye(steps))
        self.step_again = nn.Parameter(torch.eye(steps))
        self.shortcut = nn.Linear(entry, width, bias=False)
        self.theta = nn.Linear(count * entry, width)
        self.between_nodes = Transformer(entry, width, inner, dropout)
        self.shortcut_again = Fit(later, width)
        self.between_steps = Transformer(later, width, inner, dropout)
        self.norm = nn.LayerNorm((nodes, width), eps=1e-6)

    def forward(self, x: Tensor, graphs: Tensor) -> Tensor:
        """``(B, T, N, width_in)`` to ``(B, T, N, W)``."""
        x = with_embedding(with_embedding(x, self.place).transpose(1, 2), self.step).transpose(1, 2)
        arrived = torch.einsum("btnc,knm->btmck", x, graphs).flatten(-2)
        x = functional.relu(self.between_nodes(x) + self.shortcut(x) + GRAPH_SHARE * self.theta(arrived))
        y = with_embedding(x.transpose(1, 2), self.step_again)
        y = functional.relu(self.between_steps(y) + self.shortcut_again(y)).transpose(1, 2)
        normed: Tensor = self.norm(y)
        return normed


class STTN(nn.Module):
    """Blocks, a convolution over all steps, and two linear layers with a bias of each node's own.

    Args:
        graphs: Chebyshev polynomials, ``(K, N, N)``.
        edges: ``(N, N)``, which the embeddings of places start as.
        channels: C.
        input_steps: T.
        horizon: F.
        lifted: channels that the values are first mapped to.
        width: W.
        inner: channels between a transformer's linear layers.
        blocks: how many.
        end: channels before the last layer.
        dropout: in the transformers.
        last_dropout: before the last layer.
    """

    def __init__(
        self,
        graphs: Tensor,
        edges: Tensor,
        channels: int,
        input_steps: int,
        horizon: int,
        lifted: int = 32,
        width: int = 64,
        inner: int = 128,
        blocks: int = 1,
        end: int = 512,
        dropout: float = 0.1,
        last_dropout: float = 0.2,
    ) -> None:
        super().__init__()
        count, nodes = graphs.shape[:2]
        self.horizon = horizon
        self.register_buffer("graphs", graphs, persistent=False)
        self.lift = nn.Linear(channels, lifted)
        into = [lifted] + [width] * (blocks - 1)
        self.blocks = nn.ModuleList(Block(count, edges, input_steps, a, width, inner, dropout) for a in into)
        self.over_time = nn.Conv2d(width, width, (input_steps, 1))
        self.norm = nn.LayerNorm((nodes, width), eps=1e-6)
        self.first, self.second = nn.Linear(width, end, bias=False), nn.Linear(end, horizon * channels, bias=False)
        self.first_bias = nn.Parameter(torch.zeros(nodes, end))
        self.second_bias = nn.Parameter(torch.zeros(nodes, horizon * channels))
        self.dropout = nn.Dropout(last_dropout)

    def forward(self, seen: Glimpse) -> Tensor:
        """``(B, F, N, C)``, standardised."""
        x = self.lift(seen.values)
        for block in self.blocks:
            x = block(x, self.graphs)
        over_time = self.over_time(x.permute(0, 3, 1, 2)).squeeze(2).transpose(1, 2)  # (B, N, W)
        x = self.norm(functional.relu(over_time + x[:, -1]))
        x = self.dropout(self.first(x) + self.first_bias)
        forecast: Tensor = (self.second(x) + self.second_bias).unflatten(2, (self.horizon, -1))
        return forecast.transpose(1, 2)


def make(scene: Scene) -> STTN:
    """In the published sizes, on the graph of the scene."""
    graphs = polynomials(scene.adjacency, 3, normalised=True)
    return STTN(graphs, scene.adjacency, scene.channels, scene.input_steps, scene.horizon)
