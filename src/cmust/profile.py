"""The weekly profile ``tuned`` builds on: a weekly average that follows the last weeks more closely.

Its shape is chosen on validation data.

Shapes: S steps, P = 7 * L steps a week, N nodes, C channels, W weeks.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cmust.model.network import seasonal
from cmust.naive import Naive
from cmust.seasonal import week_slot
from cmust.windows import Windows

Array = npt.NDArray[np.float32]
HALF_LIVES = (1.5, 3.0, 6.0, math.inf)
POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)
SHARE = 0.5
"""Of a node's own level, in a forecast: where a head's starts."""


@dataclass(frozen=True)
class Shape:
    """How a profile is averaged, and how far it follows the city's recent level.

    Attributes:
        half_life: weeks after which a training week counts half; infinite: all weeks count alike.
        smooth: whether a slot is averaged with its two neighbours (1/4, 1/2, 1/4).
        power: of the city's level (see ``cmust.model.network.seasonal``); None for a task that has no levels, since it
            goes below zero.
    """

    half_life: float
    smooth: bool
    power: float | None = 0.0


@dataclass(frozen=True)
class Profile:
    """A profile of one task.

    Attributes:
        table: ``(P, N, C)``, by slot of the week, Monday's first slot first; for every time after the training part.
        training: ``(train_steps, N, C)``, the same as it would have been for each training week without that week: from
            the weeks before it, or after it where fewer than three are before.
    """

    table: Array
    training: Array


def make_profile(windows: Windows, time: npt.NDArray[np.datetime64], interval: int, shape: Shape) -> Profile:
    """Average the training part of ``windows``; where no week knows a slot, the leave-one-out weekly average stands in.

    Args:
        windows: of one task.
        time: ``(S,)``, its times.
        interval: seconds between steps.
        shape: of the average.
    """
    steps, week = windows.split.train_steps, 7 * windows.steps_per_day
    weeks = -(-steps // week)
    missing = weeks * week - steps  # the first week is cut off at its start: weeks end where training ends
    valid = _by_week(windows.valid[:steps].numpy().astype(np.float64), weeks, missing)
    values = _by_week(windows.values[:steps].numpy().astype(np.float64), weeks, missing) * valid
    decay = 0.5 ** (1 / shape.half_life)
    before, last = _running(values, valid, decay)
    after, _ = _running(values[::-1], valid[::-1], decay)
    least = min(3, weeks // 2)
    others = [before[index] if index >= least else after[weeks - 1 - index] for index in range(weeks)]
    training = np.concatenate([_mean(*sums, smooth=shape.smooth) for sums in others])[missing:]
    plain = windows.average.numpy()
    training = np.where(np.isnan(training), plain[:steps], training)
    table = np.empty((week, *plain.shape[1:]))
    ends = time[0] + np.timedelta64(interval, "s") * np.arange(steps - week, steps)
    table[week_slot(ends, interval)] = _mean(*last, smooth=shape.smooth)
    return Profile(table.astype(np.float32), training.astype(np.float32))


def shaped(
    windows: Windows, time: npt.NDArray[np.datetime64], interval: int, *, leveled: bool | None = None
) -> tuple[Shape, Windows]:
    """The shape that validation chooses (see :func:`choose_shape`), and the windows with that profile."""
    shape = choose_shape(windows, time, interval, leveled=leveled)
    profile = make_profile(windows, time, interval, shape)
    return shape, _with(windows, profile, time, interval)


def profile_alone(windows: Windows, time: npt.NDArray[np.datetime64], interval: int) -> Naive:
    """The profile of the shape that validation chooses, as a forecast.

    It is what ``tuned`` forecasts before its network has learned anything: its lead over this is the network's.

    Args:
        windows: of one task, with a split.
        time: ``(S,)``, its times.
        interval: seconds between steps.

    Returns:
        From starts ``(B,)`` to forecasts ``(B, F, N, C)`` in original units.
    """
    shape, seen = shaped(windows, time, interval)
    return lambda windows, starts: follow(seen, starts, shape.power)


def follow(windows: Windows, starts: Tensor, power: float | None) -> Tensor:
    """The profile ahead at the recent levels of the city and of each node, ``(B, F, N, C)``."""
    return seasonal(windows.inputs(starts), power, SHARE)[1]


def _with(windows: Windows, profile: Profile, time: npt.NDArray[np.datetime64], interval: int) -> Windows:
    """The windows with the profile at every step; the weekly average where no training week knows the slot."""
    known = profile.table[week_slot(time, interval)]
    known[: len(profile.training)] = profile.training
    known = np.where(np.isnan(known), windows.average.numpy(), known)
    return replace(windows, profile=torch.from_numpy(known))


def choose_shape(
    windows: Windows, time: npt.NDArray[np.datetime64], interval: int, *, leveled: bool | None = None
) -> Shape:
    """The shape whose profile alone forecasts the validation part with the least absolute error.

    Args:
        windows: of one task, with a split.
        time: ``(S,)``, its times.
        interval: seconds between steps.
        leveled: whether the task has levels; when not given, whether its training part never goes below zero.
    """
    if leveled is None:
        leveled = not bool((windows.values[: windows.split.train_steps] < 0).any())
    powers: tuple[float | None, ...] = POWERS if leveled else (None,)
    errors: dict[Shape, float] = {}
    for half_life in HALF_LIVES:
        for smooth in (False, True):
            profile = make_profile(windows, time, interval, Shape(half_life, smooth))
            candidate = _with(windows, profile, time, interval)
            totals = dict.fromkeys(powers, 0.0)
            for starts in windows.split.starts["validation"].split(64):
                inputs = candidate.inputs(starts)
                truth, valid = candidate.targets(starts)
                for power in powers:
                    _, forecast = seasonal(inputs, power, SHARE)
                    totals[power] += (forecast - truth).abs()[valid].double().sum().item()
            errors.update({Shape(half_life, smooth, power): total for power, total in totals.items()})
    return min(errors, key=lambda shape: errors[shape])


def _by_week(series: npt.NDArray[np.float64], weeks: int, missing: int) -> npt.NDArray[np.float64]:
    """``(S, N, C)`` to ``(W, P, N, C)``, zeros before the start."""
    padded = np.concatenate([np.zeros((missing, *series.shape[1:])), series])
    return padded.reshape(weeks, -1, *series.shape[1:])


Sums = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


def _running(values: npt.NDArray[np.float64], valid: npt.NDArray[np.float64], decay: float) -> tuple[list[Sums], Sums]:
    """Decayed sums and counts of the weeks before each week, and of all weeks."""
    total, count = np.zeros_like(values[0]), np.zeros_like(values[0])
    before = []
    for week, known in zip(values, valid, strict=True):
        before.append((total, count))
        total, count = total * decay + week, count * decay + known
    return before, (total, count)


def _mean(total: npt.NDArray[np.float64], count: npt.NDArray[np.float64], *, smooth: bool) -> npt.NDArray[np.float64]:
    """``(P, N, C)``, NaN where nothing was counted."""
    if smooth:
        total, count = (0.25 * np.roll(x, 1, 0) + 0.5 * x + 0.25 * np.roll(x, -1, 0) for x in (total, count))
    return np.where(count > 1e-9, total / np.maximum(count, 1e-9), np.nan)
