"""Forecasts of a finished run: those its evaluation sees, with real times and names; what does not fit is refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from cmust import Forecaster
from cmust.city import City
from cmust.errors import CityError, ConfigError, RunError
from cmust.recent import recent_steps
from cmust.windows import make_windows
from tests.rolling.tiny import START, tiny_city, tiny_fit, tiny_settings, tiny_task

QUICK = {"scheme": "joint", "training": {"start_epochs": 1, "precision": "32-true", "batch_size": 64}}
STEP = np.timedelta64(7200, "s")


def two_tasks() -> City:
    """One with two channels and a coarser step than the other."""
    return tiny_city(tiny_task("trips", steps=180), tiny_task("visits", steps=100, interval=14400, nodes=4, channels=2))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "joint"
    tiny_fit(folder, two_tasks(), **QUICK)
    return folder


@pytest.fixture(scope="module")
def forecaster(run: Path) -> Forecaster:
    return Forecaster.load(run)


def test_what_fit_returns_is_what_is_on_disk(tmp_path: Path, forecaster: Forecaster) -> None:
    returned = tiny_fit(tmp_path / "again", two_tasks(), **QUICK)
    for task in ("trips", "visits"):
        xr.testing.assert_identical(returned.predict(two_tasks(), task), forecaster.predict(two_tasks(), task))


def test_it_is_shown_in_a_line_for_each_task(run: Path, forecaster: Forecaster) -> None:
    first, trips, visits = repr(forecaster).splitlines()
    assert first == f"<Forecaster of city tiny: preset paper, 4 steps to 3, at {run}"
    assert trips.startswith("  <TaskModel trips: 3 nodes x 1 channels, every 7200 s, seen 2024-03-04T00:00:00 to 2024-")
    assert visits.startswith("  <TaskModel visits: 4 nodes x 2 channels, every 14400 s, seen 2024-03-04T00:00:00 to ")


@pytest.mark.parametrize("task", ["trips", "visits"])
def test_at_a_past_time_it_is_the_evaluations_forecast(forecaster: Forecaster, task: str) -> None:
    city = two_tasks()
    windows = make_windows(city, "purged", 4, 3)[task]
    seen = replace(forecaster.windows(city.tasks[task]), split=windows.split)
    for start in windows.split.starts["test"][[0, 1, -1]]:
        expected = forecaster.forecast(seen, start[None])[0].numpy()
        at = city.tasks[task].time[int(start) + 4]
        found = forecaster.predict(city, task, at=at)
        np.testing.assert_allclose(found.values.reshape(expected.shape), expected.clip(0), rtol=1e-5, atol=1e-5)
        assert found.time.values[0] == at


@pytest.mark.parametrize(("kind", "ends"), [("count", [0, 0, 2.5]), ("speed", [0, 0, 2.5]), ("other", [-7, 0, 2.5])])
def test_what_cannot_be_below_zero_is_not_forecast_there(run: Path, monkeypatch, kind: str, ends: list[float]) -> None:
    forecaster, city = Forecaster.load(run), two_tasks()
    forecaster.model("trips").about["kind"] = kind
    made = torch.tensor([-7.0, 0.0, 2.5])[None, :, None, None].expand(1, 3, city.task("trips").n_nodes, 1)
    monkeypatch.setattr(Forecaster, "forecast", lambda *given: made)
    assert (forecaster.predict(city, "trips").values == np.array(ends)[:, None]).all()


def test_at_the_end_times_and_names(forecaster: Forecaster) -> None:
    city = two_tasks()
    trips = forecaster.predict(city, "trips")
    assert trips.dims == ("time", "node") and trips.shape == (3, 3)
    last = city.tasks["trips"].time[-1]
    assert (trips.time.values == last + STEP * np.arange(1, 4)).all()
    assert trips.node.values.tolist() == list(city.tasks["trips"].nodes)
    np.testing.assert_array_equal(trips.lon, city.tasks["trips"].lon)
    assert trips.attrs["unit"] == "trips" and trips.name == "trips"
    visits = forecaster.predict(city, "visits")
    assert visits.dims == ("time", "node", "channel") and visits.shape == (3, 4, 2)
    assert visits.channel.values.tolist() == ["c0", "c1"]
    assert (np.diff(visits.time.values) == 2 * STEP).all()
    assert np.isfinite(trips.values).all() and np.isfinite(visits.values).all()
    assert trips.sel(node="place 1").to_series().index[0] == last + STEP


@pytest.mark.parametrize("way", [str, lambda time: np.datetime64(time, "ns"), lambda time: time.item()])
def test_a_time_in_any_way(forecaster: Forecaster, way) -> None:
    at = START + 50 * STEP
    assert forecaster.predict(two_tasks(), "trips", at=way(at)).time.values[0] == at


def test_only_the_last_steps_matter_and_nothing_later(forecaster: Forecaster) -> None:
    city, at = two_tasks(), START + 60 * STEP
    whole = forecaster.predict(city, "trips", at=at)
    short = forecaster.predict(city.select(tasks=["trips"], time=slice(at - 4 * STEP, at)), "trips")
    xr.testing.assert_allclose(whole, short, rtol=1e-5)
    changed = city.tasks["trips"].values.copy()
    changed[60:] = 1e6
    changed[:56] = -5
    other = forecaster.predict(city.with_task(replace(city.tasks["trips"], values=changed)), "trips", at=at)
    xr.testing.assert_identical(whole, other)
    recent = city.tasks["trips"].values.copy()
    recent[59] += 5
    moved = forecaster.predict(city.with_task(replace(city.tasks["trips"], values=recent)), "trips", at=at)
    assert not np.allclose(moved, whole, atol=1e-4)


def test_recent_steps_hold_nothing_from_the_asked_time_on() -> None:
    task = two_tasks().tasks["trips"]
    recent = recent_steps(task, START + 60 * STEP, 4, 3).task
    assert recent.time.tolist() == task.time[56:63].tolist()
    np.testing.assert_array_equal(recent.values[:4], task.values[56:60])
    assert np.isnan(recent.values[4:]).all() and len(recent.values) == 7


def test_missing_inputs_are_filled_by_the_average(forecaster: Forecaster) -> None:
    city, at = two_tasks(), START + 60 * STEP
    task = city.tasks["trips"]
    windows = make_windows(city, "purged", 4, 3)["trips"]
    average = forecaster.windows(task).average.numpy()
    gaps, filled = task.values.copy(), task.values.copy()
    gaps[57:59, 1] = np.nan
    filled[57:59, 1] = average[57:59, 1]
    one = forecaster.predict(city.with_task(replace(task, values=gaps)), "trips", at=at)
    two = forecaster.predict(city.with_task(replace(task, values=filled)), "trips", at=at)
    assert np.isfinite(one.values).all()
    np.testing.assert_allclose(one.values, two.values, rtol=1e-5)
    rows = [i for i in range(windows.split.train_steps) if i % 84 == 57]
    np.testing.assert_allclose(average[57, 1], np.nanmean(task.values[rows, 1], axis=0), rtol=1e-5)
    assert one.filled.values.tolist() == [0, 0.5, 0]
    assert one.flag.values.tolist() == ["ok", "partly_filled", "ok"]


def test_a_silent_node_is_forecast_and_flagged(forecaster: Forecaster) -> None:
    city = two_tasks()
    visits = city.tasks["visits"]
    values = visits.values.copy()
    values[-4:, 2], values[-1, 3, 1] = np.nan, np.nan
    found = forecaster.predict(city.with_task(replace(visits, values=values)), "visits")
    assert np.isfinite(found.values).all()
    given = ~np.isnan(visits.values[-4:])
    expected = [1 - given[:, 0].mean(), 1 - given[:, 1].mean(), 1.0, 1 - (given[:, 3].sum() - given[-1, 3, 1]) / 8]
    np.testing.assert_allclose(found.filled, expected, atol=1e-6)
    assert found.flag.values[2] == "all_filled" and found.flag.values[3] == "partly_filled"


def test_too_much_missing_is_refused_unless_allowed(forecaster: Forecaster) -> None:
    city = two_tasks()
    task = city.tasks["trips"]
    nothing = city.with_task(replace(task, values=np.full_like(task.values, np.nan)))
    with pytest.raises(CityError, match=r"100% of the observations in the 4 steps before .* at most 50% may be"):
        forecaster.predict(nothing, "trips")
    found = forecaster.predict(nothing, "trips", max_missing=1.0)
    assert np.isfinite(found.values).all() and set(found.flag.values) == {"all_filled"}


@pytest.mark.parametrize("share", [50, -0.1, np.nan])
def test_a_share_that_may_be_missing_is_no_percentage(forecaster: Forecaster, share: float) -> None:
    with pytest.raises(ConfigError, match=rf"^max_missing is {share}; it is a share of the inputs, from 0 to 1"):
        forecaster.predict(two_tasks(), "trips", max_missing=share)


def test_without_a_time_it_follows_the_last_observation(forecaster: Forecaster) -> None:
    city = two_tasks()
    task = city.tasks["trips"]
    values = task.values.copy()
    values[-5:] = np.nan
    late = city.with_task(replace(task, values=values))
    found = forecaster.predict(late, "trips")
    assert found.time.values[0] == task.time[-5]
    xr.testing.assert_identical(found, forecaster.predict(city, "trips", at=task.time[-5]))
    # A later time counts the silent steps as missing, whether they are in the data or not.
    asked = forecaster.predict(late, "trips", at=task.time[-3])
    short = late.with_task(late.tasks["trips"].select(time=slice(None, task.time[-5])))
    xr.testing.assert_identical(asked, forecaster.predict(short, "trips", at=task.time[-3]))
    assert (asked.filled.values >= 0.5).all()
    with pytest.raises(CityError, match="are missing"):
        forecaster.predict(short, "trips", at=task.time[-2])


def test_what_does_not_fit_is_refused(forecaster: Forecaster) -> None:
    city = two_tasks()
    task = city.tasks["trips"]
    with pytest.raises(CityError, match="no task 'metro'"):
        forecaster.predict(city, "metro")
    with pytest.raises(RunError, match="no task 'metro'; it has trips, visits"):
        forecaster.predict(city.with_task(tiny_task("metro")), "metro")
    with pytest.raises(CityError, match=r"nodes.*trained on"):
        forecaster.predict(city.with_task(replace(task, nodes=("a", "b", "c"))), "trips")
    with pytest.raises(CityError, match=r"nodes.*trained on"):
        forecaster.predict(city.with_task(task.select(nodes=["place 2", "place 1", "place 0"])), "trips")
    with pytest.raises(CityError, match=r"interval 3600.*trained on 7200"):
        forecaster.predict(city.with_task(tiny_task("trips", interval=3600)), "trips")
    with pytest.raises(CityError, match="channels"):
        forecaster.predict(city.with_task(tiny_task("trips", channels=2)), "trips")
    with pytest.raises(CityError, match=r"has 3 steps before.*needs 4"):
        forecaster.predict(city.with_task(tiny_task("trips", steps=3)), "trips")
    with pytest.raises(CityError, match=r"'city.zarr.zip' is a path, not a city"):
        forecaster.predict("city.zarr.zip", "trips")  # type: ignore[call-overload]
    with pytest.raises(CityError, match=r"has unit dozen, the run was trained on trips"):
        forecaster.predict(city.with_task(replace(task, unit="dozen")), "trips")
    with pytest.raises(CityError, match=r"keeps the time of Europe/Berlin, the run was trained on that of UTC"):
        forecaster.predict(replace(city, timezone="Europe/Berlin"), "trips")


def test_places_are_the_same_where_they_lie_the_same(forecaster: Forecaster) -> None:
    city, task = two_tasks(), two_tasks().tasks["trips"]
    swapped = replace(task, lon=task.lon[[0, 2, 1]], lat=task.lat[[0, 2, 1]])
    message = r"node 'place 1' at 10\.04000, 50\.04000 \(lon, lat\), the run was trained on it at 10\.01000, 50"
    with pytest.raises(CityError, match=message):
        forecaster.predict(city.with_task(swapped), "trips")
    with pytest.raises(CityError, match=r"has node 'place 2' at 10\.04000, 50\.04020 .* at 10\.04000, 50\.04000;"):
        forecaster.predict(city.with_task(replace(task, lat=task.lat + np.array([0, 0, 2e-4]))), "trips")
    rounded = replace(task, lon=task.lon.astype(np.float32), lat=task.lat + 5e-5)
    assert np.isfinite(forecaster.predict(city.with_task(rounded), "trips")).all()


def test_longitudes_on_both_sides_of_the_date_line_are_one(run: Path) -> None:
    forecaster = Forecaster.load(run)
    task = replace(two_tasks().tasks["trips"], lon=np.array([-180.0, 10.01, 10.04]))
    forecaster.tasks["trips"].about["lon"][0] = 180.0
    assert np.isfinite(forecaster.predict(two_tasks().with_task(task), "trips")).all()


def test_steps_begin_when_those_of_training_did(forecaster: Forecaster) -> None:
    city, task = two_tasks(), two_tasks().tasks["trips"]
    message = r"has a step at .*, 3600 s after those the run was trained on \(one every 7200 s, such as 2024-03-14T10"
    with pytest.raises(CityError, match=message):
        forecaster.predict(city.with_task(replace(task, time=task.time + STEP // 2)), "trips")
    forecaster.predict(city.with_task(replace(task, time=task.time + 5 * STEP)), "trips")
    forecaster.predict(city.with_task(replace(task, time=task.time - 5000 * STEP)), "trips")


@pytest.mark.parametrize("version", ["2", 1.0, True])
def test_a_version_is_a_number(run: Path, version) -> None:
    with pytest.raises(RunError, match=rf"version is {version!r}, it has to be a whole number"):
        Forecaster.load(run, version=version)


def test_adapting_in_memory_says_what_it_needs(forecaster: Forecaster) -> None:
    with pytest.raises(CityError, match=r"'city.zarr.zip' is a path, not a city: give cmust.open_city"):
        forecaster.adapt("city.zarr.zip", "trips")  # type: ignore[arg-type]
    for option in ({"compare": True}, {"command": "mine"}):
        with pytest.raises(ConfigError, match=r"is for the records of a run folder: give it to cmust\.adapt\(RUN"):
            forecaster.adapt(two_tasks(), "trips", **option)


@pytest.mark.parametrize(
    "at", ["2024-03-08T05:00+01:00", "2024-03-08T04:00Z", pd.Timestamp("2024-03-08T04:00", tz="UTC")]
)
def test_a_time_of_a_zone_is_not_a_local_one(forecaster: Forecaster, at) -> None:
    with pytest.raises(CityError, match="is a time of a zone; give the local time of the city"):
        forecaster.predict(two_tasks(), "trips", at=at)


@pytest.mark.parametrize(
    "at",
    ["2024-03-04T01:00", "soon", np.datetime64("NaT"), "2024", "2024-03", "20240308", "now", "today"],
    ids=str,
)
def test_a_time_that_is_no_step(forecaster: Forecaster, at) -> None:
    with pytest.raises(CityError, match=r"is not a (step of task 'trips'|time)"):
        forecaster.predict(two_tasks(), "trips", at=at)


def test_too_early_and_too_late(forecaster: Forecaster) -> None:
    with pytest.raises(CityError, match="has 0 steps before 2020"):
        forecaster.predict(two_tasks(), "trips", at="2020-01-01")
    with pytest.raises(CityError, match=r"100% of the observations .* are missing"):
        forecaster.predict(two_tasks(), "trips", at="2030-01-01")
    with pytest.raises(CityError, match="has 2 steps before 2024-03-04T04:00"):
        forecaster.predict(two_tasks(), "trips", at=START + 2 * STEP)
    assert forecaster.predict(two_tasks(), "trips", at=START + 4 * STEP).shape == (3, 3)


def test_forecasting_needs_the_model_and_nothing_else(run: Path, tmp_path: Path, forecaster: Forecaster) -> None:
    import shutil

    shutil.copytree(run / "model", tmp_path / "moved" / "model")
    shutil.copy(run / "config.json", tmp_path / "moved")
    city = two_tasks()
    xr.testing.assert_identical(
        Forecaster.load(tmp_path / "moved").predict(city, "trips"), forecaster.predict(city, "trips")
    )


def test_predicting_leaves_torch_as_it_was(forecaster: Forecaster) -> None:
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    forecaster.predict(two_tasks(), "trips")
    assert torch.equal(torch.rand(3), expected) and torch.is_grad_enabled()


def test_temperatures_go_through_the_default_preset(tmp_path: Path) -> None:
    """Below zero there is no level: trained, saved and loaded without one."""
    warm = tiny_task("warm", steps=168)
    city = tiny_city(replace(warm, values=warm.values - 4, kind="other"), tiny_task("trips", steps=168))
    fitted = tiny_fit(tmp_path / "run", city, **tiny_settings("tuned"))
    loaded = Forecaster.load(tmp_path / "run")
    assert loaded.tasks["warm"].head.level is None and loaded.tasks["trips"].head.level is not None
    assert loaded.tasks["warm"].about["profile"]["power"] is None
    for task in city.tasks:
        xr.testing.assert_identical(loaded.predict(city, task), fitted.predict(city, task))
