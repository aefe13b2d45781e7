"""The example of docs/data.md runs as it stands there, and its numbers are those of the two files."""

import csv
import shlex
import shutil
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from cmust.city import open_city
from cmust.cli.ingest import app

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "own_city"


def commands():
    lines = (EXAMPLE / "commands.sh").read_text().splitlines()
    return [shlex.split(line) for line in lines if line.startswith("cmust ")]


def test_the_page_shows_the_commands_that_run():
    page = " ".join((ROOT / "docs" / "data.md").read_text().replace("\\\n", " ").split())
    for command in commands():
        assert " ".join(command) in page


def test_two_files_become_a_city(tmp_path, monkeypatch):
    for name in ("rides.csv", "counters.csv"):
        shutil.copy(EXAMPLE / name, tmp_path)
    monkeypatch.chdir(tmp_path)
    for program, group, *arguments in commands():
        assert (program, group) == ("cmust", "ingest")
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    city = open_city("own-city.zarr.zip")
    assert list(city.tasks) == ["rides_start", "rides_end", "bikes"]
    assert {task.n_steps for task in city.tasks.values()} == {14 * 24}

    with (EXAMPLE / "rides.csv").open() as stream:
        rides = list(csv.DictReader(stream))
    assert f"{len(rides):,}" in result.output or (tmp_path / "rides.json").is_file()
    first = [ride for ride in rides if ride["unlocked"].startswith("2024-04-02 08") and ride["locked"]]
    west, south, width, height = -24.56, 43.17, 0.12 / 8, 0.08 / 8
    cells = [
        f"r{int((float(r['from_lat']) - south) / height)}c{int((float(r['from_lon']) - west) / width)}"
        for r in first
        if r["from_lon"] and r["from_lat"]
    ]
    start = city.task("rides_start")
    step = 24 + 8
    for at, node in enumerate(start.nodes):
        assert start.values[step, at, 0] == cells.count(node)

    bikes = city.task("bikes")
    assert bikes.nodes == ("bridge", "harbour", "market", "station")
    with (EXAMPLE / "counters.csv").open() as stream:
        rows = list(csv.DictReader(stream, delimiter=";"))
    assert np.nansum(bikes.values) == sum(int(row["bikes"]) for row in rows)
    assert np.isnan(bikes.values[:, 1, 0]).sum() == 10  # the counter that was out of order: a gap, not zero
