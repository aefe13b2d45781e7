"""A city of a few places and settings so small that the whole scheme runs in a second."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cmust import fitting, heads
from cmust.city import City, Task
from cmust.forecaster import Forecaster
from cmust.model import Trunk
from cmust.rolling import PLANS, Trainer
from cmust.settings import make_settings
from cmust.windows import make_windows

START = np.datetime64("2024-03-04T00:00", "s")  # a Monday
SIZES: dict[str, Any] = {
    "input_steps": 4,
    "horizon": 3,
    "d_obs": 4,
    "d_s": 4,
    "d_t": 4,
    "d_p": 4,
    "d_ts": 3,
    "d_tod": 3,
    "d_dow": 3,
    "cross_width": 4,
    "self_width": 16,
    "ffn_width": 8,
    "heads": 2,
}


def tiny_task(
    name: str = "trips",
    *,
    steps: int = 252,
    nodes: int = 3,
    interval: int = 7200,
    channels: int = 1,
    start: np.datetime64 = START,
    missing: float = 0.02,
    kind: str = "count",
) -> Task:
    """Counts with a day's rhythm, zeros and gaps; the name seeds them."""
    rng = np.random.default_rng(list(name.encode()))
    time = start + np.arange(steps) * np.timedelta64(interval, "s")
    hour = time.astype(np.int64) % 86_400 / 3600
    level = 1.5 + 6 * np.exp(-(((hour - 9 - len(name) % 5) / 4) ** 2))
    values = rng.poisson(level[:, None, None] * rng.uniform(0.5, 2, (1, nodes, channels))).astype(np.float32)
    values[rng.random(values.shape) < missing] = np.nan
    return Task(
        name=name,
        values=values,
        time=time,
        nodes=tuple(f"place {n}" for n in range(nodes)),
        lon=10 + 0.01 * np.arange(nodes) ** 2,
        lat=50 + 0.02 * np.arange(nodes),
        interval=interval,
        unit="trips",
        kind=kind,
        channels=tuple(f"c{c}" for c in range(channels)),
    )


def tiny_city(*tasks: Task) -> City:
    """A city of the given tasks, or of two."""
    given = tasks or (tiny_task("trips"), tiny_task("visits"))
    return City("tiny", {task.name: task for task in given})


def small_city(*names: str) -> City:
    """Two weeks only, of two tasks or of the named ones."""
    return tiny_city(*(tiny_task(name, steps=168) for name in names or ("trips", "visits")))


def tiny_settings(
    preset: str = "paper", *, training: dict[str, Any] | None = None, model: dict[str, Any] | None = None, **more: Any
) -> dict[str, Any]:
    """Settings for ``fit`` and ``make_settings``."""
    rolling = {"rolling_epochs": 3, "rolling_factor": 0.1} if more.get("scheme", "rolling") == "rolling" else {}
    quick = {"batch_size": 32, "start_epochs": 2, "refine_epochs": 2, "precision": "32-true", **rolling}
    return {
        "preset": preset,
        "model": {**SIZES, **(model or {})},
        "training": {**quick, **(training or {})},
        **more,
    }


@contextmanager
def quick_prompts() -> Iterator[None]:
    """Autoencoders that stop after a hundred steps: most tests are not about how good a summary is."""
    slow = heads.train_autoencoder
    heads.train_autoencoder = partial(slow, max_steps=100)  # type: ignore[assignment]
    try:
        yield
    finally:
        heads.train_autoencoder = slow


def tiny_fit(folder: Path, city: City | None = None, *, watcher: Any = None, **settings: Any) -> Forecaster:
    """Fit a tiny city on the CPU."""
    with quick_prompts():
        return fitting.fit(
            city or small_city(), folder, accelerator="cpu", watcher=watcher, **{**tiny_settings(), **settings}
        )


def tiny_trainer(
    city: City | None = None,
    scheme: str = "rolling",
    preset: str = "paper",
    *,
    training: Any = None,
    model: Any = None,
    **hooks: Any,
) -> Trainer:
    """A trainer of a tiny city, not yet started."""
    city = city or small_city()
    settings = make_settings(**tiny_settings(preset, training=training, model=model))
    config = settings.network
    windows = make_windows(city, "purged", config.input_steps, config.horizon)
    torch.manual_seed(settings.trainer.seed)
    trunk = Trunk(config, 86_400 // city.interval, tuple(task.n_channels for task in city.tasks.values()))
    with quick_prompts():
        own = {name: heads.make_head(config, task, windows[name], 0).head for name, task in city.tasks.items()}
    plan = PLANS[scheme](list(city.tasks), settings.trainer)
    fabric = fitting.make_fabric(settings.trainer.precision, "cpu", 1)
    return Trainer(fabric, trunk, own, windows, plan, settings.trainer, **hooks)
