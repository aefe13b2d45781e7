"""Calibration of a run: from what it has not seen, in the order in which it became known; what is on disk."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from rich.console import Console

from cmust import Forecaster
from cmust.calibration import calibrate
from cmust.city import City
from cmust.cli.forecasts import interval_notes, render
from cmust.errors import CityError, ConfigError, RunError
from cmust.forecast_table import forecast_table, forecast_tasks
from cmust.identity import data_fingerprint
from cmust.intervals.conformal import Adaptation
from cmust.intervals.state import read_intervals, write_intervals
from cmust.origins import unseen_origins
from cmust.windows import make_windows
from tests.rolling.tiny import START, tiny_city, tiny_fit, tiny_task

QUICK = {"scheme": "joint", "training": {"start_epochs": 1, "precision": "32-true", "batch_size": 64}}
FAST = Adaptation(levels=(0.8, 0.9), first_days=1)
STEP = np.timedelta64(7200, "s")


def city() -> City:
    """Two tasks, one with two channels and nodes enough for two groups."""
    return tiny_city(
        tiny_task("trips"), tiny_task("visits", steps=130, interval=14400, nodes=9, channels=2, missing=0.1)
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "joint"
    tiny_fit(folder, city(), **QUICK)
    return folder


@pytest.fixture
def result(run: Path):
    """Calibrated to the end of the data, whatever a test before has done."""
    return calibrate(run, city(), adaptation=FAST, command="test")


def test_it_begins_after_what_chose_the_model(run: Path) -> None:
    forecaster = Forecaster.load(run)
    windows = make_windows(city(), "purged", 4, 3)
    for name, (task, origins) in unseen_origins(forecaster, city())[0].items():
        last_seen = int(windows[name].split.starts["validation"][-1]) + 4 + 3 - 1
        assert origins == range(last_seen + 1, task.n_steps)
    # What the model says itself comes first.
    for name, until in (("trips", START + 240 * STEP), ("visits", START + 220 * STEP)):
        task = city().tasks[name]
        known = task.select(time=slice(None, until + np.timedelta64(task.interval, "s")))
        about = {"from": str(task.time[0]), "until": str(until), "fingerprint": data_fingerprint(known)}
        forecaster.tasks[name].about["seen"] = about
    found, left_out = unseen_origins(forecaster, city())
    assert left_out == {}
    assert found["trips"][1] == range(241, 252) and found["visits"][1] == range(111, 130)
    # A coarse step that has not ended is not known; one that has begun is no first step.
    until, _ = unseen_origins(forecaster, city(), until=str(START + 247 * STEP))
    assert until["trips"][1] == range(241, 247) and until["trips"][0].n_steps == 247
    assert until["visits"][1] == range(111, 123)
    since, _ = unseen_origins(forecaster, city(), since=str(START + 243 * STEP))
    assert since["trips"][1] == range(243, 252) and since["visits"][1] == range(122, 130)


def test_data_of_another_city_or_from_too_early_is_refused(run: Path) -> None:
    other = tiny_city(tiny_task("trips", missing=0.1), city().tasks["visits"])
    with pytest.raises(RunError, match="with other data than"):
        calibrate(run, other)
    with pytest.raises(RunError, match=r"--since .* is not after it"):
        calibrate(run, city(), since=str(START + 60 * STEP))
    with pytest.raises(RunError, match=r"are new to its model, 51 are needed \(4\.2 days\)"):
        calibrate(run, city(), until=str(START + 230 * STEP))
    with pytest.raises(RunError, match="none of the run's tasks"):
        calibrate(run, tiny_city(tiny_task("metro")))
    with pytest.raises(ConfigError, match="between 0 and 1"):
        calibrate(run, city(), adaptation=Adaptation(levels=(90,)))
    for wrong in (0.9, 0.0, "0.9"):
        with pytest.raises(ConfigError, match=rf"adaptation is '?{wrong}'?; give cmust\.intervals"):
            calibrate(run, city(), adaptation=wrong)
    with pytest.raises(CityError, match="is not a time"):
        calibrate(run, city(), adaptation=FAST, until="soon")


def test_a_task_with_too_little_that_is_new_is_left_out(run: Path) -> None:
    whole = city()
    late = whole.with_task(whole.tasks["visits"].select(time=slice(None, START + 214 * STEP)))
    (run / "intervals.json").unlink(missing_ok=True)
    result = calibrate(run, late, adaptation=FAST, command="test")
    assert list(result["tasks"]) == ["trips"] == list(read_intervals(run / "intervals.json"))
    assert list(result["left_out"]) == ["visits"] and "9 are needed (1.5 days)" in result["left_out"]["visits"]


def test_intervals_of_other_tasks_stay_where_they_are_of_the_model_in_force(run: Path, result) -> None:
    path, only = run / "intervals.json", city().select(tasks=["trips"])
    before = json.loads(path.read_text())
    told = calibrate(run, only, adaptation=FAST, until=str(START + 250 * STEP))
    content = json.loads(path.read_text())
    assert list(told["tasks"]) == ["trips"] and set(content["tasks"]) == {"trips", "visits"}
    for part in ("states", "tasks"):
        assert content[part]["visits"] == before[part]["visits"] and content[part]["trips"] != before[part]["trips"]
    Forecaster.load(run).predict(city(), "visits", level=0.9)
    states = {**content["states"], "visits": {**content["states"]["visits"], "model": "0" * 64}}
    del content["checksum"]
    write_intervals(path, {**content, "states": states})
    calibrate(run, only, adaptation=FAST)
    assert list(read_intervals(path)) == ["trips"] == list(json.loads(path.read_text())["tasks"])
    path.write_text("{")
    calibrate(run, only, adaptation=FAST)
    assert list(read_intervals(path)) == ["trips"]


def silent(whole: City, name: str, since: int) -> City:
    """The city with nothing observed in one task from a step on."""
    values = whole.tasks[name].values.copy()
    values[since:] = np.nan
    return whole.with_task(replace(whole.tasks[name], values=values))


def no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def test_a_dead_feed_leaves_the_intervals_as_they_were_after_its_last_truth(run: Path, result) -> None:
    path, last = run / "intervals.json", START + 246 * STEP
    calibrate(run, city(), adaptation=FAST, until=str(last + STEP))
    alive = json.loads(path.read_text(), parse_constant=no_constant)
    dead = calibrate(run, silent(city(), "trips", 247), adaptation=FAST)
    content = json.loads(path.read_text(), parse_constant=no_constant)
    assert content["states"]["trips"] == alive["states"]["trips"] and dead["left_out"] == {}
    assert content["states"]["trips"]["until"] == dead["tasks"]["trips"]["until"] == str(last)
    with pytest.raises(RunError, match=rf"has 7 steps from .* to {START + 230 * STEP} .* 15 are needed"):
        calibrate(
            run, silent(city().select(tasks=["trips"]), "trips", 231), adaptation=FAST, since=str(START + 224 * STEP)
        )


def test_a_task_without_truth_keeps_its_intervals(run: Path, result) -> None:
    path, since = run / "intervals.json", str(START + 205 * STEP)
    before = path.read_text()
    told = calibrate(run, silent(city(), "visits", 102), adaptation=FAST, since=since)
    content = json.loads(path.read_text())
    assert list(told["tasks"]) == ["trips"] and "'visits' has no observation from" in told["left_out"]["visits"]
    for part in ("states", "tasks"):
        assert content[part]["visits"] == json.loads(before)[part]["visits"]
    before = path.read_text()
    with pytest.raises(RunError, match="give data with observations there"):
        calibrate(run, silent(city().select(tasks=["visits"]), "visits", 102), adaptation=FAST, since=since)
    assert path.read_text() == before


def test_a_single_truth_after_a_long_silence_makes_no_intervals(run: Path, result) -> None:
    path, data = run / "intervals.json", city().select(tasks=["trips"])
    before = path.read_text()
    values = data.tasks["trips"].values.copy()
    values[203:251] = np.nan
    short = replace(FAST, window_days=1)
    with pytest.raises(RunError, match="'trips' has too few observations in the 1 days up to 2024-03-24T22:00:00"):
        calibrate(run, data.with_task(replace(data.tasks["trips"], values=values)), adaptation=short)
    assert path.read_text() == before


def test_what_is_unknown_is_null_on_disk(run: Path, result) -> None:
    path = run / "intervals.json"
    content = json.loads(path.read_text())
    del content["checksum"]
    for end in ("lower", "upper"):
        content["states"]["trips"][end][1][2][0] = None
    write_intervals(path, content)
    state = read_intervals(path)["trips"]
    assert state.unknown.sum() == 1 and state.unknown[1, 2, 0]
    assert json.loads(json.dumps(state.to_json(), allow_nan=False)) == content["states"]["trips"]
    found = Forecaster.load(run).predict(city(), "trips", level=0.9)
    assert np.isnan(found.lower[2]).all() and np.isnan(found.upper[2]).all() and not np.isnan(found.lower[:2]).any()
    calibrate(run, city().select(tasks=["visits"]), adaptation=FAST)
    assert json.loads(path.read_text())["states"]["trips"] == content["states"]["trips"]
    with pytest.raises(ValueError, match="JSON compliant"):
        write_intervals(path, {"states": float("nan")})


def test_since_before_the_inputs_of_the_first_forecast(run: Path) -> None:
    later = city().select(tasks=["trips"], time=slice(str(START + 230 * STEP), None))
    forecaster, seen = Forecaster.load(run), {"trips": START + 220 * STEP}
    words = r"needs the 4 steps before it, and the data begins at 2024-03-23T04:00:00: .* take 2024-03-23T12:00:00"
    with pytest.raises(RunError, match=words):
        unseen_origins(forecaster, later, since=str(START + 233 * STEP), seen=seen)
    found, _ = unseen_origins(forecaster, later, since="2024-03-23T12:00:00", seen=seen)
    assert found["trips"][1] == range(4, 22)


def test_scores_by_predicting_from_every_origin(tmp_path: Path) -> None:
    """Calibrated up to each origin in turn, the forecast's own intervals give the reported coverage."""
    data, run = tiny_city(tiny_task("trips")), tmp_path / "run"
    tiny_fit(run, data, **QUICK)
    result = calibrate(run, data, adaptation=FAST)
    task = data.tasks["trips"]
    origins = unseen_origins(Forecaster.load(run), data)[0]["trips"][1]
    inside, width, count = 0, 0.0, 0
    for origin in origins[12 + 3 :]:
        at = str(task.time[origin])
        calibrate(run, data, adaptation=FAST, until=at)
        found = Forecaster.load(run).predict(data, "trips", at, level=0.8)
        for ahead in range(min(3, task.n_steps - origin)):
            truth = task.values[origin + ahead, :, 0]
            row = found.isel(time=ahead)
            valid = ~np.isnan(truth)
            inside += int(((row.lower.values <= truth) & (truth <= row.upper.values))[valid].sum())
            width += float((row.upper - row.lower).values[valid].sum())
            count += int(valid.sum())
    scores = result["tasks"]["trips"]["systems"]["cmust"]["0.8"]
    assert scores["count"] == count
    assert scores["coverage"] == pytest.approx(inside / count)
    assert scores["width"] == pytest.approx(width / count, rel=1e-4)


