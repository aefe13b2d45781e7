import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from tests.full_disk import file_size_limit

from cmust.city import City, open_city
from cmust.errors import CityError, CmustError

FIXTURES = Path(__file__).parent / "fixtures"


@pytest.fixture
def saved(city: City, tmp_path: Path) -> Path:
    return city.save(tmp_path / "small.zarr.zip")


def rewrite(path: Path, change: dict[str, bytes | None]) -> None:
    """Replace, add or (None) drop members of an archive."""
    with zipfile.ZipFile(path) as archive:
        members: dict[str, bytes | None] = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {**members, **change}.items():
            if data is not None:
                archive.writestr(name, data)


def member(path: Path, name: str) -> Any:
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read(name))


def test_saved_and_opened_is_the_same(city: City, saved: Path) -> None:
    opened = open_city(saved)
    for field in ("name", "timezone", "synthetic", "source", "description"):
        assert getattr(opened, field) == getattr(city, field)
    assert list(opened.tasks) == list(city.tasks) and list(opened.covariates) == list(city.covariates)
    for name, task in city.tasks.items():
        other = opened.task(name)
        for field in ("name", "nodes", "interval", "unit", "kind", "channels", "geometry", "description"):
            assert getattr(other, field) == getattr(task, field), field
        for field in ("values", "time", "lon", "lat"):
            expected, found = getattr(task, field), getattr(other, field)
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)
    for name, covariate in city.covariates.items():
        other_covariate = opened.covariates[name]
        for field in ("name", "interval", "known_ahead", "unit", "nodes"):
            assert getattr(other_covariate, field) == getattr(covariate, field), field
        np.testing.assert_array_equal(other_covariate.values, covariate.values)
        np.testing.assert_array_equal(other_covariate.time, covariate.time)
    assert opened.fingerprint() == city.fingerprint()


def test_equal_cities_are_equal_files(city: City, saved: Path, tmp_path: Path) -> None:
    again = open_city(saved).save(tmp_path / "again.zarr.zip")
    assert again.read_bytes() == saved.read_bytes()


