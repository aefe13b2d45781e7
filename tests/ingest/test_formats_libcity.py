"""LibCity atomic files as LibCity's own converters write them: metr_la.py, pemsd4.py, taxibj.py, nyctaxi_grid.py."""

import json
from pathlib import Path

import numpy as np
import pytest

from cmust.errors import CityError, IngestError
from cmust.ingest.formats import ImportSettings, import_libcity

TIMES = [f"2012-03-01T00:{minute:02d}:00Z" for minute in range(0, 30, 5)]
SETTINGS = ImportSettings(name="la", timezone="America/Los_Angeles")


def write_points(
    folder: Path, values: np.ndarray, geo: list[tuple[str, str]], columns: list[str], **info: object
) -> Path:
    """As metr_la.py and pemsd4.py: readings entity by entity; ``values`` (T, N, C) in the order of ``geo``."""
    folder.mkdir(exist_ok=True)
    name = folder.name
    lines = ["geo_id,type,coordinates"] + [f'{geo_id},Point,"{coordinates}"' for geo_id, coordinates in geo]
    (folder / f"{name}.geo").write_text("\n".join(lines) + "\n")
    lines, row = ["dyna_id,type,time,entity_id," + ",".join(columns)], 0
    for node, (geo_id, _) in enumerate(geo):
        for step in range(len(values)):
            cells = ",".join(str(float(value)) for value in values[step, node])
            lines.append(f"{row},state,{TIMES[step]},{geo_id},{cells}")
            row += 1
    (folder / f"{name}.dyna").write_text("\n".join(lines) + "\n")
    own = {"data_col": columns, "data_files": [name], "geo_file": name, "rel_file": name, "time_intervals": 300} | info
    config = {"geo": {"including_types": ["Point"], "Point": {}}, "info": own}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


GEO = [("773869", "[-118.31829, 34.15497]"), ("767541", "[-118.23799, 34.11621]")]
VALUES = np.arange(12, dtype=float).reshape(6, 2, 1) * 1.25


def test_points(tmp_path: Path) -> None:
    folder = write_points(tmp_path / "METR_LA", VALUES, GEO, ["traffic_speed"], data_col="traffic_speed")
    city = import_libcity(folder, SETTINGS).city
    task = city.task("traffic_speed")
    assert task.nodes == ("773869", "767541")
    assert task.interval == 300
    assert str(task.time[0]) == "2012-03-01T00:00:00"
    np.testing.assert_array_equal(task.values, VALUES.astype(np.float32))
    np.testing.assert_array_equal(task.lon, [-118.31829, -118.23799])
    np.testing.assert_array_equal(task.lat, [34.15497, 34.11621])
    assert city.timezone == "America/Los_Angeles"


@pytest.mark.parametrize("ids", [("007", "07"), ("NA", "null")])
def test_ids_stay_as_they_are(tmp_path: Path, ids: tuple[str, str]) -> None:
    folder = write_points(tmp_path / "CITY", VALUES, [(ids[0], GEO[0][1]), (ids[1], GEO[1][1])], ["flow"])
    task = import_libcity(folder, SETTINGS).city.task("flow")
    assert task.nodes == ids
    np.testing.assert_array_equal(task.values, VALUES.astype(np.float32))


def test_a_configuration_without_info(tmp_path: Path) -> None:
    """metr_la.py writes none: files, columns and the length of a step are those of the folder; the .rel is not read."""
    folder = write_points(tmp_path / "METR_LA", VALUES, GEO, ["traffic_speed"])
    state = {"entity_id": "geo_id", "traffic_speed": "num"}
    config = {
        "geo": {"including_types": ["Point"], "Point": {}},
        "usr": {"properties": {}},
        "rel": {"including_types": ["geo"], "geo": {"cost": "num"}},
        "dyna": {"including_types": ["state"], "state": state},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "METR_LA.rel").write_text("rel_id,type,origin_id,destination_id,cost\n0,geo,773869,767541,13.5\n")
    task = import_libcity(folder, SETTINGS).city.task("traffic_speed")
    assert task.interval == 300 and task.nodes == ("773869", "767541")
    np.testing.assert_array_equal(task.values, VALUES.astype(np.float32))


