"""The New York and Chicago recipes on hand-made files in the spellings of their years."""

import zipfile

import numpy as np
import pandas as pd
import pytest
from helpers import write_csv
from typer.testing import CliRunner

from cmust.city import open_city
from cmust.cli.ingest import app
from cmust.errors import IngestError
from cmust.ingest.engine import open_engine
from cmust.ingest.places import Zones
from cmust.ingest.reasons import Reason
from cmust.ingest.recipes.chicago import chicago
from cmust.ingest.recipes.nyc_taxi import months_of, nyc_taxi

DOWNTOWN, MIDTOWN = ("-74.0085", "40.7125"), ("-73.9845", "40.7575")
SPELLINGS = {
    "2009-12": "vendor_name,Trip_Pickup_DateTime,Trip_Dropoff_DateTime,Passenger_Count,Trip_Distance,Start_Lon,"
    "Start_Lat,Rate_Code,store_and_forward,End_Lon,End_Lat,Payment_Type",
    "2010-01": "vendor_id,pickup_datetime,dropoff_datetime,passenger_count,trip_distance,pickup_longitude,"
    "pickup_latitude,rate_code,store_and_fwd_flag,dropoff_longitude,dropoff_latitude,payment_type",
    "2014-01": "vendor_id, pickup_datetime, dropoff_datetime, passenger_count, trip_distance, pickup_longitude, "
    "pickup_latitude, rate_code, store_and_fwd_flag, dropoff_longitude, dropoff_latitude, payment_type",
    "2015-01": "VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,pickup_longitude,"
    "pickup_latitude,RateCodeID,store_and_fwd_flag,dropoff_longitude,dropoff_latitude,payment_type",
    "2016-01": "VendorID,tpep_pickup_datetime,tpep_dropoff_datetime,passenger_count,trip_distance,pickup_longitude,"
    "pickup_latitude,RatecodeID,store_and_fwd_flag,dropoff_longitude,dropoff_latitude,payment_type",
}


def taxi_file(folder, month):
    """Three rides downtown to midtown, two of them over the half hour; 2014 has a blank line behind its header."""
    rows = [
        f"1,{month}-05 10:{minute:02d}:00,{month}-05 10:{minute + 12:02d}:30,{people},1.5,"
        f"{','.join(DOWNTOWN)},1,N,{','.join(MIDTOWN)},2"
        for minute, people in ((2, 1), (20, 3), (25, 0))
    ]
    path = folder / f"yellow_tripdata_{month}.csv"
    path.write_text(SPELLINGS[month] + "\r\n" + ("\r\n" if month == "2014-01" else "") + "\r\n".join(rows) + "\r\n")
    return path


@pytest.mark.parametrize("month", SPELLINGS)
def test_nyc_spellings(tmp_path, month):
    with open_engine(threads=1) as engine:
        made = nyc_taxi([taxi_file(tmp_path, month)], engine, min_trips=3)
    city = made.city
    days = pd.Period(month).days_in_month
    assert city.timezone == "America/New_York" and city.task("taxi_pickup").n_steps == 48 * days
    nodes = city.task("taxi_pickup").nodes
    # rows of 0.19 / 30 degrees from 40.69, columns of 0.12 / 15 from -74.03: worked by hand
    assert nodes == ("r03c02", "r10c05")
    ten = 4 * 48 + 20
    found = {name: task.values[ten : ten + 2, :, 0].tolist() for name, task in city.tasks.items()}
    assert found == {
        "taxi_pickup": [[3, 0], [0, 0]],
        "taxi_dropoff": [[0, 1], [0, 2]],
        "crowd_out": [[4, 0], [0, 0]],
        "crowd_in": [[0, 1], [0, 3]],
    }
    assert sum(np.nansum(task.values) for task in city.tasks.values()) == 14


