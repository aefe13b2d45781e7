"""A tiny run trained by rolling, with part of its weights frozen, and copies of it that may be changed."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from cmust import Forecaster
from cmust.city import City
from tests.rolling.tiny import quick_prompts, tiny_city, tiny_fit, tiny_settings, tiny_task

CUT = "2024-03-18"
"""The run has data until here; the city goes on for two weeks."""
# A few updates hardly help: where the start counted, nothing would move.
QUICK = {"updates_per_epoch": 3, "start_epochs": 1, "rolling_epochs": 2, "refine_epochs": 2, "keep_start": False}


def whole_city() -> City:
    return tiny_city(tiny_task("trips", steps=336), tiny_task("visits", steps=336))


def old_city() -> City:
    return whole_city().select(time=slice(None, CUT))


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("continual") / "run"
    with quick_prompts():
        tiny_fit(folder, old_city(), **tiny_settings("tuned", training=QUICK))
    star = Forecaster.load(folder).star
    assert star is not None
    share = np.mean([mask.float().mean().item() for mask in star.frozen.values()])
    assert 0.01 < share < 0.95  # what is said about the frozen part below says something
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    with quick_prompts():
        yield


def snapshot(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but the lock."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }
