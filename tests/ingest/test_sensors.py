import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import write_csv
from typer.testing import CliRunner

from cmust.city import open_city
from cmust.cli.ingest import app
from cmust.errors import CityError, IngestError
from cmust.ingest.engine import open_engine
from cmust.ingest.reasons import Reason
from cmust.ingest.sensors import Quantity, SensorPlan, ingest_sensors

QUANTITIES = (
    Quantity("flow", "veh", "sum", "vehicles", "count"),
    Quantity("speed", "kmh", "mean", "km/h", "speed"),
    Quantity("queue", "queue", "last", "m"),
)
HEADER = ("site", "when", "veh", "kmh", "queue")


def make(files, nodes=None, **changes):
    settings = {"name": "s", "node": "site", "time": "when", "quantities": QUANTITIES, "nodes": nodes}
    settings |= {"timezone": "Asia/Shanghai", "interval": 300, "max_bad_share": 1.0}
    with open_engine(threads=1) as engine:
        return ingest_sensors([files], SensorPlan(**(settings | changes)), engine)


@pytest.fixture
def nodes(tmp_path):
    return write_csv(
        tmp_path / "nodes.csv", [["7", 120.7, 31.3], ["8", 120.8, 31.4], ["9", 120.9, 31.5]], ("id", "lon", "lat")
    )


def test_hand_worked(tmp_path, nodes):
    rows = [
        ["7", "2017-01-01 00:00:10", 3, 40, 5],
        ["7", "2017-01-01 00:04:59", 4, 50, 9],
        ["7.0", "2017-01-01 00:02:00", 1, "", 1],
        ["7", "2017-01-01 00:05:00", 2, 30, ""],
        ["8", "2017-01-01 00:10:00", 0, -1, 0],
        ["8", "2017-01-01 00:11:00", "n/a", 60, -2],
        ["1", "2017-01-01 00:00:00", 1, 1, 1],
        ["", "2017-01-01 00:00:00", 1, 1, 1],
    ]
    made = make(write_csv(tmp_path / "r.csv", rows, HEADER), nodes)
    nan = np.nan
    expected = {
        "flow": [[8, nan], [2, nan], [nan, 0]],
        "speed": [[45, nan], [30, nan], [nan, 60]],
        "queue": [[9, nan], [nan, nan], [nan, 0]],
    }
    for name, values in expected.items():
        task = made.city.task(name)
        assert task.nodes == ("7", "8")
        np.testing.assert_array_equal(task.values[:, :, 0], np.array(values, dtype=np.float32))
    common = {Reason.UNKNOWN_ZONE: 1, Reason.NO_PLACE: 1}
    flow, speed, queue = (account.thrown for account in made.report.accounts)
    assert flow == common | {Reason.BAD_VALUE: 1}
    assert speed == common | {Reason.NO_VALUE: 1, Reason.NEGATIVE: 1}
    assert queue == common | {Reason.NO_VALUE: 1, Reason.NEGATIVE: 1}
    assert made.city.task("speed").lon.tolist() == [120.7, 120.8]


def test_nodes_with_too_many_gaps_are_left_out(tmp_path, nodes):
    rows = [["7", f"2017-01-01 00:{5 * n:02d}:00", 1, 1, 1] for n in range(8)]
    rows += [["8", f"2017-01-01 00:{5 * n:02d}:00", 1, 1, 1] for n in range(0, 8, 2)]
    path = write_csv(tmp_path / "r.csv", rows, HEADER)
    made = make(path, nodes, min_share=0.6)
    assert made.city.task("flow").nodes == ("7",)
    assert made.report.accounts[0].thrown == {Reason.FEW_IN_CELL: 4}
    with pytest.raises(IngestError, match="no node has values in 90% of the 24 steps, the best has 33"):
        make(path, nodes, min_share=0.9, start="2017-01-01", stop="2017-01-01 02:00")


