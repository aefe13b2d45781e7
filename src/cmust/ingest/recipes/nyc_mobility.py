"""Manhattan taxi and bike trips, half-hourly counts of 69 taxi zones, as of 2019.

Source: TLC yellow taxi and Citi Bike trip records as aggregated in *Forecasting Regional Multimodal Transportation
Demand with Graph Neural Networks: An Open Dataset* (ITSC 2022). Its repository, :data:`REPOSITORY`, has a file per
month and mode, 2019 and 2020. The first half of 2019 is also read from a compact form: ``flows-2019h1.npz`` (``time``,
``zone_name``, ``zone_id``, ``lon``, ``lat``, and per task unsigned counts ``(time, zone)``) and ``zones.geojson`` (the
polygons, features in node order). The counts of both are the same; the compact form rounds the corners of polygons.
"""

from __future__ import annotations

import csv
import json
import re
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cmust.city import City, Task, nonexistent_times
from cmust.errors import IngestError

REPOSITORY = "https://github.com/Evens1sen/Deep-NYC-Taxi-Bike"
TIMEZONE = "America/New_York"
TASKS = {
    "taxi_pickup": "yellow taxi trips inside Manhattan, by the zone they start in",
    "taxi_dropoff": "yellow taxi trips inside Manhattan, by the zone they end in, counted at the time they start",
    "bike_pickup": "Citi Bike trips, by the zone they start in",
    "bike_dropoff": "Citi Bike trips, by the zone they end in",
}
STEPS_A_DAY = 48
MONTHLY = {
    "data-NYCTaxi/30min/yellow_tripdata_20[0-9][0-9]-[01][0-9]-graph-inoutflow.npz": ("taxi_dropoff", "taxi_pickup"),
    "data-NYCBike/30min/20[0-9][0-9][01][0-9]-citibike-tripdata-graph-inoutflow-30.npz": (
        "bike_pickup",
        "bike_dropoff",
    ),
}
"""Of the repository: the files of a mode, and the tasks that each holds, ``(2, step, zone)``, 31 days long whatever the
month. Taxis are counted in the order in, out, bikes in the order out, in (its ``data-processing`` says so)."""


@dataclass(frozen=True)
class _Counts:
    """What a source holds: per task ``(time, zone)``, and the zones."""

    time: npt.NDArray[np.datetime64]
    tasks: dict[str, npt.NDArray[Any]]
    names: Sequence[str]
    ids: Sequence[int]
    lon: npt.NDArray[np.float64]
    lat: npt.NDArray[np.float64]
    polygons: tuple[dict[str, Any], ...]


def nyc_mobility(folder: Path | str, start: str | None = None, stop: str | None = None) -> City:
    """The city of the folder: four count tasks ``taxi_pickup, taxi_dropoff, bike_pickup, bike_dropoff``.

    The hour skipped at the start of summer time (2019-03-10 02:00 and 02:30) stands as zeros in the source; it never
    happened, so it is missing (NaN) in all tasks.

    Args:
        folder: a checkout of :data:`REPOSITORY`, or where the two files of the compact form lie.
        start: first local time, for example ``"2019-01-01"``; all there is when not given.
        stop: local time after the last, for example ``"2019-04-01"`` for the benchmark's first quarter.

    Raises:
        IngestError: a file is missing or not as described.
        CityError: nothing lies between ``start`` and ``stop``.
    """
    folder = Path(folder)
    counts = _checkout(folder) if (folder / "data-NYCTaxi").is_dir() else _compact(folder)
    time = counts.time.astype("datetime64[s]")
    skipped = nonexistent_times(time, TIMEZONE)
    nodes = _unique_names(counts.names, counts.ids)
    tasks = {}
    for name, description in TASKS.items():
        values = counts.tasks[name].astype(np.float32)[:, :, None]
        values[skipped] = np.nan
        tasks[name] = Task(
            name=name,
            values=values,
            time=time,
            nodes=nodes,
            lon=counts.lon,
            lat=counts.lat,
            interval=86_400 // STEPS_A_DAY,
            unit="trips / 30 min",
            kind="count",
            geometry=counts.polygons,
            description=description,
        )
    city = City(
        name="nyc-mobility",
        tasks=tasks,
        timezone=TIMEZONE,
        source="NYC TLC yellow taxi and Citi Bike trip records, aggregated to Manhattan taxi zones",
        description="Trips per half hour in the 69 taxi zones of Manhattan.",
    )
    return city if start is None and stop is None else city.select(time=slice(start, stop))


# ---------------------------------------------------------------- the repository


