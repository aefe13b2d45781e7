import csv
import gzip
import re
import subprocess
import textwrap
from pathlib import Path

import numpy as np
import pytest

from cmust.city import open_city
from cmust.errors import IngestError
from cmust.ingest.recipes.beijing_air import beijing_air

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "beijing-air"
HEADER = "No,year,month,day,hour,PM2.5,PM10,SO2,NO2,CO,O3,TEMP,PRES,DEWP,RAIN,wd,WSPM,station"


@pytest.mark.shared
@pytest.mark.skipif(not FOLDER.exists(), reason="needs the Beijing air data beside the checkout")
def test_real_data(tmp_path: Path) -> None:
    city = beijing_air(FOLDER)
    assert list(city.tasks) == ["pm25", "pm10", "so2", "no2", "co", "o3"] and city.timezone == "Asia/Shanghai"
    assert list(city.covariates) == ["temp", "pres", "dewp", "rain", "wspm"]
    # One station read again, line by line.
    with gzip.open(FOLDER / "Dongsi.csv.gz", "rt") as lines:
        rows = list(csv.DictReader(lines))
    node = city.task("co").nodes.index("Dongsi")
    for name, column in (("pm25", "PM2.5"), ("co", "CO"), ("o3", "O3")):
        task = city.task(name)
        assert task.values.shape == (35064, 12, 1) and task.interval == 3600 and task.unit == "ug/m3"
        expected = np.array([np.nan if row[column] == "NA" else float(row[column]) for row in rows], np.float32)
        np.testing.assert_array_equal(task.values[:, node, 0], expected)
    for name, column in (("temp", "TEMP"), ("wspm", "WSPM")):
        covariate = city.covariates[name]
        expected = np.array([np.nan if row[column] == "NA" else float(row[column]) for row in rows], np.float32)
        np.testing.assert_array_equal(covariate.values[:, node], expected)
        assert not covariate.known_ahead and covariate.nodes == city.task("co").nodes
    last = rows[-1]
    assert str(city.task("o3").time[-1]) == f"{last['year']}-{int(last['month']):02}-{last['day']}T{last['hour']}:00:00"
    assert open_city(city.save(tmp_path / "air.zarr.zip")).fingerprint() == city.fingerprint()


def write(folder: Path, station: str = "North", hours: tuple[int, ...] = (0, 1), header: str = HEADER) -> None:
    (folder / "stations.csv").write_text("station,lon,lat\nSouth,116.4,39.9\nNorth,116.5,40.0\n")
    for name in ("South", "North"):
        chosen = hours if name == station else (0, 1)
        rows = [f'{at},2013,3,1,{hour},NA,{at},0,1,2,3,-1.5,1000,2,0,"NW",1,"{name}"' for at, hour in enumerate(chosen)]
        with gzip.open(folder / f"{name}.csv.gz", "wt") as file:
            file.write("\n".join([header if name == station else HEADER, *rows]) + "\n")


def test_missing_is_nan_and_zero_is_zero(tmp_path: Path) -> None:
    write(tmp_path)
    city = beijing_air(tmp_path)
    assert np.isnan(city.task("pm25").values).all() and (city.task("so2").values == 0).all()
    assert city.task("pm10").nodes == ("South", "North")
    np.testing.assert_array_equal(city.task("pm10").values[:, :, 0], [[0, 0], [1, 1]])


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(IngestError, match=r"there is no file .*stations\.csv"):
        beijing_air(tmp_path)
    write(tmp_path, hours=(0, 2))
    with pytest.raises(IngestError, match=r"North\.csv\.gz has other hours than South\.csv\.gz"):
        beijing_air(tmp_path)
    write(tmp_path, header=HEADER.replace("O3", "Ozone"))
    with pytest.raises(IngestError, match=r"North\.csv\.gz has no column 'O3'"):
        beijing_air(tmp_path)
    write(tmp_path)
    (tmp_path / "North.csv.gz").write_bytes((tmp_path / "North.csv.gz").read_bytes()[:40])
    with pytest.raises(IngestError, match=r"North\.csv\.gz cannot be read as a table"):
        beijing_air(tmp_path)
    (tmp_path / "North.csv.gz").unlink()
    with pytest.raises(IngestError, match=r"there is no file .*North\.csv\.gz"):
        beijing_air(tmp_path)


def test_the_page_makes_the_folder_of_the_files_of_uci(tmp_path: Path) -> None:
    """The lines of docs/data.md, run where UCI's archive is unpacked."""
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    lines = re.search(r"^ +for file in PRSA.*?^ +END$", page, re.M | re.S)
    assert lines
    write(tmp_path)
    rows = gzip.decompress((tmp_path / "North.csv.gz").read_bytes())
    for path in tmp_path.iterdir():
        path.unlink()
    stations = re.findall(r"^ +(\w+),116", lines.group(), re.M)
    for station in stations:
        (tmp_path / f"PRSA_Data_{station}_20130301-20170228.csv").write_bytes(rows)
    subprocess.run(["bash", "-ec", textwrap.dedent(lines.group())], cwd=tmp_path, check=True)
    task = beijing_air(tmp_path).task("pm10")
    assert task.nodes == tuple(stations) and task.n_nodes == 12
    assert (abs(task.lon - 116.4) < 0.3).all() and (abs(task.lat - 40.1) < 0.3).all()
    if FOLDER.exists():
        assert (tmp_path / "stations.csv").read_text() == (FOLDER / "stations.csv").read_text()
