"""A city as LibCity atomic files: ``NAME.geo``, ``NAME.dyna``, ``NAME.rel`` on request, ``config.json``.

LibCity reads a ``.dyna`` by position: all steps of the first entity, then all of the second, entities in the order of
the ``.geo``. Its times carry a Z but are used as they stand: local wall-clock time, as here.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cmust.city import City, Task
from cmust.errors import IngestError
from cmust.files import atomic_folder
from cmust.ingest.formats.missing import Missing, check_missing, fill

_EARTH = 6_371_000.0  # mean radius, metres
_NOT_TEXT = {
    "",
    "NA",
    "N/A",
    "NaN",
    "nan",
    "null",
    "NULL",
    "None",
    "n/a",
    "<NA>",
    "#N/A",
    "-nan",
    "-NaN",
    "1.#IND",
    "1.#QNAN",
    "#NA",
}


def export_libcity(
    city: City,
    target: Path,
    *,
    missing: Missing = Missing.REFUSE,
    neighbours: int = 0,
    progress: Callable[[str], None] | None = None,
) -> tuple[str, ...]:
    """Write ``city`` as one LibCity data set named like the folder ``target``, a data column per task and channel.

    Args:
        city: its tasks have to share nodes, interval and times.
        target: a folder that does not exist yet (or is empty); LibCity expects it below ``raw_data``.
        missing: what becomes of missing values; an empty cell under ``Missing.NAN``.
        neighbours: when not 0, a ``.rel`` with the distance in metres from each node to that many nearest ones.
        progress: called with a sentence before each file.

    Returns:
        What a reader of the folder should know, a sentence each.

    Raises:
        IngestError: the target exists, the tasks do not fit one data set, or values are missing and the rule is to
            refuse.
    """
    name = target.absolute().name
    if not re.fullmatch(r"[A-Za-z0-9_()-]+", name):
        raise IngestError(
            f"'{name}' cannot name a LibCity data set: use letters, digits, '_' and '-' for the folder's name"
        )
    shared = _shared(city)
    _check_nodes(shared)
    if not 0 <= neighbours < shared.n_nodes:
        raise IngestError(
            f"neighbours is {neighbours}, it has to be from 0 to {shared.n_nodes - 1}, the number of other nodes"
        )
    notes = check_missing(city, missing)
    columns: dict[str, npt.NDArray[np.float32]] = {}
    for task in city.tasks.values():
        for at, channel in enumerate(task.channels):
            column = task.name if task.n_channels == 1 else f"{task.name}_{channel}"
            if column in columns:
                raise IngestError(
                    f"two columns would be called '{column}', one of task '{task.name}': rename that task"
                )
            columns[column] = fill(task.values[:, :, at], missing)
    say = progress or (lambda _: None)
    with atomic_folder(target) as folder:
        say(f"{name}.geo, {shared.n_nodes} nodes")
        _write_geo(folder / f"{name}.geo", shared)
        if neighbours:
            say(f"{name}.rel, {shared.n_nodes * neighbours} pairs")
            _write_rel(folder / f"{name}.rel", shared, neighbours)
        say(f"{name}.dyna, {shared.n_nodes * shared.n_steps} rows")
        _write_dyna(folder / f"{name}.dyna", shared, columns)
        config = _config(name, city, shared, list(columns), bool(neighbours))
        (folder / "config.json").write_text(json.dumps(config, indent=1, ensure_ascii=False), encoding="utf-8")
    return notes


def _shared(city: City) -> Task:
    """Any task, after making sure that all have the same nodes and times."""
    first, *others = city.tasks.values()
    for other in others:
        same_time = other.interval == first.interval and np.array_equal(other.time, first.time)
        same_places = np.array_equal(other.lon, first.lon) and np.array_equal(other.lat, first.lat)
        if other.nodes != first.nodes or not same_time or not same_places:
            raise IngestError(
                f"tasks '{first.name}' and '{other.name}' differ in nodes or times, a LibCity data set has one "
                "set of each: "
                "select the tasks that share them and export each set on its own"
            )
    return first


def _check_nodes(task: Task) -> None:
    """LibCity reads ids with pandas' defaults: a name that means missing there would be lost."""
    for node in task.nodes:
        if node in _NOT_TEXT:
            raise IngestError(f"node name '{node}' reads as missing in LibCity: rename the node")


