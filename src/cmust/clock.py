"""Calendar features, one row per time step, never repeated per node."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

DAY = 86_400
YEAR = 365.25 * DAY


@dataclass(frozen=True)
class Calendar:
    """Clock of ``S`` steps.

    Attributes:
        slot: ``(S,)`` int64, the row of the city's time-of-day table the step starts at (one row per slot of the
            finest interval).
        dow: ``(S,)`` int64, 0 is Monday.
        stamp: ``(S, 6)`` float32, month/12, day/31, hour/24, minute/60, second/60, years since the reference time.
    """

    slot: Tensor
    dow: Tensor
    stamp: Tensor


def second_of_day(time: npt.NDArray[np.datetime64]) -> npt.NDArray[np.int64]:
    """Seconds since local midnight, ``(S,)``."""
    return time.astype("datetime64[s]").astype(np.int64) % DAY


def day_of_week(time: npt.NDArray[np.datetime64]) -> npt.NDArray[np.int64]:
    """0 is Monday, ``(S,)``. 1970-01-01 was a Thursday."""
    return (time.astype("datetime64[D]").astype(np.int64) + 3) % 7


def calendar(time: npt.NDArray[np.datetime64], slots_per_day: int, reference: np.datetime64) -> Calendar:
    """Calendar features of local wall-clock times ``(S,)``; whole slots come from the clock, never from a float
    fraction.
    """
    seconds = second_of_day(time)
    month = time.astype("datetime64[M]")
    stamp = np.stack(
        [
            (month.astype(np.int64) % 12 + 1) / 12,
            ((time.astype("datetime64[D]") - month.astype("datetime64[D]")).astype(np.int64) + 1) / 31,
            seconds // 3600 / 24,
            seconds // 60 % 60 / 60,
            seconds % 60 / 60,
            (time.astype("datetime64[s]") - reference.astype("datetime64[s]")).astype(np.int64) / YEAR,
        ],
        axis=1,
    )
    return Calendar(
        slot=torch.from_numpy(seconds * slots_per_day // DAY),
        dow=torch.from_numpy(day_of_week(time)),
        stamp=torch.from_numpy(stamp.astype(np.float32)),
    )
