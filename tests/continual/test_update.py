"""Updates: what is kept and why, the stability rule carried on, what follows from new data and from none."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cmust import Forecaster, adapt, evaluate, update
from cmust.city import City
from cmust.continual.update import Update, _complete, _grow, _revised
from cmust.continual.versions import list_versions, use_version
from cmust.errors import CityError, ConfigError, RunError
from cmust.run import Run
from cmust.task_model import TaskModel
from tests.continual.conftest import CUT, old_city, snapshot, whole_city
from tests.continual.test_adapt import Interrupts, all_forecasts
from tests.rolling.tiny import tiny_city, tiny_fit, tiny_settings, tiny_task

CPU = {"accelerator": "cpu"}
SETTINGS = {"weight_decay": 0.1, "delta": 1e-3}
KINDS = ["before", "new_profile", "updated"]


def fresh_mae(forecaster: Forecaster, name: str, city: City, first: int, last: int) -> float:
    """Plain MAE of the targets from one step to another, every window forecast by itself."""
    task = city.tasks[name]
    errors = [
        forecaster.predict(city, name, at=task.time[origin]).values - task.values[origin : origin + 3, :, 0]
        for origin in range(first, last - 2)
    ]
    return float(np.nanmean(np.abs(errors)))


@pytest.fixture(scope="module")
def updated(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Update, Interrupts]:
    """A copy of the run that was updated, what came out and what was heard of it; only to be read."""
    run = Path(shutil.copytree(trained, tmp_path_factory.mktemp("updated") / "run"))
    watcher = Interrupts("nowhere", 0)
    return run, update(run, whole_city(), command="test", watcher=watcher, **SETTINGS, **CPU), watcher


def test_other_values_of_what_the_run_has_seen_are_noticed(trained: Path) -> None:
    seen, task = Forecaster.load(trained).tasks["trips"].about["seen"], whole_city().tasks["trips"]
    for step, revised in ((3, True), (300, False)):  # the latter is new
        values = task.values.copy()
        values[step] += 1
        assert _revised(replace(task, values=values), seen) is revised
    assert _revised(task.select(time=slice("2024-03-08", None)), seen) is False  # nothing to compare


def test_what_is_better_on_fresh_data_is_kept(updated, trained: Path) -> None:
    run, done, watcher = updated
    before, files = Forecaster.load(trained), snapshot(trained)
    assert done.version == 2 and {name: snapshot(run)[name] for name in files} == files
    record = json.loads((run / "versions" / "0002" / "update.json").read_text())
    assert record == done.record and record["left_out"] == {}
    assert record["made"]["command"] == "test" and record["made"]["precision"] == "32-true"
    # The run has seen 80 % of its 168 steps; of the 16 whole days that are new the last 5 are fresh, 276 .. 336.
    for name in ("trips", "visits"):
        told = record["tasks"][name]
        assert list(told["fresh"]) == KINDS
        scores = [told["fresh"][kind]["plain_mae"] for kind in KINDS]
        assert told["kept"] == KINDS[int(np.argmin(scores))]
        assert told["new_from"] == before.tasks[name].about["seen"]["until"] and told["revised"] is False
        time = whole_city().tasks[name].time
        assert {told["fresh"][kind]["from"] for kind in KINDS} == {str(time[276])}
        assert {told["fresh"][kind]["until"] for kind in KINDS} == {str(time[-1])}
        assert scores[0] == pytest.approx(fresh_mae(before, name, whole_city(), 276, 336), rel=1e-4)
        assert done.forecaster.tasks[name].about["seen"]["until"] == str(time[-1])
        assert done.forecaster.tasks[name].about["validation"]["plain_mae"] == min(scores)
    version = list_versions(run)[1]
    assert (version.made_by, version.parent, version.in_force) == ("update", 1, True)
    assert watcher.phases == ["roll 1 trips", "roll 2 visits", "refine trips", "refine visits"]
    training = json.loads((run / "config.json").read_text())["settings"]["training"]
    assert record["training"] != {**training} and record["training"] == {**training, **SETTINGS}


def test_the_finished_tables_are_those_of_all_data(updated) -> None:
    run, done, _ = updated
    task = whole_city().tasks["visits"]
    weeks = task.values.reshape(4, 84, 3, 1)  # from a Monday on
    assert done.record["tasks"]["visits"]["kept"] != "before"
    np.testing.assert_allclose(Forecaster.load(run).tasks["visits"].average, np.nanmean(weeks, 0), rtol=1e-5)


def test_what_was_frozen_keeps_its_bits_and_freezing_only_grows(updated, trained: Path) -> None:
    run, done, _ = updated
    star = Forecaster.load(trained).star
    assert star is not None
    assert "updated" in {each["kept"] for each in done.record["tasks"].values()}
    after = Forecaster.load(run)
    assert after.star is not None
    grown = 0
    for name, mask in star.frozen.items():
        assert not (mask & ~after.star.frozen[name]).any()
        grown += int((after.star.frozen[name] & ~mask).sum())
        assert torch.equal(after.star.weights[name][mask], star.weights[name][mask])
        for task, model in after.tasks.items():
            if done.record["tasks"][task]["kept"] == "updated":
                weights = model.trunk.state_dict()[name]
                assert torch.equal(weights[mask], star.weights[name][mask])
                fixed = after.star.frozen[name]
                assert torch.equal(weights[fixed], after.star.weights[name][fixed])
    assert grown > 20
    assert any(not torch.equal(after.star.weights[name], star.weights[name]) for name in star.weights)


def spoiled(city: City, name: str, seed: int = 0) -> City:
    """The city with what is new of a task turned to noise, but for the last five days: training on it does harm."""
    task = city.tasks[name]
    values = task.values.copy()
    values[134:276] = np.random.default_rng(seed).uniform(0, 400, values[134:276].shape)
    return city.with_task(replace(task, values=values))


def test_a_task_that_got_worse_stays_as_it_was(run: Path) -> None:
    before = Forecaster.load(run)
    expected = all_forecasts(before, "trips")
    done = update(run, spoiled(whole_city(), "trips"), **CPU)
    assert done.record["tasks"]["trips"]["kept"] == "before" and done.record["tasks"]["visits"]["kept"] != "before"
    after = Forecaster.load(run)
    assert torch.equal(all_forecasts(after, "trips"), expected)
    assert after.tasks["trips"].about == before.tasks["trips"].about
    name = "model/tasks/trips.safetensors"
    assert (run / "versions/0002" / name).read_bytes() == (run / name).read_bytes()


def test_where_nothing_is_better_there_is_no_new_version(run: Path) -> None:
    files = snapshot(run)
    done = update(run, spoiled(spoiled(whole_city(), "trips"), "visits"), **CPU)
    assert done.version is None and {each["kept"] for each in done.record["tasks"].values()} == {"before"}
    assert snapshot(run) == files
    assert list(done.forecaster.tasks) == ["trips", "visits"]


def test_equal_ones_keep_the_earlier(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import cmust.continual.update as module

    monkeypatch.setattr(module, "window_scores", lambda *_: {"plain_mae": 1.0})
    assert update(run, whole_city(), **CPU).version is None


def test_only_a_new_profile(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old weights, the old ``W*``, new tables."""
    import cmust.continual.update as module

    scores = iter([2.0, 1.0, 1.5] * 2)
    record = {"from": "2024-03-18T00:00:00", "until": "2024-03-25T00:00:00", "windows": 9, "masked_mae": None}
    judged: list[np.ndarray] = []

    def score(model: TaskModel, *_: object) -> dict:
        judged.append(model.average)
        return {**record, "plain_mae": next(scores)}

    monkeypatch.setattr(module, "window_scores", score)
    before = Forecaster.load(run)
    assert update(run, whole_city(), **CPU).version == 2
    after = Forecaster.load(run)
    for number, (name, model) in enumerate(after.tasks.items()):
        old, values = before.tasks[name], whole_city().tasks[name].values
        # What is judged on the fresh days, 276 to 336, has not seen them; what is kept has.
        for table, steps in ((judged[3 * number + 1], 276), (judged[3 * number + 2], 276), (model.average, 336)):
            for slot in (23, 24, 40):  # of the week; 275 and 276 are the first two
                np.testing.assert_allclose(table[slot], np.nanmean(values[slot:steps:84], axis=0), rtol=1e-5)
        for key, weight in model.trunk.state_dict().items():
            assert torch.equal(weight, old.trunk.state_dict()[key])
        assert model.about["trained_until"] == old.about["trained_until"] < model.about["seen"]["until"]
        assert not np.array_equal(model.profile, old.profile)
    trunk = "model/trunk.safetensors"
    assert (run / "versions/0002" / trunk).read_bytes() == (run / trunk).read_bytes()


