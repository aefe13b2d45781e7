"""Export to LibCity: read by position as LibCity reads, and by our own import."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cmust.city import City, Task
from cmust.errors import IngestError
from cmust.ingest.formats import ImportSettings, Missing, export_libcity, import_libcity

TIME = np.datetime64("2019-03-10T00:00", "s") + np.arange(50) * np.timedelta64(1800, "s")
NODES = ("Midtown, East", "7", "SoHo")
LON, LAT = np.array([-73.97, -73.98, -74.0012345678901]), np.array([40.75, 40.76, 40.72])


def make_task(name: str, channels: int = 1, **change: object) -> Task:
    values = np.random.default_rng(len(name)).normal(10, 4, (50, 3, channels)).astype(np.float32)
    names = ("value",) if channels == 1 else ("in", "out")
    fields = {"values": values, "time": TIME, "nodes": NODES, "lon": LON, "lat": LAT, "interval": 1800} | change
    return Task(name=name, unit="trips", kind="count", channels=names, **fields)  # type: ignore[arg-type]


CITY = City("nyc", {"taxi": make_task("taxi"), "bike": make_task("bike", 2)}, "America/New_York", synthetic=True)


def read_by_position(folder: Path, name: str) -> tuple[list[object], np.ndarray, np.ndarray]:
    """What LibCity's point data set does: ids from the .geo, times of the first entity, a block of rows per entity."""
    config = json.loads((folder / "config.json").read_text())["info"]
    ids = list(pd.read_csv(folder / f"{config['geo_file']}.geo")["geo_id"])
    table = pd.read_csv(folder / f"{name}.dyna")[["time", "entity_id", *config["data_col"]]]
    steps = len(table) // len(ids)
    times = np.array([text.replace("T", " ").replace("Z", "") for text in table["time"][:steps]], dtype="datetime64[s]")
    blocks = [table.iloc[first : first + steps, 2:].to_numpy() for first in range(0, len(table), steps)]
    return ids, times, np.stack(blocks, axis=1)


def test_read_as_libcity_reads(tmp_path: Path) -> None:
    export_libcity(CITY, tmp_path / "NYC")
    ids, times, values = read_by_position(tmp_path / "NYC", "NYC")
    assert ids == list(NODES)
    np.testing.assert_array_equal(times, TIME)
    expected = np.concatenate([CITY.task("taxi").values, CITY.task("bike").values], axis=2)
    np.testing.assert_array_equal(values.astype(np.float32), expected)
    config = json.loads((tmp_path / "NYC" / "config.json").read_text())
    assert config["info"]["data_col"] == ["taxi", "bike_in", "bike_out"]
    assert config["info"]["output_dim"] == 3 and config["info"]["time_intervals"] == 1800
    assert config["dyna"]["state"] == {"entity_id": "geo_id", "taxi": "num", "bike_in": "num", "bike_out": "num"}
    assert not (tmp_path / "NYC" / "NYC.rel").exists() and "rel" not in config


def test_round_trip(tmp_path: Path) -> None:
    export_libcity(CITY, tmp_path / "NYC")
    back = import_libcity(tmp_path / "NYC", ImportSettings("nyc", "America/New_York")).city
    np.testing.assert_array_equal(back.task("taxi").values, CITY.task("taxi").values)
    np.testing.assert_array_equal(back.task("bike_out").values[:, :, 0], CITY.task("bike").values[:, :, 1])
    taxi = back.task("taxi")
    assert taxi.nodes == NODES and taxi.unit == "trips" and taxi.kind == "count" and back.synthetic
    np.testing.assert_array_equal(taxi.lon, LON)
    np.testing.assert_array_equal(taxi.time, TIME)


def test_labels_travel_whatever_the_names(tmp_path: Path) -> None:
    """A task's name comes back as it is; a channel's, which may hold any letters, becomes one of a task."""
    d = replace(make_task("d", 2), channels=("In ", "Out"))
    tasks = [make_task("a__b"), make_task("a_b"), make_task("_c_"), d]
    export_libcity(City("nyc", {task.name: task for task in tasks}, "UTC"), tmp_path / "NYC")
    back = import_libcity(tmp_path / "NYC", ImportSettings("nyc", "UTC"))
    assert list(back.city.tasks) == ["a__b", "a_b", "_c_", "d_in", "d_out"]
    assert {(task.unit, task.kind) for task in back.city.tasks.values()} == {("trips", "count")}
    np.testing.assert_array_equal(back.city.task("a__b").values, tasks[0].values)
    assert back.notes == ()


def test_neighbours(tmp_path: Path) -> None:
    export_libcity(CITY, tmp_path / "NYC", neighbours=1)
    info = json.loads((tmp_path / "NYC" / "config.json").read_text())["info"]
    assert (info["rel_file"], info["weight_col"], info["set_weight_link_or_dist"]) == ("NYC", "cost", "link")
    rel = pd.read_csv(tmp_path / "NYC" / "NYC.rel")
    assert list(rel.columns) == ["rel_id", "type", "origin_id", "destination_id", "cost"]
    assert list(zip(rel["origin_id"], rel["destination_id"], strict=True)) == [
        ("Midtown, East", "7"),
        ("7", "Midtown, East"),
        ("SoHo", "Midtown, East"),
    ]
    # By hand: 0.01 degrees of latitude are 1111.95 m, 0.01 of longitude at 40.755 degrees 842.4 m; together 1395 m.
    np.testing.assert_allclose(rel["cost"][0], 1395.0, atol=1.0)
    with pytest.raises(IngestError, match="neighbours is 3, it has to be from 0 to 2"):
        export_libcity(CITY, tmp_path / "other", neighbours=3)


def test_missing_values_by_the_stated_rule(tmp_path: Path) -> None:
    values = CITY.task("taxi").values.copy()
    values[3, 1] = np.nan
    city = City("nyc", {"taxi": make_task("taxi", values=values)})
    with pytest.raises(IngestError, match=r"missing values \(taxi: 1 of 150\)"):
        export_libcity(city, tmp_path / "NYC")
    export_libcity(city, tmp_path / "NAN", missing=Missing.NAN)
    np.testing.assert_array_equal(read_by_position(tmp_path / "NAN", "NAN")[2].astype(np.float32), values)
    export_libcity(city, tmp_path / "ZERO", missing=Missing.ZERO)
    zero = read_by_position(tmp_path / "ZERO", "ZERO")[2]
    np.testing.assert_array_equal(zero.astype(np.float32), np.nan_to_num(values))


@pytest.mark.parametrize(
    ("city", "name", "message"),
    [
        (City("c", {"a": make_task("a"), "b": make_task("b", time=TIME + 1800)}), "NYC", "'a' and 'b' differ in nodes"),
        (City("c", {"a": make_task("a"), "b": make_task("b", lat=LAT + 1)}), "NYC", "'a' and 'b' differ in nodes"),
        (City("c", {"a": make_task("a", nodes=("NA", "b", "c"))}), "NYC", "node name 'NA' reads as missing"),
        (
            City("c", {"a": make_task("a", 2), "a_in": make_task("a_in")}),
            "NYC",
            "two columns would be called 'a_in'",
        ),
        (CITY, "New York", "'New York' cannot name a LibCity data set"),
    ],
)
def test_cities_that_do_not_fit(tmp_path: Path, city: City, name: str, message: str) -> None:
    with pytest.raises(IngestError, match=message):
        export_libcity(city, tmp_path / name)
    assert list(tmp_path.iterdir()) == []
