import dataclasses
import hashlib
import struct
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import cmust
from cmust.city import City, nonexistent_times
from cmust.errors import CityError


def test_task_not_there_lists_the_names(city: City) -> None:
    assert city.task("speed").unit == "km/h"
    with pytest.raises(CityError, match="city 'small' has no task 'taxi'; it has trips, speed"):
        city.task("taxi")


def test_interval_is_the_finest(city: City) -> None:
    assert city.interval == 1800
    assert city.select(tasks=["speed"]).interval == 3600


def test_select_keeps_order_and_cuts_time(city: City) -> None:
    assert list(city.select(tasks=["speed", "trips"]).tasks) == ["speed", "trips"]
    part = city.select(tasks=["speed"], time=slice("2020-01-01 01:00", "2020-01-01 03:00"))
    assert part.task("speed").time.astype(str).tolist() == ["2020-01-01T01:00:00", "2020-01-01T02:00:00"]
    np.testing.assert_array_equal(part.task("speed").values[:, 0, 0], [0, np.nan])
    assert part.covariates["rain"].values.shape == (2,) and part.covariates["event"].values.shape == (2, 2)


@pytest.mark.parametrize(
    ("window", "message"),
    [
        (
            slice("2031-01-01", None),
            r"task 'trips': no step lies in \[2031-01-01, None\); its steps go from 2020-02-28",
        ),
        (slice(None, None, 2), "a time slice has no step"),
        ("2020-02-29", r"time is '2020-02-29', it has to be slice\(start, stop\)"),
        (slice("soon", None), "'soon' is not a time; write it like 2019-03-20T08:00"),
        (slice("20200101", None), "'20200101' is not a time"),
        (slice(None, "today"), "'today' is not a time"),
        (slice("2020-01", None), "'2020-01' is not a time"),
        (slice(20200101, None), "20200101 is not a time"),
        (slice(None, pd.NaT), "NaT is not a time"),
        (slice("2020-01-01T00:00:00.5", None), "00.5' is not a time"),
        (slice("2020-01-01T00:00Z", None), "a time of a zone; give the local time of the city without one"),
        (slice(pd.Timestamp("2020-01-01", tz="Asia/Tokyo"), None), "a time of a zone"),
    ],
)
def test_bad_time_slices(city: City, window: slice, message: str) -> None:
    with pytest.raises(CityError, match=message):
        city.task("trips").select(time=window)


@pytest.mark.parametrize(
    "start",
    [
        "2020-01-01 01:00",
        "2020-01-01T01:00:00",
        datetime(2020, 1, 1, 1),
        pd.Timestamp("2020-01-01 01:00"),
        np.datetime64("2020-01-01T01:00", "ns"),
    ],
)
def test_a_time_is_told_in_many_ways(city: City, start: Any) -> None:
    part = city.task("speed").select(time=slice(start, None))
    assert part.time[0] == np.datetime64("2020-01-01T01:00")
    assert city.task("speed").select(time=slice(date(2020, 1, 1), start)).n_steps == 1


def test_a_name_is_no_list_of_names(city: City) -> None:
    with pytest.raises(CityError, match="tasks is the text 'trips', it has to be a list of names"):
        city.select(tasks="trips")
    with pytest.raises(CityError, match="nodes is the text 'a', it has to be a list of names"):
        city.task("trips").select(nodes="a")


def test_select_nodes_takes_everything_along(city: City) -> None:
    part = city.task("trips").select(nodes=["ü", "a"])
    np.testing.assert_array_equal(part.values, city.task("trips").values[:, [2, 0]])
    assert part.nodes == ("ü", "a") and part.lon.tolist() == [10.2, 10.0] and part.lat.tolist() == [50.2, 50.0]
    assert part.geometry is not None and part.geometry[0] == {"type": "Point", "coordinates": [10.2, 50.2]}
    with pytest.raises(CityError, match="there is no node 'z'; nodes are a, b, ü"):
        city.task("trips").select(nodes=["a", "z"])


def test_with_task_adds_and_replaces(city: City, task: Any) -> None:
    assert list(city.with_task(task(name="more")).tasks) == ["trips", "speed", "more"]
    replaced = city.with_task(task(unit="other"))
    assert list(replaced.tasks) == ["trips", "speed"] and replaced.task("trips").unit == "other"
    assert city.task("trips").unit == "trips / 30 min"


def test_to_frame_has_a_row_per_step_and_node(city: City) -> None:
    frame = city.task("speed").to_frame()
    assert frame.columns.tolist() == ["time", "node", "cars", "lorries"] and len(frame) == 4
    trips = city.task("trips").to_frame().set_index(["time", "node"])["value"]
    assert trips[np.datetime64("2020-02-28T23:00"), "ü"] == 5 and trips.isna().sum() == 1


