"""The clock as further channels of every node, as most published systems are fed."""

import torch
from torch import Tensor

from cmust.baselines.scene import Glimpse


def with_clock(seen: Glimpse, slots_per_day: int, weekday: bool) -> Tensor:
    """``(B, T, N, C + 1)``: values and the time of day in [0, 1); with ``weekday`` also the day's number, 0 to 6."""
    dtype = seen.values.dtype
    clock = [seen.slot.to(dtype) / slots_per_day] + [seen.dow.to(dtype)] * weekday
    wide = [part[:, :, None, None].expand(-1, -1, seen.values.shape[2], 1) for part in clock]
    return torch.cat((seen.values, *wide), dim=-1)
