"""Rolling-origin evaluation, recounted from single forecasts; holidays; what earlier tasks lost."""

import json
import re
import shutil
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cmust import Forecaster, calibrate, evaluate
from cmust.backtesting import backtest, forgetting
from cmust.city import City, Covariate
from cmust.errors import CityError, RunError
from cmust.holidays import holidays_of
from cmust.naive import NAIVE
from cmust.run import Run
from cmust.windows import make_windows
from tests.rolling.tiny import START, tiny_city, tiny_fit, tiny_task

QUICK = {"training": {"start_epochs": 1, "rolling_epochs": 1, "refine_epochs": 1, "precision": "32-true"}}
STEP = np.timedelta64(7200, "s")
HOLIDAY = np.datetime64("2024-03-22")


def city() -> City:
    time = START + np.arange(252) * STEP
    values = (time.astype("datetime64[D]") == HOLIDAY).astype(np.float32)
    holiday = Covariate("holiday", values, time, 7200, True, "0 or 1")
    return replace(tiny_city(tiny_task("trips"), tiny_task("visits", nodes=4)), covariates={"holiday": holiday})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "rolling"
    tiny_fit(folder, city(), **QUICK)
    return folder


@pytest.fixture(scope="module")
def result(run: Path):
    return backtest(run, city(), command="test")


def test_tables_recounted_forecast_by_forecast(run: Path, result) -> None:
    assert json.loads((run / "backtest.json").read_text()) == result
    forecaster, task = Forecaster.load(run), city().tasks["visits"]
    found = result["tasks"]["visits"]
    first = int(np.searchsorted(task.time, np.datetime64(found["from"])))
    errors: dict[tuple[str, str], list[float]] = defaultdict(list)
    for origin in range(first, 252 - 3 + 1):
        forecast = forecaster.predict(city(), "visits", at=task.time[origin])
        for ahead in range(3):
            time = task.time[origin + ahead]
            moment = time.item()
            for node in range(4):
                error = float(forecast.values[ahead, node] - task.values[origin + ahead, node, 0])
                if not np.isnan(error):
                    monday = np.datetime64(moment.date()) - moment.weekday()
                    for by, name in (
                        ("whole", "all"),
                        ("hour", f"{moment.hour:02d}"),
                        ("weekday", moment.strftime("%A")),
                        ("week", str(monday)),
                        ("holiday", "yes" if np.datetime64(moment.date()) == HOLIDAY else "no"),
                        ("horizon", str(ahead + 1)),
                        ("place", task.nodes[node]),
                    ):
                        errors[by, name].append(error)
    rows = {(by, row["name"]): row for by, table in found["by"].items() for row in table}
    assert set(rows) == set(errors)
    for key, counted in errors.items():
        assert rows[key]["targets"] == len(counted)
        assert rows[key]["mae"]["cmust"] == pytest.approx(np.abs(counted).mean(), rel=1e-4)
        assert rows[key]["bias"]["cmust"] == pytest.approx(np.mean(counted), rel=1e-3, abs=1e-4)
        assert set(rows[key]["mae"]) == {"cmust", *NAIVE}


def test_the_whole_is_the_evaluations_test_part(run: Path) -> None:
    scores = evaluate(run, city())["tasks"]
    # The cut falls into a step, which is in no part of the protocol, but is new to the model.
    first = make_windows(city(), "purged", 4, 3)["trips"].split.starts["test"][0]
    for name, found in backtest(run, city(), since=str(START + (int(first) + 4) * STEP))["tasks"].items():
        assert found["origins"] == scores[name]["windows"]
        for system, mae in found["by"]["whole"][0]["mae"].items():
            assert mae == pytest.approx(scores[name]["systems"][system]["plain"]["mae"], rel=1e-5)


def test_a_stretch_of_time(run: Path) -> None:
    since, until = str(START + 230 * STEP), str(START + 240 * STEP)
    found = backtest(run, city(), since=since, until=until)["tasks"]["trips"]
    assert found["from"] == since and found["until"] == str(START + 239 * STEP) and found["origins"] == 8
    whole = city()
    values = whole.tasks["trips"].values.copy()
    values[240:] = 1e6
    later = replace(whole.tasks["trips"], values=values)
    # A truth from `until` on has no say.
    again = backtest(run, whole.with_task(later), since=since, until=until)["tasks"]["trips"]
    assert again["by"] == found["by"]
    # NumPy alone would read a year, and so no end at all.
    with pytest.raises(CityError, match="'20240322' is not a time; write it like"):
        backtest(run, whole, since=since, until="20240322")
    with pytest.raises(RunError, match=r"2 steps from .* that are new to its model, 3 are needed"):
        backtest(run, whole, since=str(START + 250 * STEP))


def silent(whole: City, name: str, since: int) -> City:
    """The city with nothing observed in one task from a step on."""
    values = whole.tasks[name].values.copy()
    values[since:] = np.nan
    return whole.with_task(replace(whole.tasks[name], values=values))


def test_a_task_without_truth_is_left_out_and_nothing_is_overwritten(run: Path) -> None:
    since = str(START + 230 * STEP)
    found = backtest(run, silent(city(), "trips", 230), since=since)
    assert list(found["tasks"]) == ["visits"] and list(found["left_out"]) == ["trips"]
    assert f"'trips' has no observation from {since} to" in found["left_out"]["trips"]
    before = (run / "backtest.json").read_text()
    with pytest.raises(RunError, match="give data with observations there"):
        backtest(run, silent(silent(city(), "trips", 230), "visits", 230), since=since)
    assert (run / "backtest.json").read_text() == before
    # One truth is enough for a table.
    one = silent(city(), "trips", 231).select(tasks=["trips"])
    assert backtest(run, one, since=since)["tasks"]["trips"]["by"]["whole"][0]["targets"] == 3


