"""Graph WaveNet: gated dilated convolutions over time, diffusion over the given graph and one that it learns.

Wu, Pan, Long, Jiang, Zhang: "Graph WaveNet for Deep Spatial-Temporal Graph Modeling", IJCAI 2019; published as
nnzhan/Graph-WaveNet, the sizes and choices of whose training command these are: 4 blocks of 2 layers, 32 channels, 256
of skip connections, 512 at the end, both directions of the graph and a learned one of rank 10, diffusion of two steps,
dropout 0.3. It sees the values and the time of day as a fraction.

Shapes: B batch, T input steps, F forecast steps, N nodes, C channels, W width of a layer.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmust.baselines.clock_channels import with_clock
from cmust.baselines.graphs import transitions
from cmust.baselines.scene import Glimpse, Scene

TRAINING: dict[str, Any] = {"loss": "masked_mae", "weight_decay": 1e-4, "clip": 5.0, "patience": 100}


class Diffusion(nn.Module):
    """Equation 6: a mix of the values and of what one or more steps along each graph bring to a node."""

    def __init__(self, width: int, graphs: int, steps: int, dropout: float) -> None:
        super().__init__()
        self.steps = steps
        self.mix = nn.Conv2d((1 + graphs * steps) * width, width, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, graphs: list[Tensor]) -> Tensor:
        """``(B, W, N, t)`` to the same shape; a graph is ``(N, N)``, or ``(B, N, N)``."""
        arrived = [x]
        for graph in graphs:
            walk = x
            for _ in range(self.steps):
                walk = (walk.mT @ graph.unsqueeze(-3)).mT
                arrived.append(walk)
        mixed: Tensor = self.dropout(self.mix(torch.cat(arrived, dim=1)))
        return mixed


class Gated(nn.Module):
    """Equation 8: a dilated causal convolution of two steps through tanh, let through by another's sigmoid."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.signal = nn.Conv2d(width, width, (1, 2), dilation=(1, dilation))
        self.gate = nn.Conv2d(width, width, (1, 2), dilation=(1, dilation))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, W, N, t)`` to ``(B, W, N, t - dilation)``."""
        return torch.tanh(self.signal(x)) * torch.sigmoid(self.gate(x))


class GraphWaveNet(nn.Module):
    """The network of figure 3.

    The last layer has neither diffusion nor normalisation, as nothing is read from it but its skip connection.

    Args:
        graphs: of the diffusion, ``(N, N)`` each; entry (i, j) is the part of node i that goes to node j.
        channels: C.
        horizon: F.
        slots_per_day: for the time of day.
        width: W, channels of all layers.
        skip: channels of the skip connections.
        end: channels of the layer before the last.
        blocks: of layers with dilations 1, 2, 4, ...
        layers: in a block.
        rank: of the learned graph.
        steps: of the diffusion along each graph.
        dropout: after each diffusion.
    """

    def __init__(
        self,
        graphs: list[Tensor],
        channels: int,
        horizon: int,
        slots_per_day: int,
        width: int = 32,
        skip: int = 256,
        end: int = 512,
        blocks: int = 4,
        layers: int = 2,
        rank: int = 10,
        steps: int = 2,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        nodes = len(graphs[0])
        dilations = [2**i for i in range(layers)] * blocks
        self.horizon, self.slots_per_day, self.reach = horizon, slots_per_day, 1 + sum(dilations)
        self.register_buffer("graphs", torch.stack(graphs), persistent=False)
        self.source = nn.Parameter(torch.randn(nodes, rank))
        self.target = nn.Parameter(torch.randn(rank, nodes))
        self.start = nn.Conv2d(channels + 1, width, 1)
        self.gated = nn.ModuleList(Gated(width, dilation) for dilation in dilations)
        self.skips = nn.ModuleList(nn.Conv2d(width, skip, 1) for _ in dilations)
        self.diffusion = nn.ModuleList(Diffusion(width, len(graphs) + 1, steps, dropout) for _ in dilations[1:])
        self.norm = nn.ModuleList(nn.BatchNorm2d(width) for _ in dilations[1:])
        self.end = nn.Sequential(nn.ReLU(), nn.Conv2d(skip, end, 1), nn.ReLU(), nn.Conv2d(end, horizon * channels, 1))

    def learned(self) -> Tensor:
        """Equation 5: the self-adaptive graph, ``(N, N)``, rows sum to one."""
        return functional.softmax(functional.relu(self.source @ self.target), dim=1)

    def forward(self, seen: Glimpse) -> Tensor:
        """``(B, F, N, C)``, standardised."""
        return self.forecast(seen, [*self.get_buffer("graphs")])

    def forecast(self, seen: Glimpse, graphs: list[Tensor], hint: Tensor | None = None) -> Tensor:
        """``(B, F, N, C)``, standardised, over graphs that may differ from window to window.

        Args:
            seen: the windows.
            graphs: as many as were given, ``(N, N)`` or ``(B, N, N)`` each.
            hint: ``(B, skip, N, 1)``, added to the skip connections.
        """
        x = with_clock(seen, self.slots_per_day, weekday=False).permute(0, 3, 2, 1)  # (B, C + 1, N, T)
        x = self.start(functional.pad(x, (max(0, self.reach - x.shape[3]), 0)))
        graphs = [*graphs, self.learned()]
        skipped = torch.zeros((), dtype=x.dtype, device=x.device) if hint is None else hint
        last = len(self.gated) - 1
        for i, (gated, skip) in enumerate(zip(self.gated, self.skips, strict=True)):
            y = gated(x)
            skipped = skipped + skip(y[..., -1:])  # only the last step is forecast from
            if i < last:
                x = self.norm[i](self.diffusion[i](y, graphs) + x[..., -y.shape[3] :])
        forecast: Tensor = self.end(skipped).squeeze(3).unflatten(1, (self.horizon, -1))  # (B, F, C, N)
        return forecast.transpose(2, 3)


def make(scene: Scene) -> GraphWaveNet:
    """In the published sizes, on the graph of the scene."""
    return GraphWaveNet(transitions(scene.adjacency), scene.channels, scene.horizon, scene.slots_per_day)
