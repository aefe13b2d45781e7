"""Files that were once read wrongly without a word: what is thrown away is counted, what is kept is what they say."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import GRID_OF_FOUR, plan_of, run, write_csv

from cmust.errors import IngestError
from cmust.ingest.engine import open_engine
from cmust.ingest.events import Event, Measure
from cmust.ingest.places import read_zones
from cmust.ingest.reasons import Reason
from cmust.ingest.sensors import Quantity, SensorPlan, ingest_sensors

TIMES = ["2024-04-01 10:10:00", "2024-04-01 10:40:00", "2024-04-01 11:10:00"]
NAN = float("nan")


def parquet(path, **columns):
    pq.write_table(pa.table(columns), path)
    return path


def events(files, **changes):
    plan = plan_of(**{"place": GRID_OF_FOUR, "timezone": "Europe/Berlin", "interval": 3600} | changes)
    return run(files, plan)


def weighed(files):
    return events(files, weights={"w": "w"}, measures=(Measure("seen", "seen", "w"),))


def sensors(files, nodes, **quantity):
    settings = {"name": "s", "node": "node", "time": "time", "quantities": (Quantity("v", "v", **quantity),)}
    plan = SensorPlan(**settings, nodes=nodes, timezone="UTC", interval=3600, max_bad_share=1.0)
    with open_engine(threads=1) as engine:
        return ingest_sensors(files, plan, engine)


def hours(made):
    """The sum of a task over its nodes, by hour of the day."""
    [task] = made.city.tasks.values()
    sums = np.nansum(task.values, axis=(1, 2))
    return {time.astype("datetime64[h]").item().hour: float(v) for time, v in zip(task.time, sums, strict=True) if v}


@pytest.mark.parametrize("statistics", [True, False])
def test_nan_is_no_number(tmp_path, statistics):
    def write(name, **columns):
        pq.write_table(pa.table({"time": TIMES, **columns}), tmp_path / name, write_statistics=statistics)
        return tmp_path / name

    here = {"lon": [0.5] * 3, "lat": [0.5] * 3}
    made = weighed(write("weights.parquet", **here, w=[1.0, NAN, 2.0]))
    assert made.report.accounts[0].thrown == {Reason.BAD_VALUE: 1}
    assert hours(made) == {10: 1.0, 11: 2.0}
    made = events(write("places.parquet", lon=[0.5, NAN, 0.5], lat=[0.5, NAN, 0.5]))
    assert made.report.accounts[0].thrown == {Reason.BAD_PLACE: 1}
    assert hours(made) == {10: 1.0, 11: 1.0}


def test_a_time_that_is_nan(tmp_path):
    epochs = parquet(tmp_path / "e.parquet", time=[1.7e9, NAN, 1.7e9], lon=[0.5] * 3, lat=[0.5] * 3)
    assert events(epochs, time_format="epoch").report.accounts[0].thrown == {Reason.BAD_TIME: 1}


def test_a_path_is_no_pattern(tmp_path):
    right = write_csv(tmp_path / "a[1].csv", [["2024-04-01 01:10:00", 0.5, 0.5]])
    write_csv(tmp_path / "a1.csv", [["2024-04-01 05:10:00", 0.5, 0.5]])
    assert hours(events(right)) == {1: 1.0}
    (tmp_path / "lon=1.5").mkdir()
    for name in ("a.csv", "a.parquet"):
        file = tmp_path / "lon=1.5" / name
        if name == "a.csv":
            write_csv(file, [["2024-04-01 00:10:00", 0.5, 0.5]])
        else:
            parquet(file, time=TIMES, lon=[0.5] * 3, lat=[0.5] * 3)
        assert events(file).city.task("seen").nodes == ("r0c0",)


def test_types_that_differ_by_file(tmp_path):
    here = {"lon": [0.5] * 3, "lat": [0.5] * 3}
    whole = parquet(tmp_path / "1.parquet", time=TIMES, **here, w=[1, 2, 4])
    parts = parquet(tmp_path / "2.parquet", time=TIMES, **here, w=[0.25, 0.25, 0.25])
    for files in ([whole, parts], [parts, whole]):
        assert hours(weighed(files)) == {10: 3.5, 11: 4.25}
    naive, aware = (pd.to_datetime(TIMES).tz_localize(zone) for zone in (None, "UTC"))
    plain = parquet(tmp_path / "3.parquet", time=naive, **here)
    with pytest.raises(IngestError, match="say that they are UTC"):
        events([plain, parquet(tmp_path / "4.parquet", time=aware, **here)])


def test_truths_alone_count_as_they_do_beside_numbers(tmp_path):
    here = {"time": TIMES, "lon": [0.5] * 3, "lat": [0.5] * 3}
    truths = parquet(tmp_path / "1.parquet", **here, w=[True, False, None])
    numbers = parquet(tmp_path / "2.parquet", **here, w=[1, 0, None])
    both = [weighed(files) for files in (truths, [truths, numbers])]
    assert [hours(made) for made in both] == [{10: 1.0}, {10: 2.0}]
    assert both[0].report.accounts[0].thrown == {Reason.NO_VALUE: 1}
    with pytest.raises(IngestError, match=r"column 'time': its type is boolean, which is not a time"):
        events(parquet(tmp_path / "3.parquet", **here | {"time": [True, False, None]}), time_format="epoch")


def test_instants_of_nanoseconds_and_columns_of_nothing(tmp_path):
    """As pandas writes instants, and as it writes a column that is empty in one month."""
    moments = pa.array([10**18, 10**18 + 1, None], pa.timestamp("ns", tz="UTC"))  # 3:46 in Berlin
    pq.write_table(pa.table({"time": moments, "lon": [0.5] * 3, "lat": [0.5] * 3}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"time": moments, "lon": pa.nulls(3), "lat": [0.5] * 3}), tmp_path / "b.parquet")
    with pytest.raises(IngestError, match=r"holds instants .*say that they are UTC"):
        events(tmp_path / "a.parquet")
    for files in (["a"], ["a", "b"], ["b", "a"]):
        made = events([tmp_path / f"{name}.parquet" for name in files], utc=True)
        assert hours(made) == {3: 2.0}
        assert made.report.accounts[0].thrown.get(Reason.NO_PLACE, 0) == 2 * (len(files) - 1)
    with pytest.raises(IngestError, match=r"no record is left: .*2 no place"):
        events(tmp_path / "b.parquet", utc=True)
    pq.write_table(pa.table({"time": pa.nulls(3), "lon": [0.5] * 3, "lat": [0.5] * 3}), tmp_path / "c.parquet")
    with pytest.raises(IngestError, match=r"no record is left: .*3 no time"):
        events(tmp_path / "c.parquet")


@pytest.mark.parametrize("zone", [None, "UTC"])
def test_the_last_nanosecond_of_an_hour_is_in_it(tmp_path, zone):
    """As pandas ends a period."""
    end = pa.array([pd.Period("2024-04-01 10:00", "h").end_time.value], pa.timestamp("ns", tz=zone))
    file = parquet(tmp_path / "a.parquet", time=end, lon=[0.5], lat=[0.5])
    assert hours(events(file, timezone="UTC", utc=zone is not None)) == {10: 1.0}


def test_an_offset_is_not_heeded_where_times_are_local(tmp_path):
    offset = [["2024-04-01T10:10:00+02:00", 0.5, 0.5]]
    plain = write_csv(tmp_path / "a.csv", [["2024-04-01T00:10:00", 0.5, 0.5]] * 3)
    made = events([plain, write_csv(tmp_path / "b.csv", offset)])
    assert made.report.accounts[0].thrown == {Reason.BAD_TIME: 1}
    assert hours(made) == {0: 3.0}
    mixed = write_csv(tmp_path / "c.csv", [["2024-04-01 00:10:00", 0.5, 0.5]] * 500 + offset)
    assert events(mixed).report.accounts[0].thrown == {Reason.BAD_TIME: 1}
    made = events(write_csv(tmp_path / "d.csv", offset), utc=True)
    assert hours(made) == {10: 1.0}


def test_ids_keep_their_zeros(tmp_path):
    nodes = write_csv(tmp_path / "n.csv", [["01001", 1, 1], ["36061", 2, 2]], ("node", "lon", "lat"))
    rows = [["2024-04-01 00:10:00", "01001", 1], ["2024-04-01 01:10:00", "36061.0", 2]]
    made = sensors([write_csv(tmp_path / "r.csv", rows, ("time", "node", "v"))], nodes, how="sum")
    assert made.city.task("v").nodes == ("01001", "36061")
    assert made.report.accounts[0].thrown == {}


@pytest.mark.parametrize("odd", ["nan", "inf", "1e20", "-1e300"])
def test_an_id_that_is_no_whole_number(tmp_path, odd):
    zones = tmp_path / "z.geojson"
    zones.write_text(
        '{"type": "FeatureCollection", "features": [{"type": "Feature", "properties": {"id": "100"}, "geometry":'
        ' {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}}]}'
    )
    plan = {"place": read_zones(zones), "events": (Event("seen", "time", zone="zone"),)}
    texts = write_csv(tmp_path / "t.csv", [[time, one] for time, one in zip(TIMES, ["100", "100.0", odd], strict=True)],
                      ("time", "zone"))  # fmt: skip
    numbers = parquet(tmp_path / "n.parquet", time=TIMES, zone=[100.0, 100.0, float(odd)])
    for file in (texts, numbers):
        made = events(file, **plan)
        assert sum(made.report.accounts[0].thrown.values()) == 1
        assert hours(made) == {10: 2.0}


@pytest.mark.parametrize("interval", [3600, 86_400])
def test_a_month_that_is_not_there(tmp_path, interval):
    """Its steps are zero, as nobody can tell it from a month without events, but a note says so."""
    months = {
        name: [[f"{name}-{day:02d} 12:00:00", 0.5, 0.5] for day in range(1, 29)] for name in ("2023-01", "2023-03")
    }
    files = [write_csv(tmp_path / f"{name}.csv", rows * 2) for name, rows in months.items()]
    made = events(files, interval=interval)
    assert np.nansum(made.city.task("seen").values) == 112
    after, before = ("2023-01-28T13", "2023-03-01T11") if interval == 3600 else ("2023-01-29T00", "2023-02-28T00")
    note = made.report.notes[0]
    assert note.startswith(f"no record at all in the steps from {after}:00:00 to {before}:00:00, which are zero")
    assert events(files[:1], interval=interval).report.notes == []
    [note] = events(files[:1], interval=interval, start="2022-12-01", stop="2023-01-29").report.notes
    assert "from 2022-12-01T00:00:00 to" in note
