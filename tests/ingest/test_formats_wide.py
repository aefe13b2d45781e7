"""Wide tables: CSV, and HDF5 as ``DataFrame.to_hdf`` writes it (METR-LA with names as text, PEMS-BAY with numbers)."""

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cmust.errors import IngestError
from cmust.ingest.formats import ImportSettings, import_wide

h5py = pytest.importorskip("h5py")

SETTINGS = ImportSettings(name="la", timezone="America/Los_Angeles", coordinates="unknown")
INDEX = pd.date_range("2012-03-01", periods=300, freq="5min")
NAMES = ["773869", "767541", "767542"]
VALUES = np.random.default_rng(2).uniform(0, 70, (300, 3))
VALUES[7, 1] = 0.0


def write_fixed(path: Path, key: str = "df", unit: str = "", **change: object) -> Path:
    """The layout of pandas' fixed format, written with h5py: groups, arrays and attributes as to_hdf leaves them."""
    columns = np.array(change.get("columns", NAMES), dtype="S6")
    times = INDEX.to_numpy().astype("datetime64[ns]").astype(np.int64)
    with h5py.File(path, "a") as file:
        group = file.create_group(key)
        attributes = {"pandas_type": change.get("pandas_type", b"frame"), "nblocks": 1, "ndim": 2, "encoding": b"UTF-8"}
        group.attrs.update(attributes)
        arrays = {
            "axis0": change.get("axis0", columns),
            "axis1": change.get("axis1", times // 1000 if unit == "us" else times),
            "block0_items": change.get("items", columns),
            "block0_values": change.get("values", VALUES),
        }
        for name, array in arrays.items():
            if array is None:
                continue
            file_array = group.create_dataset(name, data=array)
            file_array.attrs["transposed"] = np.uint8(1)
        if "axis1" in group:
            group["axis1"].attrs["kind"] = change.get("kind", f"datetime64[{unit}]".encode() if unit else b"datetime64")
            group["axis1"].attrs["freq"] = b"cpandas._libs.tslibs.offsets\nMinute\np0\n(I5\nI00\ntp1\nRp2\n."
            if "tz" in change:
                group["axis1"].attrs["tz"] = change["tz"]
    return path


def assert_la(task: object, values: np.ndarray = VALUES) -> None:
    np.testing.assert_array_equal(task.values[:, :, 0], values.astype(np.float32))  # type: ignore[attr-defined]
    assert task.nodes == tuple(NAMES)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(task.time, INDEX.to_numpy().astype("datetime64[s]"))  # type: ignore[attr-defined]
    assert task.interval == 300  # type: ignore[attr-defined]


@pytest.mark.parametrize("unit", ["", "us"])
def test_fixed_hdf5(tmp_path: Path, unit: str) -> None:
    path = write_fixed(tmp_path / "metr-la.h5", unit=unit)
    assert_la(import_wide(path, SETTINGS, task="speed").city.task("speed"))


def test_blocks_of_other_types_and_other_orders(tmp_path: Path) -> None:
    path = write_fixed(tmp_path / "a.h5", items=np.array(["767542", "773869"], dtype="S6"), values=VALUES[:, [2, 0]])
    with h5py.File(path, "a") as file:
        file["df"].attrs["nblocks"] = 2
        file["df"].create_dataset("block1_items", data=np.array(["767541"], dtype="S6"))
        file["df"].create_dataset("block1_values", data=VALUES[:, [1]].astype(np.float32))
    assert_la(import_wide(path, SETTINGS, task="speed").city.task("speed"))


@pytest.mark.parametrize("columns", [NAMES, [int(name) for name in NAMES]])
def test_what_pandas_itself_writes(tmp_path: Path, columns: list[object]) -> None:
    pytest.importorskip("tables", reason="pandas writes HDF5 through PyTables")
    frame = pd.DataFrame(VALUES, index=INDEX, columns=columns)
    frame.to_hdf(tmp_path / "own.h5", key="speed")
    assert_la(import_wide(tmp_path / "own.h5", SETTINGS, task="speed").city.task("speed"))
    frame.to_hdf(tmp_path / "table.h5", key="speed", format="table")
    with pytest.raises(IngestError, match="'speed' \\(frame_table\\), not a table in pandas' fixed format"):
        import_wide(tmp_path / "table.h5", SETTINGS, task="speed")
    frame.tz_localize("UTC").to_hdf(tmp_path / "zone.h5", key="speed")
    with pytest.raises(IngestError, match="times carry the zone"):
        import_wide(tmp_path / "zone.h5", SETTINGS, task="speed")
    with pytest.warns(pd.errors.PerformanceWarning):
        frame.astype(object).to_hdf(tmp_path / "objects.h5", key="speed")
    with pytest.raises(IngestError, match="values of '/speed' are stored as object, not as numbers"):
        import_wide(tmp_path / "objects.h5", SETTINGS, task="speed")


def test_a_gap_in_the_rows_is_missing_and_zero_is_data_unless_asked(tmp_path: Path) -> None:
    """PEMS-BAY lacks the hour that the clock change skips."""
    kept = np.r_[0:100, 112:300]
    times = INDEX[kept].to_numpy().astype("datetime64[ns]").astype(np.int64)
    path = write_fixed(tmp_path / "pems-bay.h5", axis1=times, values=VALUES[kept])
    imported = import_wide(path, SETTINGS, task="speed")
    task = imported.city.task("speed")
    assert task.n_steps == 300 and np.isnan(task.values[100:112]).all() and task.values[7, 1, 0] == 0
    assert any("12 of 300 steps" in note for note in imported.notes)
    asked = import_wide(path, ImportSettings("la", "UTC", "unknown", zero_is_missing=True), task="speed")
    values = asked.city.task("speed").values
    assert np.isnan(values[7, 1, 0]) and np.isnan(values).sum() == 12 * 3 + 1


def test_keys(tmp_path: Path) -> None:
    path = write_fixed(tmp_path / "two.h5", key="a")
    write_fixed(path, key="deep/b")
    with pytest.raises(IngestError, match="several tables; give one of the keys a, deep/b"):
        import_wide(path, SETTINGS, task="speed")
    assert_la(import_wide(path, SETTINGS, task="speed", key="/deep/b").city.task("speed"))
    with pytest.raises(IngestError, match="no table 'c'"):
        import_wide(path, SETTINGS, task="speed", key="c")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pandas_type": b"series"}, "'df' \\(series\\), not a table"),
        ({"axis0": np.frombuffer(b"\x80\x04pickle", dtype=np.uint8).reshape(1, -1)}, "'axis0' .* not as plain names"),
        ({"axis1": None}, "no 'axis1'"),
        ({"values": None}, "no 'block0_values'"),
        ({"values": VALUES[:5]}, r"has shape \(5, 3\), \(300, 3\) expected"),
        ({"values": VALUES.astype("S8")}, "not as numbers"),
        ({"kind": b"integer"}, "labelled by integer, not by times"),
        ({"tz": b"UTC"}, "times carry the zone UTC"),
        ({"columns": ["1", "1", "2"]}, "a column name is there twice"),
        ({"axis1": np.zeros(300, dtype=np.int64)}, "is there twice"),
        ({"axis1": np.full(300, np.iinfo(np.int64).min)}, "not a whole second|is there twice|not a time"),
    ],
)
def test_bad_hdf5(tmp_path: Path, change: dict[str, object], message: str) -> None:
    path = write_fixed(tmp_path / "bad.h5", **change)
    with pytest.raises(IngestError, match=message):
        import_wide(path, SETTINGS, task="speed")


