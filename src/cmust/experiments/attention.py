"""Attention of a network between observations, space and time, as a few numbers.

Shapes: L places of the attention (N nodes in space, T steps in time), P parts that they are grouped into.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cmust.model import Head, Trunk, forecast, record_attention
from cmust.windows import Windows

PARTS = 12
"""A map is kept as so many parts by so many: steps as they follow, places from south to north."""
INTERACTIONS = {
    "scci.to_observation": "space → observation",
    "scci.to_context": "observation → space",
    "tcci.to_observation": "time → observation",
    "tcci.to_context": "observation → time",
    "ssi": "space → space",
    "tsi": "time → time",
}
"""By the name within a block: who asks → who answers."""
SPATIAL = ("scci", "ssi")

Matrix = npt.NDArray[np.float64]


@dataclass
class Map:
    """Attention of one kind, averaged over windows, heads, blocks and the other axis.

    Attributes:
        parts: ``(P, P)``, how the attention of the places of a part (a row, summing to 1) spreads over the parts.
        even: ``(P,)``, the same of attention that is even: the sizes of the parts over L.
        focus: how far from even the attention of a place is, averaged: 0 where all get the same, 1 where one gets all
            (1 - entropy / ln L).
    """

    parts: Matrix
    even: Matrix
    focus: float


@torch.no_grad()
def attention_maps(trunk: Trunk, head: Head, windows: Windows, starts: Tensor) -> dict[str, Map]:
    """Maps by their names in ``INTERACTIONS``, those that the network has; one window at a time.

    Args:
        trunk, head: of the task of the windows.
        windows: their data.
        starts: ``(B,)``.
    """
    north = windows.place[:, 1].argsort()
    found: dict[str, list[Map]] = {}
    for start in starts.split(1):
        with record_attention(trunk) as weights:
            forecast(trunk, head, windows.inputs(start))
        for name, (each,) in weights.items():
            kind, label = _kind(name)
            order = north if kind.startswith(SPATIAL) else torch.arange(each.shape[-1])
            found.setdefault(label, []).append(_map(each.flatten(0, -3).double(), order))
    return {label: average(maps) for label in INTERACTIONS.values() if (maps := found.get(label))}


def average(maps: Sequence[Map]) -> Map:
    """The mean of maps of one kind."""
    parts, focus = [each.parts for each in maps], [each.focus for each in maps]
    return Map(np.mean(parts, axis=0), maps[0].even, float(np.mean(focus)))


def change(before: Matrix, after: Matrix) -> float:
    """Which share of its attention a part gives elsewhere than before, averaged: half the sum of the differences."""
    return float(np.abs(after - before).sum(1).mean() / 2)


def _kind(name: str) -> tuple[str, str]:
    """Of ``blocks.0.scci.to_observation`` or ``blocks.0.tsi.1``: the interaction, and what it is called."""
    within = name.split(".", 2)[2]
    return next((kind, label) for kind, label in INTERACTIONS.items() if within.startswith(kind))


def _map(weights: Tensor, order: Tensor) -> Map:
    """Of weights ``(K, L, L)``, whose rows sum to 1."""
    length = weights.shape[-1]
    entropy = -(weights * weights.clamp(min=1e-300).log()).sum(-1).mean()
    focus = max(0.0, 1 - float(entropy) / math.log(length)) if length > 1 else 0.0
    mean = weights.mean(0).numpy()[np.ix_(order.numpy(), order.numpy())]
    groups = np.array_split(np.arange(length), min(PARTS, length))
    to_parts = np.stack([mean[:, group].sum(1) for group in groups], 1)
    even = np.array([len(group) / length for group in groups])
    return Map(np.stack([to_parts[group].mean(0) for group in groups]), even, focus)
