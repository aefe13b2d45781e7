"""Every check of a city data set: a bad input beside the message it gives."""

from typing import Any

import numpy as np
import pytest

from cmust.city import City, Covariate, open_city
from cmust.errors import CityError

START = np.datetime64("2020-01-01", "s")
STEP = np.timedelta64(1800, "s")
TIMES = START + np.arange(6) * STEP


def changed(array: Any, at: Any, value: Any) -> Any:
    array = np.array(array)
    array[at] = value
    return array


VALUES = np.zeros((6, 3, 1), np.float32)

BAD_TASKS: list[tuple[dict[str, Any], str]] = [
    ({"name": "Taxi Trips"}, r"task name 'Taxi Trips' is not allowed: use lower-case"),
    ({"name": ""}, r"task name '' is not allowed"),
    ({"name": "a" * 201}, r"task name 'a{40}\.\.\.' has 201 letters: use 200 at most"),
    ({"kind": "flow"}, r"kind is 'flow', it has to be one of count, speed"),
    ({"values": VALUES[:, :, 0]}, r"shape \(6, 3\), they have to be \(time, node, channel\)"),
    ({"values": VALUES[:5]}, r"time has 6 entries but values of shape \(5, 3, 1\) have 5 steps"),
    ({"values": VALUES[:, :2]}, r"nodes has 3 entries but values of shape \(6, 2, 1\) have 2 nodes"),
    ({"values": np.zeros((6, 3, 2))}, r"channels has 1 entries but values of shape \(6, 3, 2\) have 2 channels"),
    ({"values": VALUES[:0], "time": TIMES[:0]}, r"there has to be a step, a node and a channel"),
    ({"values": VALUES.astype(str)}, r"values are of type <U\d+, they have to be numbers"),
    ({"values": VALUES.astype(complex)}, r"values are of type complex128, they have to be numbers"),
    (
        {"values": changed(VALUES, (4, 1, 0), np.inf)},
        r"1 values are infinite .* the first at 2020-02-29T00:30:00, node 'b'",
    ),
    ({"values": changed(np.zeros((6, 3, 1)), (0, 0, 0), 1e300)}, r"infinite \(or too large for float32\)"),
    ({"lon": [1, 2]}, r"lon has 2 entries but values of shape \(6, 3, 1\) have 3 nodes"),
    ({"lat": [1, 2, 3, 4]}, r"lat has 4 entries"),
    ({"lon": [1, np.nan, 2]}, r"lon of node 'b' is nan: every node needs WGS84 degrees from -180 to 180"),
    ({"lat": [1, 2, np.nan]}, r"lat of node 'ü' is nan"),
    ({"lat": [1, 2, 91]}, r"lat of node 'ü' is 91.0: every node needs WGS84 degrees from -90 to 90"),
    ({"lon": np.zeros((3, 2))}, r"lon has shape \(3, 2\), it has to be \(node,\)"),
    ({"lon": ["1", "2", "3"]}, r"lon is of type <U1, it has to be numbers"),
    ({"nodes": ("a", "b", "a")}, r"node name 'a' is there twice"),
    ({"nodes": ("a", "", "b")}, r"the name of node 1 is empty"),
    ({"nodes": "abc"}, r"nodes is the text 'abc', it has to be a list of names"),
    ({"values": np.zeros((6, 3, 2)), "channels": ("x", "x")}, r"channel name 'x' is there twice"),
    ({"interval": 0}, r"the interval is 0 seconds, it has to divide a day"),
    ({"interval": 7000}, r"the interval is 7000 seconds, it has to divide a day"),
    ({"interval": -1800}, r"the interval is -1800 seconds"),
    ({"interval": 1800.5}, r"the interval is 1800.5, it has to be a whole number of seconds"),
    ({"interval": "1800"}, r"the interval is '1800', it has to be a whole number"),
    ({"interval": 3600}, r"is not 3600 seconds after the one before; fill the gaps with NaN"),
    ({"time": changed(TIMES, 3, TIMES[2])}, r"time 2020-01-01T01:00:00 \(step 3; before it .*\) is there twice"),
    ({"time": TIMES[[0, 1, 3, 2, 4, 5]]}, r"time 2020-01-01T01:00:00 \(step 3; .* times are unsorted; sort them"),
    ({"time": TIMES[::-1]}, r"step 1; .* times are unsorted"),
    ({"time": TIMES + np.array([0, 0, 0, 1800, 1800, 1800], "m8[s]")}, r"\(step 3; .*\) is not 1800 seconds after"),
    ({"time": changed(TIMES, 5, "NaT")}, r"the time of step 5 is not a time \(NaT\)"),
    ({"time": np.arange(6)}, r"time is int64 of shape \(6,\), it has to be datetime64"),
    ({"time": ["yesterday"] * 6}, r"times cannot be read"),
    ({"time": [f"2020-01-01T0{hour}:00Z" for hour in range(6)]}, r"times cannot be read: .*timezones"),
    ({"time": TIMES + np.timedelta64(500, "ms")}, r"time 2020-01-01T00:00:00.500 has a fraction of a second"),
    ({"geometry": (None, None)}, r"geometry has 2 entries for 3 nodes"),
    ({"geometry": (None, {"type": "Circle"}, None)}, r"geometry of node 'b' is not a GeoJSON geometry"),
    ({"geometry": (None, "POINT (1 2)", None)}, r"geometry of node 'b' is not a GeoJSON geometry"),
    ({"geometry": ({"type": "Point"}, None, None)}, r"geometry of node 'a' has no 'coordinates'"),
    ({"geometry": 5}, r"geometry is a int, it has to be a list, one entry per node"),
    (
        {"geometry": ({"type": "Point", "coordinates": {1, 2}}, None, None)},
        r"node 'a' cannot be stored \(it holds a set",
    ),
    ({"geometry": ({"type": "Point", "coordinates": [1, np.nan]}, None, None)}, r"node 'a' cannot be stored .* finite"),
    ({"geometry": ({"type": "Point", "coordinates": "1 2"}, None, None)}, r"'coordinates' of .* is '1 2', not a list"),
    (
        {"geometry": (None, {"type": "Polygon", "coordinates": [[1, 2], [3, 4]]}, None)},
        r"geometry of node 'b' are not those of a Polygon: give numbers, 3 lists deep",
    ),
    ({"geometry": ({"type": "Point", "coordinates": ["1", "2"]}, None, None)}, r"node 'a' are not those of a Point"),
    (
        {"geometry": ({"type": "GeometryCollection", "geometries": [{"type": "Point"}]}, None, None)},
        r"geometry of node 'a' has no 'coordinates'",
    ),
    ({"unit": 5}, r"task 'trips': unit is 5 \(int\), it has to be text"),
    ({"unit": None}, r"unit is None \(NoneType\), it has to be text"),
    ({"description": b"x"}, r"description is b'x' \(bytes\), it has to be text"),
    ({"unit": "\udcff"}, r"unit is '\\udcff', which no file can hold"),
    ({"kind": None}, r"kind is None \(NoneType\), it has to be text"),
    ({"name": None}, r"the task: name is None \(NoneType\), it has to be text"),
    ({"nodes": None}, r"nodes is None, it has to be a list of names"),
    ({"interval": np.timedelta64(1, "M")}, r"the interval is .*; give it in seconds"),
]


