"""Nobody changes a city by changing the arrays it was made from, and no data is copied that need not be."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cmust.city import City, Covariate, open_city
from cmust.city.ownership import hand_over

TIME = np.datetime64("2024-03-01", "s") + np.arange(4) * np.timedelta64(3600, "s")


def given(*shape: int) -> Any:
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.mark.parametrize("field", ["values", "time", "lon", "lat"])
def test_what_the_caller_writes_later_changes_no_task(task: Any, field: str) -> None:
    array = getattr(task(), field).copy()
    made = task(**{field: array})
    before = City("c", {"trips": made}).fingerprint()
    array[-1] = array[0]
    assert City("c", {"trips": made}).fingerprint() == before


def test_nor_does_a_read_only_view_of_what_can_be_written_to(task: Any) -> None:
    array = given(6, 3, 1)
    view = array[:]
    view.flags.writeable = False
    made = task(values=view)
    array[0] = 99
    assert made.values[0, 0, 0] == 0


def test_what_the_caller_writes_later_changes_no_city() -> None:
    trips, lon, rain, shape = given(4, 2), np.array([1.0, 2.0]), given(4), {"type": "Point", "coordinates": [1.0, 2.0]}
    city = City.from_arrays(
        "c", {"trips": trips}, time=TIME, nodes=["a", "b"], lon=lon, lat=[1, 2], geometry=[shape, None]
    )
    covariates = {"rain": Covariate("rain", rain, TIME, 3600, False, "mm")}
    city = dataclasses.replace(city, covariates=covariates)
    before = city.fingerprint()
    trips[:], lon[:], rain[:], shape["coordinates"][0] = 7, 7, 7, 7.0
    covariates.clear()
    assert city.fingerprint() == before
    geometry = city.task("trips").geometry
    assert geometry is not None and geometry[0] == {"type": "Point", "coordinates": [1.0, 2.0]}


def test_tables_and_labelled_arrays_too() -> None:
    trips = given(4, 2)
    frame = pd.DataFrame(trips, index=TIME, columns=["a", "b"], copy=False)
    wide = City.from_frame("c", {"trips": frame}, coordinates={"a": (1, 2), "b": (3, 4)})
    array = wide.task("trips").to_xarray().copy(deep=True)
    labelled = City.from_xarray("c", {"trips": array})
    before = wide.fingerprint()
    assert labelled.fingerprint() == before
    frame.iloc[0, 0] = trips[1, 1] = array[2, 1] = array.coords["lon"][0] = 77
    assert wide.fingerprint() == before == labelled.fingerprint()


def test_the_arrays_of_a_city_cannot_be_written_to(city: City, tmp_path: Path) -> None:
    for each in (city, open_city(city.save(tmp_path / "c.zarr.zip"))):
        for array in (each.task("trips").values, each.task("trips").time, each.task("trips").lon):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = array[-1]
        with pytest.raises(ValueError, match="read-only"):
            each.covariates["rain"].values[0] = 1


def test_nothing_is_copied_that_nobody_can_write_to(task: Any, city: City) -> None:
    made = task()
    for derived in (
        dataclasses.replace(made, unit="other"),
        made.select(time=slice(made.time[2], None)),
        city.with_task(made).select(tasks=["trips"]).task("trips"),
        City("c", {"trips": made}).task("trips"),
    ):
        assert np.shares_memory(derived.values, made.values) and np.shares_memory(derived.lon, made.lon)
    assert dataclasses.replace(city.task("trips"), unit="other").geometry is city.task("trips").geometry


def test_what_is_handed_over_is_not_copied(task: Any) -> None:
    flat = given(6, 3)
    assert np.shares_memory(task(values=hand_over(flat[:, :, None])).values, flat)


def test_a_file_that_is_opened_is_not_copied(city: City, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    handed: list[Any] = []
    monkeypatch.setattr("cmust.city.store.hand_over", lambda array: handed.append(array) or hand_over(array))
    opened = open_city(city.save(tmp_path / "c.zarr.zip"))
    assert any(np.shares_memory(opened.task("trips").values, array) for array in handed if array.dtype.kind == "f")
