"""``examples/daily`` runs as it stands: a model once, then a forecast a day, by the script that cron would start."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cmust import Forecaster, open_city

ROOT = Path(__file__).resolve().parents[1]
DAILY = ROOT / "examples" / "daily"
TINY = [
    *(f"--set model.{name}=4" for name in ("d_obs", "d_s", "d_t", "d_p", "d_ts", "d_tod", "d_dow")),
    *(f"--set model.{name}=8" for name in ("cross_width", "self_width", "ffn_width")),
    "--set model.heads=2 --set training.start_epochs=1 --set training.updates_per_epoch=2",
    "--set training.rolling_epochs=1 --set training.refine_epochs=1",
]


def commands(script: str) -> list[str]:
    return [line for line in (DAILY / script).read_text().splitlines() if line.startswith("cmust ")]


def test_the_page_shows_the_commands_that_run() -> None:
    page = " ".join((ROOT / "docs" / "daily.md").read_text().replace("\\\n", " ").split())
    for command in commands("setup.sh"):
        assert " ".join(command.split()) in page
    assert "5 0 * * * cd /srv/bikes && PATH=/srv/bikes/.venv/bin:$PATH ./daily.sh" in page
    # The night's city is the history's, but for its span.
    history, night = commands("setup.sh")[0], commands("daily.sh")[0]
    grown, update = commands("update.sh")
    assert grown == history.replace("history.zarr", "grown.zarr").replace("2024-04-14", '"$day"')
    assert update in page and "0 0 * * 0 cd /srv/bikes && PATH=/srv/bikes/.venv/bin:$PATH ./update.sh" in page
    for there, here in (("history", "recent"), ("2024-04-01", '"$since"'), ("2024-04-14", '"$day"')):
        history = history.replace(there, here)
    assert night == history


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The folder of the example, with readings up to the eve of 14 April, and ``cmust`` on the path."""
    shutil.copytree(DAILY, tmp_path / "daily")
    setup = tmp_path / "daily" / "setup.sh"
    text = setup.read_text()
    setup.write_text(text.replace("runs/bikes --set", f"runs/bikes {' '.join(TINY)} --set"))
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "cmust"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m cmust "$@"\n')
    program.chmod(0o755)
    readings = (ROOT / "examples" / "own_city" / "counters.csv").read_text().splitlines(keepends=True)
    (tmp_path / "daily" / "counters.csv").write_text("".join(line for line in readings if line[:2] != "14"))
    return tmp_path / "daily"


def sh(place: Path, *arguments: str, code: int = 0) -> str:
    path = f"{place.parent / 'bin'}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(["sh", *arguments], cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def test_a_model_then_two_nights_and_an_update(place: Path) -> None:
    sh(place, "setup.sh")
    sh(place, "daily.sh", "2024-04-13")
    first = (place / "forecasts" / "2024-04-13.csv").read_bytes()
    sh(place, "daily.sh", "2024-04-14")
    table = pd.read_csv(place / "forecasts" / "2024-04-14.csv", parse_dates=["time"])
    assert len(table) == 24 * 4 and set(table.node) == {"bridge", "harbour", "market", "station"}
    hours = pd.date_range("2024-04-14", periods=24, freq="h")
    assert (table.time.unique() == hours).all()
    expected = Forecaster.load(place / "runs" / "bikes").predict(open_city(place / "history.zarr.zip"), "bikes")
    found = table.pivot(index="time", columns="node", values="value")[expected.node.values].to_numpy()
    np.testing.assert_allclose(found, expected.values, rtol=1e-4, atol=1e-4)

    before = sorted(place.rglob("*.csv"))
    (place / "counters.csv").write_text("the logger broke\n")
    assert "error: " in sh(place, "daily.sh", "2024-04-15", code=2)
    assert sorted(place.rglob("*.csv")) == before
    assert (place / "forecasts" / "2024-04-13.csv").read_bytes() == first

    shutil.copy(ROOT / "examples" / "own_city" / "counters.csv", place)
    assert "plain MAE on fresh data" in sh(place, "update.sh", "2024-04-15")
