import csv
import gzip
import io
import json
import zipfile
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import BOX, SHARED, plan_of, run, slow_cell, values_by_node, write_csv
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cmust.errors import IngestError
from cmust.ingest.engine import open_engine
from cmust.ingest.events import Event, Measure, ingest_events
from cmust.ingest.places import Grid, Zones, read_zones
from cmust.ingest.reasons import Reason
from cmust.ingest.recipes.nyc_taxi import nyc_taxi
from cmust.ingest.sources import Reading


@pytest.mark.shared
def test_chicago_crime_agrees_with_a_slow_count():
    source = SHARED / "chicago-crime" / "events-2016-2017.csv.gz"
    if not source.is_file():
        pytest.skip(f"needs {source}")
    box, rows, columns = (-87.95, 41.64, -87.52, 42.03), 20, 20
    plan = plan_of(
        events=(Event("incident", "time", "lon", "lat"),),
        measures=(Measure("", "incident"),),
        place=Grid(box, rows, columns),
        timezone="America/Chicago",
        interval=3600,
        category="type",
        start="2016-01-01",
        stop="2018-01-01",
    )
    result = run(source, plan, Reading(columns=("time", "type", "lat", "lon")))

    counts, totals, outside = Counter(), Counter(), 0
    skipped = {"2016-03-13T02", "2017-03-12T02"}
    lost = 0
    with gzip.open(source, "rt") as stream:
        for time, kind, lat, lon in csv.reader(stream):
            totals[kind] += 1
            hour = int(time[11:13]) % 12 + 12 * (time[-2:] == "PM")
            moment = f"{time[6:10]}-{time[:2]}-{time[3:5]}T{hour:02d}:00:00"
            cell = slow_cell(float(lon), float(lat), box, rows, columns)
            if cell is None:
                outside += 1
            elif moment[:13] in skipped:
                lost += 1
            else:
                counts[kind, cell, moment] += 1
    assert totals == {"THEFT": 124630, "BATTERY": 99389, "CRIMINAL DAMAGE": 59886, "ASSAULT": 37972}

    tasks = {"THEFT": "theft", "BATTERY": "battery", "CRIMINAL DAMAGE": "criminal_damage", "ASSAULT": "assault"}
    assert sorted(result.city.tasks) == sorted(tasks.values())
    names = Grid(box, rows, columns).names
    for kind, name in tasks.items():
        task = result.city.task(name)
        slow = {(names[cell], moment): n for (k, cell, moment), n in counts.items() if k == kind}
        assert values_by_node(task) == slow
    account = result.report.accounts[0]
    assert account.records == 321877 == sum(totals.values())
    assert account.thrown.get(Reason.OUTSIDE, 0) == outside
    assert account.thrown.get(Reason.SKIPPED_HOUR, 0) == lost
    assert account.kept == sum(counts.values())


@pytest.mark.shared
def test_every_trip_of_the_taxi_sample_is_accounted_for():
    source = SHARED / "nyc-taxi-sample" / "yellow_tripdata_2015-01_sample.csv"
    if not source.is_file():
        pytest.skip(f"needs {source}")
    with open_engine("duckdb", threads=1) as engine:
        result = nyc_taxi([source], engine, min_trips=5)
    trips = pd.read_csv(source)
    grid = Grid((-74.03, 40.69, -73.91, 40.88), 30, 15)
    where = {}
    for end in ("pickup", "dropoff"):
        where[end] = [
            slow_cell(lon, lat, grid.box, 30, 15)
            for lon, lat in zip(trips[f"{end}_longitude"], trips[f"{end}_latitude"], strict=True)
        ]
    no_place = {end: (trips[f"{end}_longitude"] == 0) & (trips[f"{end}_latitude"] == 0) for end in where}
    good = ~(no_place["pickup"] | no_place["dropoff"])
    good &= pd.to_datetime(trips.tpep_dropoff_datetime) >= pd.to_datetime(trips.tpep_pickup_datetime)
    totals = Counter(
        cell for cells in where.values() for cell, ok in zip(cells, good, strict=True) if ok and cell is not None
    )
    kept = {cell for cell, total in totals.items() if total >= 5}
    for end, account in zip(where, result.report.accounts, strict=True):
        inside = [cell in kept and ok for cell, ok in zip(where[end], good, strict=True)]
        assert account.records == 1000
        assert account.kept == sum(inside)
        assert account.kept + sum(account.thrown.values()) == 1000
        assert account.thrown[Reason.NO_PLACE] == no_place[end].sum()
    city = result.city
    assert list(city.tasks) == ["taxi_pickup", "taxi_dropoff", "crowd_out", "crowd_in"]
    inside = [cell in kept and ok for cell, ok in zip(where["pickup"], good, strict=True)]
    assert np.nansum(city.task("crowd_out").values) == trips.passenger_count[inside].sum()
    assert city.task("taxi_pickup").n_steps == 31 * 48  # the month in the file's name
    assert set(city.task("taxi_pickup").nodes) == {grid.names[cell] for cell in kept}


POINTS = st.tuples(
    st.sampled_from(["2016-01-01 00:00:00", "2016-01-01 00:29:59", "2016-01-01 23:30:00", "", "yesterday"]),
    st.one_of(st.floats(-74.5, -72.5), st.sampled_from([-74.0, -73.0, -73.8, 0.0, 40.5, 181.0, "", "west"])),
    st.one_of(st.floats(39.5, 41.5), st.sampled_from([40.0, 41.0, 40.25, 0.0, -73.5, "", "nan"])),
)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    points=st.lists(POINTS, min_size=1, max_size=40),
    rows=st.integers(1, 7),
    columns=st.integers(1, 7),
    box=st.tuples(st.floats(-74.4, -73.6), st.floats(39.6, 40.4), st.floats(-73.5, -72.6), st.floats(40.5, 41.4)),
    threshold=st.integers(1, 3),
)
def test_cells_and_thrown_away_add_up_to_the_records(tmp_path, points, rows, columns, box, threshold):
    middle = ["2016-01-01 12:00:00", (box[0] + box[2]) / 2, (box[1] + box[3]) / 2]
    records = [*points, *[middle] * 60]  # something is always left, and more than is exchanged
    path = write_csv(tmp_path / "events.csv", records)
    result = run(path, plan_of(place=Grid(box, rows, columns), min_total=threshold))

    slow = Counter()
    for time, lon, lat in records:
        try:
            moment = datetime.fromisoformat(time)
            lon, lat = float(lon), float(lat)
        except ValueError:
            continue
        cell = None if (lon, lat) == (0, 0) else slow_cell(lon, lat, box, rows, columns)
        if cell is not None:
            slow[cell, moment - timedelta(minutes=moment.minute % 30, seconds=moment.second)] += 1
    totals = Counter()
    for (cell, _), n in slow.items():
        totals[cell] += n
    names = Grid(box, rows, columns).names
    expected = {(names[cell], m.isoformat()): n for (cell, m), n in slow.items() if totals[cell] >= threshold}
    task = result.city.task("seen")
    assert values_by_node(task) == expected
    account = result.report.accounts[0]
    assert account.records == len(records)
    assert task.values.sum() + sum(account.thrown.values()) == len(records)


def test_reasons_are_told_apart(tmp_path):
    good = ["2016-01-01 10:00:00", -73.5, 40.5]
    rows = [
        *[good] * 9,
        ["", -73.5, 40.5],
        ["32.01.2016", -73.5, 40.5],
        ["2015-12-31 23:59:59", -73.5, 40.5],
        ["2016-01-02 00:00:00", -73.5, 40.5],
        ["2016-01-01 10:00:00", "", 40.5],
        ["2016-01-01 10:00:00", 0, 0],
        ["2016-01-01 10:00:00", "x", 40.5],
        ["2016-01-01 10:00:00", 400, 40.5],
        ["2016-01-01 10:00:00", 40.5, -73.5],
        ["2016-01-01 10:00:00", -80, 40.5],
        ["2016-01-01 10:00:00", -73.9, 40.9],
    ]
    result = run(write_csv(tmp_path / "a.csv", rows), plan_of(start="2016-01-01", stop="2016-01-02", min_total=2))
    assert result.report.accounts[0].thrown == {
        Reason.NO_TIME: 1,
        Reason.BAD_TIME: 1,
        Reason.OUTSIDE_PERIOD: 2,
        Reason.NO_PLACE: 2,
        Reason.BAD_PLACE: 2,
        Reason.SWAPPED: 1,
        Reason.OUTSIDE: 1,
        Reason.FEW_IN_CELL: 1,
    }
    task = result.city.task("seen")
    assert task.n_steps == 48
    assert task.nodes == ("r2c2",)
    assert (task.lon[0], task.lat[0]) == pytest.approx((-73.5, 40.625))
    assert task.unit == "events / 30 min"


