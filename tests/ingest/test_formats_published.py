"""Export to the authors' windows: against a slow obvious version, the authors' way of reading, and our own import."""

import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cmust.city import City, Task
from cmust.clock import calendar
from cmust.errors import CmustError, IngestError
from cmust.ingest.formats import Missing, Timestamps, export_published, published_export
from cmust.windows import split_windows

PARTS = ("train", "val", "test")


def make_city(steps: int = 120, nodes: int = 3, **fields: object) -> City:
    random = np.random.default_rng(3)
    time = np.datetime64("2015-12-30T22:30", "s") + np.arange(steps) * np.timedelta64(1800, "s")
    lon, lat = np.linspace(-74, -73.9, nodes), np.linspace(40.7, 40.8, nodes)
    tasks = {
        name: Task(
            name,
            random.poisson(5, (steps, nodes, 1)),
            time,
            tuple("abcdefghij"[:nodes]),
            lon,
            lat,
            1800,
            "trips",
            "count",
        )
        for name in ("pickup", "dropoff")
    }
    return City("nyc", tasks, **fields)  # type: ignore[arg-type]


def read(folder: Path) -> dict[str, np.ndarray]:
    """As the authors' get_dataloaders_scaler reads a task folder."""
    data = {}
    for part in PARTS:
        loaded = np.load(folder / f"{part}.npz", allow_pickle=False)
        data["x_" + part], data["y_" + part] = loaded["x"], loaded["y"][..., :1]
    return data


def test_every_number_against_a_slow_version(tmp_path: Path) -> None:
    city = make_city()
    export_published(city, tmp_path / "NYC")
    assert sorted(path.name for path in (tmp_path / "NYC").iterdir()) == ["dropoff", "pickup"]
    for name, task in city.tasks.items():
        data = read(tmp_path / "NYC" / name)
        x = np.concatenate([data["x_" + part] for part in PARTS])
        y = np.concatenate([data["y_" + part] for part in PARTS])
        assert x.shape == (97, 12, 3, 11) and y.shape == (97, 12, 3, 1) and x.dtype == y.dtype == np.float32
        for window in range(97):
            for step in range(12):
                moment = pd.Timestamp(task.time[window + step])
                years = (moment - pd.Timestamp(task.time[0])).total_seconds() / (365.25 * 86400)
                for node in range(3):
                    expected = [
                        task.values[window + step, node, 0],
                        (moment.hour * 60 + moment.minute) / 1440,
                        moment.day_of_week,
                        task.lon[node],
                        task.lat[node],
                        moment.month / 12,
                        moment.day / 31,
                        moment.hour / 24,
                        moment.minute / 60,
                        moment.second / 60,
                        years,
                    ]
                    np.testing.assert_allclose(x[window, step, node], expected, rtol=3e-7)
                    assert y[window, step, node, 0] == task.values[window + 12 + step, node, 0]


def test_parts_and_timestamps_are_those_of_our_own_training(tmp_path: Path) -> None:
    city = make_city(steps=200)
    task = city.task("pickup")
    export_published(city, tmp_path / "NYC")
    data = read(tmp_path / "NYC" / "pickup")
    split = split_windows(task, None, 12, 12)
    clock = calendar(task.time, 48, task.time[0])
    for part, ours in zip(PARTS, ("train", "validation", "test"), strict=True):
        starts = split.starts[ours].numpy()  # type: ignore[index]
        steps = starts[:, None] + np.arange(12)
        np.testing.assert_array_equal(data["x_" + part][:, :, :, 0], task.values[steps][..., 0])
        np.testing.assert_array_equal(data["x_" + part][:, :, 0, 5:], clock.stamp.numpy()[steps])
        np.testing.assert_array_equal(data["x_" + part][:, :, 0, 2], clock.dow.numpy()[steps])


@pytest.mark.parametrize("interval", [60, 300, 600, 900, 1800, 3600])
def test_the_authors_recover_every_slot(tmp_path: Path, interval: int) -> None:
    """Their model takes ``int(time_of_day * slots)`` in float32; plain division loses 74 of the 1440 minutes."""
    slots = 86400 // interval
    time = np.datetime64("2019-01-01", "s") + np.arange(max(slots, 60)) * np.timedelta64(interval, "s")
    task = Task("a", np.ones((len(time), 1, 1)), time, ("n",), [0.0], [0.0], interval, "", "other")
    export_published(City("c", {"a": task}), tmp_path / "C")
    data = read(tmp_path / "C" / "a")
    fraction = np.concatenate([data["x_" + part] for part in PARTS])[:, 0, 0, 1]
    found = (fraction * np.float32(slots)).astype(np.int64)
    np.testing.assert_array_equal(found, np.arange(len(found)) % slots)


