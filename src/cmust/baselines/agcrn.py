"""AGCRN: a gated recurrent network whose graph and whose weights per node come from learned node vectors.

Bai, Yao, Li, Wang, Wang: "Adaptive Graph Convolutional Recurrent Network for Traffic Forecasting", NeurIPS 2020;
published as LeiBAI/AGCRN, whose sizes for PEMSD4 these are: node vectors of 10, two layers of 64 units, graph
convolutions of two terms (the node itself and its neighbours).

Shapes: B batch, T input steps, F forecast steps, N nodes, C channels, I and O channels before and after a convolution.
"""

from typing import Any

import torch
from torch import Tensor, nn

from cmust.baselines.graphs import chebyshev
from cmust.baselines.parts import draw
from cmust.baselines.scene import Glimpse, Scene

TRAINING: dict[str, Any] = {"loss": "mae", "rate": 3e-3, "patience": 15}


class NodeWeights(nn.Module):
    """A graph convolution in which node ``n`` with vector ``e_n`` has the weights ``e_n W`` and the bias ``e_n b``."""

    def __init__(self, vector: int, terms: int, inputs: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(vector, terms, inputs, outputs))
        self.bias = nn.Parameter(torch.empty(vector, outputs))

    def of(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Weights ``(N, terms, I, O)`` and biases ``(N, O)`` for node vectors ``(N, vector)``."""
        return torch.einsum("nd,dkio->nkio", vectors, self.weight), vectors @ self.bias


def convolve(x: Tensor, supports: Tensor, weights: tuple[Tensor, Tensor]) -> Tensor:
    """``(B, N, I)`` to ``(B, N, O)`` over ``supports`` ``(terms, N, N)``, with each node's own weights."""
    gathered = torch.einsum("knm,bmi->bnki", supports, x)
    return torch.einsum("bnki,nkio->bno", gathered, weights[0]) + weights[1]


class Layer(nn.Module):
    """A gated recurrent unit, its products replaced by graph convolutions (Eq. 7 of the paper)."""

    def __init__(self, vector: int, terms: int, inputs: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.gates = NodeWeights(vector, terms, inputs + width, 2 * width)
        self.candidate = NodeWeights(vector, terms, inputs + width, width)

    def forward(self, x: Tensor, vectors: Tensor, supports: Tensor) -> Tensor:
        """States of every step, ``(B, T, N, width)``, for ``(B, T, N, I)``; the first state is zero."""
        gates, candidate = self.gates.of(vectors), self.candidate.of(vectors)
        state = x.new_zeros(x.shape[0], x.shape[2], self.width)
        states = []
        for step in x.unbind(1):
            opened = torch.sigmoid(convolve(torch.cat((step, state), dim=-1), supports, gates))
            let_in, keep = opened.chunk(2, dim=-1)
            new = torch.tanh(convolve(torch.cat((step, let_in * state), dim=-1), supports, candidate))
            state = keep * state + (1 - keep) * new
            states.append(state)
        return torch.stack(states, dim=1)


class AGCRN(nn.Module):
    """Recurrent layers over the learned graph; the last state forecasts.

    Args:
        nodes, channels, horizon: of the scene.
        vector: length of a node's vector.
        width: units of a layer.
        layers: how many.
        terms: of a graph convolution.
    """

    def __init__(
        self,
        nodes: int,
        channels: int,
        horizon: int,
        vector: int = 10,
        width: int = 64,
        layers: int = 2,
        terms: int = 2,
    ) -> None:
        super().__init__()
        self.horizon, self.terms = horizon, terms
        self.vectors = nn.Parameter(torch.empty(nodes, vector))
        inputs = [channels] + [width] * (layers - 1)
        self.layers = nn.ModuleList(Layer(vector, terms, size, width) for size in inputs)
        self.output = nn.Linear(width, horizon * channels)
        draw(self)
        nn.init.xavier_uniform_(self.output.weight[:, None, None])  # published as a convolution: another bound

    def graph(self) -> Tensor:
        """Weights ``(N, N)`` with which a row's node sees the others; rows sum to one."""
        return torch.softmax(torch.relu(self.vectors @ self.vectors.T), dim=1)

    def forward(self, seen: Glimpse) -> Tensor:
        """``(B, F, N, C)``, all steps at once from the last state; the clock is not read."""
        supports = chebyshev(self.graph(), self.terms)
        x = seen.values
        for layer in self.layers:
            x = layer(x, self.vectors, supports)
        forecast: Tensor = self.output(x[:, -1]).unflatten(-1, (self.horizon, -1))
        return forecast.transpose(1, 2)


def make(scene: Scene) -> AGCRN:
    """In the published sizes; the graph is learned, that of the scene is not used."""
    return AGCRN(scene.nodes, scene.channels, scene.horizon)
