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


def test_the_last_days_of_rides_become_a_city_of_the_same_cells(tmp_path, monkeypatch):
    shutil.copy(EXAMPLE / "rides.csv", tmp_path)
    monkeypatch.chdir(tmp_path)
    whole = commands()[0][2:]
    assert CliRunner().invoke(app, whole, catch_exceptions=False).exit_code == 0
    since, swap = whole.index("--start") + 1, {"own-city.zarr.zip": "recent.zarr.zip", "--min-total": "--cells-of"}
    recent = [swap.get(word, word) for word in whole[:since]] + ["2024-04-12"]
    recent += ["own-city.zarr.zip" if word == "40" else swap.get(word, word) for word in whole[since + 1 :]]
    result = CliRunner().invoke(app, recent, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    history, days = open_city("own-city.zarr.zip"), open_city("recent.zarr.zip")
    for name, task in days.tasks.items():
        assert task.nodes == history.task(name).nodes and task.n_steps == 3 * 24
        np.testing.assert_array_equal(task.values, history.task(name).values[-3 * 24 :])
    for wrong, problem in (
        (["--min-total", "1"], "--min-total chooses cells by their events, --cells-of names them"),
        (["--grid", "7x7"], "has no task whose places are cells of this grid"),
        (["--box", "-24.5599,43.17,-24.4399,43.25"], "has no task whose places are cells of this grid"),
    ):
        result = CliRunner().invoke(app, [*recent, *wrong])
        assert problem in str(result.exception), result.output
