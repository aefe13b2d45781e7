"""The parts of a city: a task (what is forecast) and a covariate (what is only known)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from cmust.city.checks import DAY, check_covariate, check_task
from cmust.city.clock import local_time
from cmust.city.geometry import Geometries, Geometry, to_geometries
from cmust.city.ownership import own
from cmust.errors import CityError, reason

Floats = npt.NDArray[np.float32]
Times = npt.NDArray[np.datetime64]


@dataclass(frozen=True, eq=False)
class Task:
    """One quantity observed at the nodes of a city, in regular steps of local wall-clock time.

    Missing is NaN in ``values``; zero is data. Lists, other number types and times of another resolution are converted;
    everything else is refused. Its arrays are read-only; one that was given is copied where it could still be written
    to, and kept as it is where it cannot (:mod:`cmust.city.ownership`).

    Attributes:
        name: ``[a-z0-9_]+``, unique in the city.
        values: float32 ``(time, node, channel)``, NaN where missing, never infinite.
        time: ``datetime64[s]`` ``(time,)``, the start of each step's interval, ``interval`` seconds apart.
        nodes: unique node names ``(node,)``.
        lon: float64 ``(node,)``, degrees east, WGS84.
        lat: float64 ``(node,)``, degrees north, WGS84.
        interval: seconds between steps; divides a day.
        unit: of the values, for people: ``"trips / 30 min"``.
        kind: count, speed, risk, concentration or other.
        channels: unique channel names ``(channel,)``.
        geometry: a GeoJSON geometry (or None) per node, or None for all.
        description: for people.

    Raises:
        CityError: something is not as listed in :mod:`cmust.city.checks`.
    """

    name: str
    values: Floats
    time: Times
    nodes: tuple[str, ...]
    lon: npt.NDArray[np.float64]
    lat: npt.NDArray[np.float64]
    interval: int
    unit: str
    kind: str
    channels: tuple[str, ...] = ("value",)
    geometry: tuple[Geometry | None, ...] | None = None
    description: str = ""

    def __post_init__(self) -> None:
        """Convert and check every field."""
        what = f"task '{self.name}'"
        settle(self, "values", own(to_floats(what, self.values), self.values))
        settle(self, "time", own(to_times(what, self.time), self.time))
        settle(self, "nodes", to_labels(what, "nodes", self.nodes))
        settle(self, "channels", to_labels(what, "channels", self.channels))
        settle(self, "lon", own(to_degrees(what, "lon", self.lon), self.lon))
        settle(self, "lat", own(to_degrees(what, "lat", self.lat), self.lat))
        settle(self, "interval", to_seconds(what, self.interval))
        if self.geometry is not None:
            settle(self, "geometry", to_geometries(what, self.geometry, self.nodes))
        check_task(self)

    def __repr__(self) -> str:
        """One line: sizes, interval, span; no numbers of the data."""
        about = ", ".join(part for part in (self.kind, self.unit) if part)
        return (
            f"<Task {self.name}: {self.n_steps} steps x {self.n_nodes} nodes x {self.n_channels} channels, "
            f"every {self.interval} s, {self.time[0]} to {self.time[-1]}, {about}>"
        )

    @property
    def valid(self) -> npt.NDArray[np.bool_]:
        """Where a value was observed, bool ``(time, node, channel)``."""
        return ~np.isnan(self.values)

    @property
    def n_steps(self) -> int:
        """Length of the time axis."""
        return int(self.values.shape[0])

    @property
    def n_nodes(self) -> int:
        """Number of nodes."""
        return int(self.values.shape[1])

    @property
    def n_channels(self) -> int:
        """Number of channels."""
        return int(self.values.shape[2])

    @property
    def steps_per_day(self) -> int:
        """Steps in 24 hours."""
        return DAY // self.interval

    def to_xarray(self) -> xr.DataArray:
        """The values as a labelled array ``(time, node, channel)`` with ``lon`` and ``lat`` along ``node``."""
        return xr.DataArray(
            self.values,
            dims=("time", "node", "channel"),
            coords={
                "time": self.time,
                "node": np.array(self.nodes, dtype=object),
                "channel": np.array(self.channels, dtype=object),
                "lon": ("node", self.lon),
                "lat": ("node", self.lat),
            },
            name=self.name,
            attrs={"unit": self.unit, "kind": self.kind, "interval": self.interval, "description": self.description},
        )

    def to_frame(self) -> pd.DataFrame:
        """A long table: ``time``, ``node`` and a column per channel, a row per step and node, missing as NaN."""
        steps, nodes, _ = self.values.shape
        columns: dict[str, Any] = {
            "time": np.repeat(self.time, nodes),
            "node": np.tile(np.array(self.nodes, dtype=object), steps),
        }
        flat = self.values.reshape(steps * nodes, self.n_channels)
        return pd.DataFrame(columns | {name: flat[:, at] for at, name in enumerate(self.channels)})

    def select(self, time: slice | None = None, nodes: Sequence[str] | None = None) -> Task:
        """A part of the task.

        Args:
            time: ``slice(start, stop)``, ``start`` inside and ``stop`` outside; local times such as
                ``2019-03-20T08:00``.
            nodes: node names, in the wanted order.

        Raises:
            CityError: a node is not there, or nothing is left.
        """
        task = self
        if time is not None:
            inside = time_window(f"task '{self.name}'", self.time, time)
            task = replace(task, values=task.values[inside], time=task.time[inside])
        if nodes is not None:
            nodes = to_labels(f"task '{self.name}'", "nodes", nodes)
            at = _positions(f"task '{self.name}'", self.nodes, nodes)
            task = replace(
                task,
                values=task.values[:, at],
                nodes=nodes,
                lon=task.lon[at],
                lat=task.lat[at],
                geometry=None if task.geometry is None else Geometries(task.geometry[i] for i in at),
            )
        return task


@dataclass(frozen=True, eq=False)
class Covariate:
    """Something known beside the tasks, such as weather; kept with the city.

    Attributes:
        name: ``[a-z0-9_]+``, unique among the covariates.
        values: float32 ``(time,)`` or ``(time, node)``, NaN where missing.
        time: ``datetime64[s]`` ``(time,)``, as in :class:`Task`.
        interval: seconds between steps; divides a day.
        known_ahead: whether its future is known when forecasting (a calendar), or only observed (measured weather).
        unit: for people.
        nodes: names ``(node,)``, empty for values of the whole city.

    Raises:
        CityError: something is not as listed in :mod:`cmust.city.checks`.
    """

    name: str
    values: Floats
    time: Times
    interval: int
    known_ahead: bool
    unit: str
    nodes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Convert and check every field."""
        what = f"covariate '{self.name}'"
        settle(self, "values", own(to_floats(what, self.values), self.values))
        settle(self, "time", own(to_times(what, self.time), self.time))
        settle(self, "nodes", to_labels(what, "nodes", self.nodes))
        settle(self, "interval", to_seconds(what, self.interval))
        settle(self, "known_ahead", to_flag(what, "known_ahead", self.known_ahead))
        check_covariate(self)

    def select(self, time: slice) -> Covariate:
        """The steps from ``time.start`` (inside) to ``time.stop`` (outside).

        Raises:
            CityError: nothing is left.
        """
        inside = time_window(f"covariate '{self.name}'", self.time, time)
        return replace(self, values=self.values[inside], time=self.time[inside])