def test_variable_length_names_are_taken_for_pickles_and_refused(tmp_path: Path) -> None:
    """PyTables stores objects as variable-length bytes: pickles."""
    path = write_fixed(tmp_path / "bad.h5", axis0=None)
    with h5py.File(path, "a") as file:
        stored = file["df"].create_dataset("axis0", (1,), dtype=h5py.vlen_dtype(np.uint8))
        stored[0] = np.frombuffer(b"\x80\x04\x95", dtype=np.uint8)
    with pytest.raises(IngestError, match="a pickle, perhaps"):
        import_wide(path, SETTINGS, task="speed")


def test_files_that_are_not_hdf5(tmp_path: Path) -> None:
    (tmp_path / "bad.h5").write_text("time,a\n")
    with pytest.raises(IngestError, match="cannot read"):
        import_wide(tmp_path / "bad.h5", SETTINGS, task="speed")
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    with pytest.raises(IngestError, match="holds no pandas table"):
        import_wide(tmp_path / "empty.h5", SETTINGS, task="speed")


def test_csv(tmp_path: Path) -> None:
    frame = pd.DataFrame(VALUES, index=INDEX, columns=NAMES)
    frame.iloc[3, 2] = np.nan
    frame.to_csv(tmp_path / "la.csv")
    assert_la(import_wide(tmp_path / "la.csv", SETTINGS, task="Speed").city.task("speed"), frame.to_numpy())
    (tmp_path / "la.csv.gz").write_bytes(gzip.compress((tmp_path / "la.csv").read_bytes()))
    assert_la(import_wide(tmp_path / "la.csv.gz", SETTINGS, task="speed").city.task("speed"), frame.to_numpy())
    frame.iloc[::-1].to_csv(tmp_path / "back.csv")
    back = import_wide(tmp_path / "back.csv", SETTINGS, task="speed")
    assert_la(back.city.task("speed"), frame.to_numpy())
    assert any("sorted" in note for note in back.notes)