def cold(city: City, name: str, steps: slice) -> City:
    """The city with some steps of a task below zero: temperatures in winter."""
    values = city.tasks[name].values.copy()
    values[steps] -= 50
    return city.with_task(replace(city.tasks[name], values=values, kind="other"))


@pytest.mark.parametrize("leveled", [True, False])
def test_a_known_task_keeps_its_levels_or_has_none(leveled: bool, trained, tmp_path, monkeypatch) -> None:
    """Trained in summer and updated in winter, or the other way round: the version can be loaded."""
    import cmust.continual.update as module

    record = {"from": "2024-03-18T00:00:00", "until": "2024-03-25T00:00:00", "windows": 9, "masked_mae": None}
    scores = iter([2.0, 1.5, 1.0])
    monkeypatch.setattr(module, "window_scores", lambda *_: {**record, "plain_mae": next(scores)})
    run = tmp_path / "run"
    if leveled:
        shutil.copytree(trained, run)
        new = cold(whole_city(), "trips", slice(180, 200))
    else:
        winter = cold(old_city(), "trips", slice(0, 168))
        tiny_fit(run, winter.select(tasks=["trips"]), **tiny_settings("tuned"))
        new = whole_city().select(time=slice(CUT, None))
    before = Forecaster.load(run).tasks["trips"]
    assert (before.head.level is not None) is leveled
    assert update(run, new, tasks=["trips"], **CPU).record["tasks"]["trips"]["kept"] == "updated"
    after = Forecaster.load(run)
    assert (after.tasks["trips"].head.level is not None) is leveled
    assert (after.tasks["trips"].about["profile"]["power"] is not None) is leveled
    assert np.isfinite(after.predict(new, "trips").values).all()


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (slice(276, 336), r"no observation from 2024-03-27T00:00:00 to 2024-03-31T22:00:00, the days that compare"),
        (slice(216, 276), r"no observation from 2024-03-22T00:00:00 to 2024-03-26T22:00:00, the days that choose when"),
    ],
)
def test_a_task_without_observations_to_judge_it_by_is_left_out(run: Path, steps: slice, words: str) -> None:
    values = whole_city().tasks["trips"].values.copy()
    values[steps] = np.nan
    city = whole_city().with_task(replace(whole_city().tasks["trips"], values=values))
    with pytest.raises(CityError, match=words):
        update(run, city, tasks=["trips"], **CPU)
    done = update(run, city, refine_epochs=1, rolling_epochs=1, **CPU)
    assert list(done.record["tasks"]) == ["visits"] and list(done.record["left_out"]) == ["trips"]


