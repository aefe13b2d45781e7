"""Intervals of a run that is updated: what a version has seen was forecast by the one before it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cmust import Forecaster, adapt, update
from cmust.calibration import calibrate
from cmust.city import City
from cmust.cli.tables import forecasters
from cmust.continual.versions import use_version
from cmust.errors import RunError
from cmust.intervals.conformal import Adaptation
from cmust.intervals.state import read_intervals
from tests.continual.conftest import CUT, whole_city
from tests.continual.test_update import CPU
from tests.rolling.tiny import tiny_city, tiny_task

FAST = Adaptation(levels=(0.8,), first_days=1)


def longer_city() -> City:
    """The city with two days more."""
    step = np.timedelta64(7200, "s")
    longer = []
    for task in whole_city().tasks.values():
        more = tiny_task(task.name, steps=24, start=task.time[-1] + step)
        time, values = np.append(task.time, more.time), np.append(task.values, more.values, axis=0)
        longer.append(replace(task, time=time, values=values))
    return tiny_city(*longer)


def test_right_after_an_update_intervals_go_on(run: Path) -> None:
    calibrate(run, whole_city(), adaptation=FAST)
    before = read_intervals(run / "intervals.json")["trips"]
    assert update(run, whole_city(), **CPU).version == 2
    with pytest.raises(RunError, match="belong to another version"):
        Forecaster.load(run).predict(whole_city(), "trips", level=0.8)
    told = calibrate(run, whole_city(), adaptation=FAST)
    after = read_intervals(run / "intervals.json")["trips"]
    assert (told["version"], list(told["tasks"]["trips"]["origins_by_version"])) == (2, ["1"])
    # Nothing is new to the new version, so the intervals have learned from the very same forecasts.
    np.testing.assert_array_equal(after.lower, before.lower)
    np.testing.assert_array_equal(after.upper, before.upper)
    found = Forecaster.load(run).predict(whole_city(), "trips", level=0.8)
    assert (found.lower <= found.upper).all() and found.attrs["calibrated_until"] == "2024-03-31T22:00:00"


def test_scores_by_forecasting_day_by_day_with_the_version_of_the_day(run: Path) -> None:
    """As it would have gone: version 1 until the update, version 2 since; each forecast with intervals of its time."""
    assert update(run, whole_city(), **CPU).version == 2
    data, since = longer_city().select(time=slice(None, "2024-04-02")), "2024-03-31"
    assert data.task("trips").n_steps == 336 + 12
    result = calibrate(run, data, adaptation=FAST, since=since)
    told = result["tasks"]["trips"]
    assert told["origins_by_version"] == {"1": 12, "2": 12}
    assert forecasters(result)[0].startswith("trips: forecast by version 1 (12 origins), version 2 (12 origins);")
    task = data.task("trips")
    inside, count = 0, 0
    for origin in range(task.n_steps - 24 + 12 + 3, task.n_steps):
        at = task.time[origin]
        use_version(run, 1 if at < np.datetime64("2024-04-01") else 2)
        calibrate(run, data, adaptation=FAST, since=since, until=str(at))
        found = Forecaster.load(run).predict(data, "trips", str(at), level=0.8)
        for ahead in range(min(3, task.n_steps - origin)):
            truth, row = task.values[origin + ahead, :, 0], found.isel(time=ahead)
            valid = ~np.isnan(truth)
            inside += int(((row.lower.values <= truth) & (truth <= row.upper.values))[valid].sum())
            count += int(valid.sum())
    scores = told["systems"]["cmust"]["0.8"]
    assert count > 50 and scores["count"] == count
    assert scores["coverage"] == pytest.approx(inside / count)


def test_corrections_that_an_update_has_seen_do_no_harm_and_another_city_is_refused(run: Path) -> None:
    values = whole_city().task("trips").values.copy()
    values[5] += 1
    corrected = tiny_city(replace(whole_city().task("trips"), values=values))
    assert update(run, corrected, tasks=["trips"], **CPU).version == 2
    told = calibrate(run, corrected, adaptation=FAST)
    assert list(told["tasks"]["trips"]["origins_by_version"]) == ["1"]
    with pytest.raises(RunError, match="with other data than"):
        calibrate(run, whole_city(), adaptation=FAST)


def test_a_damaged_line_of_versions_is_named(run: Path) -> None:
    assert update(run, whole_city(), **CPU).version == 2
    file = run / "versions" / "0002" / "version.json"
    for parent in ({}, {"parent": 2}, {"parent": "1"}):
        file.write_text(json.dumps(parent))
        with pytest.raises(RunError, match=r"version\.json is damaged: its parent is .*; restore it from a copy"):
            calibrate(run, whole_city(), adaptation=FAST)
    file.unlink()
    with pytest.raises(RunError, match=r"version 2 of .* has no version\.json"):
        calibrate(run, whole_city(), adaptation=FAST)


def test_a_task_begins_with_the_version_that_brought_it(run: Path) -> None:
    bikes = tiny_task("bikes", steps=336)
    adapt(run, tiny_city(bikes).select(time=slice(None, CUT)), "bikes", train="prompt", **CPU)
    told = calibrate(run, whole_city().with_task(bikes), adaptation=FAST)
    versions = {name: list(each["origins_by_version"]) for name, each in told["tasks"].items()}
    assert versions["bikes"] == ["2"]
    assert versions["trips"] == ["2"]  # the same model as in version 1, which has no turn of its own
