"""Cities from what users have in memory: plain arrays, tables, labelled arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Unpack

import numpy as np
import pandas as pd
import xarray as xr

from cmust.city.checks import check_interval, check_order
from cmust.city.city import City
from cmust.city.geometry import to_geometries
from cmust.city.labels import (
    About,
    ArrayLabels,
    FrameLabels,
    check_by_task,
    check_keywords,
    check_task_names,
    city_labels,
    kind_of,
    time_of,
    unit_of,
)
from cmust.city.ownership import hand_over, own
from cmust.city.task import Floats, Task, Times, shorten, to_degrees, to_floats, to_labels, to_seconds, to_times
from cmust.errors import CityError


def from_arrays(name: str, values: Mapping[str, Any], **labels: Unpack[ArrayLabels]) -> City:
    """A city whose tasks share their nodes, from plain arrays.

    Tasks with other nodes: build each :class:`Task` and pass them to :class:`City`, or use :meth:`City.with_task`.

    Args:
        name: of the city.
        values: task name to numbers ``(time, node)`` or ``(time, node, channel)``, NaN where missing.
        **labels: ``time`` ``(time,)`` (datetime64 or ISO strings, local wall clock; for all tasks or by task name),
            ``nodes`` ``(node,)``, ``lon`` and ``lat`` ``(node,)`` degrees; optional ``interval`` (seconds or a time
            difference; the distance of the first two steps when not given), ``channels``, ``geometry`` (GeoJSON per
            node) and those of :class:`About`.

    Raises:
        CityError: something does not fit; see :mod:`cmust.city.checks`.
    """
    check_keywords("from_arrays", labels, ArrayLabels)
    check_by_task("from_arrays", values, object)
    check_task_names(labels, values)
    nodes = to_labels("from_arrays", "nodes", labels["nodes"])
    lon, lat = (to_degrees("from_arrays", field, labels[field]) for field in ("lon", "lat"))
    channels = to_labels("from_arrays", "channels", labels["channels"]) if "channels" in labels else None
    geometry = to_geometries("from_arrays", labels["geometry"], nodes) if "geometry" in labels else None
    tasks = {}
    for task_name, array in values.items():
        numbers = own(to_floats(f"task '{task_name}'", array), array)
        if numbers.ndim == 2:
            numbers = numbers[:, :, None]
        times = to_times(f"task '{task_name}'", time_of(labels, task_name))
        tasks[task_name] = Task(
            name=task_name,
            values=numbers,
            time=times,
            nodes=nodes,
            lon=lon,
            lat=lat,
            interval=_interval(task_name, times, labels),
            unit=unit_of(labels, task_name),
            kind=kind_of(labels, task_name),
            channels=_numbered(numbers.shape[-1]) if channels is None else channels,
            geometry=geometry,
        )
    return City(name, tasks, **city_labels(labels))


def from_frame(name: str, frame: pd.DataFrame | Mapping[str, pd.DataFrame], **labels: Unpack[FrameLabels]) -> City:
    """A city from one long table, or from a wide table per task.

    Long, a ``DataFrame``: a row per time and node, a column per task, rows in any order. A row that is not there, or
    NaN, is **missing**; where it means "nothing happened", put zeros in first. Wide, a mapping of task name to
    ``DataFrame``: the index is the regular time, the columns are nodes.

    Args:
        name: of the city.
        frame: long or wide.
        **labels: ``coordinates`` (node to ``(lon, lat)``, or a table with the nodes as index and columns ``lon``,
            ``lat``; its order becomes the node order). For long tables ``values`` (the value columns, or task name to
            column), ``time`` and ``node`` (column names, "time" and "node" when not given). Optional ``interval``
            (seconds or a time difference; the smallest distance of two times when not given) and those of
            :class:`About`.

    Raises:
        CityError: something does not fit; see :mod:`cmust.city.checks`.
    """
    check_keywords("from_frame", labels, FrameLabels)
    coordinates = _coordinate_table(labels["coordinates"])
    if isinstance(frame, pd.DataFrame):
        tables = _widen(frame, labels)
    else:
        surplus = [key for key in ("values", "time", "node") if key in labels]
        if surplus:
            raise CityError(
                f"from_frame: '{surplus[0]}' belongs to a long table, but wide ones were given: leave it out"
            )
        check_by_task("from_frame", frame, pd.DataFrame)
        tables = dict(frame)
    check_task_names(labels, tables)
    tasks = {}
    for task_name, table in tables.items():
        table = table.rename(columns=str)
        nodes = _known_nodes(task_name, table, coordinates)
        times = to_times(f"task '{task_name}'", table.index)
        tasks[task_name] = Task(
            name=task_name,
            values=hand_over(_numbers(f"task '{task_name}'", table[list(nodes)]))[:, :, None],
            time=times,
            nodes=nodes,
            lon=coordinates.loc[list(nodes), "lon"].to_numpy(np.float64),
            lat=coordinates.loc[list(nodes), "lat"].to_numpy(np.float64),
            interval=_interval(task_name, times, labels),
            unit=unit_of(labels, task_name),
            kind=kind_of(labels, task_name),
        )
    return City(name, tasks, **city_labels(labels))


def from_xarray(name: str, data: xr.Dataset | Mapping[str, xr.DataArray], **labels: Unpack[About]) -> City:
    """A city from labelled arrays, one per task.

    Each has the dimensions ``time`` and ``node`` (and ``channel``) in any order, and the coordinates ``time``,
    ``node``, ``lon`` and ``lat``, the last two along ``node``: what :meth:`Task.to_xarray` returns. ``unit`` (or
    ``units``), ``kind``, ``interval`` (seconds) and ``description`` are taken from the array's attributes where they
    are there; ``unit`` and ``kind`` given as keywords win.

    Args:
        name: of the city.
        data: a data set whose variables are the tasks, or a mapping of task name to array.
        **labels: those of :class:`About`.

    Raises:
        CityError: a dimension or coordinate is missing, or something does not fit; see :mod:`cmust.city.checks`.
    """
    check_keywords("from_xarray", labels, About)
    given = data.data_vars if isinstance(data, xr.Dataset) else data
    check_by_task("from_xarray", given, xr.DataArray)
    arrays = {str(key): array for key, array in given.items()}
    check_task_names(labels, arrays)
    tasks = {task_name: _task_of_array(task_name, array, labels) for task_name, array in arrays.items()}
    return City(name, tasks, **city_labels(labels))


def _task_of_array(name: str, array: xr.DataArray, labels: About) -> Task:
    what = f"task '{name}'"
    if not {"time", "node"} <= set(array.dims) <= {"time", "node", "channel"}:
        raise CityError(f"{what}: its dimensions are {array.dims}, they have to be time, node and at most channel")
    for coordinate in ("time", "node", "lon", "lat"):
        if coordinate not in array.coords:
            raise CityError(f"{what}: it has no coordinate '{coordinate}': add it with assign_coords")
    for coordinate in ("lon", "lat"):
        if array[coordinate].dims != ("node",):
            raise CityError(f"{what}: '{coordinate}' lies along {array[coordinate].dims}, it has to lie along 'node'")
    if "channel" not in array.dims:
        array = array.expand_dims("channel")
    array = array.transpose("time", "node", "channel")
    times = to_times(what, array["time"].values)
    attributes = array.attrs
    return Task(
        name=name,
        values=to_floats(what, array.values),
        time=times,
        nodes=tuple(map(str, array["node"].values)),
        lon=array["lon"].values,
        lat=array["lat"].values,
        interval=attributes["interval"] if "interval" in attributes else _first_interval(name, times),
        unit=unit_of(labels, name, attributes.get("unit", attributes.get("units", ""))),
        kind=kind_of(labels, name, attributes.get("kind", "other")),
        channels=tuple(map(str, np.atleast_1d(array["channel"].values)))
        if "channel" in array.coords
        else _numbered(array.sizes["channel"]),
        description=str(attributes.get("description", "")),
    )


def _widen(frame: pd.DataFrame, labels: FrameLabels) -> dict[str, pd.DataFrame]:
    """A long table as a wide one per task, on the regular times from its first to its last."""
    time, node = labels.get("time", "time"), labels.get("node", "node")
    if "values" not in labels:
        raise CityError("from_frame: a long table needs 'values', the names of its value columns")
    values = labels["values"]
    if isinstance(values, str) or not isinstance(values, Iterable):
        found = f"the text '{values}'" if isinstance(values, str) else repr(values)
        raise CityError(f"from_frame: 'values' is {found}, it has to be a list of column names")
    columns = dict(values) if isinstance(values, Mapping) else {column: column for column in values}
    for column in (time, node, *columns.values()):
        if column not in frame.columns:
            raise CityError(f"from_frame: the table has no column '{column}'; it has {shorten(list(frame.columns))}")
    if frame.empty:
        raise CityError("from_frame: the table has no rows")
    if (nameless := frame[node].isna().to_numpy()).any():
        raise CityError(
            f"from_frame: row {int(nameless.argmax())} of the table has no node: leave it out, or, where a node is "
            "called NA or null, read the file with keep_default_na=False"
        )
    keys = pd.DataFrame({"time": to_times("the table", frame[time]), "node": frame[node].astype(str).to_numpy()})
    if keys["time"].isna().any():
        raise CityError(f"from_frame: row {int(keys['time'].isna().to_numpy().argmax())} of the table has no time")
    twice = keys.duplicated().to_numpy()
    if twice.any():
        row = keys.iloc[int(twice.argmax())]
        raise CityError(
            f"from_frame: {row['time']} at node '{row['node']}' is there twice: keep or combine one of each"
        )
    index = _grid(keys["time"], to_seconds("from_frame", labels["interval"]) if "interval" in labels else None)
    wide = {}
    for task_name, column in columns.items():
        cells = pd.Series(_numbers(f"task '{task_name}'", frame[[column]])[:, 0], index=pd.MultiIndex.from_frame(keys))
        wide[task_name] = cells.unstack("node").reindex(index)
    return wide


def _grid(times: pd.Series[Any], interval: int | None) -> pd.DatetimeIndex:
    """The regular times from the first to the last of ``times``, all of which have to lie on it."""
    unique = np.unique(times.to_numpy())
    if interval is None:
        if len(unique) < 2:
            raise CityError(
                "from_frame: the table has one time only, too few to see the interval: give interval=SECONDS"
            )
        interval = int(np.diff(unique).min() / np.timedelta64(1, "s"))
    check_interval("from_frame", interval)
    off = (unique - unique[0]) % np.timedelta64(interval, "s") != np.timedelta64(0, "s")
    if off.any():
        raise CityError(
            f"from_frame: times are irregular: {unique[int(off.argmax())]} is not a whole number of {interval} seconds "
            f"after the first, {unique[0]}: round the times, or give interval=SECONDS"
        )
    return pd.date_range(unique[0], unique[-1], freq=pd.Timedelta(seconds=interval), unit="s")


def _coordinate_table(coordinates: pd.DataFrame | Mapping[str, tuple[float, float]]) -> pd.DataFrame:
    """Columns ``lon`` and ``lat``, degrees, the node names as index."""
    if isinstance(coordinates, pd.DataFrame):
        for column in ("lon", "lat"):
            if column not in coordinates.columns:
                raise CityError(
                    f"from_frame: coordinates have no column '{column}'; they need lon and lat, nodes as index"
                )
        table = coordinates[["lon", "lat"]]
    elif isinstance(coordinates, Mapping):
        pairs = [_pair(node, pair) for node, pair in coordinates.items()]
        table = pd.DataFrame(pairs, index=list(coordinates), columns=["lon", "lat"], dtype=object)
    else:
        raise CityError(
            f"from_frame: coordinates are a {type(coordinates).__name__}, they have to be a dictionary of node to "
            "(lon, lat), or a table with columns lon and lat"
        )
    table = table.rename(index=str)
    if table.index.has_duplicates:
        raise CityError(f"from_frame: coordinates list node '{table.index[table.index.duplicated()][0]}' twice")
    degrees: pd.DataFrame = table.apply(pd.to_numeric, errors="coerce")
    wrong = (degrees.isna() & table.notna()).any(axis=1).to_numpy()  # what is missing, the checks of the task name
    if wrong.any():
        lon, lat = table.iloc[int(wrong.argmax())]
        raise CityError(
            f"from_frame: coordinates of node '{table.index[int(wrong.argmax())]}' are '{lon}', '{lat}', they have "
            "to be numbers: degrees, WGS84"
        )
    return degrees.astype(np.float64)


def _pair(node: object, pair: Any) -> tuple[Any, Any]:
    if isinstance(pair, str | Mapping) or not isinstance(pair, Iterable) or len(numbers := tuple(pair)) != 2:
        raise CityError(f"from_frame: coordinates of node '{node}' are {pair!r}, they have to be (lon, lat)")
    return numbers[0], numbers[1]


def _known_nodes(task: str, table: pd.DataFrame, coordinates: pd.DataFrame) -> tuple[str, ...]:
    """The nodes of ``table`` in the order of ``coordinates``."""
    columns = list(table.columns)
    twice = [column for at, column in enumerate(columns) if column in columns[:at]]
    if twice:
        raise CityError(f"task '{task}': node '{twice[0]}' has two columns: names have to be unique")
    unknown = [column for column in columns if column not in coordinates.index]
    if unknown:
        raise CityError(f"task '{task}': node '{unknown[0]}' has no coordinates: add its lon and lat")
    present = set(columns)
    return tuple(node for node in coordinates.index if node in present)


def _numbers(what: str, table: pd.DataFrame) -> Floats:
    """The cells of ``table`` as float32, pandas' own missing values as NaN."""
    if all(pd.api.types.is_numeric_dtype(dtype) for dtype in table.dtypes):
        return to_floats(what, table.to_numpy(np.float64, na_value=np.nan))
    return to_floats(what, table.to_numpy())


def _interval(task: str, times: Times, labels: ArrayLabels | FrameLabels) -> int:
    """Seconds: what was given, else the distance of the first two steps."""
    if "interval" in labels:
        return to_seconds(f"task '{task}'", labels["interval"])
    return _first_interval(task, times)


def _first_interval(task: str, times: Times) -> int:
    if len(times) < 2:
        raise CityError(f"task '{task}' has {len(times)} steps, too few to see the interval: give interval=SECONDS")
    check_order(f"task '{task}'", times)  # of times in disorder the distance says nothing
    return int((times[1] - times[0]).astype(np.int64))


def _numbered(count: int) -> tuple[str, ...]:
    return ("value",) if count == 1 else tuple(f"value{at}" for at in range(count))


__all__ = ["from_arrays", "from_frame", "from_xarray"]