@pytest.mark.parametrize("judge", [evaluate, backtest, calibrate])
def test_forecasts_that_are_no_numbers_are_an_error_and_nothing_is_written(run: Path, tmp_path: Path, judge) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    for record in ("backtest.json", "evaluation.json", "intervals.json"):
        (copy / record).unlink(missing_ok=True)
    broken = Forecaster.load(copy)
    with torch.no_grad():
        for weight in broken.tasks["visits"].trunk.parameters():
            weight.fill_(3e38)  # a number, as every weight on disk has to be, and too large to be added to another
    broken.save(copy / "model")
    before = {path.name for path in copy.iterdir()}
    with pytest.raises(RunError, match=r"^the model of task 'visits' gives forecasts that are not numbers"):
        judge(copy, city())
    assert {path.name for path in copy.iterdir()} == before


def test_forgetting_is_recorded_and_told(run: Path, result) -> None:
    phases = [event for event in Run(run).history() if event["event"] == "phase"]
    seen = [list(event["losses_of_seen"]) for event in phases if "losses_of_seen" in event]
    assert seen == [["trips"], ["trips", "visits"], ["trips", "visits"]]
    assert [event["kind"] for event in phases if "losses_of_seen" not in event] == ["refine", "refine"]
    for event in phases[:3]:
        assert event["losses_of_seen"][event["tasks"][0]] == event["best_validation_loss"]
    told = result["forgetting"]
    assert [row["phase"] for row in told] == ["start trips", "roll 2 visits", "roll 3 trips"]
    assert told[0]["change"] == {"trips": 0} and told[2]["change"]["trips"] == 0
    before, after = phases[0]["losses_of_seen"]["trips"], phases[1]["losses_of_seen"]["trips"]
    assert told[1]["change"]["trips"] == pytest.approx(after / before - 1) and told[1]["change"]["visits"] == 0


def test_forgetting_by_hand() -> None:
    history = [
        {"event": "epoch", "tasks": ["a"]},
        {"event": "phase", "phase": "start a", "tasks": ["a"], "losses_of_seen": {"a": 2.0}},
        {"event": "phase", "phase": "roll 2 b", "tasks": ["b"], "losses_of_seen": {"a": 2.5, "b": 4.0}},
        {"event": "phase", "phase": "roll 3 c", "tasks": ["c"], "losses_of_seen": {"a": 3.0, "b": 3.0, "c": 1.0}},
        {"event": "phase", "phase": "refine a", "tasks": ["a"]},
    ]
    changes = [row["change"] for row in forgetting(history)]
    assert changes == [{"a": 0.0}, {"a": 0.25, "b": 0.0}, {"a": 0.5, "b": -0.25, "c": 0.0}]
    assert forgetting([{"event": "phase", "phase": "start a", "tasks": ["a"]}]) == []
    history[2]["losses_of_seen"]["a"] = None  # it was not finite
    assert [row["change"] for row in forgetting(history)][1:] == [{"b": 0.0}, {"a": 0.5, "b": -0.25, "c": 0.0}]


def test_holidays(tmp_path: Path) -> None:
    whole = city()
    assert holidays_of(whole).tolist() == [HOLIDAY.item()]
    bare = replace(whole, covariates={})
    assert holidays_of(bare) is None
    new_year = tiny_city(tiny_task("trips", start=np.datetime64("2024-12-23T00:00", "s")))
    assert [str(day) for day in holidays_of(new_year, "us-federal")] == ["2024-12-25", "2025-01-01"]
    path = tmp_path / "days.txt"
    path.write_text("2024-03-22\n2024-03-08\n")
    assert [str(day) for day in holidays_of(bare, str(path))] == ["2024-03-08", "2024-03-22"]
    path.write_text("Easter")
    with pytest.raises(CityError, match="no list of dates"):
        holidays_of(bare, str(path))
    with pytest.raises(CityError, match="cannot read holidays"):
        holidays_of(bare, str(tmp_path / "none.txt"))


def test_a_node_that_does_not_say_hides_no_holiday() -> None:
    whole = city()
    covariate = whole.covariates["holiday"]
    values = np.stack([covariate.values, np.full_like(covariate.values, np.nan)], axis=1)
    by_node = replace(covariate, values=values, nodes=("a", "b"))
    assert holidays_of(replace(whole, covariates={"holiday": by_node})).tolist() == [HOLIDAY.item()]


@pytest.mark.parametrize(
    "line",
    ["20191225", "2019-12", "2019", "NaT", "2019-12-25T23:00-05:00", "2019-12-25T01:00Z", "2019-02-30", "0000-01-01"],
)
def test_a_line_that_is_no_date_is_named(line: str, tmp_path: Path) -> None:
    path = tmp_path / "days.txt"
    path.write_text(f"\ufeff2024-03-22\n\n{line}\n", encoding="utf-8")
    with pytest.raises(
        CityError, match=re.escape(f"{path} is no list of dates: line 3 is {line!r}; write one such as")
    ):
        holidays_of(city(), str(path))
    path.write_text("\ufeff2024-03-22 \r\n\r\n", encoding="utf-8")
    assert [str(day) for day in holidays_of(city(), str(path))] == ["2024-03-22"]


def test_without_holidays_there_is_no_such_table(run: Path) -> None:
    assert "holiday" not in backtest(run, replace(city(), covariates={}))["tasks"]["trips"]["by"]