TRIP = ("start", "x0", "y0", "end", "x1", "y1", "people")
TRIP_PLAN = {
    "events": (Event("start", "start", "x0", "y0"), Event("end", "end", "x1", "y1")),
    "measures": (Measure("out", "start"), Measure("people_in", "end", "people")),
    "weights": {"people": "people"},
}


def test_trips_have_two_events_and_records_that_contradict_themselves_are_thrown_away(tmp_path):
    a, b = (-73.9, 40.1), (-73.1, 40.9)
    rows = [
        ["2016-01-01 10:00:00", *a, "2016-01-01 10:31:00", *b, 2],
        ["2016-01-01 10:05:00", *a, "2016-01-01 10:35:00", *b, 2.5],
        ["2016-01-01 10:40:00", *a, "2016-01-01 10:35:00", *b, 1],  # end before start
        ["2016-01-01 10:00:00", *a, "2016-01-01 10:31:00", *b, -1],
        ["2016-01-01 10:00:00", *a, "2016-01-01 10:31:00", *b, ""],
        ["2016-01-01 10:00:00", *a, "2016-01-01 10:31:00", *b, "many"],
        ["2016-01-01 10:00:00", *a, "2016-01-01 10:31:00", 0, 0, 1],  # one end without a place
        ["2016-01-01 10:00:00", *a, "2016-01-01 10:31:00", -80, 40, 1],  # one end outside
    ]
    path = write_csv(tmp_path / "trips.csv", rows, TRIP)
    half = run(path, plan_of(**TRIP_PLAN))
    start, end = half.report.accounts
    assert start.thrown == {Reason.END_BEFORE_START: 1, Reason.NEGATIVE: 1, Reason.NO_VALUE: 1, Reason.BAD_VALUE: 1}
    assert end.thrown == start.thrown | {Reason.NO_PLACE: 1, Reason.OUTSIDE: 1}
    assert values_by_node(half.city.task("out")) == {("r0c0", "2016-01-01T10:00:00"): 4}
    assert values_by_node(half.city.task("people_in")) == {("r3c4", "2016-01-01T10:30:00"): 4.5}
    assert half.city.task("out").nodes == ("r0c0", "r3c4")  # cells are shared by all tasks
    whole = run(path, plan_of(**TRIP_PLAN, whole_records=True))
    assert whole.report.accounts[0].thrown == start.thrown | {Reason.OTHER_END: 1}
    assert whole.report.accounts[1].thrown == end.thrown


def test_clock_changes_of_records_in_utc(tmp_path):
    quarter_hours = pd.date_range("2016-03-13 05:00", "2016-03-13 09:00", freq="15min", tz="UTC", inclusive="left")
    autumn = pd.date_range("2016-11-06 04:00", "2016-11-06 08:00", freq="15min", tz="UTC", inclusive="left")
    for name, moments in (("spring", quarter_hours), ("autumn", autumn)):
        rows = [[moment.strftime("%Y-%m-%dT%H:%M:%SZ"), -73.5, 40.5] for moment in moments]
        task = run(write_csv(tmp_path / f"{name}.csv", rows), plan_of(utc=True)).city.task("seen")
        found = {str(t)[5:16]: v for t, v in zip(task.time, task.values[:, 0, 0].tolist(), strict=True)}
        if name == "spring":  # 05:00 UTC is midnight; the hour from two to three does not exist
            assert np.isnan([found["03-13T02:00"], found["03-13T02:30"]]).all()
            assert [v for v in found.values() if not np.isnan(v)] == [2.0] * 8
            assert list(found)[-1] == "03-13T04:30"
        else:  # 04:00 UTC is midnight; the hour from one to two happens twice: both passes are added
            assert found["11-06T01:00"] == found["11-06T01:30"] == 4
            assert sum(found.values()) == 16
            assert list(found)[-1] == "11-06T02:30"


