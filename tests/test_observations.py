"""Tables of recent observations: read as the city they describe, or refused with a reason."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from cmust import Forecaster
from cmust.city import City
from cmust.errors import CityError, RunError
from cmust.observations import observed_city, read_observations
from tests.rolling.tiny import START, tiny_city, tiny_fit, tiny_task

QUICK = {"scheme": "joint", "training": {"start_epochs": 1, "precision": "32-true", "batch_size": 64}}
STEP = np.timedelta64(7200, "s")


def city() -> City:
    return tiny_city(tiny_task("trips", steps=180), tiny_task("visits", steps=100, interval=14400, nodes=4, channels=2))


@pytest.fixture(scope="module")
def forecaster(tmp_path_factory: pytest.TempPathFactory) -> Forecaster:
    return tiny_fit(tmp_path_factory.mktemp("runs") / "joint", city(), **QUICK)


def long(name: str, steps: int = 8, **more: object) -> pd.DataFrame:
    """The last steps of a task as rows of time, node, channel and value."""
    task = city().tasks[name]
    frame = task.select(time=slice(task.time[-steps], None)).to_frame()
    melted = frame.melt(id_vars=["time", "node"], var_name="channel", value_name="value")
    return melted.assign(task=name, **more)


def trips() -> pd.DataFrame:
    return long("trips").drop(columns=["channel", "task"])


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_a_long_table_of_all_tasks_forecasts_as_the_city_does(
    ending: str, tmp_path: Path, forecaster: Forecaster
) -> None:
    table = pd.concat([long("visits"), long("trips")]).sample(frac=1, random_state=3)
    # A missing value may stand there empty, or its row may not be there.
    table = table[table["value"].notna() | (table["node"] == "place 1")]
    path = tmp_path / f"recent.{ending}"
    table.to_csv(path, index=False) if ending == "csv" else table.to_parquet(path, index=False)
    read = read_observations(path, forecaster)
    assert set(read.tasks) == {"trips", "visits"}
    for name in ("trips", "visits"):
        whole = city().tasks[name]
        np.testing.assert_array_equal(read.tasks[name].values, whole.values[-8:])
        assert (read.tasks[name].time == whole.time[-8:]).all() and read.tasks[name].nodes == whole.nodes
        xr.testing.assert_identical(
            forecaster.predict(read, name, at=whole.time[-3]), forecaster.predict(city(), name, at=whole.time[-3])
        )


def test_a_wide_table_of_one_task(tmp_path: Path, forecaster: Forecaster) -> None:
    wide = trips().pivot(index="time", columns="node", values="value").reset_index()
    path = tmp_path / "recent.csv"
    wide[["time", "place 2", "place 0", "place 1"]].iloc[::-1].to_csv(path, index=False)
    read = read_observations(path, forecaster, "trips")
    np.testing.assert_array_equal(read.tasks["trips"].values, city().tasks["trips"].values[-8:])
    with pytest.raises(CityError, match=r"no column 'task', and the run has trips, visits"):
        read_observations(path, forecaster)


def test_a_node_may_be_called_what_pandas_takes_for_missing(tmp_path: Path) -> None:
    named = tiny_city(replace(tiny_task("trips", steps=180), nodes=("NA", "null", "001")))
    forecaster = tiny_fit(tmp_path / "run", named, **QUICK)
    path, task = tmp_path / "recent.csv", named.tasks["trips"]
    frame = task.select(time=slice(task.time[-8], None)).to_frame()
    table = frame.melt(id_vars=["time", "node"], var_name="channel").drop(columns="channel")
    table.to_csv(path, index=False)
    np.testing.assert_array_equal(read_observations(path, forecaster).tasks["trips"].values, task.values[-8:])
    table.assign(node=table["node"].replace("NA", "")).to_csv(path, index=False)
    with pytest.raises(CityError, match=r"row 0 has no node"):
        read_observations(path, forecaster)


def test_steps_without_rows_are_missing_and_zero_is_data(forecaster: Forecaster) -> None:
    table = trips()
    gap, zero = table["time"].unique()[3], table["time"].unique()[5]
    table = table[table["time"] != gap]
    table.loc[table["time"] == zero, "value"] = 0
    values = observed_city(table, forecaster, "trips").tasks["trips"].values
    assert np.isnan(values[3]).all() and (values[5] == 0).all() and len(values) == 8


def test_a_city_file_is_read_as_it_is(tmp_path: Path, forecaster: Forecaster) -> None:
    path = city().save(tmp_path / "city.zarr.zip")
    assert read_observations(path, forecaster).fingerprint() == city().fingerprint()


def numbered(table: pd.DataFrame, at: int, column: str, value: object) -> pd.DataFrame:
    changed = table.reset_index(drop=True).astype({column: object})
    changed.loc[at, column] = value
    return changed


WRONG = {
    "unknown node": (lambda t: t.replace("place 2", "place 9"), r"not trained on node place 9; it has place 0"),
    "missing node": (lambda t: t[t["node"] != "place 1"], r"node place 1 is not there; .* rows with empty values"),
    "twice": (lambda t: pd.concat([t, t.iloc[[4]]]), r"T.*:00 at node 'place .' is there twice"),
    "coarser": (lambda t: t[t["time"].isin(t["time"].unique()[::2])], "a step every 14400 s, .* trained on 7200 s"),
    "off the grid": (lambda t: t.assign(time=t["time"] + pd.Timedelta("7min")), r":07:00 is not a step .* such as"),
    "finer": (
        lambda t: pd.concat([t, t.assign(time=t["time"] + pd.Timedelta("1h"))]),
        r"is not a step of the run, which has one every 7200 s",
    ),
    "another year": (
        lambda t: numbered(t, 0, "time", t["time"].iloc[0] - pd.Timedelta("3650D")),
        r"only 9 of the 438.. steps from 2014-.* are there, and none between 2014-.* and 2024-",
    ),
    "no number": (lambda t: numbered(t, 2, "value", "many"), "a value is not a number"),
    "infinite": (lambda t: numbered(t, 2, "value", np.inf), "values are infinite"),
    "no time": (lambda t: numbered(t, 2, "time", pd.NaT), "row 2 has no time"),
    "no node": (lambda t: numbered(t, 2, "node", None), "row 2 has no node"),
    "time zone": (lambda t: t.assign(time=t["time"].dt.tz_localize("UTC")), "time zone"),
    "no times": (lambda t: t.assign(time="soon"), "times cannot be read"),
    "no column": (lambda t: t.rename(columns={"time": "when"}), "no column 'time'; it has when, node, value"),
    "nothing": (lambda t: t.iloc[:0], "has no rows"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_names_the_place(case: str, forecaster: Forecaster) -> None:
    change, message = WRONG[case]
    with pytest.raises(CityError, match=message):
        observed_city(change(trips()), forecaster, "trips")


def test_tasks_and_channels(forecaster: Forecaster) -> None:
    with pytest.raises(RunError, match="no task 'metro'"):
        observed_city(trips(), forecaster, "metro")
    with pytest.raises(RunError, match="no task 'metro'"):
        observed_city(trips().assign(task="metro"), forecaster)
    with pytest.raises(CityError, match="the run has the channels c0, c1"):
        observed_city(long("visits").query("channel == 'c0'").drop(columns="channel"), forecaster, "visits")
    with pytest.raises(CityError, match="not trained on channel c7"):
        observed_city(long("visits").replace("c1", "c7"), forecaster)


def test_too_few_steps_are_told_when_forecasting(forecaster: Forecaster) -> None:
    table = trips()
    short = observed_city(table[table["time"] >= START + 177 * STEP], forecaster, "trips")
    assert short.tasks["trips"].n_steps == 3
    with pytest.raises(CityError, match="has 3 steps before"):
        forecaster.predict(short, "trips")


def test_files_that_are_not_what_their_name_says(tmp_path: Path, forecaster: Forecaster) -> None:
    for name, message in (("none.csv", "no file"), ("bad.parquet", "cannot read"), ("table.xlsx", "give a city")):
        path = tmp_path / name
        if name != "none.csv":
            path.write_bytes(b"\x00\x01 not a table")
        with pytest.raises(CityError, match=message):
            read_observations(path, forecaster)


def test_synthetic_stays_labelled(forecaster: Forecaster) -> None:
    marked = replace(forecaster, city={**forecaster.city, "synthetic": True})
    assert observed_city(trips(), marked, "trips").synthetic
