"""A city: its tasks, labelled and checked, in the wall-clock time of one time zone."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cmust.city.checks import check_city
from cmust.city.task import Covariate, Geometry, Task, to_floats
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
        """Check the whole; the parts checked themselves."""
        check_city(self)

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
        names = list(self.tasks) if tasks is None else list(tasks)
        chosen = {name: self.task(name) for name in names}
        covariates = dict(self.covariates)
        if time is not None:
            chosen = {name: task.select(time=time) for name, task in chosen.items()}
            covariates = {name: covariate.select(time) for name, covariate in covariates.items()}
        return replace(self, tasks=chosen, covariates=covariates)

    def save(self, path: Path | str) -> Path:
        """Write the city to one file, atomically; see :mod:`cmust.city.store`. Returns the path.

        Raises:
            CmustError: the file cannot be written; what stood there before is untouched.
        """
        from cmust.city.store import save_city  # the store needs this class

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
    def from_arrays(
        cls,
        name: str,
        values: Mapping[str, npt.ArrayLike],
        *,
        time: npt.ArrayLike | Mapping[str, npt.ArrayLike],
        nodes: Sequence[str],
        lon: npt.ArrayLike,
        lat: npt.ArrayLike,
        interval: int | None = None,
        unit: str | Mapping[str, str] = "",
        kind: str | Mapping[str, str] = "other",
        channels: Sequence[str] | None = None,
        geometry: Sequence[Geometry | None] | None = None,
        timezone: str = "UTC",
        synthetic: bool = False,
        source: str = "",
        description: str = "",
    ) -> City:
        """A city whose tasks share their nodes, from plain arrays.

        Tasks with other nodes: build each :class:`Task` and pass them to :class:`City`, or use :meth:`with_task`.

        Args:
            name: of the city.
            values: task name to numbers ``(time, node)`` or ``(time, node, channel)``, NaN where missing.
            time: ``(time,)``, datetime64 or ISO strings in local wall-clock time; for all tasks, or by task name.
            nodes: ``(node,)`` names.
            lon: ``(node,)`` degrees.
            lat: ``(node,)`` degrees.
            interval: seconds; the distance of the first two steps when not given.
            unit: for all tasks, or by task name.
            kind: for all tasks, or by task name.
            channels: channel names; ``value``, or ``value0``, ``value1``, ... when not given.
            geometry: GeoJSON per node.
            timezone: IANA name.
            synthetic: whether the data was simulated.
            source: where the data comes from.
            description: for people.

        Raises:
            CityError: something does not fit.
        """
        tasks = {}
        for task_name, array in values.items():
            numbers = to_floats(f"task '{task_name}'", array)
            if numbers.ndim == 2:
                numbers = numbers[:, :, None]
            times = _of_task(time, task_name, "time")
            tasks[task_name] = Task(
                name=task_name,
                values=numbers,
                time=times,
                nodes=tuple(nodes),
                lon=np.asarray(lon),
                lat=np.asarray(lat),
                interval=first_interval(task_name, times) if interval is None else interval,
                unit=_of_task(unit, task_name, "unit"),
                kind=_of_task(kind, task_name, "kind"),
                channels=default_channels(numbers.shape[-1]) if channels is None else tuple(channels),
                geometry=None if geometry is None else tuple(geometry),
            )
        return cls(name, tasks, timezone, synthetic, source, description)


def first_interval(task: str, time: Any) -> int:
    """Seconds between the first two steps, for makers that are not told the interval.

    Raises:
        CityError: there are fewer than two steps.
    """
    from cmust.city.task import to_times

    times = to_times(f"task '{task}'", time)
    if len(times) < 2:
        raise CityError(f"task '{task}' has {len(times)} steps, too few to see the interval: give interval=SECONDS")
    return int((times[1] - times[0]).astype(np.int64))


def default_channels(count: int) -> tuple[str, ...]:
    """``value`` alone, or numbered."""
    return ("value",) if count == 1 else tuple(f"value{at}" for at in range(count))


def _of_task(setting: Any, task: str, what: str) -> Any:
    """A setting given for all tasks, or by task name."""
    if not isinstance(setting, Mapping):
        return setting
    if task not in setting:
        raise CityError(f"{what} is given for {', '.join(map(str, setting))}, but not for task '{task}'")
    return setting[task]


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