def test_random_readings_agree_with_pandas(tmp_path):
    rng = np.random.default_rng(5)
    n = 4000
    frame = pd.DataFrame(
        {
            "site": rng.choice(["a", "b", "c"], n),
            "when": pd.Timestamp("2017-03-01") + pd.to_timedelta(rng.permutation(20 * n)[:n], unit="s"),
            "veh": rng.integers(0, 9, n),
            "kmh": np.round(rng.normal(40, 9, n).clip(0), 2),
            "queue": rng.integers(0, 99, n),
        }
    )
    frame["lon"], frame["lat"] = frame.site.map({"a": 120.1, "b": 120.2, "c": 120.3}), 31.0
    frame.to_parquet(tmp_path / "r.parquet")
    city = make(tmp_path / "r.parquet", lon="lon", lat="lat", timezone="UTC", interval=900).city
    slow = frame.sort_values("when").groupby(["site", frame.when.dt.floor("15min")])
    for name, table in {"flow": slow.veh.sum(), "speed": slow.kmh.mean(), "queue": slow.queue.last()}.items():
        wide = table.unstack(0).reindex(city.task(name).time)
        np.testing.assert_allclose(city.task(name).values[:, :, 0], wide.to_numpy(), rtol=1e-6)
    assert city.task("flow").lon.tolist() == [120.1, 120.2, 120.3]


def test_ids_of_the_table_are_those_of_the_readings(tmp_path):
    ids = ["v1.0", "4.00", "5.0", "-6", " 7"]
    table = write_csv(tmp_path / "n.csv", [[name, 1, 1] for name in ids], ("id", "lon", "lat"))
    rows = [[name, "2016-01-01 10:00", 1, 10, 1] for name in ("v1.0", "4", "5.00", "-6.0", "7.0")]
    city = make(write_csv(tmp_path / "r.csv", rows, HEADER), table).city
    assert sorted(city.task("flow").nodes) == ["-6", "4", "5", "7", "v1.0"]


def test_ids_that_other_programs_take_for_missing(tmp_path):
    ids = ["NA", "null", "nan", "None"]
    places = [[name, at, at] for at, name in enumerate(ids)] + [["far", "NA", ""]]  # a place that nobody needs
    table = write_csv(tmp_path / "n.csv", places, ("id", "lon", "lat"))
    rows = [[name, "2016-01-01 10:00", at, 10, 1] for at, name in enumerate(ids)]
    city = make(write_csv(tmp_path / "r.csv", rows, HEADER), table).city
    assert city.task("flow").nodes == tuple(ids)
    assert open_city(city.save(tmp_path / "c.zarr.zip")).task("flow").nodes == tuple(ids)
    assert city.task("flow").values.ravel().tolist() == city.task("flow").lon.tolist() == [0, 1, 2, 3]
    with pytest.raises(IngestError, match="node '' is there twice or has no id"):
        make(tmp_path / "r.csv", write_csv(tmp_path / "e.csv", [["", 1, 1], ["", 2, 2]], ("id", "lon", "lat")))


@pytest.mark.parametrize("bound", ["start", "stop"])
def test_a_period_that_begins_or_ends_within_the_doubled_hour(tmp_path, nodes, bound):
    rows = [["7", f"2016-11-06T{hour:02d}:{minute}:00Z", 1, 10, 1] for hour in range(3, 9) for minute in ("00", "30")]
    path = write_csv(tmp_path / "r.csv", rows, HEADER)
    settings = {"timezone": "America/New_York", "interval": 1800, "utc": True}
    with pytest.raises(IngestError, match=f"{bound} is 2016-11-06 01:30, within the hour that the clocks repeat"):
        make(path, nodes, **settings, **{bound: "2016-11-06 01:30"})
    for moment, after in (("01:00", 8), ("02:00", 4)):  # in UTC 5:00 and 7:00
        flow = make(path, nodes, **settings, **{bound: f"2016-11-06 {moment}"}).city.task("flow")
        assert flow.values.sum() == (after if bound == "start" else 12 - after)


def test_the_doubled_hour_of_readings_in_utc(tmp_path, nodes):
    rows = [
        ["7", f"2016-11-06T0{hour}:{minute}:00Z", 1, speed, q]
        for hour, minute, speed, q in (
            (5, "10", 10, 1),
            (6, "10", 40, 2),
            (6, "20", 40, 3),
            (7, "10", 5, 4),
        )
    ]
    path = write_csv(tmp_path / "r.csv", rows, HEADER)
    city = make(path, nodes, timezone="America/New_York", interval=3600, utc=True).city
    assert np.datetime_as_string(city.task("flow").time).tolist() == ["2016-11-06T01:00:00", "2016-11-06T02:00:00"]
    assert city.task("flow").values.ravel().tolist() == [3, 1]  # both passes added
    assert city.task("speed").values.ravel().tolist() == [30, 5]  # the mean over both
    assert city.task("queue").values.ravel().tolist() == [3, 4]  # the last of the second


