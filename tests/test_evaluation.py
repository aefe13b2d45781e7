"""Scores of a run, recomputed from its forecasts; what is kept for pictures."""

import json
from pathlib import Path

import numpy as np
import pytest

from cmust import Forecaster, evaluate
from cmust.errors import ConfigError
from cmust.evaluation import Pictures
from cmust.naive import NAIVE
from cmust.windows import make_windows
from tests.rolling.tiny import small_city, tiny_fit

QUICK = {"scheme": "joint", "training": {"start_epochs": 1, "precision": "32-true", "batch_size": 64}}


@pytest.fixture(scope="module", params=["purged", "published"])
def run(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / request.param
    tiny_fit(folder, protocol=request.param, **QUICK)
    return folder


@pytest.mark.parametrize("part", ["test", "validation"])
def test_scores_by_predicting_every_window(run: Path, part) -> None:
    city = small_city()
    of_test = evaluate(run, city, command="test")
    evaluation = evaluate(run, city, part=part, batch_size=5, command="test")
    assert json.loads((run / "evaluation.json").read_text())["part"] == of_test["part"] == "test"
    assert evaluation["protocol"] == run.name and evaluation["part"] == part
    forecaster = Forecaster.load(run)
    for name, task in city.tasks.items():
        starts = make_windows(city, run.name, 4, 3)[name].split.starts[part].tolist()
        errors = [[], [], []]
        for start in starts:
            forecast = forecaster.predict(city, name, at=task.time[start + 4]).values
            truth = task.values[start + 4 : start + 7, :, 0]
            for f in range(3):
                errors[f] += np.abs(forecast[f] - truth[f])[~np.isnan(truth[f])].tolist()
        found = evaluation["tasks"][name]
        assert found["windows"] == len(starts) and found["nodes"] == list(task.nodes)
        assert set(found["systems"]) == {"cmust", *NAIVE}
        scores = found["systems"]["cmust"]
        np.testing.assert_allclose(scores["per_horizon"]["plain_mae"], [np.mean(part) for part in errors], rtol=1e-4)
        assert scores["plain"]["mae"] == pytest.approx(np.mean(np.concatenate(errors)), rel=1e-4)


def test_a_part_that_there_is_not(run: Path) -> None:
    with pytest.raises(ConfigError, match="no part 'val'; choose among train, validation, test"):
        evaluate(run, small_city(), part="val")  # type: ignore[arg-type]


def test_pictures_hold_truth_and_the_forecasts_of_those_times(run: Path) -> None:
    city = small_city()
    evaluate(run, city, sample_steps=12, batch_size=7)
    forecaster, task = Forecaster.load(run), city.tasks["visits"]
    with np.load(run / "evaluation_sample.npz", allow_pickle=False) as file:
        arrays = {key.removeprefix("visits."): file[key] for key in file if key.startswith("visits.")}
    starts = make_windows(city, run.name, 4, 3)["visits"].split.starts["test"].tolist()
    steps = range(max(starts[0] + 4, starts[-1] + 7 - 12), starts[-1] + 7)
    assert arrays["time"].tolist() == task.time[steps.start : steps.stop].astype(np.int64).tolist()
    np.testing.assert_array_equal(arrays["truth"], task.values[steps.start : steps.stop, :, 0])
    for ahead, key in ((0, "forecast_first"), (2, "forecast_last")):
        for row, step in enumerate(steps):
            origin = step - ahead
            if origin - 4 in starts:
                expected = forecaster.predict(city, "visits", at=task.time[origin]).values[ahead]
                np.testing.assert_allclose(arrays[key][row], expected, rtol=1e-4, atol=1e-4)
            else:
                assert np.isnan(arrays[key][row]).all()


def test_pictures_of_more_steps_than_there_are_begin_with_the_part_and_have_its_gaps(run: Path) -> None:
    windows = make_windows(small_city(), run.name, 4, 3)["visits"]
    starts = windows.split.starts["test"]
    windows.valid[int(starts[0]) + 5, 1] = False  # filled, but never seen
    arrays = Pictures(windows, starts, 1000).arrays()
    assert arrays["steps"] == slice(int(starts[0]) + 4, int(starts[-1]) + 7)
    assert np.isnan(arrays["truth"][1, 1])
    np.testing.assert_array_equal(~np.isnan(arrays["truth"]), windows.valid[arrays["steps"], :, 0])
    assert arrays["truth"].shape == arrays["forecast_last"].shape == (len(starts) + 2, windows.n_nodes)


def test_progress_and_subset_of_the_city(run: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    result = evaluate(run, small_city(), batch_size=4, progress=lambda *args: seen.append(args))
    for name in ("trips", "visits"):
        done = [count for task, count, _ in seen if task == name]
        assert done == sorted(done) and done[-1] == result["tasks"][name]["windows"]
