"""New tasks and new places: what changes, what does not by one bit, and what is told about it."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr

from cmust import Forecaster, adapt, evaluate, update
from cmust.city import City
from cmust.continual.adapt import adapted
from cmust.continual.newcomer import make_wish
from cmust.errors import CityError, ConfigError, RunError
from cmust.forecast_table import task_names
from cmust.origins import unseen_origins
from cmust.rolling import Phase, Star, Trainer
from cmust.run import Run
from cmust.training import make_fabric
from tests.continual.conftest import old_city, snapshot, whole_city
from tests.rolling.tiny import tiny_city, tiny_fit, tiny_settings, tiny_task

CPU = {"accelerator": "cpu"}


def city_of(name: str = "bikes", **shape) -> City:
    return tiny_city(tiny_task(name, **{"steps": 84, **shape}))


def uptown() -> City:
    """Trips at other places than the run knows, and one that it does."""
    task = tiny_task("trips", steps=84, nodes=5)
    return tiny_city(replace(task.select(nodes=["place 4", "place 1", "place 3"]), nodes=("a", "place 1", "b")))


def all_forecasts(forecaster: Forecaster, name: str) -> torch.Tensor:
    windows = forecaster.windows(whole_city().tasks[name])
    return forecaster.forecast(windows, torch.arange(300))


# ---------------------------------------------------------------- what stays and what moves


@pytest.mark.parametrize("train", ["unfrozen", "prompt"])
def test_the_other_tasks_do_not_change_by_one_bit(run: Path, train: str) -> None:
    before = {name: all_forecasts(Forecaster.load(run), name) for name in ("trips", "visits")}
    files = snapshot(run / "model")
    done = adapt(run, city_of(channels=2), "bikes", train=train, **CPU)
    loaded = Forecaster.load(run)
    for name, expected in before.items():
        assert torch.equal(all_forecasts(loaded, name), expected)
        assert torch.equal(all_forecasts(done.forecaster, name), expected)
    new = snapshot(run / "versions" / "0002" / "model")
    for name in ("tasks/trips.safetensors", "tasks/visits.safetensors", "trunk.safetensors"):
        assert new[name] == files[name]


def test_the_frozen_part_is_fixed_and_the_rest_moves(run: Path) -> None:
    star = Forecaster.load(run).star
    assert star is not None
    adapt(run, city_of(), "bikes", train="unfrozen", weight_decay=0.1, **CPU)
    trunk = Forecaster.load(run).tasks["bikes"].trunk.state_dict()
    held, moved = 0, 0
    for name, mask in star.frozen.items():
        assert torch.equal(trunk[name][mask], star.weights[name][mask])
        held += int(mask.sum())
        moved += int((trunk[name] != star.weights[name])[~mask].sum())
    assert held > 20 and moved > 20


def test_prompt_only_moves_the_head_alone(run: Path) -> None:
    star = Forecaster.load(run).star
    assert star is not None
    extended = adapt(run, uptown(), "trips", name="north", train="nothing", **CPU).forecaster.tasks["north"].head
    done = adapt(run, city_of(), "bikes", train="prompt", **CPU)
    model = Forecaster.load(run).tasks["bikes"]
    for name, weight in model.trunk.state_dict().items():
        assert torch.equal(weight, star.weights[name])
    assert not torch.equal(model.head.level, torch.zeros_like(model.head.level))
    weights = sum(p.numel() for p in model.head.parameters())
    assert done.record["costs"]["cmust"]["trained_weights"] == weights == sum(p.numel() for p in extended.parameters())


def test_layers_for_another_number_of_channels_are_new_and_trained(run: Path) -> None:
    star = Forecaster.load(run).star
    assert star is not None and "fusion.1.output.weight" in star.weights
    adapt(run, city_of(channels=3), "bikes", train="prompt", **CPU)
    trunk = Forecaster.load(run).tasks["bikes"].trunk.state_dict()
    assert {name for name in trunk if name not in star.weights} == {
        name for name in trunk if name.startswith(("fusion.3.", "embedding.observation.6."))
    }
    assert trunk["fusion.3.output.weight"].abs().sum() > 0  # they start at zero
    assert all(torch.equal(trunk[name], weight) for name, weight in star.weights.items())


def test_new_layers_learn_wherever_the_head_does(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the head alone throughout there is one phase, and head_epochs is for nothing; else there are two."""
    star, ended = Forecaster.load(run).star, {}
    assert star is not None
    leave = Trainer._leave

    def note(trainer: Trainer, phase: Phase) -> None:
        leave(trainer, phase)
        ended[phase.kind] = {name: weight.clone() for name, weight in trainer.trunk.state_dict().items()}

    monkeypatch.setattr(Trainer, "_leave", note)
    adapt(run, city_of(channels=3), "bikes", train="unfrozen", head_epochs=1, refine_epochs=1, **CPU)
    assert list(ended) == ["head", "adapt"]
    assert all(torch.equal(ended["head"][name], weight) for name, weight in star.weights.items())
    assert ended["head"]["fusion.3.output.weight"].abs().sum() > 0  # they start at zero
    ended.clear()
    done = adapt(run, city_of("boats", channels=4), "boats", train="prompt", refine_epochs=1, **CPU)
    assert list(ended) == ["adapt"] and done.record["costs"]["cmust"]["most_epochs"] == 1
    with pytest.raises(ConfigError, match=r"leave out training\.head_epochs"):
        adapt(run, city_of("cars", channels=5), "cars", train="prompt", head_epochs=1, **CPU)