def test_zeros_do_not_judge_where_the_loss_leaves_them_out(trained: Path) -> None:
    before = Forecaster.load(trained)
    values = whole_city().tasks["trips"].values.copy()
    values[216:276] = 0
    city = whole_city().with_task(replace(whole_city().tasks["trips"], values=values))
    assert _grow(before, city, "trips", before.training).windows.split.starts
    masked = replace(before, config=before.config.model_copy(update={"loss": "masked_mae"}))
    with pytest.raises(CityError, match="only zeros, which its loss leaves out, or gaps from 2024-03-22T00:00:00 to"):
        _grow(masked, city, "trips", before.training)


def test_a_task_grows_at_its_own_scale_with_the_power_of_its_new_profile(trained: Path) -> None:
    before = Forecaster.load(trained)
    head = before.tasks["trips"].head
    head.power.fill_(0.33)  # none that is chosen from
    grown = _grow(before, whole_city(), "trips", before.training)
    assert grown.shape is not None and grown.head.power.item() == grown.shape.power
    assert head.power.item() == pytest.approx(0.33)
    assert torch.equal(grown.windows.scaler.mean, head.mean) and torch.equal(grown.windows.scaler.std, head.std)


def test_of_a_task_only_the_layers_that_the_common_weights_lack_are_taken(trained: Path) -> None:
    before = Forecaster.load(trained)
    assert before.star is not None
    weights = before.star.weights
    lacking = [name for name in weights if name.startswith("fusion.")]
    star = replace(before.star, weights={name: weight for name, weight in weights.items() if name not in lacking})
    own = before.tasks["trips"].trunk.state_dict()
    assert any(not torch.equal(own[name], weights[name]) for name in star.weights)
    found = _complete(replace(before, star=star), ["trips"]).weights
    for name in weights:
        assert torch.equal(found[name], own[name] if name in lacking else weights[name])


def test_the_windows_that_validation_takes_judge(trained: Path) -> None:
    """Of the days that choose, the first and the last window of four steps and three are without targets."""
    before = Forecaster.load(trained)
    values = whole_city().tasks["trips"].values.copy()
    for steps in (slice(216, 219), slice(273, 276)):
        values[steps] = np.nan
    city = whole_city().with_task(replace(whole_city().tasks["trips"], values=values))
    for wanted in (None, 3):
        training = before.training.model_copy(update={"validation_windows": wanted})
        assert _grow(before, city, "trips", training).windows.split.starts
    training = before.training.model_copy(update={"validation_windows": 2})
    words = "no observation in the 2 windows looked at from 2024-03-22T00:00:00 to 2024-03-26T22:00:00, the days that"
    with pytest.raises(CityError, match=words):
        _grow(before, city, "trips", training)


