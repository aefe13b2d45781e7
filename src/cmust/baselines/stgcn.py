"""STGCN: gated convolutions over time around a Chebyshev graph convolution.

Yu, Yin, Zhu: "Spatio-Temporal Graph Convolutional Networks: A Deep Learning Framework for Traffic Forecasting", IJCAI
2018; published as VeritasYin/STGCN_IJCAI-18, whose sizes these are: blocks of 32, 32 and 64, then 32, 32 and 128
channels, kernels of three steps and three polynomials, no dropout. It sees the values. The published network forecasts
one step, which goes back in for the next; this one forecasts all at once.

Shapes: B batch, T input steps, F forecast steps, N nodes, C channels, t steps left of T.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmust.baselines.graphs import polynomials
from cmust.baselines.parts import Fit
from cmust.baselines.scene import Glimpse, Scene
from cmust.errors import ConfigError

KERNEL = 3
TRAINING: dict[str, Any] = {
    "milestones": tuple(range(5, 50, 5)),
    "milestone_factor": 0.7,
    "batch_size": 50,
    "start_epochs": 50,
    "patience": 50,
}


class Temporal(nn.Module):
    """A convolution over ``kernel`` steps with a shortcut; gated as in equation 7, or through a ReLU."""

    def __init__(self, kernel: int, width_in: int, width: int, gated: bool) -> None:
        super().__init__()
        self.kernel, self.gated = kernel, gated
        self.conv = nn.Conv2d(width_in, 2 * width if gated else width, (kernel, 1))
        self.fit = Fit(width_in, width)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, c, t, N)`` to ``(B, width, t - kernel + 1, N)``."""
        shortcut, y = self.fit(x[:, :, self.kernel - 1 :].movedim(1, -1)).movedim(-1, 1), self.conv(x)
        if not self.gated:
            return functional.relu(y + shortcut)
        signal, gate = y.chunk(2, dim=1)
        gated: Tensor = (signal + shortcut) * torch.sigmoid(gate)
        return gated


class NodeNorm(nn.Module):
    """Layer normalisation over the nodes and channels of a step."""

    def __init__(self, nodes: int, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm((nodes, width), eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, c, t, N)`` to the same shape."""
        normed: Tensor = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return normed


class Block(nn.Module):
    """Figure 2: convolution over time, over the graph, over time again."""

    def __init__(self, graphs: int, nodes: int, width_in: int, width: int, width_out: int) -> None:
        super().__init__()
        self.before = Temporal(KERNEL, width_in, width, gated=True)
        self.theta = nn.Conv2d(graphs * width, width, 1)
        self.after = Temporal(KERNEL, width, width_out, gated=False)
        self.norm = NodeNorm(nodes, width_out)

    def forward(self, x: Tensor, graphs: Tensor) -> Tensor:
        """``(B, c, t, N)`` to ``(B, width_out, t - 4, N)``."""
        x = self.before(x)
        arrived = torch.einsum("bctn,knm->bcktm", x, graphs).flatten(1, 2)
        x = functional.relu(self.theta(arrived) + x)
        normed: Tensor = self.norm(self.after(x))
        return normed


class STGCN(nn.Module):
    """Blocks, then a convolution over all steps that are left and a linear layer whose bias each node has its own of.

    Args:
        graphs: Chebyshev polynomials, ``(K, N, N)``.
        channels: C.
        input_steps: T, more than 4 for each block.
        horizon: F.
        widths: of each block's inner and last convolutions.

    Raises:
        ConfigError: no step would be left after the blocks.
    """

    def __init__(
        self,
        graphs: Tensor,
        channels: int,
        input_steps: int,
        horizon: int,
        widths: tuple[tuple[int, int], ...] = ((32, 64), (32, 128)),
    ) -> None:
        super().__init__()
        count, nodes = graphs.shape[:2]
        self.horizon = horizon
        self.register_buffer("graphs", graphs, persistent=False)
        into = [channels, *(last for _, last in widths)]
        self.blocks = nn.ModuleList(
            Block(count, nodes, a, inner, last) for a, (inner, last) in zip(into, widths, strict=False)
        )
        spent = 2 * (KERNEL - 1) * len(widths)
        if input_steps <= spent:
            raise ConfigError(f"stgcn has {input_steps} input steps; its convolutions use up {spent}, so give it more")
        self.over_time = Temporal(input_steps - spent, into[-1], into[-1], gated=True)
        self.norm = NodeNorm(nodes, into[-1])
        self.mix = nn.Conv2d(into[-1], into[-1], 1)
        self.last = nn.Linear(into[-1], horizon * channels, bias=False)
        self.bias = nn.Parameter(torch.zeros(nodes, horizon * channels))

    def forward(self, seen: Glimpse) -> Tensor:
        """``(B, F, N, C)``, standardised."""
        x = seen.values.permute(0, 3, 1, 2)
        for block in self.blocks:
            x = block(x, self.graphs)
        x = torch.sigmoid(self.mix(self.norm(self.over_time(x)))).squeeze(2)  # (B, c, N)
        forecast: Tensor = (self.last(x.transpose(1, 2)) + self.bias).unflatten(2, (self.horizon, -1))
        return forecast.transpose(1, 2)


def make(scene: Scene) -> STGCN:
    """In the published sizes, on the graph of the scene."""
    graphs = polynomials(scene.adjacency, 3, normalised=True)
    return STGCN(graphs, scene.channels, scene.input_steps, scene.horizon)