def test_what_is_reported_and_written(run: Path, result) -> None:
    visits = result["tasks"]["visits"]
    assert [group["channel"] for group in visits["groups"]] == ["c0", "c0", "c1", "c1"]
    assert sorted(visits["groups"][0]["nodes"] + visits["groups"][1]["nodes"]) == sorted(city().tasks["visits"].nodes)
    assert set(visits["systems"]) == {"cmust", "weekly_average"}
    scores = visits["systems"]["weekly_average"]["0.9"]
    assert 0.5 < scores["coverage"] <= 1 and len(scores["per_horizon"]["coverage"]) == 3
    assert len(scores["per_group"]["width"]) == 4
    content = json.loads((run / "intervals.json").read_text())
    assert content["tasks"] == result["tasks"] and content["made"]["command"] == "test"


def test_forecasts_with_intervals(run: Path, result) -> None:
    forecaster, data = Forecaster.load(run), city()
    for task in ("trips", "visits"):
        wide, narrow = (forecaster.predict(data, task, level=level) for level in (0.9, 0.8))
        xr.testing.assert_identical(wide.value.rename(task).drop_attrs(), forecaster.predict(data, task).drop_attrs())
        assert (wide.lower <= narrow.lower).all() and (narrow.upper <= wide.upper).all()
        assert (wide.lower >= 0).all() and (wide.upper > wide.lower).all()
        assert wide.attrs["level"] == 0.9 and wide.value.attrs["unit"] == "trips"
        assert wide.attrs["calibrated_until"] == str(data.tasks[task].time[-1])
    with pytest.raises(RunError, match=r"levels 0.8, 0.9, not for 0.5"):
        forecaster.predict(data, "trips", level=0.5)
    with pytest.raises(RunError, match=r"levels 0.8, 0.9, not for '0.9'"):
        forecaster.predict(data, "trips", level="0.9")


