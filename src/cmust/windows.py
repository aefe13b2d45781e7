"""Splits, scaling and window batches, gathered by index from one resident tensor per task.

Shapes: S steps of a task, T input steps, F = T' forecast steps, N nodes, C channels, B batch.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cmust.city import City, Task
from cmust.clock import Calendar, calendar
from cmust.errors import CityError
from cmust.model import Inputs
from cmust.seasonal import WeeklyAverage

Protocol = Literal["purged", "published"]
Part = Literal["train", "validation", "test"]
Cuts = tuple[np.datetime64, np.datetime64]
"""Local times at which validation and test part begin."""
ROWS_PER_PASS = 10_000
"""Windows times steps times nodes that go through a network at once on a CPU (``benchmarks/network.py``)."""
ROWS_ON_A_GPU = 2**18
"""The same elsewhere: what autograd keeps of them is some 5 GiB (``tuned``) to 13 GiB (``reference``)."""
PARTS: tuple[Part, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class Split:
    """Window starts of each part, and where the training part ends.

    Attributes:
        starts: per part the first input step of each window, int64, ascending.
        train_steps: steps up to and with the last training window's last target.
    """

    starts: dict[Part, Tensor]
    train_steps: int


@dataclass(frozen=True)
class Scaler:
    """One mean and one standard deviation per channel, each ``(C,)``."""

    mean: Tensor
    std: Tensor

    @classmethod
    def fit(cls, values: npt.NDArray[np.float32]) -> "Scaler":
        """Population moments of the valid ``values`` ``(S, N, C)``; a constant channel gets a standard deviation of
        1.
        """
        mean = np.nanmean(values, axis=(0, 1), dtype=np.float64)
        std = np.nanstd(values, axis=(0, 1), dtype=np.float64)
        std = np.where(std > 0, std, 1.0)
        return cls(torch.from_numpy(mean.astype(np.float32)), torch.from_numpy(std.astype(np.float32)))


@dataclass(frozen=True)
class Windows:
    """The windows of one task: resident tensors and indices into them, nothing copied per window.

    Attributes:
        name: the task.
        values: ``(S, N, C)`` in original units; a missing value is filled by the weekly average of its node
            (``valid`` knows).
        valid: ``(S, N, C)`` bool.
        average: ``(S, N, C)``, the weekly average; on the training part each step without its own value.
        profile: ``(S, N, C)``, what the network takes as the seasonal expectation; the weekly average unless another
            is chosen.
        clock: calendar of the S steps.
        place: ``(N, 2)``, coordinates standardised over the city.
        scaler: moments of the training part.
        split: window starts by part.
        steps_per_day: L.
        input_steps, horizon: T and F.
    """

    name: str
    values: Tensor
    valid: Tensor
    average: Tensor
    profile: Tensor
    clock: Calendar
    place: Tensor
    scaler: Scaler
    split: Split
    steps_per_day: int
    input_steps: int
    horizon: int

    def pass_size(self, nodes: int | None = None, device: torch.device | None = None) -> int:
        """So many windows of so many nodes (all when not given) go through a network on ``device`` (where the windows
        are when not given) at once: on a CPU such that activations stay in its caches, elsewhere in its memory.
        """
        on_cpu = (device or self.values.device).type == "cpu"
        rows = ROWS_PER_PASS if on_cpu else ROWS_ON_A_GPU
        return max(1, rows // (self.input_steps * (nodes or self.n_nodes)))

    @property
    def n_nodes(self) -> int:
        """N."""
        return self.values.shape[1]

    @property
    def channels(self) -> int:
        """C."""
        return self.values.shape[2]

    def inputs(self, starts: Tensor) -> Inputs:
        """What the network sees of the windows that start at ``starts`` ``(B,)``; no value from after the input
        steps.
        """
        observed = starts[:, None] + torch.arange(self.input_steps, device=starts.device)
        return Inputs(
            values=self.values[observed],
            slot=self.clock.slot[observed],
            dow=self.clock.dow[observed],
            stamp=self.clock.stamp[observed],
            place=self.place,
            average=self.profile[observed],
            average_ahead=self.profile[self._ahead(starts)],
        )

    def targets(self, starts: Tensor) -> tuple[Tensor, Tensor]:
        """Truth ``(B, F, N, C)`` in original units and its validity."""
        ahead = self._ahead(starts)
        return self.values[ahead], self.valid[ahead]

    def _ahead(self, starts: Tensor) -> Tensor:
        return starts[:, None] + self.input_steps + torch.arange(self.horizon, device=starts.device)

    def to(self, device: torch.device) -> "Windows":
        """The same windows, resident on ``device``."""
        clock = Calendar(self.clock.slot.to(device), self.clock.dow.to(device), self.clock.stamp.to(device))
        starts = {part: index.to(device) for part, index in self.split.starts.items()}
        return Windows(
            self.name,
            self.values.to(device),
            self.valid.to(device),
            average := self.average.to(device),
            average if self.profile is self.average else self.profile.to(device),
            clock,
            self.place.to(device),
            Scaler(self.scaler.mean.to(device), self.scaler.std.to(device)),
            Split(starts, self.split.train_steps),
            self.steps_per_day,
            self.input_steps,
            self.horizon,
        )


def make_windows(
    city: City, protocol: Protocol, input_steps: int = 12, horizon: int = 12, cuts: Cuts | None = None
) -> dict[str, Windows]:
    """The windows of every task of a city, in the city's order; cut as :func:`city_splits` does.

    Raises:
        CityError: a task has fewer steps than its windows need.
    """
    slots = 86_400 // city.interval
    reference = min(task.time[0] for task in city.tasks.values())
    splits = city_splits(city, protocol, input_steps, horizon, cuts)
    lon = np.concatenate([task.lon for task in city.tasks.values()])
    lat = np.concatenate([task.lat for task in city.tasks.values()])
    frame = Frame.of(lon, lat)
    return {
        name: task_windows(
            task,
            calendar(task.time, slots, reference),
            frame,
            splits[name],
            input_steps,
            horizon,
        )
        for name, task in city.tasks.items()
    }


def city_splits(
    city: City, protocol: Protocol, input_steps: int = 12, horizon: int = 12, cuts: Cuts | None = None
) -> dict[str, Split]:
    """The split of every task of a city.

    Args:
        city: the tasks.
        protocol: ``published`` has no cuts.
        input_steps: T.
        horizon: F.
        cuts: where to cut, as where the tasks are some of a larger city; the city's own when not given.

    Raises:
        CityError: a part of a task would be empty.
    """
    cuts = (cuts or common_cuts(city)) if protocol == "purged" else None
    return {name: split_windows(task, cuts, input_steps, horizon) for name, task in city.tasks.items()}


@dataclass(frozen=True)
class Frame:
    """Mean and standard deviation of the city's coordinates, each ``(2,)``: longitude, latitude."""

    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]

    @classmethod
    def of(cls, lon: npt.NDArray[np.float64], lat: npt.NDArray[np.float64]) -> "Frame":
        """The frame of the distinct places among ``lon`` and ``lat`` ``(N,)``: tasks over the same places count
        once. Coordinates that are all the same, but for the last digit of their mean, get a standard deviation of 1.
        """
        places = np.unique(np.stack([lon, lat], axis=1), axis=0)
        std = places.std(axis=0)
        noise = 1e-9 * np.maximum(1, np.abs(places).max(axis=0))
        return cls(places.mean(axis=0), np.where(std > noise, std, 1.0))

    def standardise(self, lon: npt.NDArray[np.float64], lat: npt.NDArray[np.float64]) -> Tensor:
        """``(N, 2)`` float32."""
        return torch.from_numpy(((np.stack([lon, lat], axis=1) - self.mean) / self.std).astype(np.float32))


