"""Run folders: what a wrong, damaged, busy or full one says, and that nothing is lost."""

import errno
import json
import logging
import logging.handlers
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from benchmarks import quality
from safetensors.torch import load_file, save_file
from torch.utils.checkpoint import checkpoint

from cmust import Forecaster, evaluate, fit
from cmust.bundle.schema import digest
from cmust.city.checks import LONGEST_NAME
from cmust.errors import CityError, CmustError, ConfigError, RunError
from cmust.rolling import state as store
from cmust.run import Run
from cmust.settings import derived_settings, make_settings
from cmust.training import make_fabric, trained_with
from cmust.windows import common_cuts
from tests.rolling.tiny import SIZES, small_city, tiny_fit

QUICK = {"scheme": "alone", "training": {"start_epochs": 2, "precision": "32-true", "batch_size": 64}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "finished"
    tiny_fit(folder, **QUICK)
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_a_run_folder_is_complete(finished: Path) -> None:
    config = json.loads((finished / "config.json").read_text())
    assert config["city"]["name"] == "tiny" and len(config["city"]["fingerprint"]) == 64
    assert config["settings"]["tasks"] == ["trips", "visits"] and config["settings"]["training"]["seed"] == 0
    assert config["settings"]["model"]["d_obs"] == SIZES["d_obs"] and config["made"]["precision"] == "32-true"
    assert set(config["made"]["versions"]) == {"cmust", "torch", "numpy", "python"}
    assert [event["phase"] for event in Run(finished).history() if event["event"] == "phase"] == [
        "alone trips",
        "alone visits",
    ]
    assert list((finished / "tensorboard").glob("events*"))
    assert not list(finished.rglob("*.tmp")) and not list(finished.rglob("*.pkl"))


def test_the_longest_name_of_a_task_can_be_that_of_files(tmp_path: Path) -> None:
    name = LONGEST_NAME * "a"
    tiny_fit(tmp_path / "run", small_city(name), **QUICK).save_pretrained(tmp_path / "bundle")
    assert list(Forecaster.load(tmp_path / "bundle").tasks) == [name]


def test_a_finished_run_is_not_trained_again(run: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    tiny_fit(run, **QUICK)
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_another_city(run: Path) -> None:
    city = small_city()
    values = city.tasks["trips"].values.copy()
    values[3, 0, 0] += 1
    with pytest.raises(RunError, match=r"started with city\.fingerprint = "):
        tiny_fit(run, city.with_task(replace(city.tasks["trips"], values=values)), **QUICK)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"protocol": "published"}, r"settings\.protocol = 'purged', not 'published'"),
        ({"scheme": "joint"}, r"settings\.scheme = 'alone', not 'joint'"),
        ({"training": {**QUICK["training"], "rate": 0.5}}, r"settings\.training\.rate = 0\.001, not 0\.5"),
        ({"model": {**SIZES, "ffn_width": 9}}, r"settings\.model\.ffn_width = 8, not 9"),
        ({"tasks": ("visits", "trips")}, r"settings\.tasks = "),
    ],
)
def test_other_settings_name_the_key(run: Path, change: dict, words: str) -> None:
    with pytest.raises(RunError, match=words):
        tiny_fit(run, **{**QUICK, **change})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"seed": 1}, r"training\.seed = 0, not 1"),
        ({"task": "visits"}, r"task = 'trips', not 'visits'"),
        ({"updates": 60}, r"training\.start_epochs = 2, not 3"),
    ],
)
def test_a_curve_of_the_benchmark_is_another_one(
    change: dict, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality, "carry_out", lambda *_, **__: None)
    curve = quality.Curve("tuned", model=SIZES)
    given = {"city": small_city(), "task": "trips", "folder": tmp_path, "epochs": 2, "updates": 40}
    given |= {"precision": "32-true", "seed": 0}
    for _ in range(2):
        quality.train(curve, **given)
    with pytest.raises(RunError, match=words):
        quality.train(curve, **{**given, **change})


