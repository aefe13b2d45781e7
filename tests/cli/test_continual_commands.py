"""``cmust adapt``, ``update`` and ``versions`` from the command line."""

import re
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

import cmust
from cmust.cli import app
from cmust.continual.versions import list_versions
from tests.continual.conftest import QUICK, old_city, whole_city
from tests.rolling.tiny import quick_prompts, tiny_city, tiny_fit, tiny_settings, tiny_task


def call(*arguments: object, code: int = 0) -> str:
    with quick_prompts():
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result.output


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("continual")
    with quick_prompts():
        tiny_fit(folder / "run", old_city(), **tiny_settings("tuned", training=QUICK))
    new = tiny_city(tiny_task("bikes", steps=120))
    return {
        "run": folder / "run",
        "new": new.save(folder / "new.zarr.zip"),
        "grown": whole_city().save(folder / "grown.zarr.zip"),
    }


@pytest.mark.parametrize("command", ["adapt", "update"])
def test_arguments_of_the_function_are_no_settings(files: dict[str, Path], command: str) -> None:
    given = [command, files["run"], "--city", files["new"], *(["--task", "bikes"] if command == "adapt" else [])]
    for key in ("command", "compare", "tasks", "config"):
        assert f"training.{key}" in call(*given, f"--set=training.{key}=true", code=2).replace("\n", " ")


@pytest.mark.parametrize("tasks", ["", " ", "trips,", ",trips"])
def test_no_name_is_not_all_of_them(files: dict[str, Path], tasks: str) -> None:
    """As an unset variable of a shell gives it."""
    said = " ".join(call("update", files["run"], "--city", files["grown"], "--tasks", tasks, code=2).split())
    assert f"--tasks is given {tasks!r}, which leaves a name out" in said
    assert len(list_versions(files["run"])) == 1


@pytest.mark.parametrize("command", ["adapt", "update", "versions"])
def test_help_shows_an_example(command: str) -> None:
    assert f"cmust {command}" in call(command, "--help").split("Example")[1]


def test_one_after_the_other(files: dict[str, Path]) -> None:
    run = files["run"]
    output = call(
        "adapt", run, "--city", files["new"], "--task", "bikes", "--until", "2024-03-11", "--compare",
        "--set=training.refine_epochs=1", "--accelerator=cpu",
    )  # fmt: skip
    assert (
        "test part, protocol after the history" in output and "from scratch" in output and "weights trained" in output
    )
    assert re.search(r"CMuST +\d of 1 ", output) and f"version 2 of {run} is in force" in output
    output = call("update", run, "--city", files["grown"], "--tasks", "trips", "--accelerator=cpu")
    assert "plain MAE on fresh data" in output and "2024-03-27" in output
    assert ("is in force" in output) == ("nothing is better" not in output)
    versions = 3 if "version 3" in output else 2
    listed = call("versions", run)
    assert re.search(rf"\n {versions} \* ", listed) and re.search(r"\n 1 +train ", listed) and "bikes" in listed
    beside = call("versions", run, "--compare", 1, 2, "--city", files["grown"])
    assert "plain MAE on the data that chose" in beside and "plain MAE on what follows" in beside
    assert call("versions", run, "--use", 1) == f"version 1 of {run} is in force\n"
    assert list(cmust.Forecaster.load(run).tasks) == ["trips", "visits"]


def test_one_line_errors(files: dict[str, Path], tmp_path: Path) -> None:
    run, new = files["run"], files["new"]
    for arguments, words in (
        (("adapt", run, "--city", new, "--task", "metro"), "no task 'metro'"),
        (("adapt", run, "--city", new, "--task", "bikes", "--set=model.heads=2"), "model cannot be changed"),
        (("adapt", run, "--city", new, "--task", "bikes", "--set=training.refine_epoch=2"), "did you mean"),
        (("adapt", tmp_path / "none", "--city", new, "--task", "bikes"), "is not a run folder"),
        (("update", run, "--city", new), "city 'tiny' has no task"),
        (("versions", run, "--use", 9), "has no version 9"),
        (("versions", run, "--use", 1, "--compare", 1, 1), "two things"),
        (("versions", run, "--city", new), "--compare A B"),
        (("versions", tmp_path / "none"), "is not a run folder"),
    ):
        lines = call(*arguments, code=2).splitlines()
        assert len(lines) == 1 and lines[0].startswith("error: ") and words in lines[0], lines
