"""npz files in the shape of PEMS03, PEMS04, PEMS07 and PEMS08: one array ``data`` (T, N, C)."""

from pathlib import Path

import numpy as np
import pytest

from cmust.errors import CityError, IngestError
from cmust.ingest.formats import ImportSettings, import_pems

SETTINGS = ImportSettings(name="pems", timezone="America/Los_Angeles", coordinates="unknown")
DATA = np.random.default_rng(1).uniform(0, 500, (20, 4, 3))


def test_three_channels_are_flow_occupancy_speed(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "PEMS08.npz", data=DATA)
    settings = ImportSettings("pems", "UTC", "unknown", kinds={"speed": "speed"}, units={"speed": "mph"})
    city = import_pems(tmp_path / "PEMS08.npz", settings, start="2016-07-01").city
    assert list(city.tasks) == ["flow", "occupancy", "speed"]
    for channel, task in enumerate(city.tasks.values()):
        np.testing.assert_array_equal(task.values[:, :, 0], DATA[:, :, channel].astype(np.float32))
    task = city.task("speed")
    assert (task.kind, task.unit, task.interval, task.nodes[3]) == ("speed", "mph", 300, "3")
    assert str(task.time[1]) == "2016-07-01T00:05:00"
    assert city.task("flow").kind == "other"


def test_one_channel_and_named_ones(tmp_path: Path) -> None:
    np.savez(tmp_path / "PEMS03.npz", data=DATA[:, :, :1])
    assert list(import_pems(tmp_path / "PEMS03.npz", SETTINGS, start="2018-09-01").city.tasks) == ["flow"]
    np.savez(tmp_path / "two.npz", series=DATA[:, :, :2])
    city = import_pems(tmp_path / "two.npz", SETTINGS, start="2018-09-01", tasks=["in", "out"], key="series").city
    assert list(city.tasks) == ["in", "out"]
    np.savez(tmp_path / "flat.npz", data=DATA[:, :, 0])
    assert import_pems(tmp_path / "flat.npz", SETTINGS, start="2018-09-01").city.task("flow").n_nodes == 4


def test_names_of_other_scripts(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", data=DATA)
    imported = import_pems(tmp_path / "a.npz", SETTINGS, start="2018-09-01", tasks=["流量", "Überfälle", "Mean speed"])
    assert list(imported.city.tasks) == ["u81a9d0b5", "uberfalle", "mean_speed"]
    named = [note for note in imported.notes if "is called" in note]
    assert [note.rpartition(": ")[2] for note in named] == [
        "'流量' is called u81a9d0b5",
        "'Überfälle' is called uberfalle",
    ]


def test_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    with pytest.raises(IngestError, match="cannot read"):
        import_pems(path, SETTINGS, start="2018-09-01")
    path.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(IngestError, match="cannot read"):
        import_pems(path, SETTINGS, start="2018-09-01")
    np.savez(path, data=np.array([{"a": 1}], dtype=object))
    with pytest.raises(IngestError, match="pickled arrays are refused"):
        import_pems(path, SETTINGS, start="2018-09-01")
    np.savez(path, other=DATA)
    with pytest.raises(IngestError, match="no array 'data'; it has other"):
        import_pems(path, SETTINGS, start="2018-09-01")
    np.savez(path, data=DATA[:, :, :2])
    with pytest.raises(IngestError, match="2 channels but 0 task names"):
        import_pems(path, SETTINGS, start="2018-09-01")
    with pytest.raises(IngestError, match="'Flow' and 'flow' both become task 'flow'"):
        import_pems(path, SETTINGS, start="2018-09-01", tasks=["Flow", "flow"])
    with pytest.raises(IngestError, match=r"one of the tasks \['a', ' '\] has no name"):
        import_pems(path, SETTINGS, start="2018-09-01", tasks=["a", " "])
    with pytest.raises(CityError, match="700 seconds, it has to divide a day"):
        import_pems(path, SETTINGS, start="2018-09-01", tasks=["a", "b"], interval=700)
    with pytest.raises(IngestError, match="interval is 0 seconds"):
        import_pems(path, SETTINGS, start="2018-09-01", tasks=["a", "b"], interval=0)
    np.savez(path, data=np.array([["a"]]))
    with pytest.raises(IngestError, match="not numbers"):
        import_pems(path, SETTINGS, start="2018-09-01")
    np.save(tmp_path / "x.npy", DATA)
    with pytest.raises(IngestError, match="single array, not an npz"):
        import_pems(tmp_path / "x.npy", SETTINGS, start="2018-09-01")