def _write_geo(path: Path, task: Task) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["geo_id", "type", "coordinates"])
        for node, lon, lat in zip(task.nodes, task.lon.tolist(), task.lat.tolist(), strict=True):
            writer.writerow([node, "Point", f"[{lon!r}, {lat!r}]"])


def _write_rel(path: Path, task: Task, neighbours: int) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["rel_id", "type", "origin_id", "destination_id", "cost"])
        row = 0
        for origin, node in enumerate(task.nodes):
            metres = great_circle(task.lon[origin], task.lat[origin], task.lon, task.lat)
            metres[origin] = np.inf
            for destination in np.argsort(metres, kind="stable")[:neighbours]:
                writer.writerow([row, "geo", node, task.nodes[destination], f"{metres[destination]:.3f}"])
                row += 1


def great_circle(
    lon: float, lat: float, lons: npt.NDArray[np.float64], lats: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Metres from one place to others (N,), haversine on a sphere."""
    lon, lat, lons, lats = np.radians(lon), np.radians(lat), np.radians(lons), np.radians(lats)
    half = np.sin((lats - lat) / 2) ** 2 + np.cos(lat) * np.cos(lats) * np.sin((lons - lon) / 2) ** 2
    distance: npt.NDArray[np.float64] = 2 * _EARTH * np.arcsin(np.sqrt(np.clip(half, 0, 1)))
    return distance


def _write_dyna(path: Path, task: Task, columns: dict[str, npt.NDArray[np.float32]]) -> None:
    """All steps of the first node, then all of the second; the lines of one node in memory at a time."""
    times = [f"{time}Z" for time in np.datetime_as_string(task.time, unit="s")]
    with path.open("w", newline="", encoding="utf-8") as file:
        file.write(_line("dyna_id", "type", "time", "entity_id", *columns))
        for at, node in enumerate(task.nodes):
            entity = _line(node).rstrip("\n")  # quoted where it has to be
            cells = map(",".join, zip(*(_cells(values[:, at]) for values in columns.values()), strict=True))
            rows = enumerate(zip(times, cells, strict=True), start=at * len(times))
            file.writelines(f"{row},state,{time},{entity},{numbers}\n" for row, (time, numbers) in rows)


def _line(*fields: str) -> str:
    """A line of CSV."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(fields)
    return line.getvalue()


def _cells(values: npt.NDArray[np.float32]) -> list[str]:
    """The shortest texts that give the same float32 back; empty where missing."""
    texts: list[str] = np.where(np.isnan(values), "", values.astype(np.str_)).tolist()
    return texts


def _config(name: str, city: City, task: Task, columns: list[str], with_rel: bool) -> dict[str, Any]:
    """What LibCity's configuration of a data set holds, and a part ``cmust`` that only we read, for the labels."""
    info: dict[str, Any] = {
        "data_col": columns,
        "data_files": [name],
        "geo_file": name,
        "output_dim": len(columns),
        "time_intervals": task.interval,
        # Neighbours as 0 and 1: LibCity's Gaussian kernel of the distances would cut most of so few, so even ones.
        "init_weight_inf_or_zero": "zero",
        "set_weight_link_or_dist": "link",
        "calculate_weight_adj": False,
        "weight_adj_epsilon": 0.1,
    }
    config: dict[str, Any] = {
        "geo": {"including_types": ["Point"], "Point": {}},
        "dyna": {"including_types": ["state"], "state": {"entity_id": "geo_id", **dict.fromkeys(columns, "num")}},
        "info": info,
        "cmust": {
            "synthetic": city.synthetic,
            "timezone": city.timezone,
            "tasks": {
                column: {"kind": one.kind, "unit": one.unit}
                for column, one in zip(columns, (one for one in city.tasks.values() for _ in one.channels), strict=True)
            },
        },
    }
    if with_rel:
        config["rel"] = {"including_types": ["geo"], "geo": {"cost": "num"}}
        info |= {"rel_file": name, "weight_col": "cost"}
    return config