def test_many_chunks_come_back(task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cmust.city.store._CHUNK_VALUES", 4)  # one step of three nodes per chunk
    city = City("chunks", {"trips": task()})
    path = city.save(tmp_path / "c.zarr.zip")
    with zipfile.ZipFile(path) as archive:
        assert len([name for name in archive.namelist() if name.startswith("tasks/trips/values/c/")]) == 6
    np.testing.assert_array_equal(open_city(path).task("trips").values, city.task("trips").values)


def test_plain_xarray_reads_the_file_with_its_times(city: City, saved: Path) -> None:
    from zarr.storage import ZipStore

    with ZipStore(saved, mode="r") as store:
        group = xr.open_zarr(store, group="tasks/trips", consolidated=False, chunks=None).load()
    assert group["values"].dims == ("time", "node", "channel")
    assert group["node"].values.tolist() == ["a", "b", "ü"]
    np.testing.assert_array_equal(group["time"].values.astype("datetime64[s]"), city.task("trips").time)


def test_no_warning_on_the_way(city: City, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    open_city(city.save(tmp_path / "quiet.zarr.zip"))
    assert [str(warning.message) for warning in recwarn] == []


def test_version_1_is_migrated() -> None:
    city = open_city(FIXTURES / "version-1.zarr.zip")
    assert (city.name, city.timezone, city.covariates) == ("old town", "Europe/Paris", {})
    bikes = city.task("bikes")
    assert (bikes.interval, bikes.unit, bikes.kind, bikes.channels) == (900, "bikes", "count", ("value",))
    assert bikes.nodes == ("north", "south") and bikes.lon.tolist() == [2.1, 2.2] and bikes.lat.tolist() == [48.1, 48.2]
    np.testing.assert_array_equal(bikes.values[:, :, 0], [[0, 1], [2, np.nan], [4, 5], [6, 7]])
    assert bikes.time.astype(str).tolist() == [f"2021-06-01T05:{minute}:00" for minute in ("00", "15", "30", "45")]


def test_version_1_saved_again_is_the_present_version(tmp_path: Path) -> None:
    before = (FIXTURES / "version-1.zarr.zip").read_bytes()
    city = open_city(FIXTURES / "version-1.zarr.zip")
    path = city.save(tmp_path / "new.zarr.zip")
    assert member(path, "zarr.json")["attributes"]["schema_version"] == 2
    assert open_city(path).fingerprint() == city.fingerprint()
    assert (FIXTURES / "version-1.zarr.zip").read_bytes() == before


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(CityError, match=r"there is no city at .*nowhere\.zarr\.zip: check the path"):
        open_city(tmp_path / "nowhere.zarr.zip")


def test_a_name_that_is_too_long(city: City, tmp_path: Path) -> None:
    for use in (open_city, city.save):
        with pytest.raises(CityError, match=r"^cannot reach .*aaa: File name too long; give another path$"):
            use(tmp_path / ("a" * 300))
    with pytest.raises(CmustError, match=r"cannot write .*: File name too long; choose"):
        city.save(tmp_path / ("a" * 250))  # a name, but the temporary one beside it is none
    assert not list(tmp_path.iterdir())


def test_folder_instead_of_a_file(city: City, tmp_path: Path) -> None:
    with pytest.raises(CityError, match=r"is not a file: a city is one file"):
        open_city(tmp_path)
    with pytest.raises(CityError, match=r"is a folder: a city is one file, give a name such as"):
        city.save(tmp_path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 5000, random.Random(1).randbytes(5000)])
def test_random_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "random.zarr.zip"
    path.write_bytes(content)
    with pytest.raises(CityError, match=r"random\.zarr\.zip is not a city, or it is truncated or damaged"):
        open_city(path)


def test_truncated_anywhere(saved: Path) -> None:
    whole = saved.read_bytes()
    for length in range(0, len(whole), max(1, len(whole) // 60)):
        saved.write_bytes(whole[:length])
        with pytest.raises(CityError, match=r"truncated or damaged"):
            open_city(saved)


def test_one_flipped_byte_anywhere_is_an_error_or_harmless(city: City, saved: Path) -> None:
    whole = bytearray(saved.read_bytes())
    dice = random.Random(7)
    refused = 0
    for _ in range(80):
        at = dice.randrange(len(whole))
        saved.write_bytes(bytes(whole[:at]) + bytes([whole[at] ^ 0x5A]) + bytes(whole[at + 1 :]))
        try:
            assert (
                open_city(saved).fingerprint() == city.fingerprint()
            )  # a byte that carries nothing, as a date in the zip
        except CityError:
            refused += 1
    assert refused > 40


def test_other_zip_and_other_zarr(saved: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("letter.txt", "dear reader")
    with pytest.raises(CityError, match=r"it is a zip archive, but not a city: it has no 'zarr.json'"):
        open_city(other)
    rewrite(saved, {"zarr.json": b'{"attributes": {}, "zarr_format": 3, "node_type": "group"}'})
    with pytest.raises(CityError, match=r"it is a Zarr store, but not a city: its format is None"):
        open_city(saved)


@pytest.mark.parametrize("version", [99, 0, "2", None])
def test_unknown_version(saved: Path, version: Any) -> None:
    root = member(saved, "zarr.json")
    root["attributes"]["schema_version"] = version
    rewrite(saved, {"zarr.json": json.dumps(root).encode()})
    with pytest.raises(CityError, match=rf"its schema version is {version!r}, this program reads 1 to 2"):
        open_city(saved)


def test_removed_chunk_is_noticed(saved: Path) -> None:
    rewrite(saved, {"tasks/trips/values/c/0/0/0": None})  # Zarr alone would read this as missing values
    with pytest.raises(CityError, match=r"was altered after it was saved"):
        open_city(saved)


def test_removed_array_and_attribute_are_noticed(saved: Path) -> None:
    group = member(saved, "tasks/trips/zarr.json")
    del group["attributes"]["unit"]
    rewrite(saved, {"tasks/trips/zarr.json": json.dumps(group).encode()})
    with pytest.raises(CityError, match=r"is damaged \(KeyError: 'unit'\)"):
        open_city(saved)
    rewrite(saved, {"tasks/trips/lon/zarr.json": None, "tasks/trips/lon/c/0": None})
    with pytest.raises(CityError, match=r"the array 'lon' is missing"):
        open_city(saved)


def test_times_in_other_units_are_refused(saved: Path) -> None:
    node = member(saved, "tasks/trips/time/zarr.json")
    node["attributes"]["units"] = "hours since 1970-01-01"
    rewrite(saved, {"tasks/trips/time/zarr.json": json.dumps(node).encode()})
    with pytest.raises(CityError, match=r"the times of 'trips' are in 'hours since 1970-01-01'"):
        open_city(saved)


def test_nothing_in_a_file_can_be_unpickled(saved: Path) -> None:
    array = member(saved, "tasks/trips/node/zarr.json")
    array["codecs"] = [{"name": "numcodecs.pickle", "configuration": {}}]
    rewrite(saved, {"tasks/trips/node/zarr.json": json.dumps(array).encode()})
    with pytest.raises(CityError, match=r"and codecs numcodecs\.pickle; only"):
        open_city(saved)


def test_members_of_zarr_2_and_other_members_are_refused(saved: Path) -> None:
    whole = saved.read_bytes()
    for name in ("tasks/trips/.zarray", "tasks/../../escape", "tasks/trips/model.pkl"):
        saved.write_bytes(whole)
        rewrite(saved, {name: b"{}"})
        with pytest.raises(CityError, match=r"does not belong in a city"):
            open_city(saved)


def test_no_room_while_saving_leaves_the_old_city(city: City, saved: Path, task: Any) -> None:
    before = saved.read_bytes()
    larger = city.with_task(task(name="more"))
    for room in (0, 100, 4000, len(before)):
        with (
            file_size_limit(room),
            pytest.raises(CmustError, match=r"cannot write .*what stood there before is untouched"),
        ):
            larger.save(saved)
        assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir()] == [saved.name]  # nothing half-written lies around
    assert open_city(saved).fingerprint() == city.fingerprint()


def test_disk_full_when_synced_leaves_the_old_city(city: City, saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CmustError, match=r"No space left on device; what stood there before is untouched"):
        city.select(tasks=["speed"]).save(saved)
    monkeypatch.undo()
    assert open_city(saved).fingerprint() == city.fingerprint()


SAVER = """
import os, sys, time
import numpy as np
from cmust.city import City
path = sys.argv[1]
values = np.random.default_rng(0).random((1000, 50), np.float32)
def city(shift):
    times = np.datetime64("2020-01-01", "s") + np.arange(1000) * np.timedelta64(1800, "s")
    nodes = [str(at) for at in range(50)]
    return City.from_arrays("kill", {"x": values + shift}, time=times, nodes=nodes, lon=range(50), lat=range(50))
old, new = city(0), city(1)
print(old.fingerprint(), new.fingerprint(), flush=True)
for line in sys.stdin:  # a line asks for a process that saves for ever; imports are paid for once
    child = os.fork()
    if child == 0:
        start = time.perf_counter()
        old.save(path)
        print(os.getpid(), time.perf_counter() - start, flush=True)
        while True:
            new.save(path)
            old.save(path)
    os.waitpid(child, 0)
    print("dead", flush=True)
"""


def test_killed_at_any_moment_the_old_city_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "kill.zarr.zip"
    dice = random.Random(3)
    seen, inside = [], False
    with subprocess.Popen(
        [sys.executable, "-c", SAVER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as saver:
        assert saver.stdin is not None and saver.stdout is not None
        both = saver.stdout.readline().split()
        # a busy machine stretches the saves: on until kills fell on both sides of a rename and inside a write
        while len(seen) < 20 or (len(seen) < 300 and not (inside and set(seen) == set(both))):
            print("go", file=saver.stdin, flush=True)
            child, one_save = saver.stdout.readline().split()
            time.sleep(dice.random() * 2 * float(one_save))
            os.kill(int(child), signal.SIGKILL)
            assert saver.stdout.readline() == "dead\n"
            seen.append(open_city(path).fingerprint())
            assert seen[-1] in both
            inside = inside or any(tmp_path.glob(".kill*.tmp"))
        saver.stdin.close()
    assert inside and set(seen) == set(both)