def test_values_at_a_time_that_the_clocks_skip(tmp_path: Path) -> None:
    """Nobody can have read them on that clock: those of PEMS-BAY are missing there."""
    times = [f"2017-03-12 0{hour}:{minute}:00" for hour in (1, 2, 3) for minute in ("00", "30")]
    for values, told in ((["1"] * 6, True), (["1", "1", "", "", "1", "1"], False)):
        rows = [f"{time},{value}\n" for time, value in zip(times, values, strict=True)]
        (tmp_path / "bay.csv").write_text("time,a\n" + "".join(rows))
        for zone, moves in (("America/Los_Angeles", True), ("UTC", False)):
            imported = import_wide(tmp_path / "bay.csv", ImportSettings("bay", zone, "unknown"), task="speed")
            assert imported.city.task("speed").n_steps == 6
            notes = [note for note in imported.notes if "clocks of" in note]
            assert len(notes) == (told and moves)
            assert all(
                "at 2017-03-12T02:00:00, a time that the clocks of America/Los_Angeles" in note for note in notes
            )


def test_csv_without_times(tmp_path: Path) -> None:
    pd.DataFrame(VALUES, columns=NAMES).to_csv(tmp_path / "la.csv", index=False)
    start = "2012-03-01T00:00:00"
    assert_la(import_wide(tmp_path / "la.csv", SETTINGS, task="speed", start=start, interval=300).city.task("speed"))
    with pytest.raises(IngestError, match="give the interval"):
        import_wide(tmp_path / "la.csv", SETTINGS, task="speed", start=start)
    with pytest.raises(IngestError, match="give a start when the table has no times"):
        import_wide(tmp_path / "la.csv", SETTINGS, task="speed")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("time,a,b\n", "no rows"),
        ("time;a;b\n2012-03-01;1;2\n", "names no node: is the delimiter a comma"),
        ("time,a,a\n2012-03-01,1,2\n", "column 'a' is there twice"),
        ("time,a,b\n2012-03-01,1,fast\n2012-03-02,1,2\n", "line 2, column 'b': 'fast' is not a number"),
        ("\n\ntime,a,b\n2012-03-01,1,2\n2012-03-02,fast,2\n", "line 5, column 'a': 'fast' is not a number"),
        ("time,a\n2012-03-01,1\n2012-03-01,2\n", "2012-03-01T00:00:00 is there twice"),
        ("time,a\n2012-03-01,1\n", "1 time steps, too few"),
        ("time,a\n2012-03-01,\n2012-03-02,NA\n", "'speed' has no value at all"),
        ("time,a\n2012-03-01,1\n2012-03-02,1,2\n", "cannot read"),
        ("time,a\n01/03/2012,1\n", "time '01/03/2012' is not of the form"),
    ],
)
def test_bad_csv(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(IngestError, match=message):
        import_wide(path, SETTINGS, task="speed")


def test_cut_off_gz_and_options_that_do_not_fit(tmp_path: Path) -> None:
    packed = gzip.compress(pd.DataFrame(VALUES, index=INDEX, columns=NAMES).to_csv().encode())
    (tmp_path / "cut.csv.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(IngestError, match="cannot read"):
        import_wide(tmp_path / "cut.csv.gz", SETTINGS, task="speed")
    with pytest.raises(IngestError, match="cannot read"):
        import_wide(tmp_path / "absent.csv", SETTINGS, task="speed")
    path = write_fixed(tmp_path / "a.h5")
    with pytest.raises(IngestError, match="leave the start out"):
        import_wide(path, SETTINGS, task="speed", start="2012-03-01")
    pd.DataFrame(VALUES, index=INDEX, columns=NAMES).to_csv(tmp_path / "la.csv")
    with pytest.raises(IngestError, match="leave the key out"):
        import_wide(tmp_path / "la.csv", SETTINGS, task="speed", key="df")
    with pytest.raises(IngestError, match="not a whole number of 600-second steps"):
        import_wide(tmp_path / "la.csv", SETTINGS, task="speed", interval=600)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("00:00,1,5,7\n2024-04-01 01:00,2,5,7", "more fields"),
        ("00:00,1,2\n2024-04-01 01:00,1", "row 3: 2 fields"),
    ],
)
def test_rows_of_other_lengths(rows: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "w.csv"
    file.write_text(f"time,a,b\n2024-04-01 {rows}\n")
    with pytest.raises(IngestError, match=words):
        import_wide(file, SETTINGS, task="v")


@pytest.mark.parametrize("interval", [0, -300])
@pytest.mark.parametrize("start", [None, "2012-03-01"])
def test_an_interval_that_can_be_none(tmp_path: Path, interval: int, start: str | None) -> None:
    pd.DataFrame(VALUES, index=INDEX, columns=NAMES).to_csv(tmp_path / "la.csv", index=start is None)
    with pytest.raises(
        IngestError, match=f"the interval is {interval} seconds, it has to be positive and divide a day"
    ):
        import_wide(tmp_path / "la.csv", SETTINGS, task="speed", start=start, interval=interval)


def test_blank_lines_before_the_first(tmp_path: Path) -> None:
    text = pd.DataFrame(VALUES, index=INDEX, columns=NAMES).to_csv()
    (tmp_path / "la.csv").write_text("\n  \n\n" + text)
    (tmp_path / "places.csv").write_text("\n\nnode,lon,lat\n" + "".join(f"{name},1,2\n" for name in NAMES))
    settings = replace(SETTINGS, coordinates=str(tmp_path / "places.csv"))
    found = import_wide(tmp_path / "la.csv", settings, task="speed").city.task("speed")
    (tmp_path / "plain.csv").write_text(text)
    plain = import_wide(tmp_path / "plain.csv", SETTINGS, task="speed").city.task("speed")
    np.testing.assert_array_equal(found.values, plain.values)
    assert (found.lon == 1).all() and (found.lat == 2).all()


def test_a_field_longer_than_csv_allows(tmp_path: Path) -> None:
    file = tmp_path / "w.csv"
    file.write_text("time,a,b\n2024-04-01 00:00,1,\n2024-04-01 01:00," + "1" * 200_000 + ",2\n")
    with pytest.raises(IngestError, match=r"w\.csv, after row 2: field larger than field limit"):
        import_wide(file, SETTINGS, task="v")
