"""ASTGCN: Chebyshev graph convolution weighted by attention between nodes, convolution over time.

Guo, Lin, Feng, Song, Wan: "Attention Based Spatial-Temporal Graph Convolutional Networks for Traffic Flow Forecasting",
AAAI 2019; published as guoshnBJTU/ASTGCN-2019-pytorch, whose sizes these are: 2 blocks, 64 filters of the graph and of
time, Chebyshev polynomials up to the second degree. As there, it is the recent component, which sees the values of the
window; those of yesterday and last week are left out.

Shapes: B batch, T input steps, F forecast steps, N nodes, C channels, W features of a layer's input, V filters.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmust.baselines.graphs import polynomials
from cmust.baselines.parts import draw
from cmust.baselines.scene import Glimpse, Scene

TRAINING: dict[str, Any] = {"batch_size": 32, "start_epochs": 80, "patience": 80}


class Attention(nn.Module):
    """Equations 2 and 4: between nodes, over the steps; or between steps, over the nodes.

    Args:
        items: R, what attends to one another.
        features: W.
        over: O, what is summed over.
    """

    def __init__(self, items: int, features: int, over: int) -> None:
        super().__init__()
        self.pool = nn.Parameter(torch.empty(over))
        self.left = nn.Parameter(torch.empty(features, over))
        self.right = nn.Parameter(torch.empty(features))
        self.shift = nn.Parameter(torch.empty(items, items))
        self.mix = nn.Parameter(torch.empty(items, items))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, R, W, O)`` to ``(B, R, R)``, whose columns sum to one."""
        left = x @ self.pool @ self.left  # (B, R, O)
        right = torch.einsum("w,brwo->bor", self.right, x)
        return functional.softmax(self.mix @ torch.sigmoid(left @ right + self.shift), dim=1)


class Block(nn.Module):
    """A spatial-temporal block, figure 4.

    Args:
        polynomials: of the graph, how many.
        nodes: N.
        steps: T.
        features: W.
        filters: V, of the graph convolution and of the convolution over time.
    """

    def __init__(self, polynomials: int, nodes: int, steps: int, features: int, filters: int) -> None:
        super().__init__()
        self.between_steps = Attention(steps, features, nodes)
        self.between_nodes = Attention(nodes, features, steps)
        self.theta = nn.ParameterList(nn.Parameter(torch.empty(features, filters)) for _ in range(polynomials))
        self.time = nn.Conv2d(filters, filters, (1, 3), padding=(0, 1))
        self.residual = nn.Conv2d(features, filters, 1)
        self.norm = nn.LayerNorm(filters)

    def convolved(self, x: Tensor, graphs: Tensor, attention: Tensor) -> Tensor:
        """Equation 7: ``(B, N, W, T)`` to ``(B, N, V, T)``, each polynomial weighted by the attention."""
        total = torch.zeros((), dtype=x.dtype, device=x.device)
        for graph, theta in zip(graphs, self.theta, strict=True):
            arrived = torch.einsum("bnm,bnwt->bmwt", graph * attention, x)
            total = total + torch.einsum("bnwt,wv->bnvt", arrived, theta)
        return functional.relu(total)

    def forward(self, x: Tensor, graphs: Tensor) -> Tensor:
        """``(B, N, W, T)`` to ``(B, N, V, T)``."""
        focused = x @ self.between_steps(x.transpose(1, 3))[:, None]
        y = self.convolved(x, graphs, self.between_nodes(focused)).transpose(1, 2)  # (B, V, N, T)
        y = functional.relu(self.residual(x.transpose(1, 2)) + self.time(y))
        normed: Tensor = self.norm(y.permute(0, 2, 3, 1))  # (B, N, T, V)
        return normed.transpose(2, 3)


class ASTGCN(nn.Module):
    """Blocks, then a convolution over all steps and filters of a node.

    Args:
        graphs: Chebyshev polynomials, ``(K, N, N)``.
        channels: C.
        input_steps: T.
        horizon: F.
        filters: V.
        blocks: how many.
    """

    def __init__(
        self, graphs: Tensor, channels: int, input_steps: int, horizon: int, filters: int = 64, blocks: int = 2
    ) -> None:
        super().__init__()
        count, nodes = graphs.shape[:2]
        self.horizon = horizon
        self.register_buffer("graphs", graphs, persistent=False)
        features = [channels] + [filters] * (blocks - 1)
        self.blocks = nn.ModuleList(Block(count, nodes, input_steps, width, filters) for width in features)
        self.last = nn.Conv2d(input_steps, horizon * channels, (1, filters))
        draw(self)  # as published

    def forward(self, seen: Glimpse) -> Tensor:
        """``(B, F, N, C)``, standardised."""
        x = seen.values.permute(0, 2, 3, 1)  # (B, N, C, T)
        for block in self.blocks:
            x = block(x, self.graphs)
        forecast: Tensor = self.last(x.permute(0, 3, 1, 2)).squeeze(3).unflatten(1, (self.horizon, -1))
        return forecast.transpose(2, 3)


def make(scene: Scene) -> ASTGCN:
    """In the published sizes, on the graph of the scene."""
    graphs = polynomials(scene.adjacency, 3, normalised=False)
    return ASTGCN(graphs, scene.channels, scene.input_steps, scene.horizon)