def test_nyc_files_of_several_years_together(tmp_path):
    files = [taxi_file(tmp_path, month) for month in ("2009-12", "2010-01")]
    with open_engine(threads=1) as engine:
        city = nyc_taxi(files, engine, min_trips=1).city
    task = city.task("taxi_pickup")
    assert (str(task.time[0]), task.n_steps) == ("2009-12-01T00:00:00", 48 * 62)
    assert np.nansum(task.values) == 6
    assert months_of(["a_2016-01.csv", "a_2016-03.csv"]) == (None, None)
    assert months_of(["a_2016-12.csv", "a_2017-01.csv"]) == ("2016-12-01", "2017-02-01")


IN_THE_FILE = "write (it as times|them alike|them like 2016-01-31 23:30:00|local ones), or "
NO_OPTION = {  # what else is said of the options of other commands
    "numbers": (r"column 'tpep_dropoff_datetime': it holds numbers \(int64\)", "not in a recipe"),
    "instants": (r"column 'tpep_pickup_datetime': it holds instants", "a recipe takes local times only"),
    "offset": ("carry an offset", "a recipe takes local times only"),
    "two ways": ("can be read as", "not in a recipe"),
    "no time": ("cannot tell how times are written", "not in a recipe"),
    "unlike": ("the time columns are written differently", "not in a recipe"),
    "epochs": ("has times as numbers .* has others", "a recipe takes local times only"),
}


@pytest.mark.parametrize("case", NO_OPTION)
def test_what_a_recipe_advises_can_be_done_in_the_files(tmp_path, case):
    file = taxi_file(tmp_path, "2016-01")
    frame = pd.read_csv(file)
    began, ended = "tpep_pickup_datetime", "tpep_dropoff_datetime"
    pickup, dropoff = pd.to_datetime(frame[began]), pd.to_datetime(frame[ended])
    if case in ("numbers", "instants"):
        file = file.with_suffix(".parquet")
        frame[began] = pickup.dt.tz_localize("UTC") if case == "instants" else pickup
        frame[ended] = [1, 2, 3] if case == "numbers" else dropoff
        frame.to_parquet(file)
    else:
        way = {
            "offset": "%Y-%m-%dT%H:%M:%S+01:00",
            "two ways": "%d/%m/%Y %H:%M",
            "no time": "soon",
            "epochs": "1451988120",
        }
        frame[began] = pickup.dt.strftime(way.get(case, "%d.%m.%Y %H:%M"))
        frame[ended] = frame[ended] if case == "unlike" else dropoff.dt.strftime(way[case])
        frame.to_csv(file, index=False)
    files = [file, taxi_file(tmp_path, "2015-01")] if case == "epochs" else [file]
    found, options = NO_OPTION[case]
    with open_engine(threads=1) as engine, pytest.raises(IngestError, match=f"{found}.*: {IN_THE_FILE}.*{options}"):
        nyc_taxi(files, engine)


def test_nyc_zone_ids_of_today(tmp_path):
    shapely = pytest.importorskip("shapely")
    frame = pd.DataFrame(
        {
            "tpep_pickup_datetime": pd.to_datetime(["2023-01-05 10:02", "2023-01-05 10:20", "2008-12-31 23:00"]),
            "tpep_dropoff_datetime": pd.to_datetime(["2023-01-05 10:31", "2023-01-05 10:40", "2009-01-01 00:10"]),
            "passenger_count": [1.0, 2.0, 1.0],
            "PULocationID": [4, 4, 4],
            "DOLocationID": [7, 264, 7],
        }
    )
    frame.to_parquet(tmp_path / "yellow_tripdata_2023-01.parquet")
    zones = Zones(
        ("East", "West"), ("4", "7"), (shapely.box(-74, 40, -73.9, 40.1), shapely.box(-73.9, 40, -73.8, 40.1))
    )
    with open_engine(threads=1) as engine:
        made = nyc_taxi([tmp_path / "yellow_tripdata_2023-01.parquet"], engine, zones=zones)
    assert made.city.task("crowd_in").nodes == ("East", "West")
    assert np.nansum(made.city.task("taxi_dropoff").values) == 1
    pickup, dropoff = made.report.accounts
    assert pickup.thrown == {Reason.OUTSIDE_PERIOD: 1, Reason.OTHER_END: 1}
    assert dropoff.thrown == {Reason.OUTSIDE_PERIOD: 1, Reason.UNKNOWN_ZONE: 1}


