"""A city: its tasks, labelled and checked, in the wall-clock time of one time zone.

The store and the makers build this class, so its methods import them when called.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from cmust.city.checks import check_city
from cmust.city.labels import About, ArrayLabels, FrameLabels, PublishedLabels
from cmust.city.task import Covariate, Task, settle, to_flag, to_labels
from cmust.errors import CityError


@dataclass(frozen=True, eq=False)
class City:
    """The tasks of one city. They may differ in nodes, time range and interval.

    Attributes:
        name: of the city.
        tasks: by name, in order.
        timezone: IANA name of the zone whose wall clock the times are.
        synthetic: whether the data was simulated; shown wherever the city is.
        source: where the data comes from.
        description: for people.
        covariates: by name, in order.

    Raises:
        CityError: something is not as listed in :mod:`cmust.city.checks`.
    """

    name: str
    tasks: dict[str, Task]
    timezone: str = "UTC"
    synthetic: bool = False
    source: str = ""
    description: str = ""
    covariates: dict[str, Covariate] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Convert and check the whole; the parts checked themselves."""
        settle(self, "tasks", _members("tasks", self.tasks, Task))
        settle(self, "covariates", _members("covariates", self.covariates, Covariate))
        settle(self, "synthetic", to_flag("the city", "synthetic", self.synthetic))
        check_city(self)

    def __repr__(self) -> str:
        """A line for the city and one for each task; no numbers of the data."""
        about = [f"zone {self.timezone}", *(["synthetic"] if self.synthetic else [])]
        about += [f"covariates {', '.join(self.covariates)}"] if self.covariates else []
        lines = [f"<City {self.name}: {'; '.join(about)}", *(f"  {task!r}" for task in self.tasks.values())]
        return "\n".join(lines) + ">"

    @property
    def interval(self) -> int:
        """The finest interval of all tasks, seconds."""
        return min(task.interval for task in self.tasks.values())

    def task(self, name: str) -> Task:
        """The task of that name.

        Raises:
            CityError: it is not there; the message lists those that are.
        """
        if name not in self.tasks:
            raise CityError(f"city '{self.name}' has no task '{name}'; it has {', '.join(self.tasks)}")
        return self.tasks[name]

    def with_task(self, task: Task) -> City:
        """The city with ``task`` added, or put in the place of the one of its name."""
        return replace(self, tasks={**self.tasks, task.name: task})

    def select(self, tasks: Iterable[str] | None = None, time: slice | None = None) -> City:
        """A part of the city.

        Args:
            tasks: names, in the wanted order.
            time: ``slice(start, stop)`` with ``stop`` outside, applied to every task and covariate.

        Raises:
            CityError: a task is not there, or one has no step in ``time``.
        """
        names = tuple(self.tasks) if tasks is None else to_labels(f"city '{self.name}'", "tasks", tasks)
        chosen = {name: self.task(name) for name in names}
        covariates = dict(self.covariates)
        if time is not None:
            chosen = {name: task.select(time=time) for name, task in chosen.items()}
            covariates = {name: covariate.select(time) for name, covariate in covariates.items()}
        return replace(self, tasks=chosen, covariates=covariates)

    def save(self, path: Path | str) -> Path:
        """Write the city to one file, atomically; see :mod:`cmust.city.store`. Returns the path.

        A file that is there is replaced, without asking: the commands ask for ``--force``, this does not.

        Raises:
            CmustError: the file cannot be written; what stood there before is untouched.
        """
        from cmust.city.store import save_city

        return save_city(self, path)

    def fingerprint(self) -> str:
        """SHA-256 (hexadecimal) of names, nodes, coordinates, times and values; saving and opening keep it."""
        digest = hashlib.sha256()
        _feed(digest, "city", self.name, self.timezone)
        for task in self.tasks.values():
            _feed(digest, "task", task.name, str(task.interval), *task.nodes, "", *task.channels)
            _feed(digest, task.lon, task.lat, task.time, task.values)
        for covariate in self.covariates.values():
            _feed(digest, "covariate", covariate.name, str(covariate.interval), *covariate.nodes)
            _feed(digest, covariate.time, covariate.values)
        return digest.hexdigest()

    @classmethod
    def from_arrays(cls, name: str, values: Mapping[str, Any], **labels: Unpack[ArrayLabels]) -> City:
        """A city whose tasks share their nodes, from plain arrays.

        Tasks with other nodes: build each :class:`Task` and pass them to :class:`City`, or use :meth:`City.with_task`.

        Args:
            name: of the city.
            values: task name to numbers ``(time, node)`` or ``(time, node, channel)``; NaN is missing, zero is data.
            **labels: keywords only. Needed are

                - ``time`` ``(time,)``: datetime64 or ISO strings, local wall clock, the start of each step; for all
                  tasks, or a mapping by task name where they differ in times or interval;
                - ``nodes`` ``(node,)``: unique names;
                - ``lon``, ``lat`` ``(node,)``: degrees, WGS84.

                Optional are

                - ``interval``: between steps, seconds or a time difference; the distance of a task's first two steps
                  when not given;
                - ``channels`` ``(channel,)``: names; ``value``, or ``value0``, ``value1`` ... when not given;
                - ``geometry`` ``(node,)``: a GeoJSON geometry or None for each node;
                - ``unit`` ("") and ``kind`` ("other": count, speed, risk, concentration or other), for all tasks or a
                  mapping by task name;
                - ``timezone`` ("UTC"): IANA name of the zone whose wall clock the times are;
                - ``synthetic`` (False), ``source`` (""), ``description`` ("").

        Raises:
            CityError: something does not fit; see :mod:`cmust.city.checks`.
        """
        from cmust.city.makers import from_arrays

        return from_arrays(name, values, **labels)

    @classmethod
    def from_frame(
        cls, name: str, frame: pd.DataFrame | Mapping[str, pd.DataFrame], **labels: Unpack[FrameLabels]
    ) -> City:
        """A city from a long table, or from wide ones by task: see :func:`cmust.city.makers.from_frame`."""
        from cmust.city.makers import from_frame

        return from_frame(name, frame, **labels)

    @classmethod
    def from_xarray(cls, name: str, data: xr.Dataset | Mapping[str, xr.DataArray], **labels: Unpack[About]) -> City:
        """A city from labelled arrays, one per task: see :func:`cmust.city.makers.from_xarray`."""
        from cmust.city.makers import from_xarray

        return from_xarray(name, data, **labels)

    @classmethod
    def from_published(cls, folder: Path | str, **labels: Unpack[PublishedLabels]) -> City:
        """A city from the window files of the method's authors: see :func:`cmust.city.published.from_published`."""
        from cmust.city.published import from_published

        return from_published(folder, **labels)


