"""Versions: listed, rolled back, compared; what a kill or a hand left behind."""

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import cmust
from cmust import Forecaster, adapt, evaluate, update
from cmust.continual.compare import compare_versions
from cmust.continual.versions import changing, list_versions, use_version
from cmust.errors import CmustError, RunError
from cmust.files import link_or_copy
from cmust.report import write_report
from cmust.run import Run
from tests.continual.conftest import QUICK, old_city, snapshot, whole_city
from tests.rolling.tiny import tiny_city, tiny_task

BIKES = {"train": "prompt", "accelerator": "cpu", "refine_epochs": 1}


def bikes(steps: int = 84):
    return tiny_city(tiny_task("bikes", steps=steps))


def test_a_run_has_one_version_until_something_is_added(run: Path) -> None:
    (version,) = list_versions(run)
    assert (version.number, version.made_by, version.parent, version.in_force) == (1, "train", None, True)
    config = json.loads((run / "config.json").read_text())
    assert version.made["when"] == config["made"]["started"] and version.city["name"] == "tiny"
    assert not (run / "current.json").exists()
    use_version(run, 1)
    assert json.loads((run / "current.json").read_text()) == {"schema": 1, "current": 1, "last": 1}


def test_each_version_is_complete_and_what_it_was(run: Path) -> None:
    before = snapshot(run)
    adapt(run, bikes(), "bikes", command="one", **BIKES)
    after = snapshot(run)
    assert {name: after[name] for name in before} == before
    adapt(run, tiny_city(tiny_task("cars", steps=84)), "cars", command="two", **BIKES)
    assert {name: snapshot(run)[name] for name in after if name != "current.json"} == {
        name: content for name, content in after.items() if name != "current.json"
    }
    found = [(v.number, v.made_by, v.parent, v.in_force, list(v.tasks)) for v in list_versions(run)]
    assert found == [
        (1, "train", None, False, ["trips", "visits"]),
        (2, "adapt", 1, False, ["trips", "visits", "bikes"]),
        (3, "adapt", 2, True, ["trips", "visits", "bikes", "cars"]),
    ]
    assert [v.made["command"] for v in list_versions(run)[1:]] == ["one", "two"]
    assert not list(run.rglob("*.tmp")) and not list(run.rglob(".work"))
    for number in (1, 2, 3):
        alone = run.parent / f"alone{number}" / "model"
        shutil.copytree(Run(run).version_model(number), alone)
        assert list(Forecaster.load(alone.parent).tasks) == list(Forecaster.load(run, number).tasks)


def test_rolling_back_and_going_on_from_there(run: Path) -> None:
    adapt(run, bikes(), "bikes", **BIKES)
    use_version(run, 1)
    assert list(Forecaster.load(run).tasks) == ["trips", "visits"]
    assert list(Forecaster.load(run, 2).tasks) == ["trips", "visits", "bikes"]
    adapt(run, tiny_city(tiny_task("cars", steps=84)), "cars", **BIKES)
    assert [(v.number, v.parent, v.in_force, list(v.tasks)) for v in list_versions(run)][2:] == [
        (3, 1, True, ["trips", "visits", "cars"])
    ]
    with pytest.raises(RunError, match="has no version 4; it has 1 to 3"):
        use_version(run, 4)
    with pytest.raises(RunError, match="has no version 0"):
        Forecaster.load(run, 0)


def test_a_bundle_has_one_version(run: Path, tmp_path: Path) -> None:
    Forecaster.load(run).save_pretrained(tmp_path / "bundle")
    for change in (list_versions, lambda folder: update(folder, whole_city())):
        with pytest.raises(RunError, match="is a bundle: it has one version, and nothing is added to it"):
            change(tmp_path / "bundle")


def test_everything_follows_the_version_in_force(run: Path) -> None:
    evaluate(run, old_city())
    assert "Not evaluated yet" not in write_report(run).read_text()
    adapt(run, bikes(), "bikes", **BIKES)
    page = write_report(run).read_text()  # the scores of version 1 are those of the same weights
    assert page.count("Not evaluated yet: bikes.") == 1 and "Not evaluated yet." not in page
    assert evaluate(run, old_city())["version"] == 2
    use_version(run, 1)
    assert "Not evaluated yet" not in write_report(run).read_text()
    assert evaluate(run, old_city())["version"] == 1