def test_settings_that_do_not_fit(tmp_path, nodes):
    path = write_csv(tmp_path / "r.csv", [["7", "2017-01-01 00:00:10", 3, 40, 5]], HEADER)
    for changes, said in (
        ({"nodes": None}, "where are the sensors"),
        ({"lon": "x"}, "both a table of nodes .* and a longitude .*leave out one of the two"),
        ({"lat": "y"}, "both a table of nodes .* and a longitude"),
        ({"quantities": (Quantity("flow", "veh", "median"),)}, "'median' is not known"),
        ({"nodes": tmp_path / "none.csv"}, "no file"),
        ({"min_share": 2.0}, "between 0 and 1"),
        (
            {"nodes": write_csv(tmp_path / "n2.csv", [["1", 1, 1], ["1", 2, 2]], ("id", "lon", "lat"))},
            "node '1' is there twice",
        ),
        ({"nodes": write_csv(tmp_path / "n3.csv", [["1", 1, 1]], ("id", "lon", "lat"))}, "no reading is left"),
    ):
        with pytest.raises(IngestError, match=said):
            make(path, **({"nodes": nodes} | changes))


def test_command(tmp_path, nodes):
    rows = [["7", "2017-01-01 00:00:10", 3, 40], ["8", "2017-01-01 00:06:00", 5, 20]]
    path = write_csv(tmp_path / "r.csv", rows, ("node", "time", "flow", "speed"))
    to = tmp_path / "c.zarr.zip"
    command = ["sensors", str(path), "--nodes", str(nodes), "--to", str(to), "--timezone", "Asia/Shanghai", "--force"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    city = open_city(to)
    assert {name: task.kind for name, task in city.tasks.items()} == {"flow": "count", "speed": "speed"}
    assert city.task("speed").interval == 300
    written = to.read_bytes()
    for extra, said in (
        (["--quantity", "speed"], "TASK=COLUMN:HOW"),
        (["--unit", "flows=veh"], "--unit is given for 'flows', but the tasks are flow, speed"),
        (["--kind", "flow=count", "--kind", "bike=nonsense"], "--kind is given for 'bike'"),
        (["--negative", "speeds"], "--negative is given for 'speeds'"),
        (["--quantity", "v=speed:mean", "--unit", "speed=km/h"], "--unit is given for 'speed', but the tasks are v"),
        (["--unit", "flow=a", "--unit", "flow=b"], "--unit is given twice for 'flow'"),
    ):
        assert said in str(CliRunner().invoke(app, [*command, *extra]).exception)
    assert to.read_bytes() == written


def test_readings_without_a_place_or_an_id(tmp_path):
    """As of events: empty, and longitude and latitude zero. NaN is what some programs write for no id."""
    columns = {"when": ["2016-01-01 10:00"] * 6, "site": [1.0, 2.0, 3.0, 4.0, float("nan"), None], "v": [1.0] * 6}
    frame = pd.DataFrame(columns | {"x": ["5", "0", "", "east", "5", "5"], "y": ["6", "0.0", "6", "6", "6", "6"]})
    table = pa.Table.from_pandas(frame).set_column(1, "site", pa.array(columns["site"], from_pandas=False))
    pq.write_table(table, tmp_path / "r.parquet")
    made = make(tmp_path / "r.parquet", quantities=(Quantity("v", "v", "sum"),), lon="x", lat="y")
    assert made.city.task("v").nodes == ("1",) and made.city.task("v").lon.tolist() == [5]
    assert made.report.accounts[0].thrown == {Reason.NO_PLACE: 4, Reason.BAD_PLACE: 1}


def test_a_time_zone_that_is_none(tmp_path, nodes):
    """Said before anything is read, whatever clock the records use."""
    for utc in (None, True):
        with pytest.raises(CityError, match="time zone 'Berlin' is not known"):
            make(tmp_path / "none.csv", nodes, timezone="Berlin", utc=utc)