def check_is_city(found: object) -> None:
    """See that a user gave a city, where a path lies nearer.

    Raises:
        CityError: it is a path, or something else.
    """
    if isinstance(found, str | Path):
        raise CityError(f"{str(found)!r} is a path, not a city: give cmust.open_city({str(found)!r})")
    if not isinstance(found, City):
        raise CityError(
            f"found a {type(found).__name__} where a city is needed: open one with cmust.open_city, or make one with "
            f"City.from_arrays, from_frame or from_xarray"
        )


def _members(field: str, given: Any, kind: type) -> dict[str, Any]:
    """A dictionary of its own: what the caller does to the given one changes no city."""
    if not isinstance(given, Mapping):
        raise CityError(f"the city: {field} is a {type(given).__name__}, it has to be a dictionary by name")
    for name, member in given.items():
        if not isinstance(member, kind):
            raise CityError(f"the city: {field}['{name}'] is a {type(member).__name__}, not a {kind.__name__}")
    return dict(given)


def _feed(digest: Any, *parts: str | npt.NDArray[Any]) -> None:
    """Add texts and arrays, each with its length or shape so that no two different cities run together."""
    for part in parts:
        if isinstance(part, str):
            data = part.encode()
            digest.update(f"text {len(data)} ".encode())
            digest.update(data)
            continue
        if part.dtype.kind == "M":
            array = part.astype("datetime64[s]").astype("<i8")
        else:
            array = part.astype(part.dtype.newbyteorder("<")) + 0.0  # -0 and 0 are one number
            array[np.isnan(array)] = np.nan  # so are all bit patterns of NaN
        digest.update(f"array {array.dtype.str} {array.shape} ".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