@pytest.mark.parametrize("extra", [[], ["passenger_count"]])
def test_nyc_zone_ids_and_coordinates_are_told_apart(tmp_path, extra):
    """A column that lacks as well does not hide what a user has to know first."""
    zones = Zones(("East",), ("4",), (None,))  # which are not looked at
    old = taxi_file(tmp_path, "2016-01")
    places = [f"{end}_{axis}" for end in ("pickup", "dropoff") for axis in ("longitude", "latitude")]
    table = pd.read_csv(old).drop(columns=[*places, *extra])
    neither, today = tmp_path / "neither.csv", tmp_path / "today.parquet"
    table.to_csv(neither, index=False)
    table.assign(PULocationID=4, DOLocationID=7).to_parquet(today)
    with open_engine(threads=1) as engine:
        with pytest.raises(
            IngestError, match=r"today.parquet holds zone ids.*\(--zones FILE; in Python zones=\).*fetches"
        ):
            nyc_taxi([today], engine)
        for given in (zones, None):
            with pytest.raises(
                IngestError, match=r"2016-01.csv holds coordinates, .*today.parquet zone ids: .*leave out"
            ):
                nyc_taxi([today, old], engine, zones=given)
        with pytest.raises(IngestError, match=r"no column 'pickup_longitude / Start_Lon'.*help"):
            nyc_taxi([neither], engine)


def test_nyc_coordinates_are_looked_up_in_zones(tmp_path):
    """Zones of which each holds the trips that a cell of the grid holds count as these cells do."""
    shapely = pytest.importorskip("shapely")
    file = taxi_file(tmp_path, "2016-01")
    with open_engine(threads=1) as engine:
        cells = nyc_taxi([file], engine, min_trips=3)
        names = cells.city.task("crowd_in").nodes
        shapes = tuple(shapely.geometry.shape(shape) for shape in cells.city.task("crowd_in").geometry)
        made = nyc_taxi([file], engine, zones=Zones(names, names, shapes))
    assert list(made.city.tasks) == list(cells.city.tasks)
    for name, task in made.city.tasks.items():
        assert task.nodes == names and task.values.sum() > 0
        np.testing.assert_array_equal(task.values, cells.city.task(name).values)


def test_nyc_archives_are_unpacked_once(tmp_path, monkeypatch):
    opened = []

    class Counted(zipfile.ZipFile):
        def __init__(self, file, *args):
            opened.append(file)
            super().__init__(file, *args)

    with zipfile.ZipFile(tmp_path / "trips.zip", "w") as archive:
        archive.write(taxi_file(tmp_path, "2016-01"), "yellow_tripdata_2016-01.csv")
    monkeypatch.setattr(zipfile, "ZipFile", Counted)
    with open_engine(threads=1) as engine:
        made = nyc_taxi([tmp_path / "trips.zip"], engine, min_trips=3)
    assert made.city.task("taxi_pickup").n_steps == 48 * 31 and len(opened) == 1


def test_nyc_options_of_a_grid_and_of_zones_do_not_mix(tmp_path):
    command = ["nyc-taxi", str(taxi_file(tmp_path, "2016-01")), "--to", str(tmp_path / "nyc.zarr.zip")]
    zones = ["--zones", str(tmp_path / "zones.geojson")]  # which is not looked for
    for extra, said in (
        (["--zone-id", "id"], "--zone-id and --zone-name belong to --zones, which is not given"),
        (["--zone-name", "zone"], "--zone-id and --zone-name belong to --zones"),
        ([*zones, "--grid", "30x15"], "both a grid and zones are given"),
        ([*zones, "--box", "-74,40,-73,41"], "both a grid and zones are given"),
    ):
        error = CliRunner().invoke(app, [*command, *extra]).exception
        assert isinstance(error, IngestError) and said in str(error)
    assert CliRunner().invoke(app, [*command, "--min-total", "3"]).exit_code == 0
    assert open_city(tmp_path / "nyc.zarr.zip").task("taxi_pickup").nodes == ("r03c02", "r10c05")  # of 30 x 15