def task_windows(task: Task, clock: Calendar, frame: Frame, split: Split, input_steps: int, horizon: int) -> Windows:
    """The windows of one task under a given split, scaled and averaged on its training part."""
    training = task.values[: split.train_steps]
    if (empty := np.isnan(training).all(axis=(0, 1))).any():
        channel = task.channels[int(empty.argmax())]
        raise CityError(
            f"task {task.name!r} has no valid value of channel {channel!r} in its training part of "
            f"{split.train_steps} steps, "
            f"up to {task.time[split.train_steps - 1]}; leave it out, or give data that begins later"
        )
    average = WeeklyAverage.fit(task.values, task.time, task.interval, split.train_steps)
    plain = average.at(task.time)
    without_self = plain.copy()
    without_self[: split.train_steps] = average.at(task.time[: split.train_steps], leave_out=training)
    valid = ~np.isnan(task.values)
    expected = torch.from_numpy(without_self)
    return Windows(
        name=task.name,
        values=torch.from_numpy(np.where(valid, task.values, plain)),
        valid=torch.from_numpy(valid),
        average=expected,
        profile=expected,
        clock=clock,
        place=frame.standardise(task.lon, task.lat),
        scaler=Scaler.fit(training),
        split=split,
        steps_per_day=86_400 // task.interval,
        input_steps=input_steps,
        horizon=horizon,
    )