@pytest.mark.parametrize("timestamps", list(Timestamps))
def test_round_trip(tmp_path: Path, timestamps: Timestamps) -> None:
    city = make_city()
    notes = export_published(city, tmp_path / "NYC", timestamps=timestamps)
    start = {} if timestamps is Timestamps.PLAIN else {"start": "2015-12-30T22:30"}
    assert any("2015-12-30T22:30:00" in note for note in notes) == bool(start)
    back = City.from_published(tmp_path / "NYC", nodes=["a", "b", "c"], **start)
    for name, task in city.tasks.items():
        np.testing.assert_array_equal(back.task(name).values, task.values)
        np.testing.assert_array_equal(back.task(name).time, task.time)
        np.testing.assert_allclose(back.task(name).lon, task.lon, atol=1e-5)
        assert back.task(name).nodes == task.nodes and back.task(name).interval == task.interval


def with_gap(city: City) -> City:
    values = city.task("pickup").values.copy()
    values[50:52, 1] = np.nan
    task = city.task("pickup")
    return city.with_task(Task("pickup", values, task.time, task.nodes, task.lon, task.lat, 1800, "", "count"))


def test_missing_values_by_the_stated_rule(tmp_path: Path) -> None:
    city = with_gap(make_city())
    with pytest.raises(IngestError, match=r"missing values \(pickup: 2 of 360\).*choose 'zero'.*or 'nan'"):
        export_published(city, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()
    export_published(city, tmp_path / "nan", missing=Missing.NAN, timestamps=Timestamps.PLAIN)
    back = City.from_published(tmp_path / "nan").task("pickup").values
    np.testing.assert_array_equal(back, city.task("pickup").values)
    notes = export_published(city, tmp_path / "zero", missing=Missing.ZERO, timestamps=Timestamps.PLAIN)
    assert any("written as 0 (pickup: 2 of 360)" in note for note in notes)
    zero = City.from_published(tmp_path / "zero").task("pickup").values
    np.testing.assert_array_equal(zero, np.nan_to_num(city.task("pickup").values))


def test_channels_get_a_folder_each(tmp_path: Path) -> None:
    task = make_city().task("pickup")
    values = np.concatenate([task.values, task.values * 2], axis=2)
    both = Task("air", values, task.time, task.nodes, task.lon, task.lat, 1800, "", "other", channels=("pm10", "no2"))
    export_published(City("c", {"air": both}), tmp_path / "C")
    for at, name in enumerate(("air_pm10", "air_no2")):
        assert read(tmp_path / "C" / name)["x_train"][0, 0, 0, 0] == values[0, 0, at]


def test_bad_targets_and_short_tasks(tmp_path: Path) -> None:
    city = make_city()
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("mine")
    with pytest.raises(CmustError, match="exists already"):
        export_published(city, tmp_path / "full")
    (tmp_path / "empty").mkdir()
    export_published(city, tmp_path / "empty")
    with pytest.raises(IngestError, match="task 'pickup' has 25 steps, too few"):
        export_published(make_city(steps=25), tmp_path / "short")
    with pytest.raises(IngestError, match="both have to be at least 1"):
        export_published(city, tmp_path / "none", horizon=0)
    assert any("synthetic" in note for note in export_published(make_city(synthetic=True), tmp_path / "synthetic"))


def test_a_failure_half_way_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(sentence: str) -> None:
        if "dropoff" in sentence:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_published(make_city(), tmp_path / "NYC", progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_memory_does_not_grow_with_the_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published_export, "_CHUNK_BYTES", 1_000_000)
    city = make_city(steps=3000, nodes=10).select(tasks=["pickup"])
    tracemalloc.start()
    export_published(city, tmp_path / "NYC")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    written = (tmp_path / "NYC" / "pickup" / "train.npz").stat().st_size
    assert written > 10_000_000
    assert peak < 5_000_000