TAXI = ["Trip ID", "Trip Start Timestamp", "Trip End Timestamp"]
TAXI += [f"{end} Centroid {axis}" for end in ("Pickup", "Dropoff") for axis in ("Latitude", "Longitude")]
TAXI += ["Company"]
LOOP, HYDE_PARK = ("41.88", "-87.63"), ("41.79", "-87.60")


def chicago_files(folder):
    rows = [
        [n, "06/01/2023 11:45:00 PM", "06/02/2023 12:00:00 AM", *LOOP, *HYDE_PARK, '"Flash, Cab"'] for n in range(60)
    ]
    rows += [[99, "06/02/2023 12:15:00 AM", "06/02/2023 12:30:00 AM", "", "", *LOOP, "x"]]
    trips = write_csv(folder / "taxi.csv", rows, TAXI)
    crashes = write_csv(
        folder / "crashes.csv",
        [
            ["a", "06/02/2023 12:05:00 AM", *LOOP],
            ["b", "06/02/2023 12:20:00 AM", *LOOP],
            ["c", "06/02/2023 12:20:00 AM", *HYDE_PARK],
            ["d", "06/02/2023 12:20:00 AM", "41.70", "-87.70"],  # not in a cell of the taxis
            ["e", "06/02/2023 12:20:00 AM", "", ""],
            ["f", "06/05/2023 12:20:00 AM", *LOOP],
        ],
        ["CRASH_RECORD_ID", "CRASH_DATE", "LATITUDE", "LONGITUDE"],
    )
    people = write_csv(
        folder / "people.csv",
        [
            ["1", "a", "FATAL"],
            ["2", "a", "NO INDICATION OF INJURY"],
            ["3", "a", "NONINCAPACITATING INJURY"],
            ["4", "b", "INCAPACITATING INJURY"],
            ["5", "b", "REPORTED, NOT EVIDENT"],
            ["6", "d", "FATAL"],
            ["7", "b", ""],
            ["8", "", "FATAL"],
        ],
        ["PERSON_ID", "CRASH_RECORD_ID", "INJURY_CLASSIFICATION"],
    )
    return trips, crashes, people


def test_chicago_with_risk(tmp_path):
    trips, crashes, people = chicago_files(tmp_path)
    with open_engine(threads=1) as engine:
        made = chicago([trips], engine, crashes=[crashes], people=[people], min_trips=60)
    city = made.city
    assert list(city.tasks) == ["taxi_pickup", "taxi_dropoff", "risk"]
    # rows of 0.39 / 30 degrees from 41.64, columns of 0.43 / 20 from -87.95: worked by hand
    assert city.task("risk").nodes == ("r11c16", "r18c14")
    assert city.task("taxi_pickup").values[:, :, 0].tolist() == [[0, 60], [0, 0]]
    assert city.task("taxi_dropoff").values[:, :, 0].tolist() == [[0, 0], [60, 0]]
    # a: fatal 3 + none 0 + nonincapacitating 1; b: incapacitating 2 + reported 1; c: nobody
    assert city.task("risk").values[:, :, 0].tolist() == [[0, 0], [0, 7]]
    assert city.task("risk").kind == "risk"
    crash = made.report.accounts[2]
    assert crash.thrown == {Reason.FEW_IN_CELL: 1, Reason.NO_PLACE: 1, Reason.OUTSIDE_PERIOD: 1} and crash.kept == 3
    assert "8 rows, 1 without a known injury class (weight 0), 1 without an accident's id" in made.report.notes[0]


