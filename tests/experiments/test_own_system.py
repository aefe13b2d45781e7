"""A system of a user's own: the example in Table 1, what is no system, and that nothing stored imports anything."""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from typer.testing import CliRunner

from cmust.baselines.registry import find_system
from cmust.baselines.train import train
from cmust.cli import app
from cmust.errors import ConfigError
from cmust.experiments import schemes, table1, table2, table5
from cmust.experiments.budget import Budget
from cmust.experiments.engine import Cell, records
from cmust.experiments.rendering import render
from cmust.experiments.study import check_settings
from cmust.experiments.work import Terms
from tests.rolling.tiny import small_city

NAME = "own_system.fading"
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.fixture(autouse=True)
def forgotten():
    """Modules of users are imported anew, and gone afterwards."""
    yield
    for name in [name for name in sys.modules if name.split(".")[0] in ("own_system", "mine")]:
        del sys.modules[name]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.syspath_prepend(EXAMPLES)
    return NAME


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes the module ``mine.system``."""
    (tmp_path / "mine").mkdir()
    monkeypatch.syspath_prepend(tmp_path)

    def write(source: str) -> str:
        (tmp_path / "mine" / "system.py").write_text(source)
        return "mine.system"

    return write


def command(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["experiment", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split())


def test_the_example_stands_in_table_1(tmp_path: Path, example: str) -> None:
    city, folder = small_city().save(tmp_path / "tiny.zarr.zip"), tmp_path / "table1"
    options = ("--budget", "smoke", "--systems", f"{example},naive", "--accelerator", "cpu")
    shown = command("table1", city, folder, *options)
    assert f"| {NAME} |" in shown and f"{NAME}" in (folder / "table1.md").read_text()
    found = [record for record in records(folder) if record["cell"]["system"] == NAME]
    assert [record["cell"]["tasks"] for record in found] == [["trips"], ["visits"]]
    assert all(record["cost"]["parameters"] == 12 and record["cost"]["updates"] == 2 for record in found)
    assert r"own\_system.fading &" in (folder / "table1.tex").read_text()

    cell = json.dumps({"system": NAME, "tasks": ["trips"], "seed": 1})
    command("cell", city, folder, cell, "--accelerator", "cpu")
    assert len(records(folder)) == 4

    del sys.modules[NAME]
    assert f"| {NAME} |" in command("render", folder)
    assert NAME not in sys.modules  # the module is there, and was not asked for


def test_it_learns_how_fast_differences_fade(tmp_path: Path, example: str) -> None:
    settings = {"input_steps": 4, "horizon": 3, "accelerator": "cpu"}
    done = train(example, small_city(), tmp_path / "run", ["trips"], start_epochs=8, batch_size=16, **settings)
    scores = {name: each["plain"]["mae"] for name, each in done["tasks"]["trips"]["systems"].items()}
    assert scores[NAME] < scores["last_value"]


def test_its_settings_are_checked_where_it_is_asked_for(example: str) -> None:
    terms = Terms(small_city(), Budget("full"), {"systems": {example: {"training": {"ratee": 0.1}}}})
    check_settings(table1.TABLE1, table1.cells(["trips"], ["naive"], [0]), terms)
    assert NAME not in sys.modules
    with pytest.raises(ConfigError, match=r"ratee is no setting of own_system\.fading"):
        check_settings(table1.TABLE1, table1.cells(["trips"], [example], [0]), terms)
    with pytest.raises(ConfigError, match=r"own_system\.fading is of a system that schemes has no cells of"):
        check_settings(schemes.SCHEMES, [], terms)


def test_stored_settings_import_nothing(example: str) -> None:
    Terms(small_city(), Budget("smoke"), {"systems": {example: {"training": {"rate": 0.1}}}})
    config = {"city": {"name": "tiny", "synthetic": True}, "budget": "smoke", "tasks": ["trips"]}
    scores = {"windows": 2, "systems": {NAME: {"plain": {"mae": 2.0}, "masked": {"mae": 1.0}}}}
    record = {"cell": {"system": NAME, "tasks": ["trips"], "seed": 0, "variation": ""}, "tasks": {"trips": scores}}
    assert [row.label for row in table1.table(config, [record]).rows] == [NAME]
    record["cell"]["variation"] = "trips nodes/2"
    assert [row.label for row in table2.table(config, [record]).rows] == [NAME]
    assert render.__module__ in sys.modules and NAME not in sys.modules


def test_where_it_stands(example: str) -> None:
    made = table1.cells(("a", "b"), ("cmust_tuned", example, "stid", example), (0,))
    assert [(cell.system, cell.tasks) for cell in made] == [
        *(("stid", ("a",)), ("stid", ("b",))),
        ("cmust_tuned", ("a", "b")),
        *((NAME, ("a",)), (NAME, ("b",))),
    ]
    assert Cell(NAME, ("b",), 0, "b nodes/4") in table2.cells(("a", "b"), "b", (example,), (0,))
    with pytest.raises(ConfigError, match=r"'own_system\.fading' is not in this table"):
        table5.cells(("a", "b"), (example,), (0,))


def test_what_is_no_system_is_told_before_anything_is_computed(tmp_path: Path, mine) -> None:
    with pytest.raises(
        ConfigError, match=r"cannot import the system nowhere\.at_all \(ModuleNotFoundError: .*PYTHONPATH"
    ):
        find_system("nowhere.at_all")
    for source, message in (
        ("1 / 0", r"cannot import the system mine\.system \(ZeroDivisionError"),
        ("TRAINING = {}", r"mine\.system \(.*system\.py\) is no system: it has no make; a system is a module with"),
        ("def make(scene): ...", "it has no TRAINING"),
    ):
        sys.modules.pop("mine.system", None)
        name = mine(source + "\n" * len(source))  # of another size, so that no compiled file stands in
        with pytest.raises(ConfigError, match=message):
            table1.cells(("trips",), (name,), (0,))
    city = small_city().save(tmp_path / "tiny.zarr.zip")
    sys.modules.pop("mine.system", None)
    told = command("table1", city, tmp_path / "none", "--budget", "smoke", "--systems", "mine.system", code=2)
    assert "it has no TRAINING" in told and not (tmp_path / "none").exists()


def test_a_forecast_of_another_shape_is_refused(tmp_path: Path, mine, monkeypatch: pytest.MonkeyPatch) -> None:
    name = mine("def make(scene): ...\nTRAINING = {}\n")

    class Flat(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.level = nn.Parameter(torch.zeros(()))

        def forward(self, seen):
            return seen.average_ahead[..., 0] + self.level

    monkeypatch.setattr(find_system(name).module, "make", lambda scene: Flat())
    with pytest.raises(ConfigError, match=r"the shape \(64, 12, 3\); it has to be \(B, F, N, C\) = \(64, 12, 3, 1\)"):
        train(name, small_city(), tmp_path / "run", ["trips"], start_epochs=1, accelerator="cpu")
