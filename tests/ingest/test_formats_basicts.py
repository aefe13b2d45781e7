"""BasicTS folders as its scripts write them: 0.4 (desc.json, data.dat) and 1.0 (meta.json, .npy parts)."""

import json
import pickle
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cmust.errors import CityError, IngestError
from cmust.ingest.formats import ImportSettings, import_basicts

SETTINGS = ImportSettings(name="la", timezone="America/Los_Angeles", coordinates="unknown")
START = "2012-03-01T00:00:00"  # a Thursday
STEPS, NODES = 400, 3  # more than a day of five minutes


def clock(start: str, steps: int = STEPS) -> tuple[np.ndarray, np.ndarray]:
    """Time of day and day of week as the scripts take them from a pandas index."""
    index = pd.date_range(start, periods=steps, freq="5min")
    return (index.hour * 60 + index.minute).to_numpy() / 1440, index.day_of_week.to_numpy() / 7


def values() -> np.ndarray:
    return np.random.default_rng(0).normal(50, 10, (STEPS, NODES)).astype(np.float32)


def settings_of(null: float) -> dict[str, object]:
    return {"train_val_test_ratio": [0.7, 0.1, 0.2], "norm_each_channel": False, "rescale": True, "null_val": null}


def write_memmap(folder: Path, data: np.ndarray, tod: np.ndarray, dow: np.ndarray) -> Path:
    folder.mkdir()
    full = np.stack([data, np.tile(tod[:, None], NODES), np.tile(dow[:, None], NODES)], axis=-1)
    file = np.memmap(folder / "data.dat", dtype="float32", mode="w+", shape=full.shape)
    file[:] = full
    file.flush()
    description = {
        "name": "METR-LA",
        "domain": "traffic speed",
        "shape": full.shape,
        "num_time_steps": full.shape[0],
        "num_nodes": full.shape[1],
        "num_features": full.shape[2],
        "feature_description": ["traffic speed", "time of day", "day of week"],
        "has_graph": True,
        "frequency (minutes)": 5,
        "regular_settings": {key.upper(): value for key, value in settings_of(0.0).items()},
    }
    (folder / "desc.json").write_text(json.dumps(description, indent=4))
    (folder / "adj_mx.pkl").write_bytes(pickle.dumps(np.eye(NODES)))
    return folder


def write_parts(folder: Path, data: np.ndarray, tod: np.ndarray, dow: np.ndarray, frequency: int | None = 5) -> Path:
    folder.mkdir()
    stamps = np.stack([tod, dow], axis=-1)
    first, second = int(len(data) * 0.7), int(len(data) * 0.7) + int(len(data) * 0.1)
    for part, rows in (("train", slice(0, first)), ("val", slice(first, second)), ("test", slice(second, None))):
        np.save(folder / f"{part}_data.npy", data[rows].astype(np.float32))
        np.save(folder / f"{part}_timestamps.npy", stamps[rows].astype(np.float32))
    description = {
        "name": "METR-LA",
        "domain": "traffic speed",
        "frequency (minutes)": frequency,
        "shape": data.shape,
        "timestamps_shape": stamps.shape,
        "timestamps_description": ["time of day", "day of week"],
        "num_time_steps": data.shape[0],
        "num_vars": data.shape[1],
        "has_graph": False,
        "regular_settings": settings_of(np.nan),  # json.dump writes NaN, as the scripts do
    }
    (folder / "meta.json").write_text(json.dumps(description, indent=4))
    return folder


def test_memmap_folder(tmp_path: Path) -> None:
    folder = write_memmap(tmp_path / "METR-LA", values(), *clock(START))
    imported = import_basicts(folder, SETTINGS, start=START)
    task = imported.city.task("traffic_speed")
    assert list(imported.city.tasks) == ["traffic_speed"]
    np.testing.assert_array_equal(task.values[:, :, 0], values())
    assert task.nodes == ("0", "1", "2") and task.interval == 300 and str(task.time[0]) == START
    assert any("adj_mx.pkl" in note for note in imported.notes)
    assert any("null value is 0" in note for note in imported.notes)


def test_parts_folder(tmp_path: Path) -> None:
    folder = write_parts(tmp_path / "METR-LA", values(), *clock(START))
    task = import_basicts(folder, SETTINGS, start=START).city.task("traffic_speed")
    np.testing.assert_array_equal(task.values[:, :, 0], values())
    assert str(task.time[-1]) == "2012-03-02T09:15:00"


def test_parts_folder_of_several_channels(tmp_path: Path) -> None:
    data = np.stack([values(), values() + 100], axis=-1)
    folder = write_parts(tmp_path / "X", data, *clock(START))
    city = import_basicts(folder, SETTINGS, start=START).city
    assert list(city.tasks) == ["traffic_speed_0", "traffic_speed_1"]
    named = import_basicts(folder, SETTINGS, start=START, tasks=["flow", "Speed km/h"]).city
    np.testing.assert_array_equal(named.task("speed_km_h").values[:, :, 0], data[:, :, 1])