def test_accidents_and_people_without_an_id_do_not_meet(tmp_path):
    trips, crashes, people = chicago_files(tmp_path)
    for path in (crashes, people):  # a Parquet file tells a blank text from nothing
        frame = pd.read_csv(path, dtype={"CRASH_RECORD_ID": str})
        frame["CRASH_RECORD_ID"] = frame["CRASH_RECORD_ID"].fillna(" ").replace("c", "")
        if "CRASH_DATE" in frame:
            frame["CRASH_DATE"] = pd.to_datetime(frame["CRASH_DATE"], format="%m/%d/%Y %I:%M:%S %p")
        frame.to_parquet(path.with_suffix(".parquet"))
    with open_engine(threads=1) as engine:
        tables = {"crashes": [crashes.with_suffix(".parquet")], "people": [people.with_suffix(".parquet")]}
        made = chicago([trips], engine, min_trips=60, **tables)
    assert made.city.task("risk").values[:, :, 0].tolist() == [[0, 0], [0, 7]]
    assert "1 without an accident's id" in made.report.notes[0]


@pytest.mark.parametrize(
    "crash_ids, people_ids", [(["int64"] * 2, ["Int64"] * 2), (["str", "int64"], ["float64", "str"])]
)
def test_accidents_whose_ids_are_numbers(tmp_path, crash_ids, people_ids):
    trips, *tables = chicago_files(tmp_path)
    found = {}
    for path, kinds, name in zip(tables, (crash_ids, people_ids), ("crashes", "people"), strict=True):
        frame = pd.read_csv(path, dtype={"CRASH_RECORD_ID": str}).dropna(subset="CRASH_RECORD_ID")
        frame["CRASH_RECORD_ID"] = frame["CRASH_RECORD_ID"].map(dict(zip("abcdef", range(7, 13), strict=True)))
        if "CRASH_DATE" in frame:
            frame["CRASH_DATE"] = pd.to_datetime(frame["CRASH_DATE"], format="%m/%d/%Y %I:%M:%S %p")
        found[name] = [tmp_path / f"{name}{at}.parquet" for at in range(2)]
        for at, (kind, file) in enumerate(zip(kinds, found[name], strict=True)):
            frame[at::2].astype({"CRASH_RECORD_ID": kind}).to_parquet(file)
    with open_engine(threads=1) as engine:
        made = chicago([trips], engine, min_trips=60, **found)
    assert made.city.task("risk").values[:, :, 0].tolist() == [[0, 0], [0, 7]]


def test_chicago_command_with_other_weights(tmp_path):
    trips, crashes, people = chicago_files(tmp_path)
    to = tmp_path / "chicago.zarr.zip"
    command = ["chicago", str(trips), "--to", str(to), "--min-total", "60", "--injury-weight", "fatal=10", "--engine"]
    tables = ["duckdb", "--force", "--crashes", str(crashes), "--people", str(people)]
    result = CliRunner().invoke(app, command + tables)
    assert result.exit_code == 0, result.output
    assert open_city(to).task("risk").values.sum() == 14
    assert "fatal 10" in open_city(to).task("risk").description
    assert "needs both tables" in str(CliRunner().invoke(app, [*command, *tables[:4]]).exception)
    wrong = {"FATL=5": "given for 'FATL', but the classes are FATAL; INCAP", "FATAL=nan": "an injury weight is nan"}
    for given, said in wrong.items():
        assert said in str(CliRunner().invoke(app, [*command, *tables, "--injury-weight", given]).exception)
    said = "--injury-weight is for the risk: give --crashes and --people too"
    assert said in str(CliRunner().invoke(app, [*command, "duckdb", "--force"]).exception)


def test_chicago_portal_api_spelling(tmp_path):
    frame = pd.DataFrame(
        {
            "trip_start_timestamp": ["2024-02-01T10:15:00.000"] * 3,
            "trip_end_timestamp": ["2024-02-01T10:30:00.000"] * 3,
            "pickup_centroid_latitude": [41.88] * 3,
            "pickup_centroid_longitude": [-87.63] * 3,
            "dropoff_centroid_latitude": [41.79] * 3,
            "dropoff_centroid_longitude": [-87.60] * 3,
        }
    )
    frame.to_csv(tmp_path / "a.csv", index=False)
    with open_engine(threads=1) as engine:
        city = chicago([tmp_path / "a.csv"], engine, min_trips=1).city
    assert city.task("taxi_dropoff").values.sum() == 3