def test_rows_are_placed_by_entity_and_time_not_by_order(tmp_path: Path) -> None:
    """metr_la.py writes the .geo in the order of one file and the .dyna in that of another."""
    folder = write_points(tmp_path / "METR_LA", VALUES, GEO, ["traffic_speed"])
    path = folder / "METR_LA.dyna"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *rows[::-1]]) + "\n")
    np.testing.assert_array_equal(import_libcity(folder, SETTINGS).city.task("traffic_speed").values, VALUES)


def test_columns_become_tasks_and_empty_coordinates_need_a_file(tmp_path: Path) -> None:
    values = np.arange(36, dtype=float).reshape(6, 2, 3)
    names = ["traffic_flow", "traffic_occupancy", "traffic_speed"]
    folder = write_points(tmp_path / "PEMSD4", values, [("0", "[]"), ("1", "[]")], names)
    with pytest.raises(IngestError, match="no coordinates: give a CSV file with columns node, lon, lat"):
        import_libcity(folder, SETTINGS)
    places = tmp_path / "places.csv"
    places.write_text("index,sensor_id,latitude,longitude\n0,1,34.5,-118.5\n1,0,34.25,-118.25\n2,9,0,0\n")
    city = import_libcity(folder, ImportSettings("la", "UTC", coordinates=places)).city
    assert list(city.tasks) == names
    for channel, name in enumerate(names):
        np.testing.assert_array_equal(city.task(name).values[:, :, 0], values[:, :, channel])
    np.testing.assert_array_equal(city.task("traffic_flow").lon, [-118.25, -118.5])
    unknown = import_libcity(folder, ImportSettings("la", "UTC", coordinates="unknown"))
    np.testing.assert_array_equal(unknown.city.task("traffic_flow").lon, [0, 0])
    assert any("unknown" in note for note in unknown.notes)
    assert "unknown" in unknown.city.description


def write_grid(folder: Path, polygons: bool, parts: list[list[str]], cells: list[tuple[int, int]]) -> dict[str, float]:
    """As taxibj.py (several files, empty polygons) and nyctaxi_grid.py (one file, true polygons).

    Returns the inflow that was written, by ``row,column,time``.
    """
    folder.mkdir()
    lines = ["geo_id,type,coordinates,row_id,column_id"]
    for geo_id, (row, column) in enumerate(cells):
        west, south = -74.0 + 0.1 * column, 40.0 + 0.1 * row
        ring = [[west, south], [west + 0.1, south], [west + 0.1, south + 0.1], [west, south + 0.1], [west, south]]
        lines.append(f'{geo_id},Polygon,"{[ring] if polygons else []}",{row},{column}')
    (folder / "BJ.geo").write_text("\n".join(lines) + "\n")
    written = {}
    for part, times in enumerate(parts):
        rows = ["dyna_id,type,time,row_id,column_id,inflow,outflow"]
        for row in range(2):
            for column in range(2):
                for time in times:
                    value = float(len(written)) + 0.5
                    written[f"{row},{column},{time}"] = value
                    rows.append(f"{len(rows) - 1},state,{time},{row},{column},{value},{value + 1000}")
        (folder / f"BJ{part}.grid").write_text("\n".join(rows) + "\n")
    files = [f"BJ{part}" for part in range(len(parts))]
    info = {"data_col": ["inflow", "outflow"], "data_files": files, "geo_file": "BJ", "time_intervals": 1800}
    (folder / "config.json").write_text(json.dumps({"grid": {"including_types": ["state"]}, "info": info}))
    return written