@pytest.mark.parametrize("interval", [1800, 14400])
def test_a_finer_and_a_coarser_interval(run: Path, interval: int) -> None:
    city = city_of(interval=interval, steps=7 * 86400 // interval)
    adapt(run, city, "bikes", **CPU)
    forecaster = Forecaster.load(run)
    forecast = forecaster.predict(city, "bikes")
    assert (np.diff(forecast.time.values) == np.timedelta64(interval, "s")).all()
    assert np.isfinite(forecast.values).all()
    # The run's table has a row for every two hours: a finer step takes the row that its slot falls into.
    slots = forecaster.windows(city.tasks["bikes"]).clock.slot.tolist()
    hours = [time.item().hour for time in city.tasks["bikes"].time]
    assert slots == [hour // 2 for hour in hours]


# ---------------------------------------------------------------- short histories


def test_three_days_of_history(run: Path) -> None:
    """Days never seen are forecast from the other days; the finished tables know the day that was held out, too."""
    city = city_of(steps=36, missing=0.0)
    task = city.tasks["bikes"]
    adapt(run, city, "bikes", **CPU)
    model = Forecaster.load(run).tasks["bikes"]
    assert model.about["seen"]["until"] == str(task.time[-1])
    assert model.about["trained_until"] == str(task.time[23])
    day = task.values.reshape(3, 12, 3, 1)  # Monday, Tuesday, Wednesday
    for table in (model.average, model.profile):
        week = table.reshape(7, 12, 3, 1)
        np.testing.assert_allclose(week[3:], np.broadcast_to(day.mean(0), (4, 12, 3, 1)), rtol=1e-5)
    np.testing.assert_allclose(model.average.reshape(7, 12, 3, 1)[:3], day, rtol=1e-5)
    if not model.about["profile"]["smooth"]:
        np.testing.assert_allclose(model.profile, model.average, rtol=1e-5)
    np.testing.assert_allclose(model.head.mean, task.values[:24].mean(), rtol=1e-5)


@pytest.mark.parametrize(("days", "train", "more"), [(8, "prompt", {}), (9, "unfrozen", {"head_epochs": 0})])
def test_less_than_a_week_to_train_on_trains_the_head_alone(run: Path, days: int, train: str, more: dict) -> None:
    """Of 8 days the last 2 choose when to stop, of 9 as well."""
    star = Forecaster.load(run).star
    done = adapt(run, city_of(steps=12 * days), "bikes", refine_factor=1.0, **more, **CPU)
    assert done.record["adapted"]["train"] == train and star is not None
    trunk = done.forecaster.tasks["bikes"].trunk.state_dict()
    assert all(torch.equal(trunk[name], weight) for name, weight in star.weights.items()) == (train == "prompt")


def test_what_follows_the_history_has_no_part_in_it(run: Path, tmp_path: Path) -> None:
    other = city_of(steps=140)
    values = other.tasks["bikes"].values.copy()
    values[84:] = 999
    other = other.with_task(replace(other.tasks["bikes"], values=values))
    models = []
    short = city_of(steps=140).select(time=slice(None, "2024-03-11"))
    for number, city in enumerate((city_of(steps=140), other, short)):
        before = Forecaster.load(run)
        after = before.adapt(city, "bikes", until="2024-03-11", **CPU)
        after.save(tmp_path / str(number))
        models.append((tmp_path / str(number) / "tasks" / "bikes.safetensors").read_bytes())
    assert models[0] == models[1] == models[2]


# ---------------------------------------------------------------- new places


def test_new_places_without_training(run: Path) -> None:
    before = Forecaster.load(run).tasks["trips"]
    adapt(run, uptown(), "trips", name="north", train="nothing", **CPU)
    forecaster = Forecaster.load(run)
    model, task = forecaster.tasks["north"], uptown().tasks["trips"]
    assert model.about["nodes"] == ["a", "place 1", "b"] and model.about["like"] == "trips"
    for name, weight in before.trunk.state_dict().items():
        assert torch.equal(model.trunk.state_dict()[name], weight)
    # The prompt of every place: its standardised mean day through the encoder and FC_p of trips, written out.
    encoder, project = before.encoder.encoder, before.head.prompt.project
    for place in range(3):
        day = torch.tensor([np.nanmean(task.values[slot::12, place, 0]) for slot in range(12)], dtype=torch.float32)
        standardised = (day - before.head.mean) / before.head.std
        summary = torch.sigmoid(encoder.weight @ standardised + encoder.bias)
        expected = project.weight @ summary + project.bias
        torch.testing.assert_close(model.head.prompt()[0, place], expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(model.head.level, before.head.level) and model.head.power == before.head.power
    assert not [event for event in Run(run / "versions" / "0002").history()]


def test_a_city_that_calls_the_places_data_as_the_run_calls_the_known_places(run: Path) -> None:
    adapt(run, uptown(), "trips", name="north", until="2024-03-10", **CPU)
    forecaster = Forecaster.load(run)
    forecast = forecaster.predict(uptown(), "north")
    assert forecast.name == "north" and forecast.node.values.tolist() == ["a", "place 1", "b"]
    renamed = tiny_city(replace(uptown().tasks["trips"], name="north"))
    xr.testing.assert_equal(forecaster.predict(renamed, "north"), forecast)
    with pytest.raises(CityError, match=r"nodes .* the run was trained on"):
        forecaster.predict(uptown(), "trips")
    assert list(evaluate(run, uptown(), part="test")["tasks"]) == ["north"]
    assert task_names(forecaster, uptown(), "all") == ("north",) == tuple(unseen_origins(forecaster, uptown())[0])
    assert task_names(forecaster, old_city(), "all") == tuple(old_city().tasks)
    assert list(evaluate(run, old_city())["tasks"]) == ["trips", "visits"]


def test_new_places_below_zero_are_like_a_task_with_levels(run: Path) -> None:
    task = uptown().tasks["trips"]
    city = tiny_city(replace(task, values=task.values - 50, kind="other"))
    adapt(run, city, "trips", name="north", train="prompt", refine_epochs=1, **CPU)
    loaded = Forecaster.load(run)
    assert loaded.tasks["north"].head.level is not None
    assert np.isfinite(loaded.predict(city, "north").values).all()


def test_the_prompt_begins_as_the_seed_says(run: Path) -> None:
    """At a rate that moves nothing it stays what it was made as."""
    still = {"train": "prompt", "refine_epochs": 1, "rate": 1e-30, **CPU}
    before = Forecaster.load(run)
    zero, one = (before.adapt(city_of(), "bikes", seed=seed, **still).tasks["bikes"].head.prompt for seed in (0, 1))
    assert not torch.allclose(zero.project.weight, one.project.weight, atol=1e-3)


def test_new_places_start_from_the_known_task_and_move_on(run: Path) -> None:
    before = Forecaster.load(run)
    known, frozen = before.tasks["trips"].trunk.state_dict(), before.star.frozen
    after = before.adapt(uptown(), "trips", name="north", train="unfrozen", head_epochs=0, **CPU)
    trunk = after.tasks["north"].trunk.state_dict()
    assert any(not torch.equal(trunk[name], known[name]) for name in known)
    for name, mask in frozen.items():
        assert torch.equal(trunk[name][mask], known[name][mask])
    assert torch.equal(after.tasks["north"].head.mean, before.tasks["trips"].head.mean)


def test_in_memory_it_is_the_same_and_leaves_the_forecaster_alone(run: Path, tmp_path: Path) -> None:
    before = Forecaster.load(run)
    weights = copy.deepcopy([model.trunk.state_dict() for model in before.tasks.values()])
    after = before.adapt(city_of(), "bikes", refine_epochs=1, **CPU)
    assert list(before.tasks) == ["trips", "visits"] and list(after.tasks) == ["trips", "visits", "bikes"]
    for old, model in zip(weights, before.tasks.values(), strict=True):
        assert all(torch.equal(old[name], weight) for name, weight in model.trunk.state_dict().items())
    adapt(run, city_of(), "bikes", refine_epochs=1, **CPU)
    xr.testing.assert_identical(after.predict(city_of(), "bikes"), Forecaster.load(run).predict(city_of(), "bikes"))
    after.save(tmp_path / "model")
    again = Forecaster.load(tmp_path)
    xr.testing.assert_identical(again.predict(city_of(), "bikes"), after.predict(city_of(), "bikes"))
    assert again.star is not None and again.adapt(city_of("cars"), "cars", **CPU).tasks["cars"]


@pytest.mark.parametrize("preset", ["paper", "reference"])
def test_the_other_presets(tmp_path: Path, preset: str) -> None:
    tiny_fit(tmp_path / "run", old_city(), **tiny_settings(preset))
    done = adapt(tmp_path / "run", city_of(), "bikes", until="2024-03-10", **CPU)
    assert np.isfinite(done.forecaster.predict(city_of(), "bikes").values).all()
    assert done.record["tasks"]["bikes"]["systems"]["cmust"]["plain"]["mae"] > 0
    like = {"name": "north", "train": "nothing"}
    if preset == "paper":
        moved = adapt(tmp_path / "run", uptown(), "trips", **like, **CPU).forecaster
        assert np.isfinite(moved.predict(uptown(), "north").values).all()
        return
    with pytest.raises(ConfigError, match="free learns a prompt for every place"):
        adapt(tmp_path / "run", uptown(), "trips", **like, **CPU)


# ---------------------------------------------------------------- what is told


def test_scores_are_of_what_follows_the_history(run: Path) -> None:
    city = city_of(steps=120)
    done = adapt(run, city, "bikes", until="2024-03-11", compare=True, start_epochs=3, command="test", **CPU)
    record = json.loads((run / "versions" / "0002" / "adapt.json").read_text())
    assert record == done.record and record["part"] == "test"
    assert record["made"]["command"] == "test" and record["made"]["precision"] == "32-true"
    scored = record["tasks"]["bikes"]
    assert set(scored["systems"]) == {
        "cmust",
        "from_scratch",
        "last_value",
        "yesterday",
        "last_week",
        "weekly_average",
        "scaled_weekly_average",
        "weekly_profile",
    }
    task, forecaster = city.tasks["bikes"], Forecaster.load(run)
    forecaster.model("bikes").about["kind"] = "other"  # scores are of what the network says, not cut at 0
    assert (scored["from"], scored["until"]) == ("2024-03-11T00:00:00", str(task.time[-1]))
    errors, average = [], []
    for origin in range(84, 118):
        truth = task.values[origin : origin + 3, :, 0]
        errors.append(forecaster.predict(city, "bikes", at=task.time[origin]).values - truth)
        same_week = task.values[origin - 84 : origin - 81, :, 0]  # the one value of that slot in a week of history
        average.append(np.where(np.isnan(same_week), np.nan, same_week) - truth)
    assert scored["windows"] == len(errors)
    assert scored["systems"]["cmust"]["plain"]["mae"] == pytest.approx(np.nanmean(np.abs(errors)), rel=1e-4)
    assert scored["systems"]["weekly_average"]["plain"]["mae"] == pytest.approx(np.nanmean(np.abs(average)), rel=0.02)
    costs = record["costs"]
    assert costs["cmust"]["most_epochs"] == 2 and costs["from_scratch"]["most_epochs"] == 3
    batches = -(-(72 - 6) // 32)
    assert costs["cmust"]["updates"] == costs["cmust"]["epochs"] * batches
    assert costs["cmust"]["trained_weights"] < costs["from_scratch"]["trained_weights"]


def test_without_anything_after_the_history_the_days_that_chose_are_scored(run: Path) -> None:
    done = adapt(run, city_of(), "bikes", **CPU)
    (scored,) = done.record["tasks"].values()
    validation = done.forecaster.tasks["bikes"].about["validation"]
    assert done.record["part"] == "validation"
    assert scored["systems"]["cmust"]["plain"]["mae"] == pytest.approx(validation["plain_mae"])
    assert (validation["from"], validation["until"]) == ("2024-03-10T00:00:00", "2024-03-10T22:00:00")
    history = [event for event in Run(run / "versions" / "0002").history() if event["event"] == "phase"]
    loss = validation["plain_mae"] / done.forecaster.tasks["bikes"].head.std.item()  # tuned learns by this loss
    assert loss == pytest.approx(history[-1]["best_validation_loss"], rel=1e-4)


def test_training_from_scratch_knows_nothing_of_the_run(run: Path, tmp_path: Path) -> None:
    before = Forecaster.load(run)
    assert before.star is not None
    noise = {name: torch.randn_like(weight) for name, weight in before.star.weights.items()}
    scores = []
    for number, star in enumerate((before.star, Star(noise, before.star.frozen))):
        each = replace(before, star=star)
        wish = make_wish(each, city_of().tasks["bikes"], name=None, like=None, train="unfrozen", until=None)
        fabric = make_fabric("32-true", "cpu", 1)
        done = adapted(each, city_of(), wish, each.training, Run(tmp_path / str(number)), fabric, compare=True)
        scores.append(done.record["tasks"]["bikes"]["systems"])
    assert scores[0]["from_scratch"] == scores[1]["from_scratch"]
    assert scores[0]["cmust"] != scores[1]["cmust"]


# ---------------------------------------------------------------- interrupted


class Interrupts:
    def __init__(self, phase: str, epoch: int) -> None:
        self.where = phase, epoch

    def plan(self, phases, updates) -> None:
        self.phases = [phase.name for phase in phases]

    def update(self, phase, epoch: int) -> None:
        if (phase.name, epoch) == self.where:
            raise KeyboardInterrupt

    def event(self, event) -> None:
        pass


def test_interrupted_it_resumes_and_ends_the_same(run: Path, tmp_path: Path) -> None:
    import shutil

    other = Path(shutil.copytree(run, tmp_path / "other"))
    arguments = {"compare": True, "refine_epochs": 3, "start_epochs": 3, **CPU}
    adapt(other, city_of(), "bikes", **arguments)
    before = snapshot(run)
    for watcher in (Interrupts("adapt bikes", 3), Interrupts("alone bikes", 2)):
        with pytest.raises(KeyboardInterrupt):
            adapt(run, city_of(), "bikes", watcher=watcher, **arguments)
        now = snapshot(run)
        assert {name: now[name] for name in before} == before
        assert all(name.startswith("versions/.work/") for name in now if name not in before)
        assert list(Forecaster.load(run).tasks) == ["trips", "visits"]
    watcher = Interrupts("nowhere", 0)
    adapt(run, city_of(), "bikes", watcher=watcher, **arguments)
    assert watcher.phases == ["alone bikes"]
    for name in ("model/tasks/bikes.safetensors", "model/model.json"):
        assert (run / "versions/0002" / name).read_bytes() == (other / "versions/0002" / name).read_bytes()
    assert not (run / "versions" / ".work").exists()


def test_another_adaptation_begins_anew(run: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        adapt(run, city_of(), "bikes", watcher=Interrupts("adapt bikes", 2), **CPU)
    assert (run / "versions" / ".work" / "state" / "state.safetensors").exists()
    adapt(run, city_of("cars"), "cars", **CPU)
    assert list(Forecaster.load(run).tasks) == ["trips", "visits", "cars"]
    assert "bikes" not in (run / "versions" / "0002" / "history.jsonl").read_text()


@pytest.mark.parametrize("until", [np.datetime64("2024-03-10"), pd.Timestamp("2024-03-10"), "2024-03-10 00:00"])
def test_until_is_any_time_that_a_forecast_may_begin_at(run: Path, until) -> None:
    done = adapt(run, city_of(), "bikes", until=until, refine_epochs=1, **CPU)
    record = json.loads((run / "versions" / "0002" / "adapt.json").read_text())
    assert record["adapted"]["until"] == done.record["adapted"]["until"] == "2024-03-10"
    assert record["history"]["until"] == "2024-03-09T22:00:00"


# ---------------------------------------------------------------- what does not fit


@pytest.mark.parametrize(
    ("city", "task", "options", "error", "words"),
    [
        (old_city, "metro", {}, CityError, "has no task 'metro'; it has trips, visits"),
        (old_city, "trips", {}, RunError, r"has task 'trips' already.*update.*--as NAME"),
        (uptown, "trips", {}, RunError, r"has task 'trips' already"),
        (uptown, "trips", {"name": "visits"}, RunError, r"has task 'visits' already"),
        (uptown, "trips", {"name": "No Name"}, CityError, "No Name"),
        (city_of, "bikes", {"train": "prompt", "head_epochs": 2}, ConfigError, "leave out training.head_epochs"),
        (city_of, "bikes", {"train": "all"}, ConfigError, "train is 'all'; choose auto, unfrozen, prompt, nothing"),
        (city_of, "bikes", {"train": "nothing"}, ConfigError, "needs one of the run that it is like"),
        (
            uptown,
            "trips",
            {"name": "north", "train": "nothing", "compare": True},
            ConfigError,
            "--compare is for nothing",
        ),
        (uptown, "trips", {"name": "north", "train": "nothing", "rate": 1.0}, ConfigError, r"training\.rate is for"),
        (city_of, "bikes", {"like": "metro"}, RunError, "no task 'metro'"),
        (lambda: city_of(interval=3600), "bikes", {"like": "trips"}, ConfigError, "interval 3600 instead of 7200"),
        (lambda: city_of(channels=2), "bikes", {"like": "trips"}, ConfigError, "channels"),
        (lambda: replace(city_of(), timezone="Asia/Tokyo"), "bikes", {}, CityError, "keeps the time of Asia/Tokyo"),
        (lambda: city_of(steps=9), "bikes", {}, CityError, "has 9 steps of history"),
        (city_of, "bikes", {"until": "2020-01-01"}, CityError, "no step lies in"),
        (city_of, "bikes", {"until": "soon"}, CityError, "not a time"),
        (city_of, "bikes", {"until": "2024-03-11T02:00"}, CityError, "since its data ends at 2024-03-11T00:00:00"),
        (city_of, "bikes", {"until": np.datetime64("NaT")}, CityError, "not a time"),
        (city_of, "bikes", {"until": "2024-03-10T00:00Z"}, CityError, "is a time of a zone"),
        (city_of, "bikes", {"refine_epoch": 3}, ConfigError, "did you mean refine_epochs"),
        (city_of, "bikes", {"rate": -1}, ConfigError, r"training\.rate"),
        (city_of, "bikes", {"start_epochs": 3}, ConfigError, "start_epochs means nothing without training from fresh"),
        (city_of, "bikes", {"rolling_epochs": 3, "compare": True}, ConfigError, "rolling_epochs means nothing without"),
    ],
)
def test_what_does_not_fit(run: Path, city, task: str, options: dict, error: type, words: str) -> None:
    before = snapshot(run)
    with pytest.raises(error, match=words):
        adapt(run, city(), task, **options, **CPU)
    assert snapshot(run) == before


def test_a_run_without_common_weights(tmp_path: Path) -> None:
    tiny_fit(tmp_path / "run", old_city(), **tiny_settings("tuned", scheme="alone"))
    with pytest.raises(RunError, match=r"no common weights W\*.*--like TASK"):
        adapt(tmp_path / "run", city_of(), "bikes", **CPU)
    done = adapt(tmp_path / "run", uptown(), "trips", name="north", **CPU)
    assert "north" in done.forecaster.tasks


def test_nothing_to_train(tmp_path: Path) -> None:
    settings = tiny_settings("paper", model={"prompts": False}, training={"delta": 1e-12})
    tiny_fit(tmp_path / "run", old_city(), **settings)
    with pytest.raises(ConfigError, match="nothing is left to train in the head"):
        adapt(tmp_path / "run", city_of(), "bikes", train="prompt", **CPU)
    assert adapt(tmp_path / "run", city_of(), "bikes", **CPU).version == 2


def test_one_process(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with Run(run).locked():  # by another of the processes
        for doing in (lambda: adapt(run, city_of(), "bikes", **CPU), lambda: update(run, whole_city(), **CPU)):
            with pytest.raises(ConfigError, match="one process; start it without torchrun"):
                doing()
    with pytest.raises(ConfigError, match="one process"):
        Forecaster.load(run).adapt(city_of(), "bikes", **CPU)