def test_fingerprint_sees_data_and_only_data(city: City) -> None:
    trips = city.task("trips")

    def with_trips(**changes: Any) -> City:
        return city.with_task(dataclasses.replace(trips, **changes))

    base = city.fingerprint()
    later = trips.time + np.timedelta64(3600, "s")
    value, missing = trips.values.copy(), trips.values.copy()
    value[0, 0] += 1
    missing[0, 0] = np.nan
    different = [
        with_trips(values=value),
        with_trips(values=missing),
        with_trips(time=later),
        with_trips(lon=trips.lon + 0.1),
        with_trips(lat=trips.lat + 0.1),
        with_trips(nodes=("a", "b", "c")),
        city.with_task(dataclasses.replace(trips, name="rides")),
        city.select(tasks=["speed", "trips"]),
        dataclasses.replace(city, name="other"),
        dataclasses.replace(city, covariates={}),
    ]
    prints = [one.fingerprint() for one in different]
    assert len({base, *prints}) == len(different) + 1
    assert with_trips(description="reworded").fingerprint() == base
    assert dataclasses.replace(city, source="reworded").fingerprint() == base


def test_fingerprint_does_not_see_the_sign_of_zero_or_the_bits_of_nan(city: City) -> None:
    speed = city.task("speed")
    values = speed.values.copy()
    assert np.signbit(values[1, 0, 1])
    values[1, 0, 1] = 0.0
    values[2, 0, 0] = np.array([0x7FC00123], np.uint32).view(np.float32)[0]
    assert city.with_task(dataclasses.replace(speed, values=values)).fingerprint() == city.fingerprint()


def test_fingerprint_is_this_one() -> None:
    # Written out by hand: a change of the rule makes every stored run look as if it came from another city.
    city = City.from_arrays(
        "pin", {"x": [[1.0], [np.nan]]}, time=["2020-01-01T00", "2020-01-01T01"], nodes=["n"], lon=[1.5], lat=[2.5]
    )
    texts = ["city", "pin", "UTC", "task", "x", "3600", "n", "", "value"]
    expected = b"".join(f"text {len(text)} {text}".encode() for text in texts)
    expected += b"array <f8 (1,) " + struct.pack("<d", 1.5) + b"array <f8 (1,) " + struct.pack("<d", 2.5)
    expected += b"array <i8 (2,) " + struct.pack("<qq", 1577836800, 1577840400)
    expected += b"array <f4 (2, 1, 1) " + struct.pack("<f", 1.0) + b"\x00\x00\xc0\x7f"
    assert city.fingerprint() == hashlib.sha256(expected).hexdigest()


def test_the_hour_that_does_not_exist() -> None:
    time = np.datetime64("2019-03-10T01:00", "s") + np.arange(5) * np.timedelta64(1800, "s")
    assert nonexistent_times(time, "America/New_York").tolist() == [False, False, True, True, False]
    assert not nonexistent_times(time, "Asia/Shanghai").any()
    autumn = np.datetime64("2019-11-03T00:30", "s") + np.arange(5) * np.timedelta64(1800, "s")
    assert not nonexistent_times(autumn, "America/New_York").any()  # happens twice, so it exists
    with pytest.raises(CityError, match="time zone 'New York' is not known"):
        nonexistent_times(time, "New York")


def test_a_city_and_a_task_are_shown_in_lines_without_their_numbers(city: City) -> None:
    assert repr(city).splitlines() == [
        "<City small: zone Europe/Berlin; synthetic; covariates rain, event",
        "  <Task trips: 6 steps x 3 nodes x 1 channels, every 1800 s, 2020-02-28T22:30:00 to 2020-02-29T01:00:00, "
        "count, trips / 30 min>",
        "  <Task speed: 4 steps x 1 nodes x 2 channels, every 3600 s, 2020-01-01T00:00:00 to 2020-01-01T03:00:00, "
        "speed, km/h>>",
    ]


@pytest.mark.parametrize(
    "call",
    [
        lambda given: cmust.fit(given, "run"),
        lambda given: cmust.evaluate("run", given),
        lambda given: cmust.adapt("run", given, "trips"),
        lambda given: cmust.update("run", given),
        lambda given: cmust.backtest("run", given),
        lambda given: cmust.calibrate("run", given),
    ],
)
def test_a_path_where_a_city_is_needed(call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for path in ("demo.zarr.zip", Path("demo.zarr.zip")):
        with pytest.raises(CityError, match=r"'demo.zarr.zip' is a path, not a city: give cmust.open_city\('demo"):
            call(path)
    with pytest.raises(CityError, match=r"found a dict where a city is needed: open one with cmust\.open_city"):
        call({})
    assert not list(tmp_path.iterdir())
