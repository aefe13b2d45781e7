"""``cmust import`` and ``cmust export`` from end to end, each format once."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from test_formats_basicts import START, clock, values, write_memmap
from typer.testing import CliRunner

from cmust.city import City, open_city
from cmust.cli.convert import export_app, import_app
from cmust.errors import ConfigError, IngestError


def run(app: object, *arguments: object) -> str:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)  # type: ignore[arg-type]
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def city(tmp_path: Path) -> Path:
    np.savez(tmp_path / "PEMS04.npz", data=np.arange(600.0).reshape(100, 2, 3))
    (tmp_path / "places.csv").write_text("node,lon,lat\n0,-121.5,38.5\n1,-121.25,38.75\n")
    target = tmp_path / "pems04.zarr.zip"
    output = run(
        *(import_app, "pems", tmp_path / "PEMS04.npz", target, "--timezone", "America/Los_Angeles"),
        *("--start", "2018-01-01", "--coordinates", tmp_path / "places.csv"),
        *("--kind", "speed=speed", "--unit", "speed=mph"),
    )
    assert "speed: 100 steps of 300 s from 2018-01-01T00:00:00, 2 nodes" in output
    return target


def test_pems(city: Path) -> None:
    opened = open_city(city)
    assert opened.name == "PEMS04" and opened.timezone == "America/Los_Angeles"
    assert opened.task("speed").unit == "mph" and opened.task("speed").values[1, 0, 0] == 8


def test_published_there_and_back(city: Path, tmp_path: Path) -> None:
    output = run(export_app, "published", city, tmp_path / "windows", "--task", "flow", "--timestamps", "plain")
    assert "flow: train" in output and not (tmp_path / "windows" / "speed").exists()
    target = tmp_path / "back.zarr.zip"
    run(import_app, "published", tmp_path / "windows", target, "--timezone", "UTC", "--name", "back")
    back = open_city(target)
    np.testing.assert_array_equal(back.task("flow").values, open_city(city).task("flow").values)
    assert back.name == "back"


def test_libcity_there_and_back(city: Path, tmp_path: Path) -> None:
    run(export_app, "libcity", city, tmp_path / "PEMS", "--neighbours", 1)
    run(import_app, "libcity", tmp_path / "PEMS", tmp_path / "back.zarr.zip", "--timezone", "America/Los_Angeles")
    first, second = open_city(city), open_city(tmp_path / "back.zarr.zip")
    assert first.fingerprint() == City("PEMS04", second.tasks, second.timezone).fingerprint()


def test_basicts_and_wide(tmp_path: Path) -> None:
    folder = write_memmap(tmp_path / "METR-LA", values(), *clock(START))
    shared = ("--timezone", "America/Los_Angeles", "--coordinates", "unknown")
    output = run(import_app, "basicts", folder, tmp_path / "a.zarr.zip", "--start", START, "--tasks", "speed", *shared)
    assert "note: Coordinates are unknown" in output
    index = pd.date_range(START, periods=400, freq="5min")
    pd.DataFrame(values(), index=index, columns=["0", "1", "2"]).to_csv(tmp_path / "la.csv")
    named = ("--task", "speed", "--name", "METR-LA")
    run(import_app, "wide", tmp_path / "la.csv", tmp_path / "b.zarr.zip", *named, *shared)
    assert open_city(tmp_path / "a.zarr.zip").fingerprint() == open_city(tmp_path / "b.zarr.zip").fingerprint()


def test_a_city_is_replaced_only_when_that_is_said(city: Path, tmp_path: Path) -> None:
    run(export_app, "published", city, tmp_path / "windows", "--timestamps", "plain")
    before, command = city.read_bytes(), (import_app, "published", tmp_path / "windows", city, "--timezone", "UTC")
    with pytest.raises(ConfigError, match=r"pems04\.zarr\.zip exists already; give --force to replace it"):
        run(*command)
    for format_name in ("libcity", "wide", "pems", "basicts"):
        with pytest.raises(ConfigError, match="exists already"):
            extra = {"wide": ("--task", "x"), "libcity": ()}.get(format_name, ("--start", "2018-01-01"))
            run(import_app, format_name, tmp_path, city, "--timezone", "UTC", *extra)
    assert city.read_bytes() == before
    run(*command, "--force")
    assert open_city(city).timezone == "UTC"


def test_mistakes(city: Path, tmp_path: Path) -> None:
    arguments = ("pems", tmp_path / "PEMS04.npz", tmp_path / "x.zarr.zip", "--timezone", "UTC", "--start", "2018-01-01")
    for extra, message in (
        (("--kind", "speed"), "--kind 'speed' is not of the form NAME=VALUE"),
        (("--unit", "speed=mph", "--unit", "speed=kmh"), "--unit is given twice for 'speed'"),
        ((), "no coordinates"),
    ):
        with pytest.raises(IngestError, match=message):
            run(import_app, *arguments, *extra)
    assert not (tmp_path / "x.zarr.zip").exists()
