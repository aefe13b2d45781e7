"""Windows are cut here by a slow obvious loop, and the series has to come back."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from safetensors.numpy import load_file

from cmust.city import City
from cmust.errors import CityError

Array = npt.NDArray[Any]
START = pd.Timestamp("2021-12-30 22:00")  # over a year's end, a Thursday


def series(steps: int = 60, nodes: int = 3, minutes: int = 30) -> Array:
    """Features ``(steps, nodes, 11)`` as the method's authors lay them out, float32."""
    dice = np.random.default_rng(5)
    rows = np.zeros((steps, nodes, 11), np.float32)
    for step in range(steps):
        moment = START + pd.Timedelta(minutes=minutes * step)
        for node in range(nodes):
            clock = (moment.hour * 60 + moment.minute) / 1440
            stamp = [moment.year, moment.month, moment.day, moment.hour, moment.minute, moment.second]
            value = dice.poisson(3) if node else np.nan if step % 7 == 0 else 0.1 * step
            rows[step, node] = [value, clock, moment.weekday(), -73.9 - node, 40.5 + node, *stamp]
    return rows


def write(folder: Path, rows: Array, length: int = 12, horizon: int = 12, y_channels: int = 1) -> None:
    windows = len(rows) - length - horizon + 1
    x = np.stack([rows[at : at + length] for at in range(windows)])
    y = np.stack([rows[at + length : at + length + horizon, :, :y_channels] for at in range(windows)])
    folder.mkdir(parents=True, exist_ok=True)
    first, second = round(windows * 0.7), round(windows * 0.8)
    for name, part in (("train", slice(0, first)), ("val", slice(first, second)), ("test", slice(second, None))):
        np.savez(folder / f"{name}.npz", x=x[part], y=y[part])


def change(path: Path, key: str, at: Any, value: float) -> None:
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files}
    arrays[key][at] = value
    np.savez(path, **arrays)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "NYC" / "CrowdIn", series())
    return tmp_path / "NYC"


@pytest.mark.parametrize(("length", "horizon", "y_channels"), [(12, 12, 1), (6, 3, 11), (5, 1, 2)])
def test_the_series_comes_back_exactly(tmp_path: Path, length: int, horizon: int, y_channels: int) -> None:
    rows = series()
    write(tmp_path / "taxi", rows, length, horizon, y_channels)
    task = City.from_published(tmp_path).task("taxi")
    np.testing.assert_array_equal(task.values[:, :, 0], rows[:, :, 0])
    assert task.time[0] == np.datetime64(START) and task.interval == 1800 and task.n_steps == 60
    np.testing.assert_array_equal(task.lon, rows[0, :, 3])
    np.testing.assert_array_equal(task.lat, rows[0, :, 4])


def test_published_features_of_the_golden_run(tmp_path: Path) -> None:
    """Numbers of the published implementation: scaled timestamps, six days of half hours from a Monday in January."""
    golden = load_file(Path(__file__).parents[1] / "golden" / "reference_rolling.safetensors")
    for task in range(2):
        write(tmp_path / f"task{task}", golden[f"task{task}.features"])
    city = City.from_published(tmp_path, start="2018-01-01")
    for task in range(2):
        made = city.task(f"task{task}")
        np.testing.assert_array_equal(made.values[:, :, 0], golden[f"task{task}.values"])
        assert made.interval == 1800 and made.time[-1] == np.datetime64("2018-01-06T23:30")


def test_names_and_labels(folder: Path) -> None:
    write(folder / "Risk map", series(minutes=60))
    city = City.from_published(
        folder, unit={"crowdin": "people", "risk_map": ""}, kind="count", timezone="America/New_York"
    )
    assert city.name == "NYC" and list(city.tasks) == ["crowdin", "risk_map"]
    assert city.task("crowdin").unit == "people" and city.task("risk_map").interval == 3600
    assert City.from_published(folder, unit={"risk_map": "r"}).task("crowdin").unit == ""
    with pytest.raises(CityError, match="kind is given for Risk map, but the tasks are crowdin, risk_map"):
        City.from_published(folder, kind={"Risk map": "risk"})
    named = City.from_published(folder, name="n", tasks={"risk": "Risk map"}, nodes=["x", "y", "z"])
    assert named.name == "n" and list(named.tasks) == ["risk"] and named.task("risk").nodes == ("x", "y", "z")
    assert list(City.from_published(folder, tasks=["Risk map", "CrowdIn"]).tasks) == ["risk_map", "crowdin"]


def test_scaled_timestamps_need_the_start(folder: Path) -> None:
    rows = series()
    rows[..., 5:] /= 100
    write(folder / "CrowdIn", rows)
    with pytest.raises(CityError, match=r"of the first step are not year, month, .* give start='YYYY-MM-DD HH:MM'"):
        City.from_published(folder)
    task = City.from_published(folder, start="2021-12-30 22:00").task("crowdin")
    assert task.time[-1] == np.datetime64("2021-12-30T22:00") + 59 * np.timedelta64(30, "m")


def test_start_has_to_fit_the_clock(folder: Path) -> None:
    with pytest.raises(CityError, match=r"the time of day \(channel 1\) of step 0 is 0.91"):
        City.from_published(folder, start="2021-12-30 21:00")
    with pytest.raises(CityError, match=r"the day of week \(channel 2\) of step 0 is 3.0, but .*, a Friday"):
        City.from_published(folder, start="2021-12-31 22:00")
    for start in ("soon", "20211230"):
        with pytest.raises(CityError, match=f"^'{start}' is not a time; write it like"):
            City.from_published(folder, start=start)