def test_a_setting_that_is_left_out_is_another_setting(tmp_path: Path) -> None:
    settings = {**QUICK, "tasks": ("trips",)}
    tiny_fit(tmp_path, **{**settings, "training": {**QUICK["training"], "epochs_by_task": {"trips": 1}}})
    with pytest.raises(RunError, match=r"settings\.training\.epochs_by_task\.trips = 1, not None"):
        tiny_fit(tmp_path, **settings)


def test_cuts_of_others_are_part_of_the_run(run: Path, tmp_path: Path) -> None:
    own, others = common_cuts(small_city()), tuple(np.array(["2024-03-12", "2024-03-14"], "datetime64[s]"))
    config = (run / "config.json").read_bytes()
    tiny_fit(run, cuts=own, **QUICK)  # nothing else than without them
    assert (run / "config.json").read_bytes() == config
    with pytest.raises(RunError, match=r"with cuts = None, not \['2024-03-12T00:00:00', '2024-03-14T00:00:00'\]"):
        tiny_fit(run, cuts=others, **QUICK)
    made = tiny_fit(tmp_path / "other", cuts=["2024-03-12", "2024-03-14"], **QUICK)
    tiny_fit(tmp_path / "other", cuts=others, **QUICK)
    assert made.tasks["trips"].about["seen"]["until"] == "2024-03-13T22:00:00"
    assert evaluate(tmp_path / "other", small_city())["tasks"]["trips"]["windows"] == 4 * 12 - 2
    with pytest.raises(ConfigError, match="give two times, the later one second"):
        tiny_fit(tmp_path / "turned", cuts=others[::-1], **QUICK)
    with pytest.raises(CityError, match="'soon' is not a time"):
        tiny_fit(tmp_path / "turned", cuts=("2024-03-12", "soon"), **QUICK)
    assert not (tmp_path / "turned").exists()
    with pytest.raises(ConfigError, match="cuts are for protocol purged"):
        tiny_fit(tmp_path / "published", cuts=others, protocol="published", **QUICK)


