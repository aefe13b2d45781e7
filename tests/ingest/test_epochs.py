"""Numbers that count from 1970 in UTC, as times: they are put on the city's wall clock, or refused as local times."""

import re

import numpy as np
import pandas as pd
import pytest
from helpers import GRID_OF_FOUR, plan_of, run, write_csv
from typer.testing import CliRunner

from cmust.city import open_city
from cmust.cli.ingest import app
from cmust.errors import IngestError
from cmust.ingest.engine import open_engine
from cmust.ingest.sensors import Quantity, SensorPlan, ingest_sensors

MOMENT = int(pd.Timestamp("2024-04-01 00:10", tz="Asia/Kolkata").timestamp())
LATER = int(pd.Timestamp("2024-04-01 05:10", tz="Asia/Kolkata").timestamp())
HERE = ["2024-04-01T00:00:00", "2024-04-01T05:00:00"]


def events(files, **changes):
    return run(files, plan_of(**{"place": GRID_OF_FOUR, "timezone": "Asia/Kolkata", "interval": 3600} | changes))


def hours(city):
    """The steps that are not empty."""
    [task] = city.tasks.values()
    return [str(time) for time in task.time[np.nansum(task.values, axis=(1, 2)) > 0]]


@pytest.mark.parametrize("utc", [None, True])
@pytest.mark.parametrize("times", [(MOMENT, LATER), (MOMENT * 1000, LATER * 1000), (f"{MOMENT}.5", f"{LATER}.25")])
def test_epochs_of_a_csv_are_instants(tmp_path, times, utc):
    path = write_csv(tmp_path / "a.csv", [[time, 0.5, 0.5] for time in times])
    assert hours(events(path, utc=utc).city) == HERE


@pytest.mark.parametrize("utc", [None, True])
def test_epochs_of_a_parquet_are_instants(tmp_path, utc):
    frame = pd.DataFrame({"time": [MOMENT, LATER], "lon": 0.5, "lat": 0.5})
    frame.to_parquet(tmp_path / "a.parquet")
    assert hours(events(tmp_path / "a.parquet", time_format="epoch", utc=utc).city) == HERE


def test_readings(tmp_path):
    path = write_csv(
        tmp_path / "a.csv", [[time, "n", 1, 0.5, 0.5] for time in (MOMENT, LATER)], ("t", "node", "v", "x", "y")
    )
    plan = SensorPlan("s", "node", "t", (Quantity("v", "v", "sum"),), "Asia/Kolkata", 3600, lon="x", lat="y")
    with open_engine(threads=1) as engine:
        assert hours(ingest_sensors([path], plan, engine).city) == HERE


def test_epochs_are_not_local(tmp_path):
    path = write_csv(tmp_path / "a.csv", [[MOMENT, 0.5, 0.5]])
    with pytest.raises(IngestError, match=r"a\.csv: its times are numbers .*so they are not local.*--times-in utc"):
        events(path, utc=False)


def test_epochs_beside_other_times(tmp_path):
    numbers = write_csv(tmp_path / "a.csv", [[MOMENT, 0.5, 0.5]])
    texts = write_csv(tmp_path / "b.csv", [["2024-03-31 23:40:00", 0.5, 0.5]], ("time", "lat", "lon"))
    with pytest.raises(IngestError, match=r"a\.csv has times as numbers .*b\.csv has others: write them alike, or say"):
        events([numbers, texts])
    assert hours(events([numbers, texts], utc=True).city) == HERE


def test_a_format_says_nothing_of_what_is_a_time_already(tmp_path):
    frame = pd.DataFrame({"time": pd.to_datetime(HERE), "lon": 0.5, "lat": 0.5})
    frame.to_parquet(tmp_path / "a.parquet")
    assert hours(events(tmp_path / "a.parquet", time_format="epoch").city) == HERE


@pytest.mark.parametrize("clock", [[], ["--times-in=utc"], ["--times-in=local"]])
def test_the_command(tmp_path, clock):
    path = write_csv(tmp_path / "a.csv", [[MOMENT, 0.5, 0.5], [LATER, 0.5, 0.5]])
    command = ["events", str(path), "--to", str(tmp_path / "c.zarr.zip"), "--timezone=Asia/Kolkata", "--time=time"]
    command += ["--lon=lon", "--lat=lat", "--box=0,0,2,2", "--grid=2x2", "--interval=1h", *clock]
    result = CliRunner().invoke(app, command)
    if clock == ["--times-in=local"]:
        assert re.search("not local: leave out --times-in", str(result.exception))
        assert not (tmp_path / "c.zarr.zip").exists()
    else:
        assert hours(open_city(tmp_path / "c.zarr.zip")) == HERE