@pytest.mark.parametrize(("change", "message"), BAD_TASKS, ids=[message[:40] for _, message in BAD_TASKS])
def test_bad_task(task: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(CityError, match=message):
        task(**change)


def test_time_with_a_zone_is_refused(task: Any) -> None:
    import pandas as pd

    with pytest.raises(CityError, match=r"times carry a time zone; convert them to the city's wall clock"):
        task(time=pd.date_range("2020-01-01", periods=6, freq="30min", tz="UTC"))


BAD_COVARIATES: list[tuple[dict[str, Any], str]] = [
    ({"name": "Rain!"}, r"covariate name 'Rain!' is not allowed"),
    ({"values": np.zeros((6, 1, 1))}, r"shape \(6, 1, 1\), they have to be \(time,\) or \(time, node\)"),
    ({"values": np.zeros(5)}, r"time has 6 entries but values of shape \(5,\) have 5 steps"),
    ({"values": np.zeros((6, 2))}, r"nodes has 0 entries but values of shape \(6, 2\) have 2 nodes"),
    ({"nodes": ("a",)}, r"nodes has 1 entries but values of shape \(6,\) have 0 nodes"),
    ({"values": np.zeros((6, 2)), "nodes": ("a", "a")}, r"node name 'a' is there twice"),
    ({"values": changed(np.zeros(6), 2, -np.inf)}, r"1 values are infinite .* at 2020-01-01T01:00:00"),
    ({"interval": 3600}, r"is not 3600 seconds after"),
    ({"interval": 11}, r"has to divide a day"),
    ({"unit": 5}, r"covariate 'rain': unit is 5 \(int\), it has to be text"),
    ({"known_ahead": "no"}, r"known_ahead is 'no' \(str\), it has to be True or False"),
    ({"values": np.zeros(0), "time": TIMES[:0]}, r"there has to be a step"),
]


@pytest.mark.parametrize(("change", "message"), BAD_COVARIATES, ids=[message[:40] for _, message in BAD_COVARIATES])
def test_bad_covariate(change: dict[str, Any], message: str) -> None:
    fields = {
        "name": "rain",
        "values": np.zeros(6),
        "time": TIMES,
        "interval": 1800,
        "known_ahead": False,
        "unit": "mm",
    }
    Covariate(**fields)  # type: ignore[arg-type]
    with pytest.raises(CityError, match=message):
        Covariate(**{**fields, **change})  # type: ignore[arg-type]


BAD_CITIES: list[tuple[dict[str, Any], str]] = [
    ({"name": " "}, r"the city has no name"),
    ({"tasks": {}}, r"city 'c' has no task: give at least one"),
    ({"timezone": "Mars/Olympus"}, r"time zone 'Mars/Olympus' is not known"),
    ({"timezone": "../../etc/passwd"}, r"time zone '../../etc/passwd' is not known"),
    ({"timezone": None}, r"the city: timezone is None \(NoneType\), it has to be text"),
    ({"name": None}, r"the city: name is None \(NoneType\), it has to be text"),
    ({"synthetic": "no"}, r"the city: synthetic is 'no' \(str\), it has to be True or False"),
    ({"synthetic": None}, r"the city: synthetic is None"),
    ({"source": 5}, r"city 'c': source is 5 \(int\), it has to be text"),
    ({"description": None}, r"city 'c': description is None"),
    ({"tasks": []}, r"tasks is a list, it has to be a dictionary by name"),
    ({"tasks": {"trips": VALUES}}, r"tasks\['trips'\] is a ndarray, not a Task"),
    ({"covariates": {"rain": VALUES}}, r"covariates\['rain'\] is a ndarray, not a Covariate"),
]


@pytest.mark.parametrize(("change", "message"), BAD_CITIES, ids=[message[:40] for _, message in BAD_CITIES])
def test_bad_city(task: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(CityError, match=message):
        City(**{"name": "c", "tasks": {"trips": task()}, **change})


def test_key_and_name_of_a_task_agree(task: Any) -> None:
    with pytest.raises(CityError, match=r"the task under the key 'taxi' is named 'trips'"):
        City("c", {"taxi": task()})


def test_zero_is_data_and_nan_is_missing(task: Any) -> None:
    values = np.zeros((6, 3, 1), np.float32)
    values[1, 2] = np.nan
    made = task(values=values)
    assert made.valid.sum() == 17
    assert not made.valid[1, 2, 0]


def test_lossless_conversions(task: Any) -> None:
    made = task(
        values=VALUES.astype(np.int64).tolist(),
        time=[str(time) for time in TIMES],
        lon=[1, 2, 3],
        nodes=[4, 12, 13],
        interval=np.timedelta64(30, "m"),
    )
    assert made.values.dtype == np.float32
    assert made.time.dtype == "datetime64[s]" and made.time[1] == np.datetime64("2020-01-01T00:30")
    assert made.nodes == ("4", "12", "13") and made.interval == 1800 and made.lon.dtype == np.float64


def test_geometry_of_arrays_and_tuples_becomes_plain_lists(task: Any, tmp_path: Any) -> None:
    ring = np.array([[0, 0], [0, 1], [1, 1], [0, 0]], np.float32)
    point = {"type": "Point", "coordinates": (np.float64(1), 2)}
    made = task(geometry=({"type": "Polygon", "coordinates": [ring]}, None, point))
    outline = {"type": "Polygon", "coordinates": [[[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.0, 0.0]]]}
    assert made.geometry == (outline, None, {"type": "Point", "coordinates": [1.0, 2]})
    opened = open_city(City("c", {"trips": made}, synthetic=np.bool_(True)).save(tmp_path / "c.zarr.zip"))
    assert opened.task("trips").geometry == made.geometry and opened.synthetic is True
