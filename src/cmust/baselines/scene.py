"""What every other system is built for and what it sees of a batch.

A system is a module that takes :class:`Glimpse` and gives ``(B, F, N, C)`` in standardised units. Shapes: B batch,
T input steps, F forecast steps, N nodes, C channels, L slots of a day.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from cmust.model import Inputs


@dataclass(frozen=True)
class Scene:
    """The data a system is built for.

    Attributes:
        nodes: N.
        channels: C; several tasks on one graph are channels of one task.
        input_steps: T.
        horizon: F.
        slots_per_day: L.
        adjacency: ``(N, N)``, weights of the edges from node i to node j in [0, 1], 1 on the diagonal (``graphs``).
        place: ``(N, 2)``, longitude and latitude in degrees; for systems that lay the nodes on a grid.
        training: ``(S, N, C)``, the training part, standardised; for systems that look at it as a whole.
        texts: what each channel is, in a few words; for systems that read.
    """

    nodes: int
    channels: int
    input_steps: int
    horizon: int
    slots_per_day: int
    adjacency: Tensor
    place: Tensor | None = None
    training: Tensor | None = None
    texts: tuple[str, ...] = ()


class Glimpse(NamedTuple):
    """A batch of windows.

    Attributes:
        values: ``(B, T, N, C)``, standardised.
        slot: ``(B, T)`` int64, slot of the day, 0 to L - 1.
        dow: ``(B, T)`` int64, 0 is Monday.
        slot_ahead: ``(B, F)``, of the steps to be forecast.
        dow_ahead: ``(B, F)``.
        average: ``(B, T, N, C)``, the weekly average at the input steps, standardised; for what builds on it.
        average_ahead: ``(B, F, N, C)``, the same at the steps to be forecast.
    """

    values: Tensor
    slot: Tensor
    dow: Tensor
    slot_ahead: Tensor
    dow_ahead: Tensor
    average: Tensor | None = None
    average_ahead: Tensor | None = None


def glimpse(inputs: Inputs, mean: Tensor, std: Tensor, horizon: int, slots_per_day: int) -> Glimpse:
    """What a system sees of ``inputs``; ``mean`` and ``std`` are of the training part, ``(C,)``."""
    ahead = inputs.slot[:, -1:] + torch.arange(1, horizon + 1, device=inputs.slot.device)
    dow_ahead = (inputs.dow[:, -1:] + ahead // slots_per_day) % 7
    series = ((part - mean) / std for part in (inputs.values, inputs.average, inputs.average_ahead))
    values, average, average_ahead = series
    return Glimpse(values, inputs.slot, inputs.dow, ahead % slots_per_day, dow_ahead, average, average_ahead)
