"""Manhattan taxi and bike trips, half-hourly counts of 69 taxi zones, first half of 2019.

The folder holds ``flows-2019h1.npz`` (``time``, ``zone_name``, ``zone_id``, ``lon``, ``lat``, and per task unsigned
counts ``(time, zone)``) and ``zones.geojson`` (the polygons, features in node order). Source: TLC yellow taxi and Citi
Bike trip records as aggregated in the open data set of the ITSC 2022 paper on regional multimodal demand in New York.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cmust.city import City, Task, nonexistent_times
from cmust.errors import IngestError

TIMEZONE = "America/New_York"
TASKS = {
    "taxi_pickup": "yellow taxi trips inside Manhattan, by the zone they start in",
    "taxi_dropoff": "yellow taxi trips inside Manhattan, by the zone they end in, counted at the time they start",
    "bike_pickup": "Citi Bike trips, by the zone they start in",
    "bike_dropoff": "Citi Bike trips, by the zone they end in",
}


def nyc_mobility(folder: Path | str, start: str | None = None, stop: str | None = None) -> City:
    """The city of the folder: four count tasks ``taxi_pickup, taxi_dropoff, bike_pickup, bike_dropoff``.

    The hour skipped at the start of summer time (2019-03-10 02:00 and 02:30) stands as zeros in the source; it never
    happened, so it is missing (NaN) in all tasks.

    Args:
        folder: where the two files lie.
        start: first local time, for example ``"2019-01-01"``; the whole half year when not given.
        stop: local time after the last, for example ``"2019-04-01"`` for the benchmark's first quarter.

    Raises:
        IngestError: a file is missing or not as described.
        CityError: nothing lies between ``start`` and ``stop``.
    """
    folder = Path(folder)
    arrays = _read_arrays(folder / "flows-2019h1.npz")
    zone_ids = [int(zone) for zone in arrays["zone_id"]]
    geometry = _read_polygons(folder / "zones.geojson", zone_ids)
    time = arrays["time"].astype("datetime64[s]")
    skipped = nonexistent_times(time, TIMEZONE)
    nodes = _unique_names([str(name) for name in arrays["zone_name"]], zone_ids)
    tasks = {}
    for name, description in TASKS.items():
        values = arrays[name].astype(np.float32)[:, :, None]
        values[skipped] = np.nan
        tasks[name] = Task(
            name=name,
            values=values,
            time=time,
            nodes=nodes,
            lon=arrays["lon"],
            lat=arrays["lat"],
            interval=1800,
            unit="trips / 30 min",
            kind="count",
            geometry=geometry,
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


def _read_arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    wanted = ("time", "zone_id", "zone_name", "lon", "lat", *TASKS)
    try:
        with np.load(path, allow_pickle=False) as archive:
            missing = [name for name in wanted if name not in archive.files]
            if missing:
                raise IngestError(f"{path} has no array '{missing[0]}': it is not the file described for this recipe")
            return {name: archive[name] for name in wanted}
    except FileNotFoundError as error:
        raise IngestError(f"there is no file {path}: give the folder that holds it") from error
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise IngestError(f"{path} cannot be read as a numpy archive ({error}): get it again") from error


def _read_polygons(path: Path, zone_ids: list[int]) -> tuple[dict[str, Any], ...]:
    try:
        features = json.loads(path.read_text(encoding="utf-8"))["features"]
        found = [int(feature["properties"]["zone_id"]) for feature in features]
        polygons = tuple(feature["geometry"] for feature in features)
    except FileNotFoundError as error:
        raise IngestError(f"there is no file {path}: give the folder that holds it") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise IngestError(f"{path} is not GeoJSON with a 'zone_id' per feature ({error!r}): get it again") from error
    if found != zone_ids:
        raise IngestError(
            f"{path} lists {len(found)} zones, not the {len(zone_ids)} of the counts in their order: get it again"
        )
    return polygons


def _unique_names(names: list[str], zone_ids: list[int]) -> tuple[str, ...]:
    """Zone names, with the zone number where two zones share a name."""
    return tuple(
        name if names.count(name) == 1 else f"{name} ({zone})" for name, zone in zip(names, zone_ids, strict=True)
    )
