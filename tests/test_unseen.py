"""Which windows a run is scored on: those of its protocol on its own data, and what follows on any other."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from cmust import Forecaster, evaluate
from cmust.city import City
from cmust.cli import app
from cmust.errors import CityError, RunError
from cmust.unseen import windows_to_score
from cmust.windows import make_windows
from tests.rolling.tiny import small_city, tiny_city, tiny_fit, tiny_task

QUICK = {"scheme": "joint", "training": {"start_epochs": 1, "precision": "32-true", "batch_size": 64}}


def grown() -> City:
    """The data of ``small_city`` and what came after it."""
    tasks = []
    for task in small_city().tasks.values():
        more = np.random.default_rng(0).poisson(5, (60, *task.values.shape[1:])).astype(np.float32)
        time = task.time[0] + np.timedelta64(task.interval, "s") * np.arange(task.n_steps + 60)
        tasks.append(replace(task, values=np.concatenate([task.values, more]), time=time))
    return tiny_city(*tasks)


@pytest.fixture(scope="module", params=["purged", "published"])
def run(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / request.param
    tiny_fit(folder, protocol=request.param, **QUICK)
    return folder


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_its_own_data_by_its_protocol(run: Path, part) -> None:
    forecaster = Forecaster.load(run)
    scored = windows_to_score(forecaster, small_city(), part)
    found = scored.windows
    assert scored.left_out == {} and scored.splits == {"trips": run.name, "visits": run.name}
    for name, windows in make_windows(small_city(), run.name, 4, 3).items():
        assert found[name].split.starts[part].tolist() == windows.split.starts[part].tolist()
    # Beside another task, or without one of its own, the same: the cuts are those of training.
    for city in (small_city().with_task(tiny_task("cars", steps=30)), small_city().select(tasks=["visits"])):
        other = windows_to_score(forecaster, city, part).windows
        assert other["visits"].split.starts[part].tolist() == found["visits"].split.starts[part].tolist()


def test_more_data_is_scored_after_all_that_was_seen(run: Path) -> None:
    forecaster = Forecaster.load(run)
    scored = windows_to_score(forecaster, grown(), "test")
    found = scored.windows
    assert scored.splits == {"trips": "later", "visits": "later"}
    validation = make_windows(small_city(), run.name, 4, 3)["trips"].split.starts["validation"]
    end = int(validation[-1]) + 7
    assert found["trips"].split.starts["test"].tolist() == list(range(end - 4, 228 - 6))
    with pytest.raises(RunError, match=r"no window to score in its train part.*or take the test part"):
        windows_to_score(forecaster, grown(), "train")
    # Only the new weeks, without the old data.
    tail = grown().select(time=slice("2024-03-18", None))
    of_tail = windows_to_score(forecaster, tail, "test").windows["trips"]
    assert of_tail.split.starts["test"].tolist() == list(range(0, 54))
    evaluation = evaluate(run, tail)
    assert evaluation["protocol"] == "later" and evaluation["city"]["fingerprint"] == tail.fingerprint()


def test_a_task_without_a_window_is_left_out_and_named(run: Path) -> None:
    early = small_city().tasks["visits"].select(time=slice(None, "2024-03-12"))
    city = small_city().with_task(early)
    reason = r"the model of task 'visits' has seen data until 2024-.*, and the data ends at 2024-03-11T22:00:00"
    evaluation = evaluate(run, city)
    assert list(evaluation["tasks"]) == ["trips"] and evaluation["protocol"] == run.name
    assert list(evaluation["left_out"]) == ["visits"] and re.match(reason, evaluation["left_out"]["visits"])
    assert json.loads((run / "evaluation.json").read_text())["left_out"] == evaluation["left_out"]
    validation = windows_to_score(Forecaster.load(run), city, "validation")
    assert validation.splits == {"trips": run.name}
    assert validation.left_out["visits"].endswith("give later data, or take the test part")


def test_a_task_without_an_observation_to_score_is_left_out_and_named(run: Path) -> None:
    visits = grown().tasks["visits"]
    values = visits.values.copy()
    values[168:] = np.nan
    tail = grown().with_task(replace(visits, values=values)).select(time=slice("2024-03-18", None))
    evaluation = evaluate(run, tail)
    assert list(evaluation["tasks"]) == ["trips"]
    assert evaluation["left_out"]["visits"].startswith("every target of task 'visits' in the test part is missing")


@pytest.mark.parametrize("options", [[], ["--markdown"]])
def test_the_command_names_what_is_left_out(run: Path, tmp_path: Path, options: list[str]) -> None:
    early = small_city().tasks["visits"].select(time=slice(None, "2024-03-12"))
    city = small_city().with_task(early).save(tmp_path / "city.zarr.zip")
    done = CliRunner().invoke(app, ["evaluate", str(run), str(city), *options])
    assert done.exit_code == 0, done.output
    told = done.stderr if options else done.stdout
    assert "left out: visits: the model of task 'visits' has seen data until" in told


def test_other_values_where_the_model_has_seen_some(run: Path) -> None:
    city = grown()
    for step, refused in ((10, True), (220, False)):
        values = city.tasks["trips"].values.copy()
        values[step] += 1
        other = city.with_task(replace(city.tasks["trips"], values=values))
        if refused:
            with pytest.raises(RunError, match="trained on city 'tiny' with other data than 'trips' holds"):
                windows_to_score(Forecaster.load(run), other, "test")
        else:
            windows_to_score(Forecaster.load(run), other, "test")


def test_nothing_to_score(run: Path) -> None:
    forecaster = Forecaster.load(run)
    early = small_city().select(time=slice(None, "2024-03-12"))
    with pytest.raises(RunError, match=r"no window to score in its test part: the model of task 'trips' has seen"):
        windows_to_score(forecaster, early, "test")
    with pytest.raises(RunError, match=r"city 'tiny' has none of the run's tasks trips, visits$"):
        windows_to_score(forecaster, tiny_city(tiny_task("cars")), "test")
    with pytest.raises(CityError, match="nodes"):
        windows_to_score(forecaster, tiny_city(tiny_task("trips", nodes=4)), "test")
