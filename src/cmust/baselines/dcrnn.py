"""DCRNN: a gated recurrent encoder and decoder whose products are diffusions along and against the edges of a graph.

Li, Yu, Shahabi, Liu: "Diffusion Convolutional Recurrent Neural Network: Data-Driven Traffic Forecasting", ICLR 2018;
published as liyaguang/DCRNN (TensorFlow 1), and in PyTorch as chnsh/DCRNN_PyTorch, whose sizes these are: two layers of
64 units in encoder and decoder, diffusion of two steps in both directions.

Shapes: B batch, T input steps, F forecast steps, N nodes, C channels, I and O channels before and after a diffusion.
"""

from typing import Any

import torch
from torch import Tensor, nn

from cmust.baselines.clock_channels import with_clock
from cmust.baselines.graphs import transitions
from cmust.baselines.scene import Glimpse, Scene

TRAINING: dict[str, Any] = {
    "loss": "masked_mae",
    "rate": 1e-2,
    "milestones": (20, 30, 40, 50),
    "eps": 1e-3,
    "clip": 5.0,
    "patience": 50,
}


class Diffusion(nn.Module):
    """A linear layer over what has diffused to each node (Eq. 2 of the paper, as the published code reads it).

    As published, the powers of a transition matrix P are Chebyshev terms (``2 P x_{k-1} - x_{k-2}``), and the walk
    against the edges does not start from the input, but from the last term but one of the walk along them.
    """

    def __init__(self, inputs: int, outputs: int, steps: int, bias: float) -> None:
        super().__init__()
        self.steps = steps
        self.mix = nn.Linear(inputs * (2 * steps + 1), outputs)
        nn.init.xavier_uniform_(self.mix.weight)
        nn.init.constant_(self.mix.bias, bias)

    def forward(self, x: Tensor, walks: Tensor) -> Tensor:
        """``(B, N, I)`` to ``(B, N, O)``; ``walks`` ``(2, N, N)`` are transposed transitions: what comes from where."""
        terms, start = [x], x
        for walk in walks:
            before, now = start, walk @ start
            terms.append(now)
            for _ in range(1, self.steps):
                before, now = now, 2 * walk @ now - before
                terms.append(now)
            start = before
        mixed: Tensor = self.mix(torch.stack(terms, dim=-1).flatten(-2))
        return mixed


class Cell(nn.Module):
    """A gated recurrent unit with diffusions (Eq. 3); both gates start open."""

    def __init__(self, inputs: int, width: int, steps: int) -> None:
        super().__init__()
        self.gates = Diffusion(inputs + width, 2 * width, steps, bias=1.0)
        self.candidate = Diffusion(inputs + width, width, steps, bias=0.0)

    def forward(self, x: Tensor, state: Tensor, walks: Tensor) -> Tensor:
        """The next state, ``(B, N, width)``."""
        reset, keep = torch.sigmoid(self.gates(torch.cat((x, state), dim=-1), walks)).chunk(2, dim=-1)
        new = torch.tanh(self.candidate(torch.cat((x, reset * state), dim=-1), walks))
        return keep * state + (1 - keep) * new


class DCRNN(nn.Module):
    """Encoder and decoder.

    Args:
        adjacency, channels, horizon, slots_per_day: of the scene.
        width: units of a layer.
        layers: of the encoder, and of the decoder.
        steps: of the diffusion.
    """

    walks: Tensor

    def __init__(
        self,
        adjacency: Tensor,
        channels: int,
        horizon: int,
        slots_per_day: int,
        width: int = 64,
        layers: int = 2,
        steps: int = 2,
    ) -> None:
        super().__init__()
        self.channels, self.horizon, self.slots_per_day, self.width = channels, horizon, slots_per_day, width
        self.register_buffer("walks", torch.stack(transitions(adjacency)).mT, persistent=False)
        above = [width] * (layers - 1)
        self.encoder = nn.ModuleList(Cell(inputs, width, steps) for inputs in [channels + 1, *above])
        self.decoder = nn.ModuleList(Cell(inputs, width, steps) for inputs in [channels, *above])
        self.output = nn.Linear(width, channels)

    def forward(self, seen: Glimpse) -> Tensor:
        """``(B, F, N, C)``; each forecast is the next decoder input, the first is zero."""
        history = with_clock(seen, self.slots_per_day, weekday=False)
        empty = history.new_zeros(history.shape[0], history.shape[2], self.width)
        states = [empty] * len(self.encoder)
        for step in history.unbind(1):
            states = self._advance(self.encoder, step, states)
        y = history.new_zeros(*empty.shape[:2], self.channels)
        forecast = []
        for _ in range(self.horizon):
            states = self._advance(self.decoder, y, states)
            y = self.output(states[-1])
            forecast.append(y)
        return torch.stack(forecast, dim=1)

    def _advance(self, cells: nn.ModuleList, x: Tensor, states: list[Tensor]) -> list[Tensor]:
        """The states of all layers one step on; each layer's is the input of the next."""
        after = []
        for cell, state in zip(cells, states, strict=True):
            x = cell(x, state, self.walks)
            after.append(x)
        return after


def make(scene: Scene) -> DCRNN:
    """In the published sizes, on the graph of the scene."""
    return DCRNN(scene.adjacency, scene.channels, scene.horizon, scene.slots_per_day)