def test_training_again_leaves_later_versions_alone(run: Path) -> None:
    from tests.rolling.tiny import tiny_fit, tiny_settings

    adapt(run, bikes(), "bikes", **BIKES)
    before = snapshot(run)
    assert "bikes" in tiny_fit(run, old_city(), **tiny_settings("tuned", training=QUICK)).tasks
    assert snapshot(run) == before


def test_two_versions_beside_each_other(run: Path) -> None:
    adapt(run, bikes(), "bikes", **BIKES)
    table = compare_versions(run, 1, 2)
    assert list(table) == ["trips", "visits", "bikes"]
    assert table["trips"]["validation"][0] == table["trips"]["validation"][1]
    assert table["bikes"]["validation"][0] is None and table["bikes"]["later"] is None
    later = compare_versions(run, 1, 2, whole_city())["trips"]["later"]
    assert later[0] == later[1]
    # Every window of the last two weeks, and of what the first model was never shown, forecast one by one.
    forecaster, task = Forecaster.load(run, 1), whole_city().tasks["trips"]
    begin = np.searchsorted(task.time, np.datetime64(forecaster.tasks["trips"].about["seen"]["until"])) + 1
    errors = []
    for origin in range(begin, task.n_steps - 2):
        forecast = forecaster.predict(whole_city(), "trips", at=task.time[origin]).values
        errors.append((forecast - task.values[origin : origin + 3, :, 0]).ravel())
    assert later[0]["windows"] == len(errors)
    assert later[0]["plain_mae"] == pytest.approx(np.nanmean(np.abs(errors)), rel=1e-4)
    with pytest.raises(RunError, match="nothing that follows"):
        compare_versions(run, 1, 2, old_city().select(time=slice(None, "2024-03-10")))


def test_a_pointer_damaged_by_hand(run: Path) -> None:
    adapt(run, bikes(), "bikes", **BIKES)
    for text in ("{", '{"current": 3, "last": 2}', '{"current": "2", "last": 2}', "{}", '{"current": true, "last": 2}'):
        (run / "current.json").write_text(text)
        with pytest.raises(RunError, match=r"current\.json is damaged"):
            Forecaster.load(run)
    (run / "current.json").write_text('{"current": 2, "last": 2}')
    shutil.move(run / "versions" / "0002", run / "elsewhere")
    with pytest.raises(RunError, match=r"0002/model is missing.*--use 1"):
        Forecaster.load(run)
    use_version(run, 1)
    assert list(Forecaster.load(run).tasks) == ["trips", "visits"]


def test_a_version_that_is_damaged_is_not_brought_into_force(run: Path) -> None:
    adapt(run, bikes(), "bikes", **BIKES)
    use_version(run, 1)
    path = run / "versions" / "0002" / "model" / "tasks" / "bikes.safetensors"
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(RunError, match=r"bikes\.safetensors was changed or truncated"):
        use_version(run, 2)
    assert Run(run).pointer() == (1, 2)


def test_a_version_that_cannot_be_loaded_is_not_made(run: Path) -> None:
    before, broken = snapshot(run), Forecaster.load(run)
    broken.tasks["trips"].about["profile"]["power"] = None  # but its head has levels
    with (
        pytest.raises(RunError, match=r"version 2 is not brought into force.*: .*'level'.*; version 1 stays"),
        changing(run) as change,
    ):
        change.publish(change.work({}), broken, ["trips"], {"made_by": "test"}, {})
    assert snapshot(run) == before and [version.number for version in list_versions(run)] == [1]


def test_leftovers_are_cleared_by_the_next_holder(run: Path) -> None:
    use_version(run, 1)
    before = snapshot(run)
    uncounted = run / "versions" / "0002"
    shutil.copytree(run / "model", uncounted / "model")
    (run / ".current.json.x.tmp").write_text("half")
    (run / "versions" / ".work" / "model").mkdir(parents=True)
    (run / "versions" / ".work" / "model" / ".model.json.x.tmp").write_text("half")
    assert [v.number for v in list_versions(run)] == [1]
    with changing(run):
        pass
    assert snapshot(run) == before
    adapt(run, bikes(), "bikes", **BIKES)
    assert [v.number for v in list_versions(run)] == [1, 2]


