"""Forecasts that learn nothing, or only an average: what every learned model has to beat.

Each takes windows and their starts ``(B,)`` and gives ``(B, F, N, C)`` in original units. A value that is missing, or
lies before the data, is replaced by the weekly average of its node.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from cmust.windows import Windows

Naive = Callable[[Windows, Tensor], Tensor]


def last_value(windows: Windows, starts: Tensor) -> Tensor:
    """The last observation, repeated."""
    last = windows.values[starts + windows.input_steps - 1]
    return last[:, None].expand(-1, windows.horizon, -1, -1)


def yesterday(windows: Windows, starts: Tensor) -> Tensor:
    """The same slot of the day before (of the last day before the forecast begins, for horizons beyond a day)."""
    return _days_ago(windows, starts, 1)


def last_week(windows: Windows, starts: Tensor) -> Tensor:
    """The same slot of the week before."""
    return _days_ago(windows, starts, 7)


def weekly_average(windows: Windows, starts: Tensor) -> Tensor:
    """Mean of the training part by node, day of week and slot."""
    return windows.average[_ahead(windows, starts)]


def scaled_weekly_average(windows: Windows, starts: Tensor) -> Tensor:
    """``A(t) * (sum of the last T observations + 5) / (sum of A at those steps + 5)`` per node."""
    observed = starts[:, None] + torch.arange(windows.input_steps, device=starts.device)
    level = (windows.values[observed].sum(1, keepdim=True) + 5) / (windows.average[observed].sum(1, keepdim=True) + 5)
    return weekly_average(windows, starts) * level


NAIVE: dict[str, Naive] = {
    "last_value": last_value,
    "yesterday": yesterday,
    "last_week": last_week,
    "weekly_average": weekly_average,
    "scaled_weekly_average": scaled_weekly_average,
}
PROFILE = "weekly_profile"
"""The profile that ``tuned`` begins with, without its network (:func:`cmust.profile.profile_alone`)."""
LABELS = {
    "last_value": "last value",
    "yesterday": "same slot yesterday",
    "last_week": "same slot last week",
    "weekly_average": "weekly average",
    "scaled_weekly_average": "weekly average, scaled to the recent level",
    PROFILE: "weekly profile that tuned begins with",
}
"""What forecasts without a trained model are called in tables."""


def _ahead(windows: Windows, starts: Tensor) -> Tensor:
    return starts[:, None] + windows.input_steps + torch.arange(windows.horizon, device=starts.device)


def _days_ago(windows: Windows, starts: Tensor, days: int) -> Tensor:
    period = days * windows.steps_per_day
    steps = torch.arange(windows.horizon, device=starts.device)
    # Beyond one period the same slot lies ahead of the origin: go back as many periods as it takes.
    back = period * (steps // period + 1)
    source = starts[:, None] + windows.input_steps + steps - back
    values = windows.values[source.clamp(min=0)]
    return torch.where((source >= 0)[..., None, None], values, windows.average[_ahead(windows, starts)])
