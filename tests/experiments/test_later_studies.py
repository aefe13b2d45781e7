"""The studies of what comes after training, from the command line on a tiny city: what they compare, resuming."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import cmust
from cmust import fitting
from cmust.cli import app
from cmust.errors import ConfigError
from cmust.experiments import later as studies
from cmust.experiments.coldstart import default_cut
from cmust.experiments.newplaces import hold_out
from cmust.naive import LABELS
from cmust.run import Run
from cmust.training import make_fabric
from tests.rolling.tiny import SIZES, quick_prompts, tiny_city, tiny_task

SETTINGS = {"preset": '"tuned"', "protocol": '"purged"'}
TRAINING = {
    "batch_size": 32,
    "updates_per_epoch": 2,
    "start_epochs": 1,
    "rolling_epochs": 1,
    "refine_epochs": 1,
    "precision": '"32-true"',
}


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tasks = [tiny_task(name, steps=336, nodes=8) for name in ("trips", "visits")]
    return tiny_city(*tasks).save(tmp_path_factory.mktemp("city") / "tiny.zarr.zip")


def config(folder: Path, **later: dict) -> Path:
    """A file of settings, with a table for what comes later."""
    lines = [f"{key} = {value}" for key, value in SETTINGS.items()]
    for name, table in {"model": SIZES, "training": TRAINING, **later}.items():
        lines += [f"[{name}]", *(f"{key} = {value}" for key, value in table.items())]
    path = folder / "settings.toml"
    path.write_text("\n".join(lines))
    return path


@pytest.fixture
def accelerators(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Those that every training of a study was to run on."""
    heard: list[str] = []

    def make(precision: str, accelerator: str, devices: int | str, run: Run | None = None) -> Any:
        heard.append(accelerator)
        return make_fabric(precision, "cpu", devices, run)

    for place in (fitting, studies, importlib.import_module("cmust.continual.update")):
        monkeypatch.setattr(place, "make_fabric", make)
    return heard


def experiment(*arguments: object, code: int = 0) -> str:
    with quick_prompts():
        result = CliRunner().invoke(app, ["experiment", *(str(argument) for argument in arguments)])
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result.output