def test_a_run_begun_before_a_setting_existed_goes_on_with_its_default(run: Path) -> None:
    file = run / "config.json"
    config = json.loads(file.read_text())
    for setting in ("recompute", "head_epochs", "windows_per_pass"):
        del config["settings"]["training"][setting]
    del config["cuts"]
    file.write_text(json.dumps(config))
    tiny_fit(run, **QUICK)
    with pytest.raises(RunError, match=r"settings\.training\.head_epochs = 3, not 4"):
        tiny_fit(run, **{**QUICK, "training": {**QUICK["training"], "head_epochs": 4}})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"speed": 3}, "speed"),
        ({"training": {"rat": 3}}, r"training\.rat"),
        ({"model": {**SIZES, "heads": 3}}, "multiple of heads=3"),
        ({"training": {"rate": -1}}, r"training\.rate"),
        ({"preset": "best"}, "preset"),
        ({"tasks": ("trips", "trips")}, "twice"),
        ({"training": {"epochs_by_task": {"other": 3}}}, "'other'"),
        ({"training": {"epochs_by_task": {"trips": 0}}}, r"epochs_by_task\.trips.* 1 \(found 0\)"),
        ({"training": {"epochs_by_task": {"trips": 3}}, "scheme": "rolling"}, r"means nothing without scheme = alone"),
        ({"training": {"warmup_updates": 3}, "preset": "paper"}, r"without training\.schedule = cosine"),
        ({"training": {"milestones": [3]}, "preset": "tuned"}, r"without training\.schedule = milestones"),
        ({"training": {"rolling_epochs": 3}, "scheme": "alone"}, r"training\.rolling_epochs means .* rolling phases"),
        ({"training": {"delta": 3}, "scheme": "joint"}, r"training\.delta means nothing without rolling phases"),
        (
            {"training": {"freezing": False, "stability": "tensor"}, "scheme": "rolling"},
            r"training\.stability means nothing without training\.freezing = true; set that",
        ),
        ({"model": {"cross_interactions": False, "order": "time_first"}}, r"without model\.cross_interactions = true"),
        ({"model": {**SIZES, "cross_interactions": False}}, r"model\.cross_width means nothing without model\.cross"),
        ({"model": {"prompts": False, "prompt": "free"}}, r"model\.prompt means nothing without model\.prompts = true"),
        ({"training": {"rate": float("inf")}}, r"training\.rate: .*finite"),
        ({"training": {"milestones": "3"}}, r"should be a list \(found '3'\)"),
        ({"model": 3}, r"settings\.model: .* table \(found 3\)"),
        ({"tasks": []}, r"^settings: tasks is empty; name at least one task, or leave it out for all$"),
    ],
)
def test_settings_that_do_not_fit(tmp_path: Path, change: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        tiny_fit(tmp_path / "run", **{**QUICK, **change})
    assert not (tmp_path / "run" / "model").exists()


def test_what_means_nothing_is_left_out_of_derived_settings() -> None:
    training = {"start_epochs": 3, "rolling_epochs": 2, "delta": 1e-9, "warmup_updates": 5, "refine_epochs": 4}
    model = {"cross_width": 8, "heads": 2, "prompt": "free"}
    given = {"preset": "tuned", "training": training, "model": model}
    whole = make_settings(**given)
    assert whole == derived_settings(**given) and dict(whole.training) == training
    alone = derived_settings(**{**given, "scheme": "alone"})
    assert alone == make_settings(**alone.model_dump())
    assert alone.training == {"start_epochs": 3, "warmup_updates": 5, "refine_epochs": 4} and alone.model == model
    bare = derived_settings(**{**given, "model": {**model, "prompts": False, "cross_interactions": False}})
    assert bare.model == {"heads": 2, "prompts": False, "cross_interactions": False} and bare.training == training
    with pytest.raises(ConfigError, match=r"training\.epochz"):
        derived_settings(training={"epochz": 3})


@pytest.mark.parametrize(
    "where",
    [
        {"accelerator": "abacus"},
        {"accelerator": "mps"},
        {"accelerator": "cpu", "devices": 0},
        {"accelerator": "cpu", "devices": "two"},
    ],
)
def test_a_device_that_is_not_there(tmp_path: Path, where: dict) -> None:
    with pytest.raises(ConfigError, match=rf"{next(reversed(where.values()))!r}.* cannot be used here"):
        fit(small_city(), tmp_path / "run", **where)
    assert not (tmp_path / "run").exists()


def test_an_accelerator_that_has_no_float64_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lightning_fabric.accelerators.mps.MPSAccelerator.is_available", lambda: True)
    assert make_fabric("auto", "auto", 1).device.type == ("cuda" if torch.cuda.is_available() else "cpu")


def test_bf16_is_said_and_other_precisions_are_not_recommended() -> None:
    said = logging.handlers.BufferingHandler(100)
    log = logging.getLogger("lightning_fabric.utilities.rank_zero")
    log.addHandler(said)
    try:
        make_fabric("bf16-mixed", "cpu", 1)
        log.info("You should set `torch.set_float32_matmul_precision('medium' | 'high')`")  # as it does on GPUs
    finally:
        log.removeHandler(said)
    assert [record.getMessage() for record in said.buffer] == ["Using bfloat16 Automatic Mixed Precision (AMP)"]


def test_too_little_memory_of_a_gpu(tmp_path: Path) -> None:
    class Full:
        def plan(self, phases, updates) -> None: ...
        def event(self, event) -> None: ...
        def update(self, phase, epoch) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore about it")

    with pytest.raises(RunError, match=r"does not suffice \(CUDA out of memory.*training\.windows_per_pass below 64"):
        tiny_fit(tmp_path / "run", watcher=Full(), **QUICK)
    tiny_fit(tmp_path / "run", **QUICK)


def test_an_unknown_task_and_too_few_steps(tmp_path: Path) -> None:
    with pytest.raises(CityError, match="no task 'metro'; it has trips, visits"):
        tiny_fit(tmp_path / "a", **QUICK, tasks=("metro",))
    with pytest.raises(CityError, match="too few for windows of 100"):
        tiny_fit(tmp_path / "b", **{**QUICK, "model": {**SIZES, "input_steps": 100, "horizon": 60}})
    tiny_fit(tmp_path / "b", **QUICK)  # what was refused has not claimed the folder


def test_a_run_that_another_process_writes(run: Path) -> None:
    with Run(run).locked(), pytest.raises(RunError, match="being written by another process"):
        tiny_fit(run, **QUICK)
    tiny_fit(run, **QUICK)


@pytest.mark.parametrize("name", ["readings.csv", "config.json"])
def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / name).write_text('{"model_type": "bert"}')
    with pytest.raises(RunError, match=f"is no run folder, but holds {name}; choose a folder that is new or empty"):
        tiny_fit(folder, **QUICK)
    assert os.listdir(folder) == [name] and (folder / name).read_text() == '{"model_type": "bert"}'