def _checkout(folder: Path) -> _Counts:
    """All months of a checkout."""
    import shapely.geometry

    zones = folder / "data-NYCZones" / "zones"
    ids, names = _read_zones(zones / "manhattan_zones.csv")
    # two zones have the number of a third one here, so they are told by their names
    polygons = _read_polygons(zones / "reprojected_manhattan_data.json", "zone", names)
    centres = [shapely.geometry.shape(polygon).centroid for polygon in polygons]
    files = {pattern: _months(folder, pattern) for pattern in MONTHLY}
    (first, taxi), (_, bike) = files.items()
    if taxi.keys() != bike.keys():
        odd = min(taxi.keys() ^ bike.keys())
        raise IngestError(f"{folder} has the month {odd} of one mode and not of the other: get it again")
    months = list(taxi)
    if any(later - earlier != np.timedelta64(1, "M") for earlier, later in pairwise(months)):
        raise IngestError(f"{folder / first} lack a month between {months[0]} and {months[-1]}: get it again")
    parts: dict[str, list[npt.NDArray[Any]]] = {name: [] for name in TASKS}
    for pattern, tasks in MONTHLY.items():
        for month, path in files[pattern].items():
            for name, counts in zip(tasks, _read_month(path, month, len(ids)), strict=True):
                parts[name].append(counts)
    begin, end = (month.astype("datetime64[m]") for month in (months[0], months[-1] + 1))
    return _Counts(
        time=np.arange(begin, end, np.timedelta64(24 * 60 // STEPS_A_DAY, "m")),
        tasks={name: np.concatenate(each) for name, each in parts.items()},
        names=names,
        ids=ids,
        lon=np.array([point.x for point in centres]),
        lat=np.array([point.y for point in centres]),
        polygons=polygons,
    )


def _months(folder: Path, pattern: str) -> dict[np.datetime64, Path]:
    """The files of a mode by month, in order."""
    found: dict[np.datetime64, Path] = {}
    for path in sorted(folder.glob(pattern)):
        digits = re.sub(r"\D", "", path.name.partition("-graph")[0].partition("-citibike")[0])
        found[np.datetime64(f"{digits[:4]}-{digits[4:6]}", "M")] = path
    if not found:
        raise IngestError(f"there is no file {folder / pattern}: give a checkout of {REPOSITORY}")
    return found


def _read_month(path: Path, month: np.datetime64, zones: int) -> npt.NDArray[Any]:
    """Two kinds of counts, ``(2, step, zone)``, of the days that the month has."""
    counts = _read_archive(path, ("arr_0",))["arr_0"]
    if counts.shape != (2, 31 * STEPS_A_DAY, zones):
        raise IngestError(
            f"{path} has counts of shape {counts.shape}, not {(2, 31 * STEPS_A_DAY, zones)}: get it again"
        )
    days = int(((month + 1).astype("datetime64[D]") - month.astype("datetime64[D]")).astype(int))
    if counts[:, days * STEPS_A_DAY :].any():
        raise IngestError(f"{path} counts trips after the last day of {month}: get it again")
    return counts[:, : days * STEPS_A_DAY]


def _read_zones(path: Path) -> tuple[list[int], list[str]]:
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        return [int(row["zone_id"]) for row in rows], [row["zone_name"] for row in rows]
    except FileNotFoundError as error:
        raise IngestError(f"there is no file {path}: give a checkout of {REPOSITORY}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IngestError(f"{path} is no list of zones with zone_id and zone_name ({error!r}): get it again") from error


# ---------------------------------------------------------------- the compact form


def _compact(folder: Path) -> _Counts:
    wanted = ("time", "zone_id", "zone_name", "lon", "lat", *TASKS)
    arrays = _read_archive(folder / "flows-2019h1.npz", wanted)
    ids = [int(zone) for zone in arrays["zone_id"]]
    return _Counts(
        time=arrays["time"],
        tasks={name: arrays[name] for name in TASKS},
        names=[str(name) for name in arrays["zone_name"]],
        ids=ids,
        lon=arrays["lon"],
        lat=arrays["lat"],
        polygons=_read_polygons(folder / "zones.geojson", "zone_id", ids),
    )


# ---------------------------------------------------------------- both


def _read_archive(path: Path, wanted: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in wanted if name not in archive.files]
            if missing:
                raise IngestError(f"{path} has no array '{missing[0]}': it is not the file described for this recipe")
            return {name: archive[name] for name in wanted}
    except FileNotFoundError as error:
        raise IngestError(
            f"there is no file {path}: give the folder that holds it, or a checkout of {REPOSITORY}"
        ) from error
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise IngestError(f"{path} cannot be read as a numpy archive ({error}): get it again") from error


def _read_polygons(path: Path, key: str, expected: Sequence[int | str]) -> tuple[dict[str, Any], ...]:
    """The polygons of a GeoJSON file, whose property ``key`` has to be as expected, in this order."""
    try:
        features = json.loads(path.read_text(encoding="utf-8"))["features"]
        found = [feature["properties"][key] for feature in features]
        polygons = tuple(feature["geometry"] for feature in features)
    except FileNotFoundError as error:
        raise IngestError(f"there is no file {path}: give the folder that holds it") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IngestError(f"{path} is not GeoJSON with a '{key}' per feature ({error!r}): get it again") from error
    if found != list(expected):
        raise IngestError(
            f"{path} lists {len(found)} zones, not the {len(expected)} of the counts in their order: get it again"
        )
    return polygons


def _unique_names(names: Sequence[str], zone_ids: Sequence[int]) -> tuple[str, ...]:
    """Zone names, with the zone number where two zones share a name."""
    return tuple(
        name if names.count(name) == 1 else f"{name} ({zone})" for name, zone in zip(names, zone_ids, strict=True)
    )
