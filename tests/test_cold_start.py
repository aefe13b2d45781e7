"""``examples/cold_start`` runs as it stands, on a smaller city and with a narrower network."""

import shlex
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from cmust.cli import app
from cmust.continual.versions import list_versions
from tests.rolling.tiny import quick_prompts

SCRIPT = Path(__file__).resolve().parents[1] / "examples" / "cold_start" / "commands.sh"
SMALLER = {"4": "2", "20": "16", "training.start_epochs=10": "training.start_epochs=1"}
"""Weeks, places, epochs."""
TINY = [
    *(f"--set=model.{name}=4" for name in ("d_obs", "d_s", "d_t", "d_p", "d_ts", "d_tod", "d_dow")),
    *(f"--set=model.{name}=8" for name in ("cross_width", "self_width", "ffn_width")),
    "--set=model.heads=2",
    *(f"--set=training.{name}=1" for name in ("rolling_epochs", "refine_epochs", "updates_per_epoch")),
]


def commands() -> list[list[str]]:
    return [shlex.split(line)[1:] for line in SCRIPT.read_text().splitlines() if line.startswith("cmust ")]


def test_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    printed = {}
    for command in commands():
        words = [SMALLER.get(word, word) for word in command] + (TINY if command[0] == "train" else [])
        with quick_prompts():
            result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, f"{words}: {result.output}\n{result.exception!r}"
        printed[command[0]] = result.output
    assert "from scratch" in printed["adapt"] and "version 2 of runs/city is in force" in printed["adapt"]
    forecast = pd.read_csv("first.csv", parse_dates=["time"])
    assert set(forecast.task) == {"taxi_dropoff"} and forecast.time.min() == pd.Timestamp("2024-04-01T08:00")
    assert "plain MAE on fresh data" in printed["update"]
    assert len(list_versions("runs/city")) in (2, 3)  # after a single update of its weights, chance says which
    page = Path("runs/city/report.html").read_text()
    assert "history 2024-03-25T00:00:00 to 2024-03-31T23:30:00" in page and "from scratch" in page
