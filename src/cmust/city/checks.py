"""What a task, a covariate and a city have to be: every check of the data sets stands in this one file.

Each ``check_*`` function raises :class:`cmust.errors.CityError` at the first thing that does not hold.

Checks of a task (:func:`check_task`)
    name is lower-case letters, digits and underscores, 200 of them at most; kind is known; values are ``(time, node,
    channel)``, none of the three empty; the lengths of time, nodes, lon, lat, channels and geometry fit; node and
    channel names are unique and not empty; lon and lat are finite and on the globe; the interval divides a day; times
    are valid, unique, sorted and exactly one interval apart; no value is infinite; geometry is GeoJSON of finite
    numbers; unit and description are text.
Checks of a covariate (:func:`check_covariate`)
    the same for name, values, times, interval, node names and unit.
Checks of a city (:func:`check_city`)
    it has a name and a task; keys equal the names they stand for; the time zone exists; source and description are
    text.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from cmust.errors import CityError

if TYPE_CHECKING:
    from cmust.city.city import City
    from cmust.city.task import Covariate, Task

KINDS = ("count", "speed", "risk", "concentration", "other")
DAY = 86_400
_NAME = re.compile(r"[a-z0-9_]+")
LONGEST_NAME = 200
"""Letters of a task's name. A file name has 255 at most, with what stands around it while the file is written."""
_COLLECTION = "GeometryCollection"
_DEPTH = {"Point": 1, "MultiPoint": 2, "LineString": 2, "MultiLineString": 3, "Polygon": 3, "MultiPolygon": 4}
"""How deep the numbers of a GeoJSON geometry lie in lists."""


def check_task(task: Task) -> None:
    """Raise :class:`CityError` unless ``task`` is what the module's docstring lists."""
    what = f"task '{task.name}'"
    _check_name("task", task.name)
    for field in ("kind", "unit", "description"):
        check_text(what, field, getattr(task, field))
    if task.kind not in KINDS:
        raise CityError(f"{what}: kind is '{task.kind}', it has to be one of {', '.join(KINDS)}")
    if task.values.ndim != 3:
        raise CityError(f"{what}: values have shape {task.values.shape}, they have to be (time, node, channel)")
    steps, nodes, channels = task.values.shape
    _check_length(what, "time", len(task.time), steps, "steps", task.values.shape)
    _check_length(what, "nodes", len(task.nodes), nodes, "nodes", task.values.shape)
    _check_length(what, "lon", len(task.lon), nodes, "nodes", task.values.shape)
    _check_length(what, "lat", len(task.lat), nodes, "nodes", task.values.shape)
    _check_length(what, "channels", len(task.channels), channels, "channels", task.values.shape)
    if 0 in task.values.shape:
        raise CityError(f"{what}: values have shape {task.values.shape}: there has to be a step, a node and a channel")
    _check_labels(what, "node", task.nodes)
    _check_labels(what, "channel", task.channels)
    _check_coordinate(what, "lon", task.lon, 180.0, task.nodes)
    _check_coordinate(what, "lat", task.lat, 90.0, task.nodes)
    check_interval(what, task.interval)
    check_times(what, task.time, task.interval)
    _check_finite(what, task.values, task.time, task.nodes)
    if task.geometry is not None:
        _check_length(what, "geometry", len(task.geometry), nodes, "nodes", task.values.shape)


def check_covariate(covariate: Covariate) -> None:
    """Raise :class:`CityError` unless ``covariate`` is what the module's docstring lists."""
    what = f"covariate '{covariate.name}'"
    _check_name("covariate", covariate.name)
    check_text(what, "unit", covariate.unit)
    values = covariate.values
    if values.ndim not in (1, 2):
        raise CityError(f"{what}: values have shape {values.shape}, they have to be (time,) or (time, node)")
    _check_length(what, "time", len(covariate.time), len(values), "steps", values.shape)
    _check_length(
        what, "nodes", len(covariate.nodes), values.shape[1] if values.ndim == 2 else 0, "nodes", values.shape
    )
    if 0 in values.shape:
        raise CityError(f"{what}: values have shape {values.shape}: there has to be a step (and a node)")
    _check_labels(what, "node", covariate.nodes)
    check_interval(what, covariate.interval)
    check_times(what, covariate.time, covariate.interval)
    _check_finite(what, values, covariate.time, covariate.nodes)


def check_city(city: City) -> None:
    """Raise :class:`CityError` unless ``city`` is what the module's docstring lists; its parts checked themselves."""
    check_text("the city", "name", city.name)
    if not city.name.strip():
        raise CityError("the city has no name: give one")
    what = f"city '{city.name}'"
    for field in ("source", "description"):
        check_text(what, field, getattr(city, field))
    if not city.tasks:
        raise CityError(f"{what} has no task: give at least one")
    parts: Mapping[str, Mapping[str, Any]] = {"task": city.tasks, "covariate": city.covariates}
    for kind, members in parts.items():
        for key, member in members.items():
            if key != member.name:
                raise CityError(f"{what}: the {kind} under the key '{key}' is named '{member.name}': make them equal")
    check_timezone(city.timezone)


