"""Calibrated intervals travel with the weights they belong to; altered ones are refused like all else."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cmust import Forecaster
from cmust.errors import RunError
from cmust.intervals.conformal import Scale
from cmust.intervals.state import FILE, TaskIntervals, _checksum, read_document, write_intervals
from tests.bundle.conftest import DEMO, EXPECTED, recent_city

LEVEL = 0.9


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory) -> Path:
    """The shipped bundle with intervals for one of its tasks: two below to three above, by hand."""
    folder = Path(shutil.copytree(DEMO, tmp_path_factory.mktemp("calibrated") / "demo"))
    ends = np.ones((1, 6, 1), np.float32)
    state = TaskIntervals(
        model=Forecaster.load(folder).identity("crowd_in"),
        until=np.datetime64("2024-04-14T00:00", "s"),
        levels=(LEVEL,),
        scale=Scale(None),
        group=np.zeros((16, 1), np.int64),
        lower=-2 * ends,
        upper=3 * ends,
    )
    write_intervals(folder / FILE, {"states": {"crowd_in": state.to_json()}})
    return folder


def test_they_are_bundled_and_used(calibrated: Path, tmp_path: Path) -> None:
    Forecaster.load(calibrated).save_pretrained(tmp_path / "bundle")
    found = Forecaster.from_pretrained(tmp_path / "bundle").predict(recent_city(), "crowd_in", level=LEVEL)
    np.testing.assert_allclose(found.lower, EXPECTED["crowd_in.forecast"] - 2, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(found.upper, EXPECTED["crowd_in.forecast"] + 3, rtol=1e-5, atol=1e-4)
    card = (tmp_path / "bundle" / "README.md").read_text()
    assert "## Intervals" in card and "- crowd_in: 90 %; for forecasts from after 2024-04-14T00:00:00" in card
    with pytest.raises(RunError, match="no calibrated intervals of task 'taxi_pickup'"):
        Forecaster.load(tmp_path / "bundle").predict(recent_city(), "taxi_pickup", level=LEVEL)


def test_a_bundle_tells_nothing_of_the_machine_nor_of_other_tasks(calibrated: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(calibrated, tmp_path / "run"))
    (state,) = read_document(folder / FILE)["states"].values()
    both = {"crowd_in": state, "elsewhere": state}
    made = {"when": "2024-06-01", "versions": {"cmust": "1"}, "command": "/home/me/cmust", "machine": {"cpu": "mine"}}
    content = {"made": made, "tasks": {name: {"unit": "people"} for name in both}, "left_out": {"bikes": "gone"}}
    write_intervals(folder / FILE, {**content, "states": both})
    Forecaster.load(folder).save_pretrained(tmp_path / "bundle")
    assert read_document(tmp_path / "bundle" / FILE) == {
        "schema": 1,
        "made": {"when": "2024-06-01", "versions": {"cmust": "1"}},
        "tasks": {"crowd_in": {"unit": "people"}},
        "states": {"crowd_in": state},
    }


def test_those_of_other_weights_stay_behind(calibrated: Path, tmp_path: Path) -> None:
    forecaster = Forecaster.load(calibrated)
    forecaster.tasks["crowd_in"].head.mean.add_(1)
    forecaster.save_pretrained(tmp_path / "bundle")
    assert not (tmp_path / "bundle" / FILE).exists()
    assert "## Intervals" not in (tmp_path / "bundle" / "README.md").read_text()


def test_damaged_ones_are_not_bundled(calibrated: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(calibrated, tmp_path / "copy"))
    (copy / FILE).write_text((copy / FILE).read_text().replace("3.0", "9.0"))
    with pytest.raises(RunError, match=r"intervals\.json was altered"):
        Forecaster.load(copy).save_pretrained(tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def ends(folder: Path) -> list[np.ndarray]:
    found = Forecaster.load(folder).predict(recent_city(), "crowd_in", level=LEVEL)
    return [found.lower.values, found.upper.values]


@given(st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_changed_bytes(calibrated: Path, tmp_path_factory, data: st.DataObject) -> None:
    copy = Path(shutil.copytree(calibrated, tmp_path_factory.mktemp("fuzz") / "copy"))
    content = bytearray((copy / FILE).read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    (copy / FILE).write_bytes(content[: data.draw(st.none() | st.integers(0, len(content)))])
    try:
        found = ends(copy)
    except RunError as error:
        assert "\n" not in str(error)
        return
    for one, two in zip(found, ends(calibrated), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("levels", ["high"]),
        ("levels", [0.5, 0.9]),
        ("levels", 3),
        ("until", "soon"),
        ("floor", "deep"),
        ("group", [[0]] * 15),
        ("group", [[9]] * 16),
        ("group", [[-1]] * 16),
        ("group", [0] * 16),
        ("group", [[10**30]] * 16),
        ("group", []),
        ("lower", [[[1.0]] * 5]),
        ("lower", [[1.0, [2.0]]]),
        ("upper", 4.0),
        ("upper", None),
    ],
)
def test_what_they_may_not_hold(calibrated: Path, tmp_path: Path, key: str, value: Any) -> None:
    """The checksum is right: a hand that knows the layout."""
    copy = Path(shutil.copytree(calibrated, tmp_path / "copy"))
    content = json.loads((copy / FILE).read_text())
    content["states"]["crowd_in"][key] = value
    del content["checksum"]
    (copy / FILE).write_text(json.dumps({**content, "checksum": _checksum(content)}))
    with pytest.raises(RunError, match=r"intervals\.json|of other places or steps"):
        ends(copy)


def test_deep_json(calibrated: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(calibrated, tmp_path / "copy"))
    (copy / FILE).write_text("[" * 200_000)
    with pytest.raises(RunError, match=r"intervals\.json is damaged"):
        ends(copy)
