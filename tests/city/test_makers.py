from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from cmust.city import City
from cmust.city.labels import About, ArrayLabels
from cmust.errors import CityError

TIME = pd.date_range("2020-01-01", periods=4, freq="30min")
PLACES = {"b": (10.1, 50.1), "a": (10.0, 50.0)}


def arrays(**changes: Any) -> City:
    fields: dict[str, Any] = {
        "time": TIME,
        "nodes": ["a", "b"],
        "lon": [10.0, 10.1],
        "lat": [50.0, 50.1],
    }
    values = changes.pop("values", {"x": np.arange(8).reshape(4, 2), "y": np.ones((4, 2, 3))})
    return City.from_arrays("c", values, **{**fields, **changes})


def long_table() -> pd.DataFrame:
    rows = [
        ("2020-01-01 01:30", "a", 7, 0.5),
        ("2020-01-01 00:00", "b", 1, np.nan),
        ("2020-01-01 00:30", "a", 0, 2.5),
        ("2020-01-01 00:00", "a", 3, 1.5),
    ]
    return pd.DataFrame(rows, columns=["when", "place", "trips", "speed"]).astype({"when": "datetime64[s]"})


def long_city(frame: pd.DataFrame, **changes: Any) -> City:
    fields = {"coordinates": PLACES, "values": ["trips", "speed"], "time": "when", "node": "place"}
    return City.from_frame("c", frame, **{**fields, **changes})  # type: ignore[arg-type]


def wide_table() -> pd.DataFrame:
    return pd.DataFrame({"a": [1.0, 0, np.nan, 4], "b": [5.0, 6, 7, 8]}, index=TIME)


def test_arrays_with_and_without_channels() -> None:
    city = arrays(unit={"x": "trips", "y": "km/h"}, kind="speed", timezone="Europe/Rome", synthetic=True)
    x, y = city.task("x"), city.task("y")
    np.testing.assert_array_equal(x.values, np.arange(8, dtype=np.float32).reshape(4, 2, 1))
    assert (x.interval, x.unit, x.kind, x.channels) == (1800, "trips", "speed", ("value",))
    assert (y.unit, y.channels, y.values.shape) == ("km/h", ("value0", "value1", "value2"), (4, 2, 3))
    assert city.timezone == "Europe/Rome" and city.synthetic


def test_what_is_not_named_has_no_unit_and_the_kind_other() -> None:
    city = arrays(unit={"x": "trips"}, kind={"y": "speed"})
    assert [(task.unit, task.kind) for task in city.tasks.values()] == [("trips", "other"), ("", "speed")]
    kept = City.from_xarray("c", {name: task.to_xarray() for name, task in city.tasks.items()}, kind={"x": "count"})
    assert [(task.unit, task.kind) for task in kept.tasks.values()] == [("trips", "count"), ("", "speed")]


def test_names_that_are_no_task() -> None:
    with pytest.raises(CityError, match="unit is given for trip, but the tasks are trips, speed"):
        long_city(long_table(), unit={"trip": "trips"})
    with pytest.raises(CityError, match="kind is given for a, but the tasks are x"):
        City.from_frame("c", {"x": wide_table()}, coordinates=PLACES, kind={"x": "count", "a": "speed"})
    with pytest.raises(CityError, match="kind is given for a, but the tasks are x, y"):
        City.from_xarray("c", {n: task.to_xarray() for n, task in arrays().tasks.items()}, kind={"a": "count"})


def test_arrays_with_times_by_task() -> None:
    city = arrays(
        values={"x": np.zeros((4, 2)), "day": np.zeros((2, 2))},
        time={"x": TIME, "day": np.array(["2020-01-01", "2020-01-02"], "datetime64[D]")},
    )
    assert city.task("day").interval == 86400 and city.task("x").interval == 1800


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unit": {"x": "trips", "z": "km", "zz": "km"}}, "unit is given for z, zz, but the tasks are x, y"),
        ({"kind": {"z": "count"}}, "kind is given for z, but the tasks are x, y"),
        ({"time": {"x": TIME}}, "time is given for x, but not for task 'y': add it"),
        ({"time": {"x": TIME, "y": TIME, "z": TIME}}, "time is given for z, but the tasks are x, y"),
        ({"values": {"x": np.zeros((1, 2))}, "time": TIME[:1]}, "task 'x' has 1 steps, too few to see the interval"),
        ({"values": {"x": np.zeros(4)}}, r"task 'x': values have shape \(4,\)"),
        ({"units": "trips"}, "from_arrays has no keyword 'units'; it has unit, kind"),
    ],
)
def test_bad_arrays(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CityError, match=message):
        arrays(**changes)


