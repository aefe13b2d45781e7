"""Beijing air quality: six pollutants and the weather at 12 stations, hourly, March 2013 to February 2017.

The folder holds one ``STATION.csv.gz`` per station (columns ``year, month, day, hour``, the pollutants, the weather;
``NA`` where missing) and ``stations.csv`` (``station, lon, lat``, approximate). Source: UCI Beijing Multi-Site
Air-Quality.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pandas as pd

from cmust.city import City, Covariate, Task
from cmust.errors import IngestError

POLLUTANTS = {"PM2.5": "pm25", "PM10": "pm10", "SO2": "so2", "NO2": "no2", "CO": "co", "O3": "o3"}
WEATHER = {
    "TEMP": ("temp", "degC"),
    "PRES": ("pres", "hPa"),
    "DEWP": ("dewp", "degC"),
    "RAIN": ("rain", "mm"),
    "WSPM": ("wspm", "m/s"),
}
CLOCK = ["year", "month", "day", "hour"]


def beijing_air(folder: Path | str) -> City:
    """The city: tasks ``pm25, pm10, so2, no2, co, o3`` and weather covariates ``temp, pres, dewp, rain, wspm``.

    ``NA`` becomes NaN (missing); nothing is filled. The weather is only observed, not known ahead.

    Raises:
        IngestError: a file is missing or not as described.
        CityError: the stations' hours are not one regular time axis.
    """
    folder = Path(folder)
    stations = _read_table(folder / "stations.csv", ["station", "lon", "lat"])
    nodes = tuple(stations["station"].astype(str))
    tables = [_read_station(folder / f"{node}.csv.gz") for node in nodes]
    time = tables[0].index
    for node, table in zip(nodes, tables, strict=True):
        if not table.index.equals(time):
            raise IngestError(f"{folder / node}.csv.gz has other hours than {nodes[0]}.csv.gz: get the files again")
    tasks = {
        name: Task(
            name=name,
            values=np.stack([table[column].to_numpy(np.float32) for table in tables], axis=1)[:, :, None],
            time=time.to_numpy(),
            nodes=nodes,
            lon=stations["lon"].to_numpy(np.float64),
            lat=stations["lat"].to_numpy(np.float64),
            interval=3600,
            unit="ug/m3",
            kind="concentration",
            description=f"{column}, hourly mean",
        )
        for column, name in POLLUTANTS.items()
    }
    covariates = {
        name: Covariate(
            name=name,
            values=np.stack([table[column].to_numpy(np.float32) for table in tables], axis=1),
            time=time.to_numpy(),
            interval=3600,
            known_ahead=False,
            unit=unit,
            nodes=nodes,
        )
        for column, (name, unit) in WEATHER.items()
    }
    return City(
        name="beijing-air",
        tasks=tasks,
        timezone="Asia/Shanghai",
        source="UCI Beijing Multi-Site Air-Quality",
        description="Six pollutants at 12 stations, March 2013 to February 2017.",
        covariates=covariates,
    )


def _read_station(path: Path) -> pd.DataFrame:
    """The pollutants and the weather by local time."""
    table = _read_table(path, [*CLOCK, *POLLUTANTS, *WEATHER])
    try:
        time = pd.to_datetime(table[CLOCK])
        return table[[*POLLUTANTS, *WEATHER]].astype(np.float32).set_index(pd.DatetimeIndex(time))
    except ValueError as error:
        raise IngestError(f"{path} holds something that is not a number or a time ({error}): get it again") from error


def _read_table(path: Path, columns: list[str]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, na_values=["NA"])
    except FileNotFoundError as error:
        raise IngestError(f"there is no file {path}: give the folder that holds it") from error
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise IngestError(f"{path} cannot be read as a table ({error}): get it again") from error
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise IngestError(f"{path} has no column '{missing[0]}': it is not the file described for this recipe")
    return table
