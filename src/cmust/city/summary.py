"""What a city holds, in numbers: for people who look at it, and for the command line that prints it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cmust.city.checks import DAY
from cmust.city.city import City
from cmust.city.task import Floats, Task, shorten

SHOWN = 3
"""Nodes that a doubt names."""


@dataclass(frozen=True)
class Gap:
    """The longest run of missing values at one node.

    Attributes:
        steps: its length.
        node: where.
        start: its first step.
        stop: the first step after it.
    """

    steps: int
    node: str
    start: np.datetime64
    stop: np.datetime64


@dataclass(frozen=True, eq=False)
class TaskSummary:
    """One task in numbers; all channels together, missing values left out.

    Attributes:
        name: of the task.
        unit: of the values.
        kind: of the task.
        interval: seconds.
        start: first step.
        stop: the end of the last step's interval.
        steps: number of steps.
        nodes: number of nodes.
        channels: channel names.
        missing: share of all values that are missing.
        gap: the longest run of missing values, None when nothing is missing.
        zero: share of the observed values that are zero.
        minimum: smallest observed value; NaN when nothing was observed, like the next two.
        mean: of the observed values.
        maximum: largest observed value.
        daily: mean over nodes, days and channels per slot of the day ``(slot,)``, NaN where never observed.
        weekly: the same per six hours of the week ``(28,)``, from Monday 00:00.
        doubts: what may be a mistake in the data, a line each: how many, and where first.
    """

    name: str
    unit: str
    kind: str
    interval: int
    start: np.datetime64
    stop: np.datetime64
    steps: int
    nodes: int
    channels: tuple[str, ...]
    missing: float
    gap: Gap | None
    zero: float
    minimum: float
    mean: float
    maximum: float
    daily: npt.NDArray[np.float64]
    weekly: npt.NDArray[np.float64]
    doubts: tuple[str, ...]


@dataclass(frozen=True)
class CovariateSummary:
    """One covariate in numbers: its extent, unit, missing share, and whether its future is known."""

    name: str
    unit: str
    interval: int
    start: np.datetime64
    stop: np.datetime64
    nodes: int
    missing: float
    known_ahead: bool


@dataclass(frozen=True)
class CitySummary:
    """A city in numbers."""

    name: str
    timezone: str
    synthetic: bool
    source: str
    description: str
    fingerprint: str
    tasks: tuple[TaskSummary, ...]
    covariates: tuple[CovariateSummary, ...]


def describe(city: City) -> CitySummary:
    """The numbers that ``cmust inspect`` prints."""
    return CitySummary(
        name=city.name,
        timezone=city.timezone,
        synthetic=city.synthetic,
        source=city.source,
        description=city.description,
        fingerprint=city.fingerprint(),
        tasks=tuple(_describe_task(task) for task in city.tasks.values()),
        covariates=tuple(
            CovariateSummary(
                name=covariate.name,
                unit=covariate.unit,
                interval=covariate.interval,
                start=covariate.time[0],
                stop=covariate.time[-1] + np.timedelta64(covariate.interval, "s"),
                nodes=len(covariate.nodes),
                missing=float(np.isnan(covariate.values).mean()),
                known_ahead=covariate.known_ahead,
            )
            for covariate in city.covariates.values()
        ),
    )


def _describe_task(task: Task) -> TaskSummary:
    observed = task.values[task.valid]
    some = len(observed) > 0
    seconds = task.time.astype(np.int64)
    since_monday = (seconds + 3 * DAY) % (7 * DAY)  # 1970-01-01 was a Thursday
    return TaskSummary(
        name=task.name,
        unit=task.unit,
        kind=task.kind,
        interval=task.interval,
        start=task.time[0],
        stop=task.time[-1] + np.timedelta64(task.interval, "s"),
        steps=task.n_steps,
        nodes=task.n_nodes,
        channels=task.channels,
        missing=1.0 - len(observed) / task.values.size,
        gap=_longest_gap(task),
        zero=float((observed == 0).mean()) if some else float("nan"),
        minimum=float(observed.min()) if some else float("nan"),
        mean=float(observed.mean(dtype=np.float64)) if some else float("nan"),
        maximum=float(observed.max()) if some else float("nan"),
        daily=_profile(task.values, seconds % DAY // task.interval, task.steps_per_day),
        weekly=_profile(task.values, since_monday // (DAY // 4), 28),
        doubts=tuple(_doubts(task)),
    )


def _doubts(task: Task) -> Iterator[str]:
    """Values below zero among counts; nodes without a value; nodes that are the same at all of several steps."""
    negative = (task.values < 0).sum(axis=(0, 2))
    if task.kind == "count" and negative.any():
        yield f"{_number(int(negative.sum()), 'value')} below zero, though the kind is count: {_first(task, negative)}"
    observed = task.valid.sum(axis=0)
    empty = (observed == 0).all(axis=1)
    if empty.any():
        yield f"{_number(int(empty.sum()), 'node')} without any value: {_first(task, empty)}"
    low = np.where(task.valid, task.values, np.inf).min(axis=0)
    high = np.where(task.valid, task.values, -np.inf).max(axis=0)
    constant = (low >= high).all(axis=1) & (observed > 1).any(axis=1)  # a channel without a value has high below low
    if constant.any():
        yield f"{_number(int(constant.sum()), 'node')} with always the same value: {_first(task, constant)}"


def _number(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _first(task: Task, where: npt.NDArray[Any]) -> str:
    """The first nodes of those where it is not zero."""
    return shorten([task.nodes[at] for at in np.flatnonzero(where)], SHOWN)


def _profile(values: Floats, slot: npt.NDArray[np.int64], slots: int) -> npt.NDArray[np.float64]:
    """The mean observed value per slot, ``(slots,)``, NaN for a slot without one."""
    valid = ~np.isnan(values)
    sums = np.where(valid, values, 0.0).sum(axis=(1, 2), dtype=np.float64)
    counts = valid.sum(axis=(1, 2))
    total = np.bincount(slot, weights=sums, minlength=slots)
    number = np.bincount(slot, weights=counts, minlength=slots)
    with np.errstate(invalid="ignore"):
        return total / np.where(number > 0, number, np.nan)


def _longest_gap(task: Task) -> Gap | None:
    """The longest run of steps in which a node misses a value in any channel."""
    missing = np.isnan(task.values).any(axis=2)
    if not missing.any():
        return None
    # Each node's column between two observed rows: runs start and end where neighbours differ.
    framed = np.pad(missing.T.astype(np.int8), ((0, 0), (1, 1)))
    change = np.diff(framed, axis=1)
    node, start = np.nonzero(change == 1)
    _, stop = np.nonzero(change == -1)  # in the same order: both run along each node in turn
    at = int(np.argmax(stop - start))
    first = int(start[at])
    steps = int(stop[at]) - first
    return Gap(
        steps=steps,
        node=task.nodes[int(node[at])],
        start=task.time[first],
        stop=task.time[first] + np.timedelta64(steps * task.interval, "s"),
    )