def test_arrays_name_what_is_needed() -> None:
    with pytest.raises(CityError, match="from_arrays needs the keyword 'lon'"):
        City.from_arrays("c", {"x": np.zeros((4, 2))}, time=TIME, nodes=["a", "b"], lat=[0, 0])  # type: ignore[call-arg]


def test_long_table_rows_in_any_order_absent_rows_missing() -> None:
    city = long_city(long_table())
    trips = city.task("trips")
    assert trips.nodes == ("b", "a") and trips.lon.tolist() == [10.1, 10.0]  # the order of the coordinates
    assert trips.time.astype(str).tolist() == [
        f"2020-01-01T{clock}:00" for clock in ("00:00", "00:30", "01:00", "01:30")
    ]
    np.testing.assert_array_equal(trips.values[:, :, 0], [[1, 3], [np.nan, 0], [np.nan, np.nan], [np.nan, 7]])
    np.testing.assert_array_equal(
        city.task("speed").values[:, :, 0], [[np.nan, 1.5], [np.nan, 2.5], [np.nan, np.nan], [np.nan, 0.5]]
    )


def test_long_table_columns_renamed_and_interval_given() -> None:
    city = long_city(long_table(), values={"rides": "trips"}, interval=900, unit="trips", kind="count")
    assert list(city.tasks) == ["rides"] and city.task("rides").n_steps == 7
    assert city.task("rides").valid.sum() == 4


def test_pandas_own_missing_values_and_text_times() -> None:
    frame = pd.DataFrame(
        {
            "time": ["2020-01-01 00:00", "2020-01-01 01:00", "2020-01-01 02:00"],
            "node": ["a", "a", "a"],
            "n": pd.array([1, None, 0], dtype="Int64"),
        }
    )
    task = City.from_frame("c", frame, coordinates=PLACES, values=["n"]).task("n")
    np.testing.assert_array_equal(task.values[:, 0, 0], [1, np.nan, 0])
    assert task.time[2] == np.datetime64("2020-01-01T02:00")


def test_masked_values_are_missing() -> None:
    values = np.ma.masked_equal(np.array([[1, 2], [9, 4], [5, 9], [7, 8]]), 9)
    np.testing.assert_array_equal(
        arrays(values={"x": values}).task("x").values[:, :, 0], [[1, 2], [np.nan, 4], [5, np.nan], [7, 8]]
    )


def test_long_table_and_back(city: City) -> None:
    trips = city.task("trips")
    places = {node: (trips.lon[at], trips.lat[at]) for at, node in enumerate(trips.nodes)}
    again = City.from_frame("c", trips.to_frame(), coordinates=places, values={"trips": "value"}).task("trips")
    np.testing.assert_array_equal(again.values, trips.values)
    np.testing.assert_array_equal(again.time, trips.time)


