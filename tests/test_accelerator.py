"""Where forecasts are computed, as far as a machine without a GPU can tell: on the device that was asked for."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import cmust
from cmust.assembly import window_scores
from cmust.city import City
from cmust.errors import ConfigError
from cmust.intervals.conformal import Adaptation
from cmust.model import model_config
from cmust.task_model import TaskModel
from cmust.training import device_of
from cmust.windows import make_windows
from tests.rolling.tiny import small_city, tiny_fit

QUICK = {"scheme": "joint", "training": {"start_epochs": 1, "precision": "32-true", "batch_size": 64}}
SCORING: dict[str, Callable[..., Any]] = {
    "evaluation": cmust.evaluate,
    "backtesting": cmust.backtest,
    "calibration": partial(cmust.calibrate, adaptation=Adaptation(levels=(0.5,), first_days=1)),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("accelerator") / "run"
    tiny_fit(folder, **QUICK)
    return folder


@pytest.fixture(scope="module")
def city() -> City:
    return small_city()


def files(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("room", SCORING)
def test_scores_are_computed_where_it_was_said(
    room: str, run: Path, city: City, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The meta device, which computes no values, stands for a GPU: what comes from there cannot be copied."""
    before = files(run)
    monkeypatch.setattr(f"cmust.{room}.device_of", lambda accelerator: torch.device("meta"))
    with pytest.raises(NotImplementedError, match="meta"):
        SCORING[room](run, city)
    assert files(run) == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("room", SCORING)
def test_an_accelerator_that_is_not_there_is_refused(room: str, run: Path, city: City) -> None:
    before = files(run)
    with pytest.raises(ConfigError, match=r"accelerator 'cuda'.* cannot be used here"):
        SCORING[room](run, city, accelerator="cuda")
    assert files(run) == before
    assert device_of("auto").type == device_of("cpu").type == "cpu"


def test_a_model_is_back_on_the_cpu_after_its_scores(run: Path, city: City, monkeypatch: pytest.MonkeyPatch) -> None:
    moves: list[Any] = []
    monkeypatch.setattr(TaskModel, "to", lambda model, device: moves.append(device) or model)
    model, windows = cmust.Forecaster.load(run).tasks["visits"], make_windows(city, "purged", 4, 3)["visits"]
    starts = windows.split.starts["validation"]
    window_scores(model, city.tasks["visits"], windows, starts, "cuda")
    assert moves == ["cuda", "cpu"]
    monkeypatch.setattr(TaskModel, "forecast", None)
    with pytest.raises(TypeError):
        window_scores(model, city.tasks["visits"], windows, starts, "cuda")
    assert moves == ["cuda", "cpu"] * 2


def test_a_forecaster_is_moved_whole_and_saved_from_the_cpu(run: Path) -> None:
    forecaster = cmust.Forecaster.load(run)
    assert forecaster.to("meta") is forecaster
    for model in forecaster.tasks.values():
        weights = [*model.trunk.state_dict().values(), *model.head.state_dict().values()]
        assert {each.device.type for each in weights} == {"meta"}
        with pytest.raises(NotImplementedError, match="meta"):  # a copy on the CPU, of what has no values
            model.tensors()


def test_how_many_windows_go_through_a_network_at_once(city: City) -> None:
    windows = make_windows(city, "purged", 4, 3)["visits"]
    assert windows.pass_size(nodes=206) == 10_000 // (4 * 206)
    assert windows.pass_size(nodes=206, device=torch.device("meta")) == 2**18 // (4 * 206)
    assert windows.pass_size(nodes=10**6, device=torch.device("meta")) == windows.pass_size(nodes=10**6) == 1
    assert model_config("tuned").input_steps * 1365 * 16 <= 2**18  # a batch of the default size is one pass up to there
