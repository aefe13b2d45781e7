"""Bad input gives one clear error, or a counted reason; never a half-written city."""

import gzip
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from helpers import HEADER, plan_of, run, write_csv
from typer.testing import CliRunner

from cmust.city import open_city
from cmust.cli.ingest import app
from cmust.errors import CityError, IngestError
from cmust.ingest.engine import open_engine
from cmust.ingest.places import Grid, read_zones
from cmust.ingest.reasons import Reason
from cmust.ingest.sources import Reading

GOOD = [["2016-01-01 10:00:00", -73.5, 40.5]] * 10


def fails(match, path, plan=None, reading=None):
    with pytest.raises(IngestError, match=match) as error:
        run(path, plan or plan_of(), reading)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_files(tmp_path):
    fails("no file .*nothing", tmp_path / "nothing.csv")
    (tmp_path / "empty.csv").touch()
    fails("empty.csv is empty", tmp_path / "empty.csv")
    fails("no records", write_csv(tmp_path / "header.csv", []))
    (tmp_path / "not.parquet").write_text("time,lon,lat\n")
    fails("not.parquet is not a readable Parquet file", tmp_path / "not.parquet")
    pd.DataFrame({name: [] for name in HEADER}).to_parquet(tmp_path / "none.parquet")
    fails("holds no records", tmp_path / "none.parquet")
    (tmp_path / "not.zip").write_text("hello")
    fails("not.zip cannot be unpacked", tmp_path / "not.zip")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as packed:
        packed.writestr("readme.md", "hello")
    fails("holds no CSV", tmp_path / "other.zip")
    twice = write_csv(tmp_path / "twice.csv", GOOD)
    fails("named twice", [twice, twice])