def test_an_interval_that_the_offset_does_not_divide(tmp_path):
    # India is 5:30 ahead: local hours begin at half past in UTC
    rows = [[f"2016-01-01 {h:02d}:{m:02d}:00+00:00", 77.2, 28.6] for h, m in ((0, 29), (0, 31), (1, 29), (1, 30))]
    plan = plan_of(utc=True, timezone="Asia/Kolkata", interval=3600, place=Grid((77, 28, 78, 29), 1, 1))
    task = run(write_csv(tmp_path / "a.csv", rows), plan).city.task("seen")
    assert values_by_node(task) == {
        ("r0c0", "2016-01-01T05:00:00"): 1,
        ("r0c0", "2016-01-01T06:00:00"): 2,
        ("r0c0", "2016-01-01T07:00:00"): 1,
    }


def test_local_records_in_the_skipped_hour_are_thrown_away(tmp_path):
    rows = [
        ["2016-03-13 01:59:59", -73.5, 40.5],
        ["2016-03-13 02:10:00", -73.5, 40.5],
        ["2016-03-13 03:00:00", -73.5, 40.5],
    ]
    result = run(write_csv(tmp_path / "a.csv", rows), plan_of())
    assert result.report.accounts[0].thrown == {Reason.SKIPPED_HOUR: 1}
    assert np.isnan(result.city.task("seen").values[:, 0, 0]).tolist() == [False, True, True, False]
    whole_day = run(tmp_path / "a.csv", plan_of(interval=86400)).city.task("seen")
    assert whole_day.values.ravel().tolist() == [3]  # an interval longer than the hour is not missing


def test_polygons_agree_with_geometry_point_by_point(tmp_path):
    shapely = pytest.importorskip("shapely")
    rng = np.random.default_rng(3)
    circles = [shapely.Point(x, y).buffer(0.3) for x, y in ((-73.7, 40.3), (-73.3, 40.3), (-73.5, 40.7))]
    square = shapely.box(-73.9, 40.8, -73.8, 40.9)
    zones = Zones(("a", "b", "c", "d"), ("1", "2", "3", "4"), (*circles, square))  # the first two touch and overlap
    points = np.round(np.column_stack([rng.uniform(-74.2, -72.8, 3000), rng.uniform(39.8, 41.2, 3000)]), 3)
    points = [*points.tolist(), [-73.8, 40.9], [-73.9, 40.8], [-73.85, 40.8], [-73.4, 40.3]]
    rows = [["2016-01-01 00:00:00", x, y] for x, y in points]
    result = run(write_csv(tmp_path / "a.csv", rows), plan_of(place=zones))
    slow = Counter()
    for x, y in points:
        first = next((at for at, shape in enumerate(zones.shapes) if shape.intersects(shapely.Point(x, y))), None)
        slow[first] += 1
    task = result.city.task("seen")
    assert dict(zip(task.nodes, task.values[0, :, 0], strict=True)) == {
        zones.names[z]: n for z, n in slow.items() if z is not None
    }
    assert result.report.accounts[0].thrown == {Reason.OUTSIDE: slow[None]}
    assert task.geometry[3]["type"] == "Polygon"


@pytest.mark.shared
def test_zone_ids_from_files_and_columns(tmp_path):
    source = SHARED / "nyc-mobility" / "zones.geojson"
    if not source.is_file():
        pytest.skip(f"needs {source}")
    zones = read_zones(source, name_column="zone")
    assert len(zones) == 69
    rows = [["2019-01-01 00:10:00", value] for value in ("4", "4.0", " 4", "12", "9999", "", "x")]
    plan = plan_of(events=(Event("ride", "time", zone="zone"),), measures=(Measure("rides", "ride"),), place=zones)
    result = run(write_csv(tmp_path / "a.csv", rows, ("time", "zone")), plan)
    assert dict(zip(result.city.task("rides").nodes, result.city.task("rides").values[0, :, 0], strict=True)) == {
        zones.names[zones.ids.index("4")]: 3,
        zones.names[zones.ids.index("12")]: 1,
    }
    assert result.report.accounts[0].thrown == {Reason.UNKNOWN_ZONE: 2, Reason.NO_PLACE: 1}


