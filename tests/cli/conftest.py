"""A tiny city and the settings that train on it in seconds."""

from pathlib import Path

import pytest
import torch

from cmust import demo_city

SMALL = [
    "--set=model.input_steps=4",
    "--set=model.horizon=3",
    *(f"--set=model.{name}=4" for name in ("d_obs", "d_s", "d_t", "d_p", "d_ts", "d_tod", "d_dow")),
    *(f"--set=model.{name}=8" for name in ("cross_width", "self_width", "ffn_width")),
    "--set=model.heads=2",
    "--set=training.batch_size=8",
    "--set=training.updates_per_epoch=2",
    "--set=training.rolling_epochs=1",
    "--set=training.refine_epochs=1",
    "--set=training.precision=32-true",
]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    whole = demo_city(weeks=2, places=16)
    path = tmp_path_factory.mktemp("city") / "tiny.zarr.zip"
    whole.select(tasks=["crowd_in", "taxi_pickup"]).save(path)
    return path