def test_other_count_of_weekdays(folder: Path) -> None:
    rows = series()
    rows[..., 2] = (rows[..., 2] + 1) % 7  # Sunday is 0
    write(folder / "CrowdIn", rows)
    with pytest.raises(CityError, match="or monday= "):
        City.from_published(folder)
    assert City.from_published(folder, monday=1).task("crowdin").time[0] == np.datetime64(START)


@pytest.mark.parametrize(
    ("part", "key", "at", "where"),
    [
        ("train", "x", (4, 5, 2, 0), r"train\.npz, window 4, x step 5, node 2: 99.0"),
        ("val", "x", (1, 11, 0, 0), r"val\.npz, window 1, x step 11, node 0: 99.0"),
        ("test", "y", (3, 2, 1, 0), r"test\.npz, window 3, y step 2, node 1: 99.0"),
        ("test", "x", (2, 3, 1, 8), r"test\.npz, window 2, x step 3, node 1: 99.0"),
    ],
)
def test_windows_that_disagree_are_named(folder: Path, part: str, key: str, at: Any, where: str) -> None:
    change(folder / "CrowdIn" / f"{part}.npz", key, at, 99.0)
    with pytest.raises(CityError, match=rf"task 'crowdin': .*{where} where a neighbouring window has"):
        City.from_published(folder)


def test_shuffled_or_missing_windows_are_refused(folder: Path) -> None:
    path = folder / "CrowdIn" / "val.npz"
    with np.load(path) as archive:
        x, y = archive["x"], archive["y"]
    np.savez(path, x=x[1:], y=y[1:])
    with pytest.raises(CityError, match=r"train\.npz, window 2\d, x step 1,.* train, val and test one after the other"):
        City.from_published(folder)
    np.savez(path, x=x[::-1], y=y[::-1])
    with pytest.raises(CityError, match="windows have to advance by one step"):
        City.from_published(folder)


def test_irregular_steps_are_refused(tmp_path: Path) -> None:
    rows = series(70)
    write(tmp_path / "a", np.delete(rows, np.arange(20, 23), axis=0))
    with pytest.raises(CityError, match=r"the time of day \(channel 1\) of step 20 .* steps have to be regular"):
        City.from_published(tmp_path)
    rows = series(150)
    write(tmp_path / "a", np.delete(rows, np.arange(10, 58), axis=0))  # one whole day
    with pytest.raises(CityError, match=r"the day of week \(channel 2\) of step 10 is 5.0, but .* a Friday"):
        City.from_published(tmp_path)


def test_moving_nodes_are_refused(tmp_path: Path) -> None:
    rows = series()
    rows[30:, 1, 3] += 1
    write(tmp_path / "a", rows)
    with pytest.raises(CityError, match="a longitude changes at step 30"):
        City.from_published(tmp_path)


def test_bad_files(folder: Path) -> None:
    task = folder / "CrowdIn"
    good = (task / "val.npz").read_bytes()
    with np.load(task / "val.npz") as archive:
        x, y = archive["x"], archive["y"]
    for arrays, message in (
        ({"x": x}, r"val\.npz has no array 'y'; it has x"),
        ({"x": x[..., :5], "y": y}, r"x in .*val\.npz has shape .*, it has to be \(windows, steps, nodes, 11\)"),
        ({"x": x, "y": y[:1]}, r"y in .*val\.npz has shape"),
        ({"x": x[:0], "y": y[:0]}, r"val\.npz holds no windows"),
        ({"x": x[:, :6], "y": y}, r"val\.npz has windows of other sizes than train\.npz"),
        ({"x": x.astype(str), "y": y}, r"x in .*val\.npz is of type <U"),
        ({"x": x.astype(object), "y": y}, r"is not a numpy archive of plain numbers.*allow_pickle=False"),
    ):
        np.savez(task / "val.npz", **arrays)
        with pytest.raises(CityError, match=message):
            City.from_published(folder)
    (task / "val.npz").write_bytes(good[:-40])
    with pytest.raises(CityError, match=r"val\.npz is not a numpy archive"):
        City.from_published(folder)
    (task / "val.npz").write_bytes(b"")
    with pytest.raises(CityError, match=r"val\.npz is not a numpy archive"):
        City.from_published(folder)
    np.save(task / "val.npy", x)
    (task / "val.npy").rename(task / "val.npz")
    with pytest.raises(CityError, match=r"val\.npz is not a numpy archive"):
        City.from_published(folder)
    (task / "val.npz").unlink()
    with pytest.raises(
        CityError, match=r"there is no file .*val\.npz: a task needs train\.npz, val\.npz and test\.npz"
    ):
        City.from_published(folder)


def test_bad_folders(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CityError, match=r"there is no folder .*nowhere"):
        City.from_published(tmp_path / "nowhere")
    with pytest.raises(CityError, match=r"no folder in .* holds a train\.npz"):
        City.from_published(tmp_path)
    write(folder / "crowdin", series())
    with pytest.raises(CityError, match="the folders 'CrowdIn' and 'crowdin' give one task name"):
        City.from_published(folder)