def double(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.concat([frame, frame.iloc[[1]]])


@pytest.mark.parametrize(
    ("frame", "changes", "message"),
    [
        (double(long_table()), {}, "2020-01-01 00:00:00 at node 'b' is there twice"),
        (long_table(), {"coordinates": {"a": (1, 2)}}, "node 'b' has no coordinates"),
        (long_table(), {"coordinates": pd.DataFrame({"lon": [1], "lat": [2]}, index=["a"])}, "node 'b' has no coord"),
        (long_table(), {"coordinates": pd.DataFrame({"x": [1]}, index=["a"])}, "coordinates have no column 'lon'"),
        (
            long_table(),
            {"coordinates": pd.DataFrame({"lon": [1, 1], "lat": [2, 2]}, index=["a", "a"])},
            "coordinates list node 'a' twice",
        ),
        (long_table(), {"time": "time"}, "the table has no column 'time'; it has when, place, trips, speed"),
        (long_table(), {"values": "trips"}, "'values' is the text 'trips', it has to be a list"),
        (long_table(), {"values": ["place"]}, "task 'place': values are of type .*, they have to be numbers"),
        (long_table().iloc[:0], {}, "the table has no rows"),
        (long_table().iloc[[0]], {}, "one time only, too few to see the interval"),
        (long_table(), {"interval": 3600}, "times are irregular: 2020-01-01T00:30:00 is not a whole number of 3600"),
        (long_table(), {"interval": "1h"}, "the interval is '1h', it has to be a whole number of seconds"),
        (long_table(), {"values": 5}, "'values' is 5, it has to be a list of column names"),
        (
            long_table(),
            {"coordinates": {"a": (1, 2, 3), "b": (1, 2, 3)}},
            r"coordinates of node 'a' are \(1, 2, 3\), they have to be \(lon, lat\)",
        ),
        (long_table(), {"coordinates": {"a": (1, 2), "b": 5}}, r"of node 'b' are 5, they have to be \(lon, lat\)"),
        (
            long_table(),
            {"coordinates": {"a": (1, 2), "b": "12"}},
            r"of node 'b' are '12', they have to be \(lon, lat\)",
        ),
        (
            long_table(),
            {"coordinates": {"a": ("x", "y"), "b": (1, 2)}},
            "coordinates of node 'a' are 'x', 'y', they have to be numbers: degrees, WGS84",
        ),
        (
            long_table(),
            {"coordinates": pd.DataFrame({"lon": ["1", "west"], "lat": [2, 2]}, index=["a", "b"])},
            "coordinates of node 'b' are 'west', '2', they have to be numbers",
        ),
        (
            long_table(),
            {"coordinates": {"a": (1, 2), "b": (None, 2)}},
            "lon of node 'b' is nan: every node needs",
        ),
        (long_table(), {"coordinates": [1, 2]}, "coordinates are a list, they have to be a dictionary of node to"),
        (long_table(), {"interval": 1000}, "the interval is 1000 seconds, it has to divide a day"),
        (long_table().assign(when=pd.NaT), {}, "row 0 of the table has no time"),
        (long_table().assign(place=["a", None] * 2), {}, "row 1 of the table has no node: .* keep_default_na=False"),
        (long_table().assign(speed=np.inf), {}, "task 'speed': 4 values are infinite|infinite"),
    ],
)
def test_bad_long_table(frame: pd.DataFrame, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CityError, match=message):
        long_city(frame, **changes)


def test_long_table_needs_its_value_columns() -> None:
    with pytest.raises(CityError, match="a long table needs 'values'"):
        City.from_frame("c", long_table(), coordinates=PLACES)


def test_wide_tables() -> None:
    coordinates = pd.DataFrame({"lon": [10.1, 10.0], "lat": [50.1, 50.0]}, index=["b", "a"])
    city = City.from_frame("c", {"trips": wide_table(), "only_a": wide_table()[["a"]]}, coordinates=coordinates)
    np.testing.assert_array_equal(city.task("trips").values[:, :, 0], [[5, 1], [6, 0], [7, np.nan], [8, 4]])
    assert city.task("trips").nodes == ("b", "a") and city.task("only_a").nodes == ("a",)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (wide_table().iloc[[0, 2, 1, 3]], "times are unsorted"),
        (wide_table().iloc[::-1], r"step 1; .* times are unsorted; sort them"),
        (wide_table().iloc[[0, 0, 1, 2]], r"time 2020-01-01T00:00:00 \(step 1; .*\) is there twice"),
        (wide_table().iloc[[0, 1, 1, 2]], r"time 2020-01-01T00:30:00 \(step 2; .*\) is there twice"),
        (wide_table().iloc[[0, 1, 3]], "is not 1800 seconds after the one before; fill the gaps with NaN"),
        (wide_table().rename(columns={"b": "z"}), "node 'z' has no coordinates"),
        (wide_table().rename(columns={"b": "a"}), "node 'a' has two columns"),
        (wide_table().reset_index(drop=True), "time is int64 of shape"),
        (wide_table().tz_localize("UTC"), "times carry a time zone"),
    ],
)
def test_bad_wide_table(table: pd.DataFrame, message: str) -> None:
    with pytest.raises(CityError, match=message):
        City.from_frame("c", {"trips": table}, coordinates=PLACES)