CELLS = [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_grid_of_several_files_with_a_gap(tmp_path: Path) -> None:
    parts = [["2013-07-01T00:00:00Z", "2013-07-01T00:30:00Z"], ["2013-07-01T02:00:00Z", "2013-07-01T02:30:00Z"]]
    written = write_grid(tmp_path / "TAXIBJ", False, parts, CELLS)
    imported = import_libcity(tmp_path / "TAXIBJ", ImportSettings("bj", "Asia/Shanghai", coordinates="unknown"))
    task = imported.city.task("inflow")
    assert task.values.shape == (6, 4, 1)
    assert np.isnan(task.values[2:4]).all()
    assert any("2 of 6 steps" in note for note in imported.notes)
    for step, time in ((0, parts[0][0]), (1, parts[0][1]), (4, parts[1][0]), (5, parts[1][1])):
        for node, (row, column) in enumerate(CELLS):
            assert task.values[step, node, 0] == written[f"{row},{column},{time}"]
            assert imported.city.task("outflow").values[step, node, 0] == written[f"{row},{column},{time}"] + 1000


def test_grid_polygons_give_centroids_and_geometry_and_unlisted_cells_are_counted(tmp_path: Path) -> None:
    write_grid(tmp_path / "NYC", True, [["2014-01-01T00:00:00Z", "2014-01-01T00:30:00Z"]], CELLS[:3])
    imported = import_libcity(tmp_path / "NYC", ImportSettings("ny", "America/New_York"))
    task = imported.city.task("inflow")
    np.testing.assert_allclose(task.lon, [-73.95, -73.85, -73.95])
    np.testing.assert_allclose(task.lat, [40.05, 40.05, 40.15])
    assert task.geometry is not None and task.geometry[0] is not None and task.geometry[0]["type"] == "Polygon"
    assert any("2 rows of cells or entities that BJ.geo does not list" in note for note in imported.notes)


def test_missing_cells_and_entities_without_values(tmp_path: Path) -> None:
    values = VALUES.copy()
    values[2, 0] = np.nan
    folder = write_points(tmp_path / "METR_LA", values, GEO, ["traffic_speed"])
    geo = folder / "METR_LA.geo"
    geo.write_text(geo.read_text() + '5,Point,"[-118.0, 34.0]"\n')
    imported = import_libcity(folder, SETTINGS)
    task = imported.city.task("traffic_speed")
    assert task.nodes == ("773869", "767541")
    assert np.isnan(task.values[2, 0, 0]) and np.isnan(task.values).sum() == 1
    assert task.values[0, 0, 0] == 0, "zero is data"
    assert any("1 of 3 entities" in note for note in imported.notes)
    zeros = import_libcity(folder, ImportSettings("la", "UTC", zero_is_missing=True))
    assert np.isnan(zeros.city.task("traffic_speed").values[0, 0, 0])
    assert any("1 zeros of 12" in note for note in zeros.notes)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "METR_LA.dyna",
            "00:05:00Z,773869,2.5",
            "00:05:00Z,773869,fast",
            r"line 3, column 'traffic_speed': 'fast' is not a",
        ),
        ("METR_LA.dyna", "2012-03-01T00:05:00Z,773869", "03/01/2012 00:05,773869", "time '03/01/2012 00:05' is not of"),
        ("METR_LA.dyna", "2012-03-01T00:05:00Z,773869", ",773869", "without a time"),
        ("METR_LA.dyna", "2012-03-01T00:05:00Z,773869", "2012-03-01T00:00:00Z,773869", "two rows of one time"),
        (
            "METR_LA.dyna",
            "2012-03-01T00:05:00Z,773869",
            "2012-03-01T00:07:00Z,773869",
            "not a whole number of 300-second",
        ),
        ("METR_LA.dyna", "2012-03-01T00:05:00Z,773869", "2092-03-01T00:05:00Z,773869", "one of these times is wrong"),
        ("METR_LA.dyna", "2012-03-01T00:05:00Z,773869", "2012-13-01T00:05:00Z,773869", "does not exist"),
        ("METR_LA.dyna", "traffic_speed", "velocity", "no column 'traffic_speed'; it has dyna_id"),
        ("METR_LA.geo", "geo_id", "id", "no column 'geo_id'"),
        ("METR_LA.geo", "767541", "773869", "geo_id '773869' is there twice"),
        ("METR_LA.geo", "[-118.31829, 34.15497]", "[-118.31829, 34", "cannot be read"),
        ("METR_LA.geo", "[-118.31829, 34.15497]", "[-118.31829]", "not \\[longitude, latitude\\]"),
        ("METR_LA.geo", "[-118.31829, 34.15497]", "[]", "empty coordinates, the first is '773869'"),
        ("config.json", '"data_files": ["METR_LA"]', '"data_files": ["OTHER"]', "no .dyna or .grid file.*OTHER"),
        ("config.json", '"time_intervals": 300', '"time_intervals": "5 min"', "time_intervals is '5 min'"),
        ("config.json", "{", "", "cannot read .*config.json"),
    ],
)
def test_bad_files(tmp_path: Path, file: str, old: str, new: str, message: str) -> None:
    folder = write_points(tmp_path / "METR_LA", VALUES, GEO, ["traffic_speed"])
    edit(folder / file, old, new)
    with pytest.raises(IngestError, match=message):
        import_libcity(folder, SETTINGS)


