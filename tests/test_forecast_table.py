"""Forecasts on disk: the same numbers in every format."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from zarr.storage import ZipStore

from cmust import Forecaster
from cmust.calibration import calibrate
from cmust.errors import CmustError
from cmust.forecast_table import forecast_table, forecast_tasks, write_forecasts
from cmust.intervals.conformal import Adaptation
from tests.full_disk import file_size_limit
from tests.rolling.tiny import tiny_city, tiny_fit, tiny_task

QUICK = {"scheme": "joint", "training": {"start_epochs": 1, "precision": "32-true", "batch_size": 64}}


def city():
    whole = tiny_city(tiny_task("trips"), tiny_task("visits", steps=130, interval=14400, nodes=4, channels=2))
    trips = whole.tasks["trips"]
    values = trips.values.copy()
    values[-4:, 1], values[-1, 2] = np.nan, np.nan
    return whole.with_task(replace(trips, values=values))


@pytest.fixture(scope="module")
def forecasts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, xr.Dataset]:
    run = tmp_path_factory.mktemp("runs") / "joint"
    tiny_fit(run, city(), **QUICK)
    calibrate(run, city(), adaptation=Adaptation(levels=(0.8,), first_days=1))
    return forecast_tasks(Forecaster.load(run), city(), ("trips", "visits"), level=0.8)


def test_the_table_has_every_forecast_once(forecasts: dict[str, xr.Dataset]) -> None:
    table = forecast_table(forecasts)
    assert list(table.columns) == ["time", "node", "task", "channel", "value", "lower", "upper", "filled", "flag"]
    assert len(table) == 3 * 3 + 3 * 4 * 2
    trips = forecasts["trips"]
    row = table[(table.task == "trips") & (table.node == "place 1") & (table.time == trips.time.values[2])]
    assert row.value.item() == trips.value.values[2, 1] and row.upper.item() == trips.upper.values[2, 1]
    assert row.filled.item() == 1 and row.flag.item() == "all_filled"
    assert table[table.node == "place 2"].flag.iloc[0] == "partly_filled"
    visits = table[(table.task == "visits") & (table.channel == "c1") & (table.node == "place 3")]
    np.testing.assert_array_equal(visits.lower, forecasts["visits"].lower.values[:, 3, 1])


def test_without_intervals_there_are_no_such_columns(forecasts: dict[str, xr.Dataset]) -> None:
    plain = {name: data.drop_vars(["lower", "upper"]) for name, data in forecasts.items()}
    assert list(forecast_table({"trips": plain["trips"]}).columns) == [
        "time", "node", "task", "value", "filled", "flag"]  # fmt: skip


def test_csv_and_parquet_hold_the_table(forecasts: dict[str, xr.Dataset], tmp_path: Path) -> None:
    table = forecast_table(forecasts)
    write_forecasts(forecasts, tmp_path / "f.csv")
    write_forecasts(forecasts, tmp_path / "f.PARQUET")
    read = pd.read_csv(tmp_path / "f.csv", parse_dates=["time"])
    np.testing.assert_allclose(read.value, table.value, rtol=1e-6)
    assert (read.time == table.time).all() and (read.flag == table.flag).all()
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "f.PARQUET"), table, check_dtype=False)


def same(read: xr.Dataset, written: xr.Dataset) -> None:
    for name in ("value", "lower", "upper", "lon", "lat", "filled"):
        np.testing.assert_array_equal(read[name].values, written[name].values)
        assert read[name].dims == written[name].dims
    assert (read.time.values == written.time.values).all()
    assert read.node.values.tolist() == written.node.values.tolist()
    assert read.flag.values.tolist() == written.flag.values.tolist()
    assert read.attrs["unit"] == written.attrs["unit"] and read.attrs["level"] == 0.8


def test_zarr_has_a_group_per_task(forecasts: dict[str, xr.Dataset], tmp_path: Path) -> None:
    path = tmp_path / "f.zarr.zip"
    write_forecasts(forecasts, path)
    with ZipStore(path, mode="r") as store:
        for name, data in forecasts.items():
            same(xr.open_zarr(store, group=name, consolidated=False).load(), data)
    first = path.read_bytes()
    write_forecasts(forecasts, path)
    assert path.read_bytes() == first


def test_netcdf_has_a_group_per_task(forecasts: dict[str, xr.Dataset], tmp_path: Path) -> None:
    pytest.importorskip("h5netcdf", reason="needs the extra cmust[netcdf]")
    path = tmp_path / "f.nc"
    write_forecasts(forecasts, path)
    for name, data in forecasts.items():
        with xr.open_dataset(path, group=name, engine="h5netcdf") as read:
            same(read.load(), data)


def test_what_cannot_be_written_leaves_nothing(
    forecasts: dict[str, xr.Dataset], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(CmustError, match=r"go to \.csv, \.parquet, \.nc or \.zarr\.zip files"):
        write_forecasts(forecasts, tmp_path / "f.xlsx")
    monkeypatch.setitem(sys.modules, "h5netcdf", None)
    with pytest.raises(CmustError, match=r"NetCDF needs h5netcdf: pip install 'cmust\[netcdf\]'"):
        write_forecasts(forecasts, tmp_path / "f.nc")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_nothing(forecasts: dict[str, xr.Dataset], tmp_path: Path) -> None:
    pytest.importorskip("h5netcdf", reason="needs the extra cmust[netcdf]")
    for suffix in (".nc", ".zarr.zip", ".csv"):
        with file_size_limit(2000), pytest.raises(CmustError, match=rf"cannot write .*f{suffix}: File too large"):
            write_forecasts(forecasts, tmp_path / f"f{suffix}")
    assert not list(tmp_path.iterdir())


def test_forecasting_does_not_load_what_only_training_needs() -> None:
    """In a process of its own: Lightning is half of the start-up time."""
    program = (
        "import sys\nfrom cmust import Forecaster\nimport cmust.observations, cmust.forecast_table\n"
        "print(*sorted({'lightning_fabric', 'tensorboard', 'matplotlib', 'duckdb'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
