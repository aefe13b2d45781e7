"""Spark in local mode gives what DuckDB gives, on clean and on dirty records."""

import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import plan_of, write_csv

from cmust.errors import IngestError
from cmust.ingest import events, sensors
from cmust.ingest.engine import open_engine
from cmust.ingest.events import Event, Measure, ingest_events
from cmust.ingest.places import Zones
from cmust.ingest.reasons import Reason
from cmust.ingest.sensors import Quantity, SensorPlan, ingest_sensors

pytest.importorskip("pyspark", reason="needs pyspark (extra cmust[spark])")
if shutil.which("java") is None:
    pytest.skip("needs Java on the path", allow_module_level=True)
pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def spark():
    with open_engine("spark", master="local[1]") as engine:
        yield engine


def trips(folder, n=1500):
    """Trips of which one in three has something wrong."""
    rng = np.random.default_rng(11)
    dirt = ["", "x", "0", "1d", "nan", "1e400", " 40.5", "-73.5", "+40.2", "999"]
    rows = []
    for at in range(n):
        minute = int(rng.integers(0, 3000))
        row = [
            f"2016-01-{1 + minute // 1440:02d} {minute // 60 % 24:02d}:{minute % 60:02d}:{at % 60:02d}",
            f"{rng.uniform(-74.1, -72.9):.6f}",
            f"{rng.uniform(39.9, 41.1):.6f}",
            f"2016-01-04T{minute // 60 % 24:02d}:{minute % 60:02d}",
            f"{rng.uniform(-74, -73):.6f}",
            f"{rng.uniform(40, 41):.6f}",
            f"{rng.uniform(0, 5):.3f}",
        ]
        if at % 3 == 0:
            row[int(rng.integers(0, 7))] = dirt[at // 3 % len(dirt)]
        if at % 97 == 0:
            row.append("too much")
        if at % 89 == 0:
            row.pop()
        rows.append(row)
    return write_csv(folder / "trips.csv", rows, ("t0", "x0", "y0", "t1", "x1", "y1", "w"))


PLAN = {
    "events": (Event("start", "t0", "x0", "y0"), Event("end", "t1", "x1", "y1")),
    "measures": (Measure("out", "start"), Measure("weight_in", "end", "w")),
    "weights": {"w": "w"},
    "start": "2016-01-01",
    "stop": "2016-01-05",
}


@pytest.fixture
def summed(monkeypatch):
    """What the engines summed, as double numbers, per run: a city holds them as single ones."""
    runs = []

    def events_too(*arguments):
        runs.append(sum_layouts(*arguments))
        return runs[-1]

    def sensors_too(*arguments):
        runs.append(gather(*arguments))
        return runs[-1]

    sum_layouts, gather = events.sum_layouts, sensors._gather
    monkeypatch.setattr(events, "sum_layouts", events_too)
    monkeypatch.setattr(sensors, "_gather", sensors_too)
    return runs


def same(one, other):
    """The same account, places and steps; values alike as far as single numbers go."""
    assert one.report.to_dict() == other.report.to_dict()
    for name, task in one.city.tasks.items():
        twin = other.city.task(name)
        assert task.nodes == twin.nodes and (task.time == twin.time).all()
        np.testing.assert_allclose(task.values, twin.values, rtol=1e-6)


def same_sums(one, other):
    """Counts per event, cell, slot and category are equal, weights to 1e-9."""
    for name, ours in one.events.items():
        theirs = other.events[name]
        tables = []
        for sums, labels in ((ours, one.categories), (theirs, other.categories)):
            label = np.array([*labels, ""])[sums.category if labels else -1 - 0 * sums.category]
            keys = list(zip(sums.cell.tolist(), sums.slot.tolist(), label.tolist(), strict=True))
            order = sorted(range(len(keys)), key=keys.__getitem__)
            tables.append(([keys[at] for at in order], sums.count[order], sums.weights[:, order]))
        (keys, counts, weights), (their_keys, their_counts, their_weights) = tables
        assert len(keys) > 50
        assert keys == their_keys and counts.tolist() == their_counts.tolist()
        np.testing.assert_allclose(weights, their_weights, rtol=1e-9, atol=0)


@pytest.mark.parametrize("place", ["grid", "zones"])
def test_trips(tmp_path, spark, summed, place):
    shapely = pytest.importorskip("shapely")
    path = trips(tmp_path)
    circles = tuple(shapely.Point(x, 40.5).buffer(0.3) for x in (-73.8, -73.3))
    where = {} if place == "grid" else {"place": Zones(("a", "b"), ("a", "b"), circles)}
    plan = plan_of(**PLAN, **where, whole_records=place == "grid")
    with open_engine("duckdb", threads=1) as duck:
        ours = ingest_events([path], plan, duck)
    assert sum(len(account.thrown) for account in ours.report.accounts) > 12
    same(ours, ingest_events([path.as_uri()], plan, spark))
    same_sums(*summed)


def test_categories_formats_and_utc(tmp_path, spark, summed):
    rows = [
        [f"{m}/{1 + n % 28}/2016 {1 + n % 12}:{n % 60:02d}:05 {'AM' if n % 2 else 'pm'}", -73.5, 40.5, "ab"[n % 2]]
        for n, m in enumerate([3, 11] * 40)
    ]
    rows += [["13/13/2016 1:00:00 AM", -73.5, 40.5, "a"], ["3/3/16 1:00:00 AM", -73.5, 40.5, "a"]]
    path = write_csv(tmp_path / "a.csv", rows, ("time", "lon", "lat", "kind"))
    plan = plan_of(
        utc=True, category="kind", events=(Event("call", "time", "lon", "lat"),), measures=(Measure("", "call"),)
    )
    with open_engine("duckdb", threads=1) as duck:
        ours = ingest_events([path], plan, duck)
    assert list(ours.city.tasks) == ["a", "b"]
    same(ours, ingest_events([path], plan, spark))
    same_sums(*summed)


def test_sensors(tmp_path, spark, summed):
    rows = [[n % 3, f"2017-01-01 00:{n % 60:02d}:00", n % 7, "" if n % 5 == 0 else n * 0.1, n] for n in range(300)]
    path = write_csv(tmp_path / "r.csv", rows, ("site", "when", "veh", "kmh", "queue"))
    nodes = write_csv(tmp_path / "n.csv", [["0", 1, 1], ["1", 2, 2]], ("id", "lon", "lat"))
    quantities = (Quantity("flow", "veh", "sum"), Quantity("speed", "kmh", "mean"), Quantity("queue", "queue", "last"))
    plan = SensorPlan("s", "site", "when", quantities, "UTC", 300, nodes, max_bad_share=1.0)
    with open_engine("duckdb", threads=1) as duck:
        ours = ingest_sensors([path], plan, duck)
    same(ours, ingest_sensors([path], plan, spark))
    for one, other in zip(summed[:3], summed[3:], strict=True):
        for cells in (one, other):
            cells.order = np.lexsort((cells.slot, cells.node.astype(str)))
        for name in ("node", "slot", "count", "latest"):
            assert getattr(one, name)[one.order].tolist() == getattr(other, name)[other.order].tolist()
        np.testing.assert_allclose(one.amount[one.order], other.amount[other.order], rtol=1e-9, atol=0)


HERE = {"lon": [-73.5] * 3, "lat": [40.5] * 3}
TIMES = ["2016-01-01 10:00:00", "2016-01-01 10:10:00", "2016-01-01 11:00:00"]


def parquet(path, **columns):
    pq.write_table(pa.table({"time": TIMES, **HERE, **columns}), path)
    return path


@pytest.mark.parametrize("name", ["a[1]", "a*", "a{b", "a{b,c}", "a?b", "a b%20c"])
@pytest.mark.parametrize("address", [False, True])
def test_a_path_is_no_pattern(tmp_path, spark, name, address):
    (tmp_path / name).mkdir()
    for other in ("a1", "ab", "a", "a b c"):  # what the patterns would find
        (tmp_path / other).mkdir()
        parquet(tmp_path / other / f"{name}.parquet")
        write_csv(tmp_path / other / f"{name}.csv", [[time, -73.5, 40.5] for time in TIMES])
    files = [
        parquet(tmp_path / name / f"{name}.parquet"),
        write_csv(tmp_path / name / f"{name}.csv", [[time, -73.5, 40.5] for time in TIMES]),
    ]
    made = ingest_events([f"file://{file}" if address else file for file in files], plan_of(), spark)
    assert made.report.accounts[0].kept == 6


def test_an_address_may_be_a_pattern(tmp_path, spark):
    for name in ("a1", "a2", "b1"):
        parquet(tmp_path / f"{name}.parquet")
    assert ingest_events([f"file://{tmp_path}/a*.parquet"], plan_of(), spark).report.accounts[0].kept == 6


def test_texts_of_a_parquet_as_times(tmp_path, spark):
    when = ["03/25/2016 08:15:00 AM", "03/25/2016 2:05:00 PM", "soon"]
    pq.write_table(pa.table({"time": when, **HERE}), tmp_path / "a.parquet")
    with open_engine("duckdb", threads=1) as duck:
        ours = ingest_events([tmp_path / "a.parquet"], plan_of(), duck)
    assert ours.report.accounts[0].kept == 2
    same(ours, ingest_events([tmp_path / "a.parquet"], plan_of(), spark))


@pytest.mark.parametrize(
    "other", [[0.25, 0.25, 0.25], ["0.25", "x", ""], pa.array([1, 2, 3], pa.int8()), [True, None, False]]
)
def test_types_that_differ_by_file(tmp_path, spark, other):
    files = [parquet(tmp_path / "1.parquet", w=[1, 2, 4]), parquet(tmp_path / "2.parquet", w=other)]
    plan = plan_of(weights={"w": "w"}, measures=(Measure("seen", "seen", "w"),))
    for order in (files, files[::-1]):
        with open_engine("duckdb", threads=1) as duck:
            ours = ingest_events(order, plan, duck)
        same(ours, ingest_events(order, plan, spark))
        same(ours, ingest_events([file.as_uri() for file in order], plan, spark))


def test_truths_count_as_they_do_beside_numbers(tmp_path, spark):
    file = parquet(tmp_path / "1.parquet", w=[True, None, False])
    plan = plan_of(weights={"w": "w"}, measures=(Measure("seen", "seen", "w"),))
    with open_engine("duckdb", threads=1) as duck:
        ours = ingest_events([file], plan, duck)
    assert ours.city.task("seen").values.sum() == 1 and ours.report.accounts[0].kept == 2
    same(ours, ingest_events([file], plan, spark))


def test_types_that_go_together_nowhere(tmp_path, spark):
    files = [parquet(tmp_path / "1.parquet", w=[1, 2, 4]), parquet(tmp_path / "2.parquet", w=[[1], [2], [3]])]
    plan = plan_of(weights={"w": "w"}, measures=(Measure("seen", "seen", "w"),))
    with pytest.raises(IngestError, match=r"the column 'w' .*1\.parquet.*2\.parquet.*one type"):
        ingest_events(files, plan, spark)


@pytest.mark.parametrize("memory", ["1500MB", "2GB", "2g"])
def test_a_memory_as_the_messages_advise_it(memory, tmp_path):
    with open_engine("spark", memory=memory, work=tmp_path):
        pass


@pytest.mark.parametrize("memory", ["foo", "", "-1g", "0m"])
def test_a_memory_that_is_none(memory):
    with pytest.raises(IngestError, match=f"the memory is '{memory}': write a size"):
        open_engine("spark", memory=memory)


def test_blank_lines_before_the_header(tmp_path, spark):
    path = write_csv(tmp_path / "a.csv", [[time, -73.5, 40.5] for time in TIMES])
    path.write_text("\n  \n\n" + path.read_text())
    account = ingest_events([path], plan_of(), spark).report.accounts[0]
    assert (account.records, account.kept) == (3, 3)


def test_an_address_that_cannot_be_looked_up(spark):
    with pytest.raises(IngestError, match=r"nowhere://x/a\.csv cannot be looked up .*check the address") as error:
        ingest_events(["nowhere://x/a.csv"], plan_of(), spark)
    assert "\n" not in str(error.value)


def test_a_file_that_breaks_off(tmp_path, spark):
    path = parquet(tmp_path / "a.parquet")
    count = np.arange(50_000)
    times = count.astype("datetime64[s]")  # texts would be looked at before Spark is asked
    pq.write_table(pa.table({"time": times, "lon": 1.0 * count, "lat": np.ones(50_000)}), path)
    content = bytearray(path.read_bytes())
    content[100 : len(content) // 2] = bytes(len(content) // 2 - 100)
    path.write_bytes(bytes(content))
    with pytest.raises(IngestError, match=r"Spark could not read the records .*a\.parquet"):
        ingest_events([path], plan_of(), spark)


@pytest.mark.parametrize("way", ["path", "address"])
def test_types_that_spark_does_not_read(tmp_path, spark, way):
    moments = pa.array([10**18] * 3, pa.timestamp("ns"))
    file = parquet(tmp_path / "a.parquet", time=moments)
    with pytest.raises(IngestError, match=r"Spark cannot read .*a\.parquet .*NANOS.*in microseconds.*DuckDB") as error:
        ingest_events([file if way == "path" else file.as_uri()], plan_of(), spark)
    assert "\n" not in str(error.value)


def test_bytes_that_are_no_text(tmp_path, spark):
    path = tmp_path / "a.csv"
    path.write_bytes(
        "time,lon,lat,k\n2016-01-01 10:00:00,-73.5,40.5,é\n2016-01-01 10:00:00,-73.5,40.5,x\n".encode("cp1252")
    )
    plan = plan_of(category="k", measures=(Measure("", "seen"),))
    with open_engine("duckdb", threads=1) as duck:
        ours = ingest_events([path], plan, duck)
    assert ours.report.accounts[0].thrown == {Reason.UNREADABLE: 1}
    same(ours, ingest_events([path], plan, spark))