def test_swapped_coordinates_and_unknown_zone(tmp_path: Path) -> None:
    folder = write_points(tmp_path / "METR_LA", VALUES, [("1", "[34.1, -118.3]"), ("2", "[34.2, -118.2]")], ["speed"])
    with pytest.raises(CityError, match=r"lat of node '1' is -118.3"):
        import_libcity(folder, SETTINGS)
    good = write_points(tmp_path / "GOOD", VALUES, GEO, ["speed"])
    with pytest.raises(CityError, match="time zone 'Mars' is not known"):
        import_libcity(good, ImportSettings("la", "Mars"))


def test_flows_between_places_and_foreign_folders_are_refused(tmp_path: Path) -> None:
    (tmp_path / "X.gridod").write_text("dyna_id,type,time\n")
    with pytest.raises(IngestError, match="flows between places"):
        import_libcity(tmp_path, SETTINGS)
    with pytest.raises(IngestError, match=r"no .dyna or .grid file"):
        import_libcity(tmp_path / "nothing", SETTINGS)


def test_settings_that_fit_nothing(tmp_path: Path) -> None:
    folder = write_points(tmp_path / "METR_LA", VALUES, GEO, ["traffic_speed"])
    with pytest.raises(IngestError, match=r"kind given for 'speed', but the tasks of .* are traffic_speed"):
        import_libcity(folder, ImportSettings("la", "UTC", kinds={"speed": "speed"}))
    with pytest.raises(IngestError, match="has coordinates of its own"):
        import_libcity(folder, ImportSettings("la", "UTC", coordinates="unknown"))
    with pytest.raises(CityError, match="kind is 'fast'"):
        import_libcity(folder, ImportSettings("la", "UTC", kinds={"traffic_speed": "fast"}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'node'"),
        ("400001,37.36,-121.9\n", "a file without a header needs one"),
        ("node,lon,lat\n773869,1,2\n", "lacks the coordinates of 1 of 2 nodes: 767541"),
        ("node,lon,lat\n773869,1,2\n773869,1,2\n", "line 3: node '773869' is there twice"),
        ("node,lon,lat\n773869,west,2\n", "line 2: 'west' is not a number"),
        ("node,lon,lat\n773869,1\n", "line 2: 2 fields, the header has 3"),
    ],
)
def test_bad_coordinate_files(tmp_path: Path, text: str, message: str) -> None:
    folder = write_points(tmp_path / "METR_LA", VALUES, GEO, ["traffic_speed"])
    places = tmp_path / "places.csv"
    places.write_text(text)
    with pytest.raises(IngestError, match=message):
        import_libcity(folder, ImportSettings("la", "UTC", coordinates=places))
    with pytest.raises(IngestError, match="cannot read coordinates"):
        import_libcity(folder, ImportSettings("la", "UTC", coordinates=tmp_path / "absent.csv"))