def common_cuts(city: City) -> Cuts:
    """Wall-clock times at 70 % and 80 % of the span that all tasks share.

    Raises:
        CityError: the tasks share no time.
    """
    first = max(task.time[0] for task in city.tasks.values())
    last = min(task.time[-1] + np.timedelta64(task.interval, "s") for task in city.tasks.values())
    if last <= first:
        spans = "; ".join(f"{name} {task.time[0]} to {task.time[-1]}" for name, task in city.tasks.items())
        raise CityError(
            f"the tasks of city {city.name!r} share no time ({spans}); give each its own city or common dates"
        )
    span = int((last - first).astype(np.int64))
    return first + np.timedelta64(span * 7 // 10, "s"), first + np.timedelta64(span * 8 // 10, "s")


def windows_between(begin: int, end: int, input_steps: int, horizon: int) -> Tensor:
    """Starts of the windows all of whose targets are steps from ``begin`` to before ``end``; their inputs may reach
    back before ``begin``.
    """
    first = max(begin - input_steps, 0)
    return torch.arange(first, max(end - horizon - input_steps + 1, first))


def spread(starts: Tensor, count: int) -> Tensor:
    """At most so many of the window starts, evenly spread from the first to the last."""
    if count >= len(starts):
        return starts
    return starts[torch.linspace(0, len(starts) - 1, count).round().long().to(starts.device)]


def split_windows(task: Task, cuts: Cuts | None, input_steps: int, horizon: int) -> Split:
    """Chronological parts, 7:1:2.

    Args:
        task: whose windows.
        cuts: None splits the list of windows (``published``: neighbouring parts share target steps at the border);
            two times put every target step in one part only (``purged``).
        input_steps: T.
        horizon: F.

    Raises:
        CityError: a part would be empty.
    """
    windows = task.n_steps - input_steps - horizon + 1
    starts = np.arange(max(windows, 0))
    if cuts is None:
        train, validation = round(0.7 * len(starts)), round(0.1 * len(starts))
        parts = np.split(starts, [train, train + validation])
    else:
        times = np.array(cuts, dtype=task.time.dtype)
        first, second = np.searchsorted(task.time, times)
        # A coarse step that a cut falls into holds values from both sides: it is in no part.
        ended_first, ended_second = np.searchsorted(task.time + np.timedelta64(task.interval, "s"), times, side="right")
        begin, end = starts + input_steps, starts + input_steps + horizon
        parts = [starts[end <= ended_first], starts[(begin >= first) & (end <= ended_second)], starts[begin >= second]]
    if any(len(part) == 0 for part in parts):
        counts = ", ".join(f"{part} {len(index)}" for part, index in zip(PARTS, parts, strict=True))
        raise CityError(
            f"task {task.name!r} has {task.n_steps} steps, too few for windows of {input_steps} + {horizon} steps "
            f"in three parts "
            f"({counts} windows); give more data or a shorter window"
        )
    train_steps = int(parts[0][-1]) + input_steps + horizon
    return Split({part: torch.from_numpy(index) for part, index in zip(PARTS, parts, strict=True)}, train_steps)