def stamps(folder: Path) -> dict[str, int]:
    """When every file but the tables was written."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*.*") if not path.name.startswith("table")}


def test_cold_start(city: Path, tmp_path: Path, accelerators: list[str]) -> None:
    settings = config(tmp_path, adapt={"start_epochs": 2})
    cut = ["--cut", "2024-03-22", "--days", "3,7"]
    given = ["--config", settings, "--cells", "visits", *cut, "--accelerator", "cuda"]
    output = experiment("coldstart", city, tmp_path, *given)
    assert accelerators == ["cuda"] * 3  # the others, and a task with two lengths of history
    assert "| 3 days of history, masked MAE (plain MAE) | visits |" in output and "| 7 days" in output
    table = json.loads((tmp_path / "table.json").read_text())
    for length, first in (("3", "2024-03-19"), ("7", "2024-03-15")):
        entry = table["days"][length]["visits"]
        assert set(entry["systems"]) == {"cmust", "from_scratch", *LABELS}
        assert entry["from"] == "2024-03-22T00:00:00" and entry["until"] == "2024-03-31T22:00:00"
        assert (entry["costs"]["cmust"]["most_epochs"], entry["costs"]["from_scratch"]["most_epochs"]) == (1, 2)
        record = json.loads((tmp_path / "visits" / f"days-{length}" / "adapt.json").read_text())
        assert record["history"]["from"] == f"{first}T00:00:00" and record["history"]["until"] == "2024-03-21T22:00:00"
    before = json.loads((tmp_path / "visits" / "before" / "config.json").read_text())
    assert before["settings"]["tasks"] == ["trips"]
    model = cmust.Forecaster.load(tmp_path / "visits" / "before")
    assert model.tasks["trips"].about["seen"]["until"] < "2024-03-22"

    done = stamps(tmp_path)
    again = experiment("coldstart", city, tmp_path, "--config", settings, "--cells", "visits", *cut)
    assert stamps(tmp_path) == done and again.splitlines()[-8:] == output.splitlines()[-8:]
    moved = ["--config", settings, "--cells", "visits", "--cut", "2024-03-23", "--days", "3,7"]
    assert "other" in experiment("coldstart", city, tmp_path, *moved, code=2)
    assert "unknown cell 'metro'" in experiment("coldstart", city, tmp_path, "--cells", "metro", code=2)
    wrong = experiment("coldstart", city, tmp_path, "--days", "7,x", code=2)
    assert "--days has 'x', which is not a whole number from 1 on" in wrong


@pytest.mark.parametrize(
    ("study", "later", "words"),
    [
        ("coldstart", {"adapt": {"refine_epoch": 2}}, "did you mean refine_epochs"),
        ("coldstart", {"adapt": {"rolling_epochs": 2}}, "rolling_epochs means nothing without rolling phases"),
        ("newplaces", {"adapt": {"delta": 2}}, "delta means nothing without rolling phases"),
        ("updating", {"update": {"start_epochs": 2}}, "start_epochs means nothing without training from fresh weights"),
    ],
)
def test_settings_of_what_comes_later_are_checked_before_anything_is_trained(
    city: Path, tmp_path: Path, study: str, later: dict, words: str
) -> None:
    folder, cuts = tmp_path / "made", ["--cuts", "2024-03-15,2024-03-22"] if study == "updating" else []
    assert words in experiment(study, city, folder, "--config", config(tmp_path, **later), *cuts, code=2)
    assert not folder.exists()


@pytest.mark.parametrize(
    ("study", "later", "options", "words"),
    [
        *(
            ("updating", {}, ["--cuts", cuts], words)
            for cuts, words in (
                ("2024-03-15,2024-3-22", "'2024-3-22' is not a time"),
                ("2024-03-22,2024-03-22", "each after the one before it"),
                ("2024-03-22,2024-03-22T00:00", "each after the one before it"),
                ("2024-03-15T12:00,2024-03-15", "each after the one before it"),
                ("2024-03-15", "give two or more"),
                ("2024-03-15,2024-03-31T20:00", "has no window from 2024-03-31T20:00 to its end"),
                ("2024-03-15,2024-03-22,2024-03-22T04:00", "has no window from 2024-03-22 to 2024-03-22T04:00"),
                ("2024-03-04T10:00,2024-03-22", "too few for windows of 4 + 3 steps"),
            )
        ),
        ("coldstart", {}, ["--days", "7,14,18,28"], "leaves less than 28 days of history before 2024-03-22; give shor"),
        ("coldstart", {}, ["--days", "7,19,28"], "begins at 2024-03-04T00:00:00, which leaves less than 19, 28 days"),
        ("coldstart", {"adapt": {"head_epochs": 2}}, ["--days", "14,7"], "leave out training.head_epochs"),
        ("newplaces", {"adapt": {"head_epochs": 2}}, ["--cut", "2024-03-11"], "leave out training.head_epochs"),
        ("coldstart", {}, ["--cells", ""], "--cells is given '', which leaves a name out"),
        ("coldstart", {}, ["--days", ""], "--days is given '', which leaves a name out"),
        ("updating", {}, ["--cuts", ""], "--cuts is given '', which leaves a name out"),
        ("coldstart", {}, ["--days", "7", "--cut", "2024-3-22"], "'2024-3-22' is not a time"),
        ("coldstart", {}, ["--days", "7", "--cut", "2024-04-02"], "since its data ends at 2024-04-01T00:00:00"),
        ("newplaces", {}, ["--cut", "2024-03-31T20:00"], "has 2 steps from 2024-03-31T20:00 on"),
    ],
)
def test_what_no_cell_can_do_is_refused_before_anything_is_trained(
    city: Path, tmp_path: Path, study: str, later: dict, options: list[str], words: str
) -> None:
    cut = [] if {"--cut", "--cuts"} & {*options} else ["--cut", "2024-03-22"]
    folder, given = tmp_path / "made", ["--config", config(tmp_path, **later), *cut, *options]
    assert words in " ".join(experiment(study, city, folder, *given, code=2).split())
    assert not folder.exists()


def test_a_table_of_what_comes_later_is_a_table() -> None:
    for table, use in (("adapt", "compare"), ("update", "update")):
        with pytest.raises(ConfigError, match=rf"^{table} is 5, where a table is wanted"):
            studies.split_settings({table: 5}, table, use)


def test_new_places(city: Path, tmp_path: Path, accelerators: list[str]) -> None:
    settings = config(tmp_path, adapt={"refine_epochs": 1, "start_epochs": 7})  # the latter is for coldstart
    given = ["--config", settings, "--cells", "trips", "--cut", "2024-03-22", "--accelerator", "cuda"]
    output = experiment("newplaces", city, tmp_path, *given)
    assert accelerators == ["cuda"] * 3  # the known places, the new ones without training and with
    assert "| 2 new places, masked MAE (plain MAE) | trips |" in output
    assert "CMuST, places never trained on" in output and "CMuST, adapted to the places" in output
    table = json.loads((tmp_path / "table.json").read_text())
    assert table["settings"]["model"]["preset"] == "tuned" and "versions" in table["made"]
    known = cmust.Forecaster.load(tmp_path / "known-places")
    assert known.tasks["trips"].about["nodes"] == [f"place {n}" for n in (0, 1, 2, 4, 5, 6)]
    held = hold_out(cmust.open_city(city), held=True)
    assert held.tasks["visits"].nodes == ("place 3", "place 7")
    record = json.loads((tmp_path / "trips" / "nothing" / "adapt.json").read_text())
    assert record["tasks"]["trips_held_out"]["nodes"] == ["place 3", "place 7"] and record["costs"] == {}


def test_updating(city: Path, tmp_path: Path, accelerators: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    scored: list[str] = []
    monkeypatch.setattr("cmust.experiments.updating.device_of", lambda where: scored.append(where) or "cpu")
    folder, settings = tmp_path / "study", config(tmp_path, update={"refine_epochs": 2})
    cuts = ["--cuts", "2024-03-15,2024-03-22,2024-03-27"]
    output = experiment("updating", city, folder, "--config", settings, *cuts, "--accelerator", "cuda")
    assert accelerators == ["cuda"] * 3  # training, and two updates
    assert scored == ["cuda"] * 2
    table = json.loads((folder / "table.json").read_text())
    assert [cut["cut"] for cut in table["cuts"]] == ["2024-03-22", "2024-03-27"]
    assert "| not updated | the new profile alone | updated | change |" in output
    assert set(table["cuts"][0]["tasks"]["visits"]["systems"]) == {"not_updated", "updated", *LABELS}
    assert output.count("| 2024-03-22 |") == 2 and "Updating is better, plain and masked, in" in output
    first = cmust.Forecaster.load(folder / "run", 1)
    data = cmust.open_city(city)
    scores = table["cuts"][1]["tasks"]["trips"]
    assert (scores["from"], scores["until"]) == ("2024-03-27T00:00:00", "2024-03-31T22:00:00")
    task = data.tasks["trips"]
    errors = []
    for origin in range(task.n_steps - 60, task.n_steps - 2):
        forecast = first.predict(data, "trips", at=task.time[origin]).values
        errors += [abs(e) for e in (forecast - task.values[origin : origin + 3, :, 0]).ravel() if e == e]
    assert scores["systems"]["not_updated"]["plain"]["mae"] == pytest.approx(sum(errors) / len(errors), rel=1e-4)
    for cut in table["cuts"]:
        version = cmust.Forecaster.load(folder / "run", cut["version"])
        assert all(model.about["seen"]["until"] < cut["cut"] for model in version.tasks.values())

    (folder / "after-2024-03-27.json").unlink()  # killed after the update, before it was scored
    before = stamps(folder / "run")
    experiment("updating", city, folder, "--config", settings, *cuts)
    assert {name for name, time in stamps(folder / "run").items() if before.get(name) != time} == set()
    assert json.loads((folder / "table.json").read_text())["cuts"] == table["cuts"]
    wrong = experiment("updating", city, folder, "--config", settings, "--cuts", "2024-03-22,2024-03-15", code=2)
    assert "give two or more in order" in wrong

    done = stamps(folder)
    for other in ("2024-03-15,2024-03-20,2024-03-22,2024-03-27", f"{cuts[1]},2024-03-29", "2024-03-15,2024-03-22"):
        refused = experiment("updating", city, folder, "--config", settings, "--cuts", other, code=2)
        assert "started with cuts = ['2024-03-15', '2024-03-22', '2024-03-27']" in " ".join(refused.split())
    assert stamps(folder) == done
    changed = config(tmp_path, update={"refine_epochs": 3})
    refused = experiment("updating", city, folder, "--config", changed, *cuts, code=2)
    assert "update.refine_epochs = 2, not 3" in " ".join(refused.split())

    (folder / "after-2024-03-22.json").unlink()  # the version of the next cut is in force
    settings = config(tmp_path, update={"refine_epochs": 2})
    refused = " ".join(experiment("updating", city, folder, "--config", settings, *cuts, code=2).split())
    assert "has seen data until 2024-03-26T22:00:00 and cannot be scored from 2024-03-22 on" in refused
    assert not (folder / "after-2024-03-22.json").exists()


def test_the_cut_leaves_four_weeks_of_whole_days() -> None:
    five_weeks = tiny_task("trips", steps=35 * 12 + 3)  # five weeks from the 4th, and six hours
    assert default_cut(tiny_city(five_weeks)) == "2024-03-11"