def time_window(what: str, time: Times, window: slice) -> slice:
    """Positions of the sorted ``time`` inside ``[window.start, window.stop)``.

    Raises:
        CityError: the bounds cannot be read, have a step, or leave nothing.
    """
    if not isinstance(window, slice):
        raise CityError(f"{what}: time is {window!r}, it has to be slice(start, stop)")
    if window.step is not None:
        raise CityError(f"{what}: a time slice has no step, found {window.step!r}: give slice(start, stop)")
    first = 0 if window.start is None else int(np.searchsorted(time, local_time(window.start)))
    after = len(time) if window.stop is None else int(np.searchsorted(time, local_time(window.stop)))
    if first >= after:
        raise CityError(
            f"{what}: no step lies in [{window.start}, {window.stop}); its steps go from {time[0]} to {time[-1]}"
        )
    return slice(first, after)


def to_floats(what: str, values: Any) -> Floats:
    """``values`` as float32; numbers only, masked ones as NaN.

    Raises:
        CityError: they are not numbers.
    """
    if isinstance(values, np.ma.MaskedArray) and values.dtype.kind in "fiub":
        values = np.ma.filled(values.astype(np.float64), np.nan)
    array = _to_array(what, "values", values)
    if array.dtype.kind not in "fiub":
        raise CityError(f"{what}: values are of type {array.dtype}, they have to be numbers")
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite, which the checks refuse
        return np.asarray(array, dtype=np.float32)