def test_the_stored_clock_is_held_against_the_start(tmp_path: Path) -> None:
    folder = write_memmap(tmp_path / "A", values(), *clock(START))
    with pytest.raises(IngestError, match=r"step 0 has time of day 0.0000 .* makes it 2012-03-01T00:05:00"):
        import_basicts(folder, SETTINGS, start="2012-03-01T00:05:00")
    with pytest.raises(IngestError, match=r"step 0 has day of week 0.4286"):
        import_basicts(folder, SETTINGS, start="2012-03-02T00:00:00")


def test_days_counted_from_the_first_step_say_nothing(tmp_path: Path) -> None:
    """The PEMS scripts have no dates: they count weekdays from 0. PEMS03 begins on a Saturday."""
    step = np.arange(STEPS)
    folder = write_parts(tmp_path / "PEMS03", values(), step % 288 / 288, (step // 288) % 7 / 7)
    imported = import_basicts(folder, SETTINGS, start="2018-09-01")
    assert any("counts from the first step" in note for note in imported.notes)


def test_interval_when_the_folder_has_none(tmp_path: Path) -> None:
    folder = write_parts(tmp_path / "Gaussian", values(), *clock(START), frequency=None)
    with pytest.raises(IngestError, match="give the interval in seconds"):
        import_basicts(folder, SETTINGS, start=START)
    assert import_basicts(folder, SETTINGS, start=START, interval=300).city.interval == 300
    other = write_parts(tmp_path / "B", values(), *clock(START))
    with pytest.raises(IngestError, match=r"given is 600 seconds, .* says 300"):
        import_basicts(other, SETTINGS, start=START, interval=600)


class Boom:
    """Would leave a trace if anything unpickled it."""

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return (open, (str(Path(self.path)), "w"))

    def __init__(self, path: Path) -> None:
        self.path = path


def test_pickle_folders_are_refused_and_not_opened(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    trace = tmp_path / "trace"
    (folder / "data_in_12_out_12_rescale_True.pkl").write_bytes(pickle.dumps(Boom(trace)))
    with pytest.raises(IngestError, match=r"before 0.4, and a pickle can run code"):
        import_basicts(folder, SETTINGS, start=START)
    assert not trace.exists()
    parts = write_parts(tmp_path / "new", values(), *clock(START))
    np.save(parts / "val_data.npy", np.array([Boom(trace)], dtype=object), allow_pickle=True)
    with pytest.raises(IngestError, match=r"val_data.npy.*pickled arrays are refused"):
        import_basicts(parts, SETTINGS, start=START)
    assert not trace.exists()


def test_bad_folders(tmp_path: Path) -> None:
    with pytest.raises(IngestError, match="not a BasicTS folder"):
        import_basicts(tmp_path, SETTINGS, start=START)
    cut = write_memmap(tmp_path / "cut", values(), *clock(START))
    (cut / "data.dat").write_bytes((cut / "data.dat").read_bytes()[:-4])
    with pytest.raises(IngestError, match=r"has 14396 bytes, shape \[400, 3, 3\] of float32 needs 14400"):
        import_basicts(cut, SETTINGS, start=START)
    mixed = write_parts(tmp_path / "mixed", values(), *clock(START))
    np.save(mixed / "test_data.npy", values()[:10])
    with pytest.raises(IngestError, match=r"shape \(330, 3, 1\) together, meta.json says \[400, 3\]"):
        import_basicts(mixed, SETTINGS, start=START)
    nodes = write_parts(tmp_path / "nodes", values(), *clock(START))
    np.save(nodes / "test_data.npy", values()[:10, :2])
    with pytest.raises(IngestError, match="differ in more than their length"):
        import_basicts(nodes, SETTINGS, start=START)
    good = write_parts(tmp_path / "good", values(), *clock(START))
    with pytest.raises(IngestError, match="1 value channels but 2 task names"):
        import_basicts(good, SETTINGS, start=START, tasks=["a", "b"])
    with pytest.raises(IngestError, match="time 'yesterday' is not of the form"):
        import_basicts(good, SETTINGS, start="yesterday")
    with pytest.raises(IngestError, match="no coordinates"):
        import_basicts(good, ImportSettings("la", "UTC"), start=START)
    (good / "meta.json").write_text("[]")
    with pytest.raises(IngestError, match="not a JSON object"):
        import_basicts(good, SETTINGS, start=START)


def test_infinite_values_are_refused(tmp_path: Path) -> None:
    data = values()
    data[3, 1] = np.inf
    folder = write_parts(tmp_path / "inf", data, *clock(START))
    with pytest.raises(CityError, match="1 values are infinite"):
        import_basicts(folder, SETTINGS, start=START)