def test_intervals_that_have_heard_nothing_for_long_say_so(run: Path, result) -> None:
    forecasts = forecast_tasks(Forecaster.load(run), city(), ["trips"], level=0.9)
    assert interval_notes(forecasts, "x") == []
    day = np.timedelta64(1, "D")
    first = forecasts["trips"]["time"].values[0]
    for days, told in ((14, 0), (15, 1)):
        forecasts["trips"].attrs["calibrated_until"] = str((first - days * day).astype("datetime64[s]"))
        lines = interval_notes(forecasts, "cmust calibrate runs/a CITY")
        assert len(lines) == told
    assert "15 days before; `cmust calibrate runs/a CITY`" in lines[0]


def test_places_without_an_interval_are_named(run: Path, result) -> None:
    forecasts = forecast_tasks(Forecaster.load(run), city(), ["visits"], level=0.9)
    assert interval_notes(forecasts, "x") == []
    ends = forecasts["visits"]
    ends["lower"][:, 2, 1] = ends["upper"][:, 2, 1] = np.nan
    told = interval_notes(forecasts, "cmust calibrate runs/a CITY")
    assert told == [
        "note: place 2 of visits has no interval for some steps: too few observations in the days before; `cmust "
        "calibrate runs/a CITY` makes one when there are more"
    ]
    ends["lower"][:] = ends["upper"][:] = np.nan
    assert (
        "note: place 0, place 1, place 2, place 3, place 4 and 4 more of visits have no interval for any step"
        in (interval_notes(forecasts, "x")[0])
    )
    console = Console(width=200, record=True)
    render(forecast_table(forecasts), {"visits": "trips"}, 2, console, synthetic=False)
    shown = console.export_text()
    assert "nan" not in shown and "—" in shown


