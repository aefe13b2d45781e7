"""A bundle written once can be read for ever: it forecasts what it did, whatever the schema; copies are the same."""

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from cmust import Forecaster
from cmust.bundle import read_model, render_card
from cmust.bundle.migrate import migrate
from cmust.bundle.schema import SCHEMA, check_document, digest
from cmust.errors import CmustError, RunError
from tests.bundle.conftest import DEMO, DOCUMENT, EXPECTED, HERE, recent_city
from tests.rolling.tiny import small_city, tiny_fit

QUICK = {"training": {"start_epochs": 1, "rolling_epochs": 1, "refine_epochs": 1, "precision": "32-true"}}


@pytest.fixture(scope="module")
def forecaster() -> Forecaster:
    return Forecaster.from_pretrained(DEMO)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run by rolling, not evaluated."""
    folder = tmp_path_factory.mktemp("runs") / "rolling"
    tiny_fit(folder, **QUICK)
    return folder


@pytest.mark.parametrize("task", DOCUMENT["tasks"])
def test_the_shipped_bundle_forecasts_what_it_did(forecaster: Forecaster, task: str) -> None:
    found = forecaster.predict(recent_city(), task)
    np.testing.assert_allclose(found.values, EXPECTED[f"{task}.forecast"].clip(0), rtol=1e-5, atol=1e-5)
    other = forecaster.predict(recent_city(**{task: EXPECTED[f"{task}.recent"] + 1}), task)
    assert not np.allclose(other.values, EXPECTED[f"{task}.forecast"].clip(0), atol=1e-3)


def test_the_shipped_bundle_is_small_and_has_gaps_to_fill() -> None:
    assert sum(path.stat().st_size for path in HERE.rglob("*.*") if path.suffix != ".py" and path.is_file()) < 310_000
    assert np.isnan(EXPECTED["crowd_in.recent"]).any()


def test_the_first_schema_forecasts_the_same(copy: Path) -> None:
    shutil.copy(HERE / "model-schema-1.json", copy / "model.json")
    for task in DOCUMENT["tasks"]:
        found = Forecaster.from_pretrained(copy).predict(recent_city(), task)
        np.testing.assert_allclose(found.values, EXPECTED[f"{task}.forecast"].clip(0), rtol=1e-5, atol=1e-5)


def test_migrating_gives_the_present_layout_and_leaves_what_it_was_given() -> None:
    first = json.loads((HERE / "model-schema-1.json").read_text())
    text = json.dumps(first)
    assert first["schema"] == 1 and not {"format", "training", "record", "digest"} & set(first)
    migrated = migrate(first)
    assert migrated["schema"] == SCHEMA and migrated["format"] == DOCUMENT["format"] and migrated["record"] == {}
    check_document(migrated)
    assert all(migrated[key] == DOCUMENT[key] for key in set(first) - {"schema", "tasks"})
    for name, task in migrated["tasks"].items():
        assert "seen" not in task and task.items() <= DOCUMENT["tasks"][name].items()
    assert json.dumps(first) == text


def test_a_newer_schema_says_to_update(copy: Path, change) -> None:
    change(lambda document: document.update(schema=SCHEMA + 1, something="new"))
    with pytest.raises(RunError, match=rf"has schema {SCHEMA + 1}, this version reads 1 to {SCHEMA}; update cmust"):
        Forecaster.from_pretrained(copy)


def test_the_digest_is_of_the_content_not_of_its_spacing(copy: Path) -> None:
    turned = dict(reversed(DOCUMENT.items()))
    (copy / "model.json").write_text(json.dumps(turned, indent=3))
    xr.testing.assert_identical(
        Forecaster.load(copy).predict(recent_city(), "crowd_in"),
        Forecaster.load(DEMO).predict(recent_city(), "crowd_in"),
    )


def test_a_bundle_of_a_run_forecasts_the_same_bits(run: Path, tmp_path: Path) -> None:
    Forecaster.load(run).save_pretrained(tmp_path / "bundle")
    one, two = Forecaster.load(run), Forecaster.from_pretrained(tmp_path / "bundle")
    for task in one.tasks:
        xr.testing.assert_identical(one.predict(small_city(), task), two.predict(small_city(), task))
    assert one.star is not None and two.star is not None
    assert all(torch.equal(one.star.weights[name], two.star.weights[name]) for name in one.star.weights)
    files = {str(path.relative_to(tmp_path / "bundle")) for path in (tmp_path / "bundle").rglob("*") if path.is_file()}
    assert files == {
        "README.md",
        "model.json",
        "trunk.safetensors",
        "tasks/trips.safetensors",
        "tasks/visits.safetensors",
    }


def test_what_fit_returns_makes_the_same_bundle(run: Path, tmp_path: Path) -> None:
    tiny_fit(tmp_path / "again", **QUICK).save_pretrained(tmp_path / "one")
    Forecaster.load(run).save_pretrained(tmp_path / "two")
    for path in (tmp_path / "one").rglob("*.safetensors"):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


def test_a_bundle_of_a_bundle_keeps_its_card(tmp_path: Path) -> None:
    Forecaster.from_pretrained(DEMO).save_pretrained(tmp_path / "second")
    assert (tmp_path / "second" / "README.md").read_text() == render_card(read_model(DEMO))
    again = json.loads((tmp_path / "second" / "model.json").read_text())
    for table in ("model", "training"):  # settings that are new since have their default
        assert DOCUMENT[table].items() <= again[table].items()
    assert again["model"]["spread"] == "task"  # not what tuned has now: it was trained without
    others = [key for key in DOCUMENT if key not in ("digest", "model", "training")]
    assert {key: again[key] for key in others} == {key: DOCUMENT[key] for key in others}


def test_weights_that_were_changed_in_memory_are_what_is_saved(tmp_path: Path) -> None:
    forecaster = Forecaster.from_pretrained(DEMO)
    with torch.no_grad():
        next(forecaster.tasks["crowd_in"].trunk.parameters()).add_(0.5)
    forecaster.save_pretrained(tmp_path / "changed")
    xr.testing.assert_identical(
        Forecaster.load(tmp_path / "changed").predict(recent_city(), "crowd_in"),
        forecaster.predict(recent_city(), "crowd_in"),
    )


def test_only_the_model_of_a_run_is_enough(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "model", tmp_path / "kept" / "model")
    Forecaster.load(tmp_path / "kept").save_pretrained(tmp_path / "bundle")
    assert "not evaluated" in (tmp_path / "bundle" / "README.md").read_text()


def test_a_damaged_evaluation_is_named(run: Path, tmp_path: Path) -> None:
    copied = Path(shutil.copytree(run, tmp_path / "run"))
    (copied / "evaluation.json").write_text('{"schema": 1}')
    with pytest.raises(RunError, match=r"evaluation\.json"):
        Forecaster.load(copied).save_pretrained(tmp_path / "bundle")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_a_licence_is_text(forecaster: Forecaster, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"license is 5, it has to be text: an identifier such as 'cc-by-4\.0'"):
        forecaster.save_pretrained(tmp_path / "bundle", license=5)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unit": 5}, r"could not be read again: tasks\.crowd_in\.unit: Input should be a valid string"),
        ({"unit": {5}}, r"could not be read again: Object of type set is not JSON serializable"),
        ({"lon": [1.0]}, r"could not be read again: tasks\.crowd_in: .*lon has 1 entries"),
    ],
)
def test_what_could_not_be_loaded_is_not_written(tmp_path: Path, changes, message: str) -> None:
    forecaster = Forecaster.from_pretrained(DEMO)
    forecaster.tasks["crowd_in"].about.update(changes)
    with pytest.raises(RunError, match=message):
        forecaster.save_pretrained(tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


def test_weights_that_could_not_be_loaded_are_not_written(tmp_path: Path) -> None:
    forecaster = Forecaster.from_pretrained(DEMO)
    with torch.no_grad():
        next(forecaster.tasks["crowd_in"].trunk.parameters()).fill_(np.nan)
    with pytest.raises(RunError, match=r"the bundle is not written, .* holds NaN or infinite numbers"):
        forecaster.save_pretrained(tmp_path / "bundle")
    assert not list(tmp_path.iterdir())


def test_what_is_there_is_not_overwritten(forecaster: Forecaster, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    forecaster.save_pretrained(tmp_path / "mine")  # empty: fine
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(CmustError, match="exists already"):
        forecaster.save_pretrained(tmp_path / "mine")
    (tmp_path / "file").write_text("")
    with pytest.raises(CmustError, match="exists already"):
        forecaster.save_pretrained(tmp_path / "file")
    with pytest.raises(CmustError, match="cannot write"):
        forecaster.save_pretrained(tmp_path / "file" / "below")
    assert before == {path: path.read_bytes() for path in before}


KILLED_WHILE_IT_WRITES = """
import os, signal, sys
import cmust.bundle
from cmust.forecaster import Forecaster
cmust.bundle.render_card = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # weights are written, the card is not
Forecaster.from_pretrained(sys.argv[1]).save_pretrained(sys.argv[2])
"""


def test_a_process_killed_while_it_writes_leaves_nothing_under_the_name(forecaster: Forecaster, tmp_path: Path) -> None:
    command = [sys.executable, "-c", KILLED_WHILE_IT_WRITES, str(DEMO), str(tmp_path / "bundle")]
    assert subprocess.run(command).returncode == -signal.SIGKILL
    assert not (tmp_path / "bundle").exists() and list(tmp_path.iterdir())
    forecaster.save_pretrained(tmp_path / "bundle")
    assert (tmp_path / "bundle" / "README.md").exists()


def test_loading_leaves_the_random_numbers_of_others_out_of_the_weights(forecaster: Forecaster) -> None:
    torch.manual_seed(9)
    other = Forecaster.from_pretrained(DEMO)
    for name, model in forecaster.tasks.items():
        assert all(
            torch.equal(one, two)
            for one, two in zip(
                model.trunk.state_dict().values(), other.tasks[name].trunk.state_dict().values(), strict=True
            )
        )


def test_the_digest_sees_every_value(forecaster: Forecaster) -> None:
    whole = digest(DOCUMENT)
    assert whole == DOCUMENT["digest"]
    assert digest({**DOCUMENT, "protocol": "published"}) != whole
    assert digest({**DOCUMENT, "slots_per_day": 48.0}) != whole
    assert replace(forecaster, record={}).record == {}
