"""GMAN: attention between nodes and between steps; forecast steps attend to input steps by place and time alone.

Zheng, Fan, Wang, Qi: "GMAN: A Graph Multi-Attention Network for Traffic Prediction", AAAI 2020; published as
zhengchuanpan/GMAN, whose sizes for PeMS these are: one block before and one behind the transform attention, 8 heads of
8 channels. It sees the values and, of input and forecast steps, slot and day of the week. The published code takes the
places' embeddings from node2vec; here they are eigenvectors of the graph's Laplacian.

Shapes: B batch, T input steps, F forecast steps, N nodes, C channels, W width.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmust.baselines.graphs import laplacian
from cmust.baselines.scene import Glimpse, Scene

DAYS = 7
HEADS, HEAD_WIDTH = 8, 8
TRAINING: dict[str, Any] = {
    "loss": "masked_mae",
    "milestones": tuple(range(5, 100, 5)),
    "milestone_factor": 0.7,
    "batch_size": 32,
    "start_epochs": 100,
    "patience": 10,
}  # published: at most 1,000 epochs; by the 100th the rate has fallen a thousandfold


def places(adjacency: Tensor, width: int) -> Tensor:
    """The smoothest eigenvectors of the normalised Laplacian, of mean square 1; ``(N, min(N, width))``.

    Edges count in both directions by the larger weight. Of each vector, the entry largest in size is positive.
    """
    smooth = laplacian(torch.maximum(adjacency, adjacency.T), normalised=True)
    vectors = torch.linalg.eigh(smooth).eigenvectors[:, :width]
    top = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    scaled: Tensor = vectors * top.sign() * len(adjacency) ** 0.5
    return scaled.to(adjacency.dtype)


class Dense(nn.Module):
    """A linear layer, batch normalisation over all items, ReLU; the normalisation's shift is the only bias."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width_in, width, bias=False)
        self.norm = nn.BatchNorm1d(width, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., width_in)`` to ``(..., width)``."""
        y = self.linear(x)
        return functional.relu(self.norm(y.flatten(0, -2)).view_as(y))


def two_layers(width_in: int, width: int, width_out: int) -> nn.Sequential:
    """A dense layer and a linear one."""
    return nn.Sequential(Dense(width_in, width), nn.Linear(width, width_out))


class Attention(nn.Module):
    """Scaled dot products in heads, of projections through a ReLU."""

    def __init__(self, width_in: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (Dense(width_in, width) for _ in range(3))
        self.out = two_layers(width, width, width)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """``(..., Q, width_in)``, ``(..., K, width_in)`` twice, to ``(..., Q, W)``."""
        projected = (self.query(query), self.key(key), self.value(value))
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(-2, -3) for x in projected)
        mixed: Tensor = self.out(functional.scaled_dot_product_attention(q, k, v).transpose(-2, -3).flatten(-2))
        return mixed


class Block(nn.Module):
    """Section "ST-Attention block": both attentions, fused by a gate, added to the input."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.spatial, self.temporal = Attention(2 * width, width, heads), Attention(2 * width, width, heads)
        self.gate_spatial, self.gate_temporal = nn.Linear(width, width, bias=False), nn.Linear(width, width)
        self.fuse = two_layers(width, width, width)

    def forward(self, x: Tensor, where: Tensor) -> Tensor:
        """``(B, t, N, W)`` and its embedding of place and time, to the same shape."""
        x_here = torch.cat((x, where), dim=-1)
        by_node = x_here.transpose(1, 2)
        spatial = self.spatial(x_here, x_here, x_here)
        temporal = self.temporal(by_node, by_node, by_node).transpose(1, 2)
        gate = torch.sigmoid(self.gate_spatial(spatial) + self.gate_temporal(temporal))
        fused: Tensor = self.fuse(gate * spatial + (1 - gate) * temporal)
        return x + fused


class GMAN(nn.Module):
    """Encoder, transform attention, decoder.

    Args:
        places: of the nodes, ``(N, S)``.
        channels: C.
        slots_per_day: of the clock.
        heads: of every attention.
        head_width: channels of a head; W is as many times ``heads``.
        blocks: of the encoder, and again of the decoder.
    """

    def __init__(
        self,
        places: Tensor,
        channels: int,
        slots_per_day: int,
        heads: int = HEADS,
        head_width: int = HEAD_WIDTH,
        blocks: int = 1,
    ) -> None:
        super().__init__()
        width = heads * head_width
        self.slots_per_day = slots_per_day
        self.register_buffer("places", places, persistent=False)
        self.lift = two_layers(channels, width, width)
        self.place = two_layers(places.shape[1], width, width)
        self.time = two_layers(DAYS + slots_per_day, width, width)
        self.encoder = nn.ModuleList(Block(width, heads) for _ in range(blocks))
        self.transform = Attention(width, width, heads)
        self.decoder = nn.ModuleList(Block(width, heads) for _ in range(blocks))
        self.last = two_layers(width, width, channels)

    def embedding(self, seen: Glimpse) -> Tensor:
        """Of place and time, ``(B, T + F, N, W)``."""
        dow, slot = torch.cat((seen.dow, seen.dow_ahead), dim=1), torch.cat((seen.slot, seen.slot_ahead), dim=1)
        clock = torch.cat((functional.one_hot(dow, DAYS), functional.one_hot(slot, self.slots_per_day)), dim=-1)
        where: Tensor = self.place(self.places) + self.time(clock.to(seen.values.dtype))[:, :, None]
        return where

    def forward(self, seen: Glimpse) -> Tensor:
        """``(B, F, N, C)``, standardised."""
        where = self.embedding(seen)
        here, ahead = where.split((seen.slot.shape[1], seen.slot_ahead.shape[1]), dim=1)
        x = self.lift(seen.values)
        for block in self.encoder:
            x = block(x, here)
        x = self.transform(ahead.transpose(1, 2), here.transpose(1, 2), x.transpose(1, 2)).transpose(1, 2)
        for block in self.decoder:
            x = block(x, ahead)
        forecast: Tensor = self.last(x)
        return forecast


def make(scene: Scene) -> GMAN:
    """In the published sizes, with places from the graph of the scene."""
    return GMAN(places(scene.adjacency, HEADS * HEAD_WIDTH), scene.channels, scene.slots_per_day)
