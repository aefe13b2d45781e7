"""Damaged, foreign and half-written run folders: one clear error each, naming the file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmust.errors import RunError
from cmust.report import write_report
from cmust.report.phases import phases_of
from cmust.report.reading import read_run

Edit = Callable[[Path, Callable[[dict[str, Any]], None]], None]


def test_not_a_run_folder(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="is not a folder"):
        write_report(tmp_path / "nowhere")
    with pytest.raises(RunError, match=r"not a run folder: it has no config\.json"):
        write_report(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["config.json", "evaluation.json", "model/model.json"])
def test_damaged_json_is_named_with_its_line(run_folder: Path, name: str) -> None:
    (run_folder / name).write_text('{\n "schema": 1,\n "city": {"name": \n')
    with pytest.raises(RunError, match=rf"{name} is damaged at line 4") as caught:
        write_report(run_folder)
    assert "\n" not in str(caught.value)
    assert not (run_folder / "report.html").exists()


def test_damaged_history_is_named_with_its_line(run_folder: Path) -> None:
    lines = (run_folder / "history.jsonl").read_text().splitlines(keepends=True)
    lines[2] = lines[2][:40] + "\n"
    (run_folder / "history.jsonl").write_text("".join(lines))
    with pytest.raises(RunError, match=r"history\.jsonl line 3 is damaged"):
        write_report(run_folder)


def test_a_wrong_type_in_the_history_is_named_with_its_line(run_folder: Path) -> None:
    with (run_folder / "history.jsonl").open("a") as file:
        file.write('{"event": "epoch", "phase": "x", "kind": "roll", "epoch": "many"}\n')
    count = len((run_folder / "history.jsonl").read_text().splitlines())
    with pytest.raises(RunError, match=rf"history\.jsonl line {count}: epoch: "):
        read_run(run_folder)


def test_a_line_still_being_written_is_no_damage(run_folder: Path) -> None:
    before = read_run(run_folder).history
    with (run_folder / "history.jsonl").open("a") as file:
        file.write('{"event": "epoch", "phase": "ref')
    assert read_run(run_folder).history == before


def test_an_epoch_trained_again_after_a_resume_stands_once(run_folder: Path) -> None:
    before = read_run(run_folder).history
    again = json.loads((run_folder / "history.jsonl").read_text().splitlines()[1]) | {"train_loss": 0.5}
    with (run_folder / "history.jsonl").open("a") as file:
        file.write(json.dumps(again) + "\n")
    after = read_run(run_folder).history
    assert len(after.epochs) == len(before.epochs)
    assert after.epochs[1].train_loss == 0.5 and after.epochs[1].epoch == 2


def test_phases_keep_their_order_and_an_open_one_says_so(run_folder: Path) -> None:
    lines = (run_folder / "history.jsonl").read_text().splitlines(keepends=True)
    # six epochs and the end of the first phase, then two epochs of the second
    (run_folder / "history.jsonl").write_text("".join(lines[:9]))
    first, second = phases_of(read_run(run_folder).history)
    assert (first.finished, len(first.epochs), first.updates, first.best_epoch) == (True, 6, 1140, 4)
    assert (second.finished, len(second.epochs), second.kind, second.seconds) == (False, 2, "roll", 25.0)


def test_unknown_schema(run_folder: Path, edit: Edit) -> None:
    edit(run_folder / "model" / "model.json", lambda content: content.update(schema="two"))
    with pytest.raises(
        RunError, match=r"model\.json has schema 'two', this version of cmust reads 1 and 2: make the run again"
    ):
        write_report(run_folder)
    edit(run_folder / "model" / "model.json", lambda content: content.update(schema=1))
    edit(run_folder / "evaluation.json", lambda content: content.update(schema=2))
    with pytest.raises(RunError, match=r"evaluation\.json has schema 2, this version of cmust reads 1"):
        write_report(run_folder)


def test_missing_field_is_named(run_folder: Path, edit: Edit) -> None:
    edit(run_folder / "evaluation.json", lambda content: content["tasks"]["taxi"].pop("interval"))
    with pytest.raises(RunError, match=r"evaluation\.json: tasks\.taxi\.interval: "):
        write_report(run_folder)


def test_evaluation_of_another_run(run_folder: Path, edit: Edit) -> None:
    edit(run_folder / "model" / "model.json", lambda content: content["tasks"]["taxi"]["nodes"].reverse())
    with pytest.raises(RunError, match="task 'taxi' at 12 places that are not the model's 12"):
        write_report(run_folder)
    edit(run_folder / "model" / "model.json", lambda content: content["tasks"].pop("crowd_in"))
    with pytest.raises(RunError, match=r"scores task 'crowd_in', the model has taxi, risk"):
        write_report(run_folder)


def test_coordinates_must_match_the_places(run_folder: Path, edit: Edit) -> None:
    edit(run_folder / "model" / "model.json", lambda content: content["tasks"]["risk"]["lat"].pop())
    with pytest.raises(RunError, match=r"model\.json: tasks\.risk\.lat has 11 entries for 12 nodes"):
        write_report(run_folder)


def test_geometry_that_is_not_geojson(run_folder: Path, edit: Edit) -> None:
    def spoil(content: dict[str, Any]) -> None:
        content["tasks"]["risk"]["geometry"][3] = {"type": "Polygon", "coordinates": [["north", "south"]]}

    edit(run_folder / "model" / "model.json", spoil)
    with pytest.raises(RunError, match=r"model\.json: the geometry of place 'Zone 4' is not GeoJSON"):
        write_report(run_folder)


def test_damaged_sample(run_folder: Path) -> None:
    path = run_folder / "evaluation_sample.npz"
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(RunError, match=r"evaluation_sample\.npz is damaged"):
        write_report(run_folder)


def test_sample_of_other_shapes(run_folder: Path) -> None:
    path = run_folder / "evaluation_sample.npz"
    arrays = dict(np.load(path))
    np.savez(path, **(arrays | {"risk.forecast_last": arrays["risk.forecast_last"][:, :5]}))
    with pytest.raises(
        RunError, match=r"risk\.forecast_last is float32 \(60, 5\), expected numbers of shape \(steps, 12\)"
    ):
        write_report(run_folder)
    del arrays["risk.truth"]
    np.savez(path, **arrays)
    with pytest.raises(RunError, match=r"lacks risk\.truth"):
        write_report(run_folder)
