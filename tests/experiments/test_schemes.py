"""Ways of training at equal updates, by the command on a tiny city."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cmust.cli import app
from cmust.errors import ConfigError
from cmust.experiments.engine import records
from cmust.experiments.schemes import SCHEMES, WAYS, cells, vary
from cmust.experiments.study import check_settings, make_terms
from tests.rolling.tiny import SIZES, quick_prompts, small_city

TASKS = ("trips", "visits")
TRAINING = {
    "batch_size": 32,
    "updates_per_epoch": 2,
    "start_epochs": 2,
    "rolling_epochs": 1,
    "refine_epochs": 1,
}
SETTINGS = {"model": SIZES, "training": TRAINING}
UPDATES = 2 * (2 + 1 + 1 + 1 + 1)  # start, two rolling phases, two refinements


def command(tmp_path: Path, *arguments: str, code: int = 0) -> str:
    """The command on a tiny city, every time in the same folder."""
    settings = tmp_path / "settings.toml"
    tables = {name: "".join(f"{key} = {value}\n" for key, value in table.items()) for name, table in SETTINGS.items()}
    settings.write_text("\n".join(f"[{name}]\n{text}" for name, text in tables.items()))
    city = tmp_path / "city.zarr.zip"
    if not city.exists():
        small_city().save(city)
    given = ["experiment", "schemes", str(city), str(tmp_path / "made"), "--config", str(settings), *arguments]
    with quick_prompts():
        result = CliRunner().invoke(app, given)
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result.output


def test_all_ways_get_as_many_updates(tmp_path: Path) -> None:
    text = command(tmp_path, "--seeds", "0,1")
    found = records(tmp_path / "made")
    runs = [record for record in found if record["cell"]["variation"]]
    assert len(runs) == 2 * len(WAYS)
    assert {record["cost"]["updates"] for record in runs} == {UPDATES}
    by_way: dict[str, dict[str, Any]] = {record["cell"]["variation"]: record for record in runs}
    alone = {phase["phase"]: phase["updates"] for phase in by_way["alone"]["phases"]}
    assert alone == {"alone trips": 2 * (2 + 1 + 1), "alone visits": 2 * (1 + 1)}
    assert by_way["rolling"]["phases"][0]["frozen_share"] == 0 == by_way["no_freezing"]["cost"]["frozen_share"]
    assert [phase["kind"] for phase in by_way["joint"]["phases"]] == ["joint"]

    weekly = next(record for record in found if record["cell"]["system"] == "naive")["tasks"]
    for record in found:
        if record["cell"]["system"] == "residual_mlp":
            (task,) = record["cell"]["tasks"]
            assert record["cost"]["epochs"] == 20
            beaten = 1.2 * weekly[task]["systems"]["weekly_average"]["plain"]["mae"]
            assert record["tasks"][task]["systems"]["residual_mlp"]["plain"]["mae"] < beaten

    for label in (*(label for label, _ in WAYS.values()), "weekly profile"):
        assert f"| {label}" in text
    assert "±" in text and "| roll 2 visits | 2 | " in text

    stamps = {file: file.stat().st_mtime_ns for file in (tmp_path / "made" / "cells").iterdir()}
    assert command(tmp_path, "--seeds", "1", "--ways", "joint").count("finished before") == 4
    assert {file: file.stat().st_mtime_ns for file in (tmp_path / "made" / "cells").iterdir()} == stamps
    assert json.loads((tmp_path / "made" / "config.json").read_text())["experiment"] == "schemes"


def test_a_way_differs_in_nothing_else() -> None:
    terms = make_terms(small_city(), "full", SETTINGS, "cpu")
    naive, *made = [cell for cell in cells(TASKS, "cmust_paper", list(WAYS), (3,)) if cell.system != "residual_mlp"]
    assert vary(terms, naive) == terms
    settings = {cell.variation: vary(terms, cell).of(cell) for cell in made}
    rolling = settings["rolling"].trainer
    assert rolling.patience == 6 and rolling.seed == 3
    expected: dict[str, dict[str, Any]] = {
        "rolling": {},
        "no_freezing": {"freezing": False},
        "joint": {"start_epochs": 3},
        "alone": {"epochs_by_task": {"trips": 4, "visits": 2}},
    }
    unused = {"joint": {"rolling_epochs"}, "alone": {"rolling_epochs"}}
    for way, changes in expected.items():
        leave = unused.get(way, set())
        trainer, wanted = settings[way].trainer, rolling.model_copy(update=changes)
        assert trainer.model_dump(exclude=leave) == wanted.model_dump(exclude=leave)
        assert settings[way].network == settings["rolling"].network and settings[way].preset == "paper"


def test_an_unknown_way_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'solo'.*rolling, no_freezing, joint, alone"):
        cells(TASKS, "cmust_tuned", ["solo"], (0,))
    assert "'solo'" in command(tmp_path, "--ways", "solo", code=2)


def test_patience_is_decided_by_the_experiment() -> None:
    made = cells(TASKS, "cmust_tuned", ["rolling"], (0,))

    def checked(**settings: Any) -> None:
        check_settings(SCHEMES, made, make_terms(small_city(), "full", settings, "cpu"))

    with pytest.raises(ConfigError, match=r"training\.patience is decided by the experiment: no phase ends early"):
        checked(training={"patience": 3})
    checked(training={"updates_per_epoch": 3}, systems={"residual_mlp": {"training": {"patience": 3}}})
