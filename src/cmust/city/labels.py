"""The keywords of the city makers: what arrays, tables and window files do not say themselves."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Required, TypedDict

import numpy as np
import numpy.typing as npt
import pandas as pd

from cmust.city.geometry import Geometry
from cmust.errors import CityError

PerTask = Mapping[str, str]
Interval = float | timedelta | np.timedelta64
"""Seconds, or a time difference (of pandas too); whole seconds."""


class About(TypedDict, total=False):
    """Keywords of every maker; ``unit`` and ``kind`` are for all tasks, or by task name.

    What is not given, or not for a task: unit "", kind "other". Timezone "UTC", not synthetic, no source, no
    description.
    """

    unit: str | PerTask
    kind: str | PerTask
    timezone: str
    synthetic: bool
    source: str
    description: str


class ArrayLabels(About, total=False):
    """Keywords of :func:`cmust.city.makers.from_arrays`."""

    time: Required[npt.ArrayLike | Mapping[str, npt.ArrayLike]]
    nodes: Required[Sequence[str]]
    lon: Required[npt.ArrayLike]
    lat: Required[npt.ArrayLike]
    interval: Interval
    channels: Sequence[str]
    geometry: Sequence[Geometry | None]


class FrameLabels(About, total=False):
    """Keywords of :func:`cmust.city.makers.from_frame`."""

    coordinates: Required[pd.DataFrame | Mapping[str, tuple[float, float]]]
    values: Sequence[str] | PerTask
    time: str
    node: str
    interval: Interval


class PublishedLabels(About, total=False):
    """Keywords of :func:`cmust.city.published.from_published`."""

    name: str
    tasks: Sequence[str] | PerTask
    start: Any
    nodes: Sequence[str]
    monday: int


def time_of(labels: ArrayLabels, task: str) -> Any:
    """The times, given for all tasks or by task name.

    Raises:
        CityError: they are given by task name, but not for this one.
    """
    time = labels["time"]
    if not isinstance(time, Mapping):
        return time
    if task not in time:
        raise CityError(f"time is given for {', '.join(map(str, time))}, but not for task '{task}': add it")
    return time[task]


def unit_of(labels: About, task: str, default: str = "") -> str:
    """The unit, given for all tasks or by task name; ``default`` where it is not given for this one."""
    return _given(labels.get("unit", default), task, default)


def kind_of(labels: About, task: str, default: str = "other") -> str:
    """The kind, as :func:`unit_of` the unit."""
    return _given(labels.get("kind", default), task, default)


def _given(setting: str | PerTask, task: str, default: str) -> str:
    return setting.get(task, default) if isinstance(setting, Mapping) else setting


def check_by_task(maker: str, given: object, member: type) -> None:
    """Refuse data that is not given by task name.

    Raises:
        CityError: says what was found.
    """
    wanted = f"a dictionary of task name to {member.__name__}" if member is not object else "a dictionary by task name"
    if not isinstance(given, Mapping):
        raise CityError(f"{maker}: found a {type(given).__name__}, it has to be {wanted}")
    for name, each in given.items():
        if not isinstance(each, member):
            raise CityError(f"{maker}: found a {type(each).__name__} for task '{name}', it has to be {wanted}")


def check_task_names(labels: Mapping[str, Any], tasks: Iterable[str]) -> None:
    """Refuse what is given by task name for a name that is none.

    Raises:
        CityError: says which.
    """
    known = list(tasks)
    for what in ("unit", "kind", "time"):
        if isinstance(labels.get(what), Mapping):
            unknown = [str(name) for name in labels[what] if name not in known]
            if unknown:
                raise CityError(
                    f"{what} is given for {', '.join(unknown)}, but the tasks are {', '.join(known)}: name tasks only"
                )


def city_labels(about: Mapping[str, Any]) -> dict[str, Any]:
    """The part of ``about`` that describes the city, not its tasks."""
    return {key: about[key] for key in ("timezone", "synthetic", "source", "description") if key in about}


def check_keywords(maker: str, given: Mapping[str, Any], known: type) -> None:
    """Refuse keywords that ``maker`` does not have, and name those that it needs but did not get.

    Raises:
        CityError: one is unknown or missing.
    """
    keywords = list(known.__annotations__)
    unknown = [key for key in given if key not in keywords]
    if unknown:
        raise CityError(f"{maker} has no keyword '{unknown[0]}'; it has {', '.join(keywords)}")
    required: frozenset[str] = getattr(known, "__required_keys__")  # noqa: B009  (typed dictionaries are plain types here)
    missing = [key for key in keywords if key in required and key not in given]
    if missing:
        raise CityError(f"{maker} needs the keyword '{missing[0]}'")