@pytest.mark.parametrize("added", [("bikes",), ("bikes", "cars")])
def test_versions_of_a_lost_pointer_are_not_removed(run: Path, added: tuple[str, ...]) -> None:
    for name in added:
        adapt(run, tiny_city(tiny_task(name, steps=84)), name, **BIKES)
    (run / "current.json").unlink()
    last, found = len(added) + 1, "0002, 0003"[: 6 * len(added) - 2]
    before = snapshot(run)
    for command in (
        lambda: adapt(run, bikes(), "metro", **BIKES),  # which would be refused anyway
        lambda: adapt(run, tiny_city(tiny_task("boats", steps=84)), "boats", **BIKES),
        lambda: cmust.update(run, whole_city(), accelerator="cpu"),
        lambda: use_version(run, 1),
        lambda: list_versions(run),
        lambda: Forecaster.load(run),
    ):
        with pytest.raises(RunError, match=rf"current\.json is missing, but .*versions holds {found}, which.*M being"):
            command()
    assert snapshot(run) == before
    (run / "current.json").write_text(json.dumps({"current": last, "last": last}))
    assert list(Forecaster.load(run).tasks) == ["trips", "visits", *added]


def test_a_pointer_of_long_ago_is_told_from_a_kill(run: Path) -> None:
    for name in ("bikes", "cars"):
        adapt(run, tiny_city(tiny_task(name, steps=84)), name, **BIKES)
    (run / "current.json").write_text('{"current": 1, "last": 1}')
    with pytest.raises(RunError, match=r"counts 1 version, but .* holds 0002, 0003, which no kill leaves"):
        list_versions(run)


def test_a_refused_command_removes_no_version(run: Path) -> None:
    adapt(run, bikes(), "bikes", **BIKES)
    (run / "current.json").write_text('{"current": 1, "last": 1}')  # now it looks as a kill leaves it
    before = snapshot(run)
    for refused in (
        lambda: adapt(run, bikes(), "metro", **BIKES),
        lambda: adapt(run, bikes(), "bikes", train="nothing", accelerator="cpu"),
        lambda: cmust.update(run, old_city(), tasks=["metro"], accelerator="cpu"),
    ):
        with pytest.raises(CmustError):
            refused()
    assert snapshot(run) == before


def test_two_at_once(run: Path) -> None:
    before = snapshot(run)
    with Run(run).locked():
        for change in (
            lambda: adapt(run, bikes(), "bikes", **BIKES),
            lambda: cmust.update(run, whole_city(), accelerator="cpu"),
            lambda: use_version(run, 1),
        ):
            with pytest.raises(RunError, match="being written by another process"):
                change()
    assert snapshot(run) == before


def test_a_run_that_is_not_finished(tmp_path: Path, run: Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        adapt(tmp_path / "nothing", bikes(), "bikes", **BIKES)
    assert not (tmp_path / "nothing").exists()
    shutil.rmtree(run / "model")
    with pytest.raises(RunError, match="no model yet"):
        list_versions(run)


def test_without_second_names_files_are_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    (tmp_path / "a").write_text("content")
    link_or_copy(tmp_path / "a", tmp_path / "linked")
    assert (tmp_path / "linked").samefile(tmp_path / "a")

    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(os, "link", refuse)
    link_or_copy(tmp_path / "a", tmp_path / "new" / "copied")
    assert (tmp_path / "new" / "copied").read_text() == "content"
    assert not (tmp_path / "new" / "copied").samefile(tmp_path / "a")


def test_a_run_from_before_versions_still_forecasts(run: Path) -> None:
    """Its ``model.json`` says neither what data it has seen nor how it was trained, and no mask was kept."""
    from cmust.rolling import state as store

    expected = Forecaster.load(run).predict(old_city(), "trips")
    path = run / "model" / "model.json"
    about = json.loads(path.read_text())
    for key in ("training", "format", "record", "digest"):
        about.pop(key)
    about["schema"] = 1
    for task in about["tasks"].values():
        for key in ("seen", "fingerprint", "cuts", "validation"):
            task.pop(key)
    trunk = run / "model" / "trunk.safetensors"
    store.save(trunk, {"trunk": store.load(trunk).tensors["trunk"]}, {"schema": 1})
    about["checksums"]["trunk.safetensors"] = hashlib.sha256(trunk.read_bytes()).hexdigest()
    path.write_text(json.dumps(about))
    forecaster = Forecaster.load(run)
    xr.testing.assert_identical(forecaster.predict(old_city(), "trips"), expected)
    assert forecaster.star is not None and not forecaster.star.frozen
    assert evaluate(run, old_city())["protocol"] == "purged"
    with pytest.raises(RunError, match="trained on city 'tiny' with other data"):
        evaluate(run, whole_city())
    with pytest.raises(RunError, match="train it again"):
        cmust.update(run, whole_city(), accelerator="cpu")
    assert "bikes" in adapt(run, bikes(), "bikes", **BIKES).forecaster.tasks