def check_text(what: str, field: str, value: object) -> None:
    """Raise :class:`CityError` unless ``value`` is text that a file can hold."""
    if not isinstance(value, str):
        raise CityError(f"{what}: {field} is {value!r:.60} ({type(value).__name__}), it has to be text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise CityError(f"{what}: {field} is {value!r:.60}, which no file can hold as UTF-8: {error.reason}") from error


def check_timezone(timezone: str) -> None:
    """Raise :class:`CityError` unless ``timezone`` is a name of the IANA time zone database."""
    check_text("the city", "timezone", timezone)
    if timezone == "UTC":
        return
    try:
        zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise CityError(f"time zone '{timezone}' is not known: give an IANA name such as 'Europe/Berlin'") from error


def check_interval(what: str, interval: int) -> None:
    """Raise :class:`CityError` unless ``interval`` (seconds) is positive and divides a day."""
    if interval <= 0 or DAY % interval:
        raise CityError(f"{what}: the interval is {interval} seconds, it has to divide a day (86400 seconds)")


def check_times(what: str, time: npt.NDArray[np.datetime64], interval: int) -> None:
    """Raise :class:`CityError` unless ``time`` is sorted, without duplicates, ``interval`` seconds apart throughout."""
    check_order(what, time)
    off = np.diff(time).astype(np.int64) != interval
    _refuse_step(what, time, off, f"is not {interval} seconds after the one before", "fill the gaps with NaN")


def check_order(what: str, time: npt.NDArray[np.datetime64]) -> None:
    """Raise :class:`CityError` unless ``time`` is times throughout, sorted and without duplicates."""
    if np.isnat(time).any():
        raise CityError(f"{what}: the time of step {int(np.isnat(time).argmax())} is not a time (NaT): remove it")
    difference = np.diff(time).astype(np.int64)
    _refuse_step(what, time, difference == 0, "is there twice", "keep one of each")
    _refuse_step(what, time, difference < 0, "comes after a later one: times are unsorted", "sort them")


def _refuse_step(
    what: str, time: npt.NDArray[np.datetime64], wrong: npt.NDArray[np.bool_], problem: str, remedy: str
) -> None:
    if wrong.any():
        at = int(wrong.argmax()) + 1
        raise CityError(f"{what}: time {time[at]} (step {at}; before it {time[at - 1]}) {problem}; {remedy}")


def _check_name(kind: str, name: str) -> None:
    check_text(f"the {kind}", "name", name)
    if not _NAME.fullmatch(name):
        raise CityError(f"{kind} name '{name}' is not allowed: use lower-case letters, digits and underscores")
    if len(name) > LONGEST_NAME:
        raise CityError(
            f"{kind} name '{name[:40]}...' has {len(name)} letters: use {LONGEST_NAME} at most, since files of a run "
            f"are named by it"
        )


def _check_length(what: str, label: str, found: int, expected: int, axis: str, shape: tuple[int, ...]) -> None:
    if found != expected:
        raise CityError(f"{what}: {label} has {found} entries but values of shape {shape} have {expected} {axis}")


def _check_labels(what: str, label: str, names: Sequence[str]) -> None:
    seen: set[str] = set()
    for at, name in enumerate(names):
        if not name:
            raise CityError(f"{what}: the name of {label} {at} is empty")
        check_text(what, f"the name of {label} {at}", name)
        if name in seen:
            raise CityError(f"{what}: {label} name '{name}' is there twice: names have to be unique")
        seen.add(name)


def _check_coordinate(
    what: str, label: str, degrees: npt.NDArray[np.float64], limit: float, nodes: Sequence[str]
) -> None:
    if degrees.ndim != 1:
        raise CityError(f"{what}: {label} has shape {degrees.shape}, it has to be (node,)")
    wrong = ~(np.abs(degrees) <= limit)  # so that NaN is wrong too
    if wrong.any():
        at = int(wrong.argmax())
        raise CityError(
            f"{what}: {label} of node '{nodes[at]}' is {degrees[at]}: "
            f"every node needs WGS84 degrees from {-limit:g} to {limit:g}"
        )


def _check_finite(
    what: str, values: npt.NDArray[np.float32], time: npt.NDArray[np.datetime64], nodes: Sequence[str]
) -> None:
    infinite = np.isinf(values)
    if infinite.any():
        at = [int(position) for position in np.unravel_index(int(infinite.argmax()), values.shape)]
        where = f"{time[at[0]]}" + (f", node '{nodes[at[1]]}'" if values.ndim > 1 else "")
        raise CityError(
            f"{what}: {int(infinite.sum())} values are infinite (or too large for float32), the first at {where}: "
            "set what is missing to NaN"
        )


def check_geometry(what: str, node: str, shape: Any) -> None:
    """Raise :class:`CityError` unless ``shape``, of plain JSON values, is a GeoJSON geometry."""
    if not isinstance(shape, dict) or shape.get("type") not in (*_DEPTH, _COLLECTION):
        raise CityError(
            f"{what}: geometry of node '{node}' is not a GeoJSON geometry (a dictionary with a known 'type')"
        )
    content = "geometries" if shape["type"] == _COLLECTION else "coordinates"
    if content not in shape:
        raise CityError(f"{what}: geometry of node '{node}' has no '{content}'")
    if not isinstance(shape[content], list):
        raise CityError(f"{what}: '{content}' of the geometry of node '{node}' is {shape[content]!r:.60}, not a list")
    if content == "geometries":
        for each in shape[content]:
            check_geometry(what, node, each)
    elif not _numbers_at(shape[content], _DEPTH[shape["type"]]):
        raise CityError(
            f"{what}: coordinates of the geometry of node '{node}' are not those of a {shape['type']}: "
            f"give numbers, {_DEPTH[shape['type']]} lists deep"
        )


def _numbers_at(coordinates: Any, depth: int) -> bool:
    if not isinstance(coordinates, list):
        return False
    if depth == 1:
        return len(coordinates) != 1 and all(type(number) in (int, float) for number in coordinates)
    return all(_numbers_at(each, depth - 1) for each in coordinates)