def test_wide_tables_take_no_column_names() -> None:
    with pytest.raises(CityError, match="'values' belongs to a long table"):
        City.from_frame("c", {"trips": wide_table()}, coordinates=PLACES, values=["trips"])


def test_xarray_and_back(city: City) -> None:
    again = City.from_xarray("again", {name: task.to_xarray() for name, task in city.tasks.items()})
    for name, task in city.tasks.items():
        other = again.task(name)
        np.testing.assert_array_equal(other.values, task.values)
        for field in ("nodes", "interval", "unit", "kind", "channels", "description"):
            assert getattr(other, field) == getattr(task, field), field


def test_xarray_dataset_with_other_order_of_dimensions() -> None:
    data = xr.Dataset(
        {"trips": (("node", "time"), np.arange(8.0).reshape(2, 4), {"units": "trips"})},
        coords={"time": TIME, "node": ["a", "b"], "lon": ("node", [1.0, 2]), "lat": ("node", [3.0, 4])},
    )
    trips = City.from_xarray("c", data, kind="count").task("trips")
    np.testing.assert_array_equal(trips.values[:, :, 0], [[0, 4], [1, 5], [2, 6], [3, 7]])
    assert (trips.unit, trips.kind, trips.interval) == ("trips", "count", 1800)


def array(**changes: Any) -> xr.DataArray:
    fields: dict[str, Any] = {
        "dims": ("time", "node"),
        "coords": {"time": TIME, "node": ["a", "b"], "lon": ("node", [1.0, 2]), "lat": ("node", [3.0, 4])},
    }
    return xr.DataArray(np.zeros((4, 2)), **{**fields, **changes})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (array().rename(node="place"), r"its dimensions are \('time', 'place'\), they have to be time, node"),
        (array().expand_dims("day"), "they have to be time, node and at most channel"),
        (array().drop_vars("lat"), "it has no coordinate 'lat': add it"),
        (array().drop_vars("time"), "it has no coordinate 'time'"),
        (array().drop_vars("lon").assign_coords(lon=("time", np.zeros(4))), r"'lon' lies along \('time',\)"),
        (array().isel(time=[0, 2, 3]), "is not 3600 seconds after"),
    ],
)
def test_bad_xarray(data: xr.DataArray, message: str) -> None:
    with pytest.raises(CityError, match=message):
        City.from_xarray("c", {"trips": data})


def test_help_names_every_keyword() -> None:
    told = City.from_arrays.__doc__ or ""
    assert [key for key in (*About.__annotations__, *ArrayLabels.__annotations__) if f"``{key}``" not in told] == []
    assert "mapping by task name where they differ in times" in told and '``timezone`` ("UTC")' in told


@pytest.mark.parametrize(
    "interval", [1800, 1800.0, pd.Timedelta("30min"), timedelta(minutes=30), np.timedelta64(30, "m")], ids=repr
)
def test_an_interval_in_any_way(interval: Any) -> None:
    made = [long_city(long_table(), interval=interval), arrays(interval=interval)]
    assert [city.interval for city in made] == [1800, 1800]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: arrays(values=np.ones((4, 2))),
            "from_arrays: found a ndarray, it has to be a dictionary by task",
        ),
        (lambda: arrays(values={"x": [[1], [1, 2]]}), "task 'x': values cannot be read as an array"),
        (lambda: arrays(lon=[[1], 2]), "from_arrays: lon cannot be read as an array"),
        (lambda: City.from_frame("c", {"x": 5}, coordinates={}), "a int for task 'x', .* task name to DataFrame"),  # type: ignore[dict-item]
        (lambda: City.from_frame("c", [5], coordinates={}), "from_frame: found a list, it has to be a dictionary"),  # type: ignore[arg-type]
        (lambda: City.from_xarray("c", xr.DataArray([1])), "from_xarray: found a DataArray, it has to be a dict"),  # type: ignore[arg-type]
    ],
)
def test_data_has_to_be_given_by_task(make: Any, message: str) -> None:
    with pytest.raises(CityError, match=message):
        make()