def test_truncated_gz(tmp_path):
    rows = [[f"2016-01-01 10:{n % 60:02d}:{n % 59:02d}", -73.5 + n * 1e-6, 40.5] for n in range(20000)]
    whole = write_csv(tmp_path / "a.csv.gz", rows).read_bytes()
    (tmp_path / "cut.csv.gz").write_bytes(whole[: len(whole) // 2])
    fails("cut.csv.gz cannot be read .*get it again", tmp_path / "cut.csv.gz")
    (tmp_path / "wrong.csv.gz").write_text("time,lon,lat\n")
    fails("wrong.csv.gz cannot be read", tmp_path / "wrong.csv.gz")


def test_columns_and_delimiters(tmp_path):
    path = write_csv(tmp_path / "a.csv", GOOD, ("time", "long", "lat"))
    said = fails("no column 'lon'", path)
    assert "did you mean 'long'" in said and "time, long, lat" in said
    path = write_csv(tmp_path / "b.csv", GOOD, delimiter=";")
    fails("no column 'time'.*time;lon;lat", path, reading=Reading(delimiter=","))
    path = write_csv(tmp_path / "c.csv", GOOD, None)
    fails("2 columns were named", path, reading=Reading(columns=("time", "lon")))
    assert run(path, plan_of(), Reading(columns=HEADER)).city.task("seen").values.sum() == 10


def test_parquet_says_itself_how_it_is_written(tmp_path):
    frame = pd.DataFrame([["2016-01-01 10:00:00", -73.5, 40.5]] * 10, columns=HEADER)
    frame.to_parquet(tmp_path / "a.parquet")
    for reading in (Reading(delimiter=";"), Reading(columns=HEADER)):
        fails("all files are Parquet.*leave out --delimiter and --columns", tmp_path / "a.parquet", reading=reading)
    both = [tmp_path / "a.parquet", write_csv(tmp_path / "b.csv", GOOD, delimiter=";")]
    assert run(both, plan_of(), Reading(delimiter=";")).report.accounts[0].kept == 20


def test_lines_with_other_widths_are_counted(tmp_path):
    path = tmp_path / "a.csv"
    good = "2016-01-01 10:00:00,-73.5,40.5\n"
    path.write_text(
        "time,lon,lat\n\n" + good * 5 + "2016-01-01 10:00:00,-73.5\n" + good + "a,b,c,d,e\n" + '"x,1\n' + good
    )
    account = run(path, plan_of()).report.accounts[0]
    assert account.kept + account.thrown[Reason.UNREADABLE] == account.records
    # the open quote swallows the last good line
    assert (account.kept, account.thrown) == (6, {Reason.UNREADABLE: 4})


def test_schema_that_changes_half_way(tmp_path):
    path = tmp_path / "a.csv"
    good = "2016-01-01 10:00:00,-73.5,40.5\n"
    path.write_text("time,lon,lat\n" + good * 50 + "time,lon,lat,people\n" + "2016-01-01 10:00:00,-73.5,40.5,1\n" * 49)
    assert run(path, plan_of()).report.accounts[0].thrown == {Reason.UNREADABLE: 50}
    fails("50.0% of the records would be thrown away.*50 line cannot be read", path, plan_of(max_bad_share=0.4))
    path.write_text("time,lon,lat\n" + good * 60 + "-73.5,40.5,2016-01-01 10:00:00\n" * 50)
    fails("45.5% .*50 time cannot be read", path, plan_of(max_bad_share=0.4))


def test_many_files_of_which_one_is_other(tmp_path):
    files = [write_csv(tmp_path / "1.csv", GOOD), write_csv(tmp_path / "2.csv", GOOD, ("time", "x", "lat"))]
    fails("2.csv has no column 'lon'", files)


def test_spare_empty_fields_behind_every_record(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("time,lon,lat\r\n\r\n" + "2016-01-01 10:00:00,-73.5,40.5,,\r\n" * 7)
    assert run(path, plan_of()).report.accounts[0].kept == 7


def test_times(tmp_path):
    rows = [[f"0{d}/0{m}/2016 10:00", -73.5, 40.5] for d, m in ((1, 2), (3, 4))]
    path = write_csv(tmp_path / "a.csv", rows)
    fails("can be read as .*give the time format", path)
    assert (
        str(run(path, plan_of(time_format="%d/%m/%Y %H:%M", max_bad_share=1.0)).city.task("seen").time[0])
        == "2016-02-01T10:00:00"
    )
    for text in ("03/04/2016 10:00:00 AM", "03/04/2016 10:00 AM", "3/4/2016 10:00"):
        path = write_csv(tmp_path / "a.csv", [[text, -73.5, 40.5]])
        fails(r"can be read as '%m/.* and as '%d/.*day-first", path)
        for first, day in (("month-first", "2016-03-04"), ("day-first", "2016-04-03")):
            assert str(run(path, plan_of(time_format=first)).city.task("seen").time[0]) == f"{day}T10:00:00"
    fails("cannot tell how", write_csv(tmp_path / "a.csv", [["25/04/2016", 0, 0]]), plan_of(time_format="month-first"))
    fails("holds '%Q'", path, plan_of(time_format="%Q"))
    fails("cannot tell how times are written", write_csv(tmp_path / "b.csv", [["soon", -73.5, 40.5]] * 3))
    mixed = [*GOOD * 30, *[["02.01.2016 10:00", -73.5, 40.5]] * 20]
    assert run(write_csv(tmp_path / "c.csv", mixed), plan_of()).report.accounts[0].thrown == {Reason.BAD_TIME: 20}
    zoned = write_csv(tmp_path / "d.csv", [["2016-01-01T10:00:00+01:00", -73.5, 40.5]])
    fails("carry an offset.*times-in utc", zoned)
    frame = pd.DataFrame({"time": pd.to_datetime(["2016-01-01T10:00:00Z"]), "lon": [-73.5], "lat": [40.5]})
    frame.to_parquet(tmp_path / "e.parquet")
    fails("instants.*times-in utc", tmp_path / "e.parquet")
    for text, said in (
        ("2016-01-01T10:00:00+01:00", "carry an offset"),
        ("soon", "cannot tell"),
        ("1/2/2016", "can be"),
    ):
        frame.assign(time=[text]).to_parquet(tmp_path / "h.parquet")
        fails(rf"h\.parquet, column 'time': .*{said}", tmp_path / "h.parquet")
    frame.assign(time=[[1]]).to_parquet(tmp_path / "e.parquet")
    fails(r"e\.parquet, column 'time': its type is array<int64>, which is not a time", tmp_path / "e.parquet")
    frame.assign(time=[GOOD[0][0]], lon=[[1]]).to_parquet(tmp_path / "e.parquet")
    fails(r"e\.parquet, column 'lon': its type is array<int64>, which is not a number", tmp_path / "e.parquet")
    far = [*GOOD * 300, ["2002-01-01 10:00:00", -73.5, 40.5]]
    fails("a few records reach far: times run from 2002-01-01T10", write_csv(tmp_path / "f.csv", far))
    fails("not where an interval", write_csv(tmp_path / "g.csv", GOOD), plan_of(start="2016-01-01 00:10"))
    fails("no record is left", tmp_path / "g.csv", plan_of(start="2016-01-02", stop="2016-01-01"))
    for moment in ("20160101", "today", "2016", "2016-01-01T00:00+01:00"):
        fails(r"start: .* like 2019-03-20T08:00$", tmp_path / "g.csv", plan_of(start=moment))


def test_a_time_zone_that_is_none(tmp_path):
    for utc in (None, True):
        with pytest.raises(CityError, match="time zone 'Berlin' is not known"):
            run(tmp_path / "none.csv", plan_of(timezone="Berlin", utc=utc))


def test_swapped_coordinates(tmp_path):
    path = write_csv(tmp_path / "a.csv", [["2016-01-01 10:00:00", 40.5, -73.5]] * 9 + GOOD[:1])
    fails("longitude and latitude are exchanged: 9 of 10 records", path)


def test_a_grid_that_catches_nothing(tmp_path):
    path = write_csv(tmp_path / "a.csv", GOOD)
    fails("no record is left.*10 outside.*the box is 10,50,11,51", path, plan_of(place=Grid((10, 50, 11, 51), 3, 3)))
    fails("no cell has 11 events or more, the fullest has 10", path, plan_of(min_total=11))
    with pytest.raises(IngestError, match="west < east"):
        Grid((11, 50, 10, 51), 3, 3)
    with pytest.raises(IngestError, match="at least one row"):
        Grid((10, 50, 11, 51), 0, 3)


def test_zones_that_are_none(tmp_path):
    with pytest.raises(IngestError, match="cannot be read as zones"):
        read_zones(tmp_path / "none.geojson")
    (tmp_path / "points.geojson").write_text(
        '{"type":"FeatureCollection","features":[{"type":"Feature","properties":{"id":1},'
        '"geometry":{"type":"Point","coordinates":[0,0]}}]}'
    )
    with pytest.raises(IngestError, match="holds Point: zones have to be polygons"):
        read_zones(tmp_path / "points.geojson")
    square, bow = "[0,0],[1,0],[1,1],[0,0]", "[0,0],[1,1],[1,0],[0,1],[0,0]"
    for number, (zones, said) in enumerate(
        {
            (("", square), ("b", square)): "'id' is empty for 1 zones",
            (("a", "[500000,5600000],[501000,5600000],[501000,5601000],[500000,5600000]"),): "is not in degrees .*prj",
            (("a", bow), ("a", bow.replace("0,1", "0,0.5"))): "polygons of one zone cannot be put together",
        }.items()
    ):
        with pytest.raises(IngestError, match=said):
            read_zones(write_zones(tmp_path / f"{number}.geojson", zones))


def write_zones(path, zones):
    features = [
        f'{{"type":"Feature","properties":{{"id":"{name}"}},"geometry":{{"type":"Polygon","coordinates":[[{ring}]]}}}}'
        for name, ring in zones
    ]
    path.write_text(f'{{"type":"FeatureCollection","features":[{",".join(features)}]}}')
    return path


def test_zones_in_an_archive(tmp_path):
    geopandas = pytest.importorskip("geopandas")
    zones = write_zones(tmp_path / "z.geojson", [("007", "[0,0],[1,0],[1,1],[0,0]"), ("7", "[1,1],[2,1],[2,2],[1,1]")])
    geopandas.read_file(zones).to_crs(3857).to_file(tmp_path / "z.shp")
    for name, members in (("flat.zip", ["z"]), ("deep.zip", ["city/zones/z"]), ("two.zip", ["a/z", "b/z"])):
        with zipfile.ZipFile(tmp_path / name, "w") as packed:
            for member in members:
                for part in tmp_path.glob("z.[!g]*"):
                    packed.write(part, f"{member}{part.suffix}")
    for name in ("flat.zip", "deep.zip"):
        found = read_zones(tmp_path / name)
        assert found.ids == ("007", "7")
        assert np.abs(np.array(found.box) - [0, 0, 2, 2]).max() < 1e-6
    with pytest.raises(IngestError, match=r"two.zip holds a/z.shp, b/z.shp: unpack it and name the file"):
        read_zones(tmp_path / "two.zip")


COMMAND = ["--timezone", "UTC", "--time", "time", "--lon", "lon", "--lat", "lat"]


def test_command_line_writes_the_city_or_nothing(tmp_path):
    from cmust.city import open_city

    path = write_csv(tmp_path / "a.csv", GOOD)
    city, report = tmp_path / "c.zarr.zip", tmp_path / "r.json"
    arguments = ["events", str(path), "--to", str(city), *COMMAND, "--box", "-74,40,-73,41", "--report", str(report)]
    result = CliRunner().invoke(app, [*arguments, "--grid", "2x2"])
    assert result.exit_code == 0, result.output
    assert "10" in result.output and "1 steps x 1 nodes" in result.output
    before = city.read_bytes()
    assert open_city(city).task("events").values.sum() == 10
    assert '"kept": 10' in report.read_text()
    for wrong, said in ((["--grid", "2"], "ROWSxCOLUMNS"), (["--grid", "2x2", "--min-total", "99"], "no cell has 99")):
        result = CliRunner().invoke(app, [*arguments, "--force", *wrong])
        assert isinstance(result.exception, IngestError) and said in str(result.exception)
        assert city.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []
    more = ["events", str(path), "--to", str(city), "--add-to", str(city), "--task", "calls", *COMMAND]
    assert CliRunner().invoke(app, [*more, "--box", "-74,40,-73,41", "--grid", "1x1"]).exit_code == 0
    assert list(open_city(city).tasks) == ["events", "calls"]


def test_a_city_is_replaced_only_when_that_is_said(tmp_path):
    from cmust.city import open_city

    path, city = write_csv(tmp_path / "a.csv", GOOD), tmp_path / "c.zarr.zip"
    command = ["events", str(path), "--to", str(city), *COMMAND, "--box", "-74,40,-73,41", "--grid", "2x2"]
    city.write_text("of somebody")
    for other in (
        command,
        [*command, "--add-to", str(tmp_path / "other.zarr.zip")],
        ["nyc-taxi", str(path), "--to", str(city)],
        ["chicago", str(path), "--to", str(city)],
        ["beijing-air", str(tmp_path), "--to", str(city)],
        ["nyc-mobility", str(tmp_path), "--to", str(city)],
    ):
        said = str(CliRunner().invoke(app, other).exception)
        assert said == f"{city} exists already; give --force to replace it, or another name"
        assert city.read_text() == "of somebody"
    assert CliRunner().invoke(app, [*command, "--force"]).exit_code == 0
    assert list(open_city(city).tasks) == ["events"]


def test_help_teaches():
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    for word in ("cmust ingest events", "cmust ingest trips", "cmust ingest sensors", "nyc-taxi", "chicago"):
        assert word in result.output


def test_nothing_heavy_is_imported_before_it_is_used():
    heavy = "('ibis', 'duckdb', 'pyspark', 'httpx', 'geopandas')"
    code = f"import cmust.ingest, sys; print([name for name in {heavy} if name in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"


def test_gz_in_one_piece_is_fine(tmp_path):
    with gzip.open(tmp_path / "a.csv.gz", "wt") as stream:
        stream.write("time,lon,lat\n2016-01-01 10:00:00,-73.5,40.5\n")
    assert run(tmp_path / "a.csv.gz", plan_of()).report.accounts[0].kept == 1


def bad_files(folder):
    """What was given -> files (or options) of that kind, and what the one line of the error says."""
    late = [["2016-01-01 10:00:00", -73.5, 40.5]] * 500
    text = "\n".join(",".join(map(str, row)) for row in late)
    whole = write_csv(
        folder / "whole.csv.gz", [[f"2016-01-01 10:00:{n % 60:02d}", -73.5 + n / 1e6, 40.5] for n in range(9000)]
    )
    (folder / "cut.csv.gz").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (folder / "empty.csv").touch()
    (folder / "half.csv").write_text(f"time,lon,lat\n{text}\n" + "-73.5,40.5,2016-01-01 10:00:00,1\n" * 600)
    return {
        "wrong delimiter": ([write_csv(folder / "d.csv", GOOD), "--delimiter", ";"], "has no column 'time'"),
        "no delimiter": ([write_csv(folder / "l.csv", GOOD), "--delimiter", "::"], "--delimiter is '::'"),
        "missing column": ([write_csv(folder / "m.csv", GOOD, ("time", "long", "lat"))], "has no column 'lon'"),
        "mixed dates": (
            [write_csv(folder / "x.csv", [*late, *[["02.01.2016 10:00", -73.5, 40.5]] * 600])],
            "600 time cannot be read",
        ),
        "cut gz": ([folder / "cut.csv.gz"], "cut.csv.gz cannot be read"),
        "empty": ([folder / "empty.csv"], "empty.csv is empty"),
        "schema changes": ([folder / "half.csv"], "600 line cannot be read"),
        "swapped": (
            [write_csv(folder / "s.csv", GOOD, ("time", "lat", "lon"))],
            "longitude and latitude are exchanged",
        ),
        "nothing caught": ([write_csv(folder / "n.csv", GOOD), "--box", "10,50,11,51"], "no record is left"),
    }


def test_a_user_meets_one_line_and_no_city(tmp_path):
    from cmust.cli.app import app as program

    for what, (arguments, said) in bad_files(tmp_path).items():
        out = tmp_path / "out"
        out.mkdir()
        box = [] if "--box" in arguments else ["--box", "-74,40,-73,41"]
        command = ["ingest", "events", *map(str, arguments), "--to", str(out / "c.zarr.zip"), *COMMAND, *box]
        result = CliRunner().invoke(program, [*command, "--grid", "2x2", "--work-dir", str(out)])
        assert result.exit_code == 2, what
        [line] = result.stderr.splitlines()
        assert line.startswith("error: ") and said in line, what
        assert list(out.iterdir()) == [], what
        out.rmdir()


@pytest.mark.parametrize("header", [True, False])
def test_blank_lines_before_the_first(tmp_path, header):
    lines = ["time,lon,lat"] * header + ["2016-01-01 10:00:00,-73.5,40.5"] * 7 + ["2016-01-01 10:00:00,west,40.5"]
    one, other = (tmp_path / name for name in ("a.csv", "b.csv"))
    one.write_text("\n  \n\n" + "\n".join(lines) + "\n")
    other.write_text("\n".join(lines) + "\n")
    account = run([one, other], plan_of(), None if header else Reading(columns=HEADER)).report.accounts[0]
    assert (account.records, account.kept, account.thrown) == (16, 14, {Reason.BAD_PLACE: 2})


@pytest.mark.parametrize("memory", ["foo", "", "-1", "-1MB", "0MB", "4 lots"])
def test_a_memory_that_is_none(tmp_path, memory):
    with pytest.raises(IngestError, match=f"memory .* '{memory}'.*write a size such as 1500MB"):
        open_engine("duckdb", memory=memory, work=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_that_are_none(tmp_path, threads):
    with pytest.raises(IngestError, match=f"number of threads is {threads}: give 1 or more"):
        open_engine("duckdb", threads=threads, work=tmp_path)


def test_a_work_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(IngestError, match=r"temporary files is .*file, which is a file: name a folder"):
        open_engine("duckdb", work=tmp_path / "file")
    with pytest.raises(IngestError, match=r"no folder can be made in .*give another \(--work-dir; in Python work="):
        open_engine("duckdb", work=tmp_path / "file" / "below")


def test_a_sum_named_as_the_trips(tmp_path):
    path = write_csv(tmp_path / "a.csv", [["2016-01-01 10:00:00", -73.5, 40.5, 2]], (*HEADER, "pax"))
    ends = [f"--{end}-{column}={column}" for end in ("start", "end") for column in HEADER]
    command = ["trips", str(path), "--to", str(tmp_path / "c.zarr.zip"), "--timezone", "UTC", *ends]
    command += ["--box=-74,40,-73,41", "--grid=2x2", "--prefix=pax", "--weight=pax"]
    result = CliRunner().invoke(app, command)
    assert "two measures would be the task 'pax_start'" in str(result.exception) and "--prefix" in str(result.exception)
    command[-2] = "--prefix=поездки"
    assert "--prefix is 'поездки', but task names" in str(CliRunner().invoke(app, command).exception)


def test_a_sum_of_a_column_in_another_script(tmp_path):
    path = write_csv(tmp_path / "a.csv", [["2016-01-01 10:00:00", -73.5, 40.5, 2]], (*HEADER, "人数"))
    ends = [f"--{end}-{column}={column}" for end in ("start", "end") for column in HEADER]
    command = ["trips", str(path), "--to", str(tmp_path / "c.zarr.zip"), "--timezone", "UTC", *ends]
    result = CliRunner().invoke(app, [*command, "--box=-74,40,-73,41", "--grid=2x2", "--weight=人数"])
    assert "note: task names are of a-z, 0-9 and _: '人数' is called u389485a8\n" in result.output
    tasks = open_city(tmp_path / "c.zarr.zip").tasks
    assert {name: (task.description, task.values.sum()) for name, task in tasks.items()} == {
        "trips_start": ("", 1),
        "trips_end": ("", 1),
        "u389485a8_start": ("人数", 2),
        "u389485a8_end": ("人数", 2),
    }


def test_an_archive_in_an_archive(tmp_path):
    inner, outer = tmp_path / "2016.zip", tmp_path / "all.ZIP"
    with zipfile.ZipFile(inner, "w") as packed:
        packed.write(write_csv(tmp_path / "b.csv", GOOD), "b.csv")
    with zipfile.ZipFile(outer, "w") as packed:
        packed.write(write_csv(tmp_path / "a.csv", GOOD[:3]), "a.csv")
        packed.write(inner, "years/2016.zip")
    assert run(outer, plan_of()).report.accounts[0].kept == 13
    with zipfile.ZipFile(outer, "w") as packed:
        packed.writestr("2016.zip", inner.read_bytes()[:50])
    fails("all.ZIP.*2016.zip cannot be unpacked", outer)


def test_two_columns_of_one_name(tmp_path):
    """Engines do not tell upper from lower case, and would take the first of the two, whichever was asked for."""
    names = ["time", "LON", "lon", "lat"]
    table = pa.table([pa.array([text]) for text in (GOOD[0][0], "-73.9", "-73.1", "40.5")], names=names)
    pq.write_table(table, tmp_path / "a.parquet")
    fails("a.parquet has two columns 'lon'.*rename one", tmp_path / "a.parquet")
    row = [GOOD[0][0], -73.9, -73.1, 40.5]
    fails("two columns 'lon'", write_csv(tmp_path / "b.csv", [row], names))
    fails("two columns 'lon'", write_csv(tmp_path / "b.csv", [row], [name.lower() for name in names]))
    other = write_csv(tmp_path / "c.csv", [[GOOD[0][0], -73.9, 1, 2, 40.5]], ["time", "lon", "note", "Note", "lat"])
    assert run(other, plan_of()).report.accounts[0].kept == 1


def test_files_as_excel_writes_them(tmp_path):
    text = "time,lon,lat\r\n2016-01-01 10:00:00,-73.5,40.5\r\n"
    (tmp_path / "a.csv").write_bytes(text.encode("utf-16"))
    fails("a.csv is no CSV in UTF-8, but in UTF-16", tmp_path / "a.csv")
    with zipfile.ZipFile(tmp_path / "a.xlsx", "w") as packed:
        packed.writestr("xl/workbook.xml", "<workbook/>")
    fails("a.xlsx is no CSV in UTF-8", tmp_path / "a.xlsx")
    (tmp_path / "b.csv").write_text("sep=;\r\n" + text.replace(",", ";"), newline="")
    fails("b.csv begins with 'sep=;', which is for Excel only: take that line out", tmp_path / "b.csv")
    (tmp_path / "c.csv").write_text(text, encoding="utf-8-sig", newline="")
    assert run(tmp_path / "c.csv", plan_of()).report.accounts[0].kept == 1


def test_lines_that_end_in_different_ways(tmp_path):
    (tmp_path / "a.csv").write_text("time,lon,lat\n2016-01-01 10:00:00,-73.5,40.5\r\n", newline="")
    fails("a.csv cannot be read: lines end in different ways", tmp_path / "a.csv")


def test_categories_with_commas(tmp_path):
    rows = [[*GOOD[0], kind] for kind in ("LARCENY, PETIT", "Fire", "LARCENY")]
    path = write_csv(tmp_path / "a.csv", rows, ["time", "lon", "lat", "kind"])
    command = ["events", str(path), "--to", str(tmp_path / "c.zarr.zip"), *COMMAND, "--box", "-74,40,-73,41"]
    command += ["--grid", "2x2", "--category", "kind", "--categories"]
    result = CliRunner().invoke(app, [*command, 'Fire, "LARCENY, PETIT"'])
    assert result.exit_code == 0, result.output
    assert list(open_city(tmp_path / "c.zarr.zip").tasks) == ["fire", "larceny_petit"]
    for nothing in ("", "Fire,,LARCENY"):
        error = CliRunner().invoke(app, [*command, nothing, "--force"]).exception
        assert isinstance(error, IngestError) and "leaves a name out" in str(error)