def test_updated_again_and_again(run: Path) -> None:
    whole = tiny_city(tiny_task("trips", steps=504), tiny_task("visits", steps=504))
    for until in ("2024-04-01", "2024-04-15"):
        done = update(run, whole.select(time=slice(None, until)), **CPU)
        assert done.version is not None
        assert done.forecaster.tasks["trips"].about["seen"]["until"] < until
    assert [v.parent for v in list_versions(run)] == [None, 1, 2]
    use_version(run, 1)
    assert update(run, whole, **CPU).version == 4 and list_versions(run)[-1].parent == 1


def test_tasks_that_came_later_are_updated_too(run: Path) -> None:
    bikes = tiny_task("bikes", steps=336, channels=2, interval=3600)
    old = tiny_city(bikes).select(time=slice(None, "2024-03-11"))
    adapt(run, old, "bikes", train="prompt", **CPU)
    city = whole_city().with_task(bikes)
    done = update(run, city, **CPU)
    assert set(done.record["tasks"]) == {"trips", "visits", "bikes"}
    assert np.isfinite(done.forecaster.predict(city, "bikes").values).all()
    assert list(Forecaster.load(run).tasks) == ["trips", "visits", "bikes"]


def test_some_tasks_only(run: Path) -> None:
    only = whole_city().select(tasks=["visits"])
    done = update(run, only, **CPU)
    assert list(done.record["tasks"]) == ["visits"]
    assert done.record["left_out"] == {"trips": "city 'tiny' has no task 'trips'; it has visits"}
    assert list(update(run, whole_city(), tasks=["trips"], **CPU).record["tasks"]) == ["trips"]


def test_after_an_update_only_later_data_is_scored(updated) -> None:
    run, _, _ = updated
    with pytest.raises(RunError, match=r"no window to score.*has seen data until 2024-03-31T22:00:00.*later data"):
        evaluate(run, whole_city())


def test_no_new_data(run: Path) -> None:
    files = snapshot(run)
    early = old_city().select(time=slice(None, "2024-03-15T04:00"))
    for tasks in (None, ["trips"]):
        with pytest.raises(RunError, match=r"'trips' has no new data: the run has seen it until 2024-03-15T02:00:00"):
            update(run, early, tasks=tasks, **CPU)
    with pytest.raises(RunError, match=r"has 34 new steps, 2\.8 days.*needs 3 days"):
        update(run, old_city(), **CPU)
    assert snapshot(run) == files


def test_what_does_not_fit(run: Path, tmp_path: Path) -> None:
    files = snapshot(run)
    with pytest.raises(CityError, match=r"nodes.*trained on"):
        update(run, tiny_city(tiny_task("trips", steps=336, nodes=4)), tasks=["trips"], **CPU)
    with pytest.raises(RunError, match="no task 'metro'"):
        update(run, tiny_city(tiny_task("metro")), tasks=["metro"], **CPU)
    with pytest.raises(ConfigError, match=r"training\.start_epochs means nothing without training from fresh weights"):
        update(run, whole_city(), start_epochs=3, **CPU)
    with pytest.raises(ConfigError, match=r"training\.head_epochs means nothing without a task that comes later"):
        update(run, whole_city(), head_epochs=3, **CPU)
    with pytest.raises(ConfigError, match="did you mean rolling_epochs"):
        update(run, whole_city(), rolling_epoch=3, **CPU)
    with pytest.raises(ConfigError, match="tasks is empty; name at least one task"):
        update(run, whole_city(), tasks=[], **CPU)
    with pytest.raises(CityError, match="tasks is the text 'trips', it has to be a list of names"):
        update(run, whole_city(), tasks="trips", **CPU)
    assert snapshot(run) == files
    tiny_fit(tmp_path / "joint", old_city(), **tiny_settings("tuned", scheme="joint"))
    with pytest.raises(RunError, match=r"no common weights W\*"):
        update(tmp_path / "joint", whole_city(), **CPU)


def test_interrupted_it_resumes_and_ends_the_same(run: Path, updated) -> None:
    other, _, _ = updated
    before = snapshot(run)
    for where in (("roll 2 visits", 2), ("refine visits", 1)):
        with pytest.raises(KeyboardInterrupt):
            update(run, whole_city(), watcher=Interrupts(*where), **SETTINGS, **CPU)
        assert {name: snapshot(run)[name] for name in before} == before
        assert list_versions(run)[-1].number == 1
    assert Run(run / "versions" / ".work").state_file.exists()
    update(run, whole_city(), **SETTINGS, **CPU)
    for path in (other / "versions/0002/model").rglob("*.*"):
        assert (run / path.relative_to(other)).read_bytes() == path.read_bytes()