def to_times(what: str, time: Any) -> Times:
    """``time`` as ``datetime64[s]`` ``(time,)`` without losing anything.

    Raises:
        CityError: they are not times, carry a time zone, or have fractions of a second.
    """
    if getattr(getattr(time, "dtype", None), "tz", None) is not None:
        raise CityError(
            f"{what}: times carry a time zone; convert them to the city's wall clock and drop it (tz_localize(None))"
        )
    array = _to_array(what, "time", time)
    if array.dtype.kind in "OUS" and array.size:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # numpy only warns when it drops a time zone
                array = array.astype("datetime64[us]")
        except (ValueError, TypeError, Warning) as error:
            raise CityError(
                f"{what}: times cannot be read: {error}; give datetime64 or ISO strings, without a time zone"
            ) from error
    if array.dtype.kind != "M" or array.ndim != 1:
        raise CityError(
            f"{what}: time is {array.dtype} of shape {array.shape}, it has to be datetime64 of shape (time,)"
        )
    seconds = array.astype("datetime64[s]")
    if (broken := (seconds != array) & ~np.isnat(array)).any():
        raise CityError(f"{what}: time {array[int(broken.argmax())]} has a fraction of a second: round the times")
    return seconds


def to_seconds(what: str, interval: Any) -> int:
    """An interval in whole seconds, from a number of seconds or a time difference.

    Raises:
        CityError: it is neither, or not whole.
    """
    if isinstance(interval, (np.timedelta64, pd.Timedelta)) or hasattr(interval, "total_seconds"):
        interval = _seconds(what, interval)
    if isinstance(interval, bool) or not isinstance(interval, (int, float, np.integer, np.floating)) or interval % 1:
        raise CityError(f"{what}: the interval is {interval!r}, it has to be a whole number of seconds")
    return int(interval)


def _seconds(what: str, interval: Any) -> float:
    try:
        return pd.Timedelta(interval).total_seconds()
    except (ValueError, OverflowError) as error:  # months and years have no fixed length
        raise CityError(f"{what}: the interval is {interval!r}: {reason(error)}; give it in seconds") from error


def settle(owner: object, field: str, value: Any) -> None:
    """Set a field of something frozen: only while it is made."""
    object.__setattr__(owner, field, value)


def to_flag(what: str, field: str, value: Any) -> bool:
    """A truth value; text such as "no" is none, since all text counts as true.

    Raises:
        CityError: it is something else.
    """
    if not isinstance(value, bool | np.bool_):
        raise CityError(f"{what}: {field} is {value!r:.60} ({type(value).__name__}), it has to be True or False")
    return bool(value)


def to_labels(what: str, field: str, names: Any) -> tuple[str, ...]:
    """``names`` as texts.

    Raises:
        CityError: they are no list of names.
    """
    if isinstance(names, str):
        raise CityError(f"{what}: {field} is the text '{names}', it has to be a list of names")
    if not isinstance(names, Iterable):
        raise CityError(f"{what}: {field} is {names!r}, it has to be a list of names")
    return tuple(str(name) for name in names)


def _to_array(what: str, field: str, given: Any) -> npt.NDArray[Any]:
    try:
        return np.asarray(given)
    except (ValueError, TypeError) as error:  # rows of different lengths
        raise CityError(f"{what}: {field} cannot be read as an array: {reason(error)}") from error


def to_degrees(what: str, field: str, degrees: Any) -> npt.NDArray[np.float64]:
    """Longitudes or latitudes as float64.

    Raises:
        CityError: they are not numbers.
    """
    array = _to_array(what, field, degrees)
    if array.dtype.kind not in "fiu":
        raise CityError(f"{what}: {field} is of type {array.dtype}, it has to be numbers")
    return np.atleast_1d(np.asarray(array, dtype=np.float64))


def _positions(what: str, names: tuple[str, ...], wanted: Sequence[str]) -> list[int]:
    position = {name: at for at, name in enumerate(names)}
    missing = [name for name in wanted if name not in position]
    if missing:
        raise CityError(f"{what}: there is no node '{missing[0]}'; nodes are {shorten(names)}")
    return [position[name] for name in wanted]


def shorten(names: Sequence[str], limit: int = 8) -> str:
    """Up to ``limit`` names for a message, and how many more there are."""
    shown = ", ".join(map(str, names[:limit]))
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