def test_csv_gz_zip_parquet_and_globs_are_the_same(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        [f"2016-01-01 {h:02d}:15:00", x, y]
        for h, x, y in zip(
            rng.integers(0, 24, 300), rng.uniform(-74.1, -73, 300), rng.uniform(40, 41, 300), strict=True
        )
    ]
    plain = write_csv(tmp_path / "a.csv", rows)
    cities = [run(plain, plan_of()).city]
    cities.append(run(write_csv(tmp_path / "b.csv.gz", rows), plan_of()).city)
    cities.append(run(write_csv(tmp_path / "c.csv", rows, delimiter=";"), plan_of()).city)
    with zipfile.ZipFile(tmp_path / "d.zip", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(plain, "inner/a.csv")
    cities.append(run(tmp_path / "d.zip", plan_of()).city)
    frame = pd.read_csv(plain, parse_dates=["time"])
    frame.to_parquet(tmp_path / "e.parquet")
    cities.append(run(tmp_path / "e.parquet", plan_of()).city)
    folder = tmp_path / "parts"
    folder.mkdir()
    write_csv(folder / "1.csv", rows[:100])
    # the same columns in another order and spelling, and Windows line ends
    lines = io.StringIO()
    csv.writer(lines, lineterminator="\r\n").writerows(
        [(" LAT", "Lon ", "Time"), *[(y, x, t) for t, x, y in rows[100:]]]
    )
    (folder / "2.csv").write_text(lines.getvalue(), newline="")
    cities.append(run(str(folder / "*.csv"), plan_of()).city)
    cities.append(run(folder, plan_of()).city)
    assert len({city.fingerprint() for city in cities}) == 1


def test_time_formats(tmp_path):
    moments = [datetime(2016, 1, 31, 14, 5, 9), datetime(2016, 2, 1, 0, 0, 0)]
    for at, pattern in enumerate(("%m/%d/%Y %I:%M:%S %p", "%d.%m.%Y %H:%M:%S", "%Y%m%d%H%M%S", "%Y-%m-%dT%H:%M:%S")):
        rows = [[moment.strftime(pattern), -73.5, 40.5] for moment in moments]
        task = run(write_csv(tmp_path / f"{at}.csv", rows), plan_of()).city.task("seen")
        assert [when for _, when in values_by_node(task)] == ["2016-01-31T14:00:00", "2016-02-01T00:00:00"]
    for at, (pattern, hour) in enumerate((("%Y%m%d%H%M", 14), ("%Y%m%d%H", 14), ("%Y%m%d", 0)), start=20):
        rows = [[moment.strftime(pattern), -73.5, 40.5] for moment in moments]
        task = run(write_csv(tmp_path / f"{at}.csv", rows), plan_of()).city.task("seen")
        assert [when for _, when in values_by_node(task)] == [f"2016-01-31T{hour:02}:00:00", "2016-02-01T00:00:00"]
    for at, scale in ((10, 1), (11, 1000)):
        rows = [[int(pd.Timestamp(moment).timestamp()) * scale, -73.5, 40.5] for moment in moments]
        task = run(write_csv(tmp_path / f"{at}.csv", rows), plan_of(utc=True, timezone="UTC")).city.task("seen")
        assert [when for _, when in values_by_node(task)] == ["2016-01-31T14:00:00", "2016-02-01T00:00:00"]


TEXT_TIMES = {  # the same three moments
    "%m/%d/%Y %I:%M:%S %p": ["03/25/2024 08:15:00 AM", "03/25/2024 02:05:00 PM", "03/26/2024 12:00:00 AM"],
    "%d.%m.%Y %H:%M": ["25.03.2024 08:15", "25.03.2024 14:05", "26.03.2024 00:00"],
    "digits": ["202403250815", "202403251405", "202403260000"],
    "iso": ["2024-03-25T08:15:00", "2024-03-25 14:05", "2024-03-26"],
    "epoch": ["1711354500", "1711375500", "1711411200"],
}


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
@pytest.mark.parametrize("way", TEXT_TIMES)
def test_texts_of_a_parquet_are_times_as_those_of_a_csv_are(tmp_path, way, kind):
    begun = pa.array([*TEXT_TIMES[way], None, "soon"]).cast(kind)
    places = {"lon": [-73.5] * 5, "lat": [40.5] * 5}
    pq.write_table(pa.table({"time": begun, **places}), tmp_path / "a.parquet")
    made = run(tmp_path / "a.parquet", plan_of(timezone="UTC"))
    whens = [when for _, when in values_by_node(made.city.task("seen"))]
    assert whens == ["2024-03-25T08:00:00", "2024-03-25T14:00:00", "2024-03-26T00:00:00"]
    assert made.report.accounts[0].thrown == {Reason.NO_TIME: 1, Reason.BAD_TIME: 1}


@pytest.mark.parametrize("ended", ["moments", "texts", "none"])
def test_what_shows_how_the_times_of_a_parquet_are_written(tmp_path, ended):
    """Neither a column of times beside one of texts, nor one that is empty, nor a first file without records."""
    texts = TEXT_TIMES["%d.%m.%Y %H:%M"]
    ends = {
        "moments": pa.array(pd.to_datetime(TEXT_TIMES["iso"], format="ISO8601")),
        "texts": pa.array(texts),
        "none": pa.nulls(3, pa.string()),
    }
    table = pa.table({"t0": texts, "t1": ends[ended], "x": [-73.5] * 3, "y": [40.5] * 3})
    files = [tmp_path / "0.parquet", tmp_path / "1.parquet"]
    pq.write_table(table.slice(0, 0), files[0])
    pq.write_table(table, files[1])
    events = (Event("start", "t0", "x", "y"), Event("end", "t1", "x", "y"))
    made = run(files, plan_of(events=events, measures=(Measure("seen", "start"),)))
    whens = [when for _, when in values_by_node(made.city.task("seen"))]
    assert whens == ["2024-03-25T08:00:00", "2024-03-25T14:00:00", "2024-03-26T00:00:00"]
    assert made.report.accounts[1].thrown == ({Reason.NO_TIME: 3} if ended == "none" else {})


def test_a_first_file_without_records_shows_nothing(tmp_path):
    files = [write_csv(tmp_path / "0.csv", []), write_csv(tmp_path / "1.csv", [["25.03.2024 08:15", -73.5, 40.5]])]
    assert run(files, plan_of()).report.accounts[0].kept == 1


ISO_TIMES = {
    "2016-01-01 10:29:59": "10:00",
    " 2016-01-01 10:30:00\t": "10:30",
    "2016-1-1  9:5:0": "09:00",
    "2016-01-01T10:30": "10:30",
    "2016-01-01 10:29:59.999": "10:00",
    "2016-01-01T10:29:59.999999Z": "10:00",
    "2016-01-01 10:30:00+01:00": "09:30",
    "2016-01-01": "00:00",
}
NO_TIMES = ["24:00:00", "2016-01-01 24:00:00", "2016-01-01 10:60:00", "2016-02-30 10:00:00", "2016-01-01 10:00:00 PM"]
NO_TIMES += ["16-01-01 10:00:00", "infinity", "epoch", "2016-01-01 10:00:00 America/New_York", "2016-01-01 (BC)", "x"]
NO_TIMES += ["2016-01-01T10:00:00-24:00", "2016-01-01T10:00:00+01:75"]  # no place on Earth has such an offset


def test_what_is_an_iso_time_and_what_is_none(tmp_path):
    rows = [[text, -73.5, 40.5] for text in (*ISO_TIMES, *NO_TIMES, " \t")]
    result = run(write_csv(tmp_path / "a.csv", rows), plan_of(utc=True, timezone="UTC", time_format="iso"))
    expected = Counter(f"2016-01-01T{start}:00" for start in ISO_TIMES.values())
    assert {when: n for (_, when), n in values_by_node(result.city.task("seen")).items()} == expected
    assert result.report.accounts[0].thrown == {Reason.BAD_TIME: len(NO_TIMES), Reason.NO_TIME: 1}


def test_a_moment_within_a_second_counts_where_the_second_began(tmp_path):
    moments = ["2016-01-01 10:29:59.999999", "2016-01-01 10:30:00.000001", "1969-12-31 23:59:59.5"]
    frame = pd.DataFrame({"time": pd.to_datetime(moments), "lon": -73.5, "lat": 40.5})
    frame.to_parquet(tmp_path / "a.parquet")
    task = run(tmp_path / "a.parquet", plan_of(start="1969-12-01", stop="2016-01-02", interval=86400)).city.task("seen")
    assert [when for _, when in values_by_node(task)] == ["1969-12-31T00:00:00", "2016-01-01T00:00:00"]
    frame[:2].to_parquet(tmp_path / "b.parquet")
    found = values_by_node(run(tmp_path / "b.parquet", plan_of()).city.task("seen"))
    assert [when for _, when in found] == ["2016-01-01T10:00:00", "2016-01-01T10:30:00"]


def test_one_engine_for_several_cities(tmp_path):
    path = write_csv(tmp_path / "a.csv", [["2016-01-01 10:00:00", -73.5, 40.5]] * 3)
    with open_engine("duckdb", threads=1) as engine:
        made = [ingest_events([path], plan_of(), engine).report.accounts[0].records for _ in range(2)]
    assert made == [3, 3]


def test_categories_asked_for(tmp_path):
    rows = [["2016-01-01 10:00:00", -73.5, 40.5, kind] for kind in ("Fire", "Fire", " Flood", "", "Other")]
    plan = plan_of(measures=(Measure("calls", "seen"),), category="kind", categories=("Flood", "Fire"))
    result = run(write_csv(tmp_path / "a.csv", rows, ("time", "lon", "lat", "kind")), plan)
    assert {name: float(task.values.sum()) for name, task in result.city.tasks.items()} == {
        "calls_flood": 1,
        "calls_fire": 2,
    }
    assert result.report.accounts[0].thrown == {Reason.NO_CATEGORY: 1, Reason.OTHER_CATEGORY: 1}
    assert BOX[0] < result.city.task("calls_fire").lon[0] < BOX[2]


def test_a_category_of_no_record_is_zero_in_known_cells(tmp_path):
    """Newer records of a city: some days nothing of a kind happens, which is no fault of the data."""
    rows = [["2016-01-01 10:00:00", -73.5, 40.5, kind] for kind in ("Fire", "Fire", "Other")]
    path = write_csv(tmp_path / "a.csv", rows, ("time", "lon", "lat", "kind"))
    plan = plan_of(measures=(Measure("", "seen"),), category="kind", categories=("Flood", "Fire"))
    with pytest.raises(IngestError, match="no record kept has the category 'Flood'; there are Fire"):
        run(path, plan)
    days = {"start": "2016-01-01", "stop": "2016-01-02"}
    made = run(path, replace(plan, cells=("r2c2", "r0c0"), **days))
    flood, fire = made.city.tasks.values()
    assert (flood.name, flood.values.shape, flood.nodes) == ("flood", (48, 2, 1), ("r2c2", "r0c0"))
    assert (flood.values == 0).all() and fire.values.sum() == 2
    assert made.report.notes == ["no record kept has the category 'Flood', it is zero; there are Fire"]
    with pytest.raises(IngestError, match="no record is left"):
        run(path, replace(plan, cells=("r2c2",), categories=("Flood",), **days))


def test_zone_ids_of_the_polygons_are_those_of_the_records(tmp_path):
    shapely = pytest.importorskip("shapely")
    ids = ["4.0", "7", "NA", "null"]
    shapes = [shapely.geometry.mapping(shapely.box(x, 0, x + 1, 1)) for x in range(4)]
    features = [
        {"type": "Feature", "properties": {"zone": name}, "geometry": shape}
        for name, shape in zip(ids, shapes, strict=True)
    ]
    source = tmp_path / "zones.geojson"
    source.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    path = write_csv(
        tmp_path / "a.csv", [["2016-01-01 10:00:00", zone] for zone in ("4", "7.0", *ids[2:])], ("time", "zone")
    )
    made = run(path, plan_of(events=(Event("seen", "time", zone="zone"),), place=read_zones(source)))
    assert made.city.task("seen").nodes == ("4", "7", "NA", "null")


def test_categories_that_are_numbers(tmp_path):
    """Whole ones are told as such, also where a month with gaps has made them floats; NaN is none."""
    here = {"time": ["2016-01-01 10:00:00"] * 3, "lon": [-73.5] * 3, "lat": [40.5] * 3}
    files = [tmp_path / "0.parquet", tmp_path / "1.parquet"]
    pq.write_table(pa.table(here | {"kind": [1, 2, 2]}), files[0])
    pq.write_table(pa.table(here | {"kind": [1.0, 2.5, float("nan")]}), files[1])
    plan = plan_of(measures=(Measure("", "seen"),), category="kind")
    assert list(run(files[0], plan).city.tasks) == ["1", "2"]
    both = run(
        [*files, write_csv(tmp_path / "2.csv", [["2016-01-01 10:00:00", -73.5, 40.5, "1.0"]], [*here, "kind"])], plan
    )
    assert {name: task.values.sum() for name, task in both.city.tasks.items()} == {"1": 3, "2": 2, "2_5": 1}
    assert both.report.accounts[0].thrown == {Reason.NO_CATEGORY: 1}


def test_categories_of_other_scripts(tmp_path):
    kinds = {
        "盗窃": "uf6beef43",
        "кража": "ua029b1f7",
        "кража A": "a_u89977edb",
        "грабёж A": "a_u3706920c",
        "Überfall": "uberfall",
    }
    rows = [["2016-01-01 10:00:00", -73.5, 40.5, kind] for at, kind in enumerate(kinds, 1) for _ in range(at)]
    path = write_csv(tmp_path / "a.csv", rows, ("time", "lon", "lat", "kind"))
    made = run(path, plan_of(measures=(Measure("", "seen"),), category="kind"))
    assert {task.description: (name, task.values.sum()) for name, task in made.city.tasks.items()} == {
        kind: (name, at) for at, (kind, name) in enumerate(kinds.items(), 1)
    }
    assert "task names are of a-z, 0-9 and _: '盗窃' is called uf6beef43" in made.report.notes


def test_categories_that_make_one_task(tmp_path):
    rows = [["2016-01-01 10:00:00", -73.5, 40.5, kind] for kind in ("A+", "A-")]
    path = write_csv(tmp_path / "a.csv", rows, ("time", "lon", "lat", "kind"))
    with pytest.raises(IngestError, match=r"the categories 'A\+' and 'A-' would both be the task 'a': ask for one"):
        run(path, plan_of(measures=(Measure("", "seen"),), category="kind"))
    assert list(
        run(path, plan_of(measures=(Measure("", "seen"),), category="kind", categories=("A-",))).city.tasks
    ) == ["a"]


PLAIN_ROW = ["2016-01-02 10:15:00", "-73.5", "40.5", "2", "a"]
LATE_DIRT = [  # what is written otherwise than the first records, and its fate
    ("2016-01-02T10:15:00,-73.5,40.5,2,a", "kept"),
    ("2016-01-02 10:15:00.5, -73.5 ,40.5,2,a", "kept"),
    ("2016-01-02 10:15:00,-7.35e1,1_0,2,a", "outside"),
    ('"2016-01-02 10:15:00.25","-73.5",40.5,2,"a\nb"', "kept"),
    ("2016-01-02 10:15:00,x,40.5,2,a", "bad_place"),
    ("noon,x,40.5,x,a", "bad_time"),
    ("1850-01-02 10:15:00,-73.5,40.5,2,a", "bad_time"),
    ("epoch,-73.5,40.5,2,a", "bad_time"),
    ("  ,-73.5,40.5,2,a", "no_time"),
    (",-73.5,40.5,2,a", "no_time"),
    ("2016-01-02 10:15:00,-73.5,  ,2,a", "no_place"),
    ("2016-01-02 10:15:00,-73.5,40.5,two,a", "bad_value"),
    ("2016-01-02 10:15:00,-73.5,40.5,  ,a", "no_value"),
    ("2016-01-02 10:15:00,-73.5,40.5,nan,a", "bad_value"),
    ("2016-01-02 10:15:00,-73.5,40.5,x", "unreadable"),
    ("noon,-73.5,40.5,x,a,more", "unreadable"),
    ("2016-01-02 10:15:00,-73.5,40.5,two,\udcff", "unreadable"),
]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_is_written_otherwise_than_the_first_records_has_the_same_fate(tmp_path, end):
    path = tmp_path / "a.csv"
    lines = ["time,lon,lat,weight,kind", *[",".join(PLAIN_ROW)] * 500, *[line for line, _ in LATE_DIRT] * 3]
    path.write_bytes((end.join(lines) + end).encode("utf-8", "surrogateescape"))
    plan = plan_of(
        weights={"w": "weight"}, category="kind", measures=(Measure("sum", "seen", "w"),), start="2016-01-01"
    )
    made = run(path, plan)
    fates = Counter(fate for _, fate in LATE_DIRT)
    [account] = made.report.to_dict()["accounts"]
    assert account["records"] == 500 + 3 * len(LATE_DIRT)
    assert account["kept"] == 500 + 3 * fates.pop("kept")
    assert account["thrown"] == {reason: 3 * count for reason, count in fates.items()}
    assert sum(task.values.sum() for task in made.city.tasks.values()) == 2 * account["kept"]