def test_intervals_that_know_the_future_are_refused(run: Path, result) -> None:
    data = city()
    last = data.tasks["trips"].time[-1]
    with pytest.raises(RunError, match=r"have seen the truth up to .*--until"):
        Forecaster.load(run).predict(data, "trips", at=last, level=0.9)
    calibrate(run, data, adaptation=FAST, until=str(last))
    Forecaster.load(run).predict(data, "trips", at=last, level=0.9)


def test_intervals_of_another_model_are_refused(run: Path, result) -> None:
    forecaster = Forecaster.load(run)
    forecaster.tasks["trips"].average[3] += 1
    with pytest.raises(RunError, match="another version of its model"):
        forecaster.predict(city(), "trips", level=0.9)
    forecaster.predict(city(), "visits", level=0.9)


def test_without_calibration_and_with_a_damaged_file(run: Path, result) -> None:
    path = run / "intervals.json"
    good = path.read_text()
    forecaster = Forecaster.load(run)
    for bad, message in (
        (good[: len(good) // 2], "is damaged"),
        (good.replace('"floor": 1.0', '"floor": 2.0'), "was altered"),
        (good.replace('"schema": 1', '"schema": 9'), "schema 9"),
        ("[]", "is damaged"),
    ):
        assert bad != good
        path.write_text(bad)
        with pytest.raises(RunError, match=message):
            forecaster.predict(city(), "trips", level=0.9)
        forecaster.predict(city(), "trips")
    path.unlink()
    assert read_intervals(path) == {}
    with pytest.raises(RunError, match=r"has no calibrated intervals of task 'trips'; make them with `cmust calibrate"):
        forecaster.predict(city(), "trips", level=0.9)