def test_a_run_of_another_kind_is_left_alone(tmp_path: Path) -> None:
    Run(tmp_path).claim({"experiment": "table1"}, {})
    with pytest.raises(RunError, match=r"config.json is of something else: it has no 'schema'; choose another folder"):
        tiny_fit(tmp_path, **QUICK)


def test_what_a_kill_leaves_before_the_settings_is_no_hindrance(tmp_path: Path) -> None:
    """The folder alone; the lock; the lock and half of ``config.json``; hidden files of the system besides."""
    for at, left in enumerate(([], [".lock"], [".lock", ".config.json.ab12.tmp"], [".DS_Store"])):
        folder = tmp_path / str(at)
        folder.mkdir()
        for name in left:
            (folder / name).touch()
        with Run(folder).locked():
            Run(folder).claim({"schema": 1}, {"started": "now"})
        assert json.loads((folder / "config.json").read_text())["schema"] == 1


def test_a_copy_without_its_lock_is_still_the_run(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns(".lock"))
    tiny_fit(copy, **QUICK)


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="cannot write to run folder"):
        tiny_fit(tmp_path / "file" / "run", **QUICK)


@pytest.mark.parametrize("what", ["state", "history", "weights"])
def test_a_full_disk_loses_nothing(finished: Path, tmp_path: Path, monkeypatch, what: str) -> None:
    """The disk fills while something is written; with room again, the run goes on to the same weights."""
    folder, calls = tmp_path / "run", 0
    write = store.save_file

    def full_write(tensors, path, metadata=None) -> None:
        nonlocal calls
        weights = "result" in str(path)
        calls += weights == (what == "weights")
        if what != "history" and weights == (what == "weights") and calls == 2:
            Path(path).write_bytes(b"half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        write(tensors, path, metadata=metadata)

    monkeypatch.setattr(store, "save_file", full_write)
    if what == "history":
        folder.mkdir()
        (folder / ".lock").touch()  # a run that was begun there
        (folder / "history.jsonl").symlink_to("/dev/full")  # every write finds no space
    with pytest.raises(CmustError, match=r"No space left on device.*free some space"):
        tiny_fit(folder, **QUICK)
    monkeypatch.undo()
    if what == "history":
        (folder / "history.jsonl").unlink()
    tiny_fit(folder, **QUICK)
    assert not list(folder.rglob("*.tmp"))
    for name in ("trips", "visits"):
        one, two = (load_file(path / "model" / "tasks" / f"{name}.safetensors") for path in (finished, folder))
        assert all(torch.equal(one[key], two[key]) for key in one)
    keys = ("event", "phase", "epoch", "train_loss", "validation_loss", "updates")
    histories = [[[event.get(key) for key in keys] for event in Run(path).history()] for path in (finished, folder)]
    assert histories[0] == histories[1]


def test_interrupted_at_any_time_it_resumes(finished: Path, tmp_path: Path) -> None:
    class Watcher:
        def plan(self, phases, updates) -> None:
            assert [phase.name for phase in phases] == ["alone trips", "alone visits"]
            assert len(updates) == 2

        def update(self, phase, epoch: int) -> None:
            if phase.tasks == ("visits",) and epoch == 2:
                raise KeyboardInterrupt

        def event(self, event) -> None:
            pass

    with pytest.raises(KeyboardInterrupt):
        tiny_fit(tmp_path / "run", watcher=Watcher(), **QUICK)
    with pytest.raises(RunError, match="no model yet"):
        Forecaster.load(tmp_path / "run")
    tiny_fit(tmp_path / "run", **QUICK)
    one, two = (load_file(path / "model" / "tasks" / "visits.safetensors") for path in (finished, tmp_path / "run"))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_run_resumes_in_the_precision_it_began_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed:
        def plan(self, phases, updates) -> None: ...
        def update(self, phase, epoch: int) -> None:
            if epoch == 2:
                raise KeyboardInterrupt

        def event(self, event) -> None: ...

    auto = {**QUICK, "training": {**QUICK["training"], "precision": "auto"}}
    for began, other in (("32-true", True), ("bf16-mixed", False)):
        monkeypatch.setattr("cmust.training.has_fast_bf16", lambda accelerator, fast=not other: fast)
        with pytest.raises(KeyboardInterrupt):
            tiny_fit(tmp_path / began, watcher=Killed(), **auto)
        monkeypatch.setattr("cmust.training.has_fast_bf16", lambda accelerator, fast=other: fast)  # another machine
        tiny_fit(tmp_path / began, **auto)
        tiny_fit(tmp_path / f"whole {began}", **{**QUICK, "training": {**QUICK["training"], "precision": began}})
        files = [tmp_path / name / "model" / "tasks" / "trips.safetensors" for name in (began, f"whole {began}")]
        one, two = map(load_file, files)
        assert all(torch.equal(one[key], two[key]) for key in one)
        assert Run(tmp_path / began).config()["made"]["precision"] == began


@pytest.mark.parametrize("made", [None, "x", {}, {"precision": 64}])
def test_a_run_that_does_not_say_its_precision_goes_on_in_that_of_the_machine(tmp_path: Path, made: object) -> None:
    run = Run(tmp_path)
    run.write_config({"made": made})
    assert trained_with(make_fabric("auto", "cpu", 1, run)) == trained_with(make_fabric("auto", "cpu", 1))


def unfinished(run: Path) -> Path:
    """The run as it was before its model was written; returns the resume point."""
    shutil.rmtree(run / "model")
    return run / "state" / "state.safetensors"


@pytest.mark.parametrize("damage", ["truncated", "empty", "other", "lacking", "renamed", "result"])
def test_damaged_resume_point(run: Path, damage: str) -> None:
    path = unfinished(run)
    if damage == "result":
        path = run / "state" / "result-trips.safetensors"
    content = path.read_bytes()
    if damage == "other":
        save_file({"trunk|x": torch.zeros(3)}, path, metadata={"values": "{}"})
    elif damage == "lacking":
        saved = store.load(path)
        saved.tensors["trunk"].pop(next(iter(saved.tensors["trunk"])))
        store.save(path, saved.tensors, saved.values)
    elif damage == "renamed":  # best weights as an earlier version named them
        saved = store.load(path)
        saved.tensors["best/trips"] = {"power": torch.zeros(())}
        store.save(path, saved.tensors, saved.values)
    else:
        path.write_bytes(content[: len(content) // 2] if damage == "truncated" else b"")
    with pytest.raises(RunError, match=path.name):
        tiny_fit(run, **QUICK)
    path.write_bytes(content)
    tiny_fit(run, **QUICK)  # restored, it goes on


def test_history_that_was_shortened_by_hand(run: Path) -> None:
    unfinished(run)
    lines = (run / "history.jsonl").read_text().splitlines(keepends=True)
    (run / "history.jsonl").write_text("".join(lines[:2]))
    tiny_fit(run, **QUICK)
    assert len(Run(run).history()) == 2


# ------------------------------------------------------------------ the model folder


@pytest.mark.parametrize("damage", ["flipped", "truncated", "missing", "swapped"])
def test_tampered_weights(run: Path, damage: str) -> None:
    path = run / "model" / "tasks" / "visits.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "flipped":
        content[-5] ^= 1
        path.write_bytes(content)
    elif damage == "truncated":
        path.write_bytes(content[:-5])
    elif damage == "missing":
        path.unlink()
    else:
        path.write_bytes((run / "model" / "tasks" / "trips.safetensors").read_bytes())
    with pytest.raises(RunError, match=r"visits\.safetensors (was changed or truncated|is missing)"):
        Forecaster.load(run)


def test_corrupted_model_json(run: Path) -> None:
    path = run / "model" / "model.json"
    text = path.read_text()
    about = json.loads(text)
    for broken in (text[: len(text) // 2], "", "[]", "\xff\xfe"):
        path.write_bytes(broken.encode("latin-1"))
        with pytest.raises(RunError, match=r"model\.json is damaged"):
            Forecaster.load(run)
    for change in (
        {"model": None},
        {"model": {"wrong": 1}},
        {"model": {**about["model"], "d_obs": 5}},
        {"slots_per_day": 5},
        {"frame": 3},
        {"reference": "yesterday"},
        {"tasks": ["trips"]},
        {"tasks": 3},
        {"tasks": {"trips": {}}},
        {"tasks": {"trips": []}},
        {"checksums": {}},
        {"checksums": []},
        {"city": None, "tasks": {"other": about["tasks"]["trips"]}},
    ):
        changed = {**about, **change}
        path.write_text(json.dumps(changed))
        with pytest.raises(RunError, match=r"model\.json was changed"):
            Forecaster.load(run)
        path.write_text(json.dumps({**changed, "digest": digest(changed)}))
        with pytest.raises(RunError, match=r"do(es)? not fit"):
            Forecaster.load(run)
    path.write_text(json.dumps({**about, "schema": 99}))
    with pytest.raises(RunError, match=r"schema 99.*update"):
        Forecaster.load(run)


def test_not_a_run_folder(tmp_path: Path, run: Path) -> None:
    with pytest.raises(RunError, match="not a run folder"):
        Forecaster.load(tmp_path / "nothing")
    (run / "config.json").write_text("{")
    Forecaster.load(run)  # the model needs no other file
    with pytest.raises(RunError, match=r"config\.json is damaged"):
        tiny_fit(run, **QUICK)


def test_evaluating_on_another_city(run: Path) -> None:
    other = small_city()
    other = other.with_task(replace(other.tasks["trips"], values=other.tasks["trips"].values + np.float32(1)))
    with pytest.raises(RunError, match="trained on city 'tiny' with other data"):
        evaluate(run, other)


def test_leftovers_of_a_killed_process_are_removed(run: Path) -> None:
    unfinished(run)
    (run / "state" / ".state.safetensors.abc.tmp").write_bytes(b"half")
    (run / ".config.json.abc.tmp").write_bytes(b"half")
    (run / ".evaluation.json.abc.tmp").write_bytes(b"half")  # of another process, which may be at it
    tiny_fit(run, **QUICK)
    assert [path.name for path in run.rglob("*.tmp")] == [".evaluation.json.abc.tmp"]


def test_recomputing_activations_is_done_and_changes_no_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[object] = []

    def counted(interaction: object, *inputs: object, **options: object) -> object:
        calls.append(interaction)
        return checkpoint(interaction, *inputs, **options)

    monkeypatch.setattr("cmust.model.msti.checkpoint", counted)
    kept = tiny_fit(tmp_path / "kept", **QUICK)
    assert not calls
    again = tiny_fit(tmp_path / "again", **{**QUICK, "training": {**QUICK["training"], "recompute": True}})
    assert calls
    for name, weight in kept.tasks["trips"].trunk.state_dict().items():
        assert torch.equal(again.tasks["trips"].trunk.state_dict()[name], weight), name
