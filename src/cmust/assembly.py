"""From trained weights to the model of a task: its tables, and what it says about itself."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cmust.city import Task
from cmust.evaluation import score_systems
from cmust.forecaster import Forecaster
from cmust.identity import data_fingerprint
from cmust.model import ModelConfig, Trunk, channel_counts
from cmust.profile import Shape, make_profile
from cmust.seasonal import WeeklyAverage
from cmust.task_model import TaskModel, computed_on
from cmust.windows import Split, Windows

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Tables:
    """Seasonal expectations by slot of the week, each ``(7 * L, N, C)``: the weekly average, and the profile."""

    average: Array
    profile: Array


def seasonal_tables(task: Task, windows: Windows, shape: Shape | None, steps: int) -> Tables:
    """The tables of the first ``steps`` of a task; without a ``shape`` the profile is the weekly average."""
    average = WeeklyAverage.fit(task.values, task.time, task.interval, steps).table()
    if shape is None:
        return Tables(average, average.copy())
    of_these = replace(windows, split=Split(windows.split.starts, steps))
    profile = make_profile(of_these, task.time, task.interval, shape).table
    return Tables(average, np.where(np.isnan(profile), average, profile))


def load_trunk(config: ModelConfig, slots_per_day: int, weights: dict[str, Tensor]) -> Trunk:
    """A trunk with the layers that ``weights`` hold, ready to forecast."""
    trunk = Trunk(config, slots_per_day, channel_counts(weights))
    trunk.load_state_dict(weights)
    return trunk.eval()


def with_task(forecaster: Forecaster, name: str, model: TaskModel) -> Forecaster:
    """The forecaster with the model of a task added, or put in the place of the one of its name."""
    return replace(forecaster, tasks={**forecaster.tasks, name: model})


def describe(task: Task, shape: Shape | None, train_steps: int, seen_steps: int, **more: Any) -> dict[str, Any]:
    """What ``model.json`` says about a task.

    Args:
        task: the data, as far as there is any.
        shape: of the profile.
        train_steps: so many steps were trained on.
        seen_steps: so many have had a say in anything (training, stopping, choosing); what follows may be scored.
        more: further entries.
    """
    seen = task.select(time=slice(None, task.time[seen_steps - 1] + np.timedelta64(task.interval, "s")))
    return {
        "nodes": list(task.nodes),
        "lon": task.lon.tolist(),
        "lat": task.lat.tolist(),
        "geometry": list(task.geometry) if task.geometry else None,
        "unit": task.unit,
        "kind": task.kind,
        "interval": task.interval,
        "channels": list(task.channels),
        "trained_until": str(task.time[train_steps - 1]),
        "profile": None if shape is None else {**vars(shape), "half_life": str(shape.half_life)},
        "seen": {"from": str(task.time[0]), "until": str(seen.time[-1]), "fingerprint": data_fingerprint(seen)},
        **more,
    }


def shape_of(about: dict[str, Any]) -> Shape | None:
    """The shape of a profile, as ``describe`` wrote it."""
    written = about.get("profile")
    return None if written is None else Shape(float(written["half_life"]), written["smooth"], written["power"])


def window_scores(
    model: TaskModel, task: Task, windows: Windows, starts: Tensor, device: torch.device | str = "cpu"
) -> dict[str, Any]:
    """Plain and masked MAE of a model on some windows; ``from`` and ``until`` are times of targets.

    Args:
        model: of the task.
        task: the data.
        windows: of the data, with the seasonal expectation the model is to be scored with.
        starts: ``(W,)``.
        device: where the forecasts are computed; the model is on the CPU before and after.
    """
    with computed_on(device, model):
        scores = score_systems(windows, starts, {"model": model.forecast})["model"]
    return {
        **span_of(task, windows, starts),
        "plain_mae": scores["plain"]["mae"],
        "masked_mae": scores["masked"]["mae"],
    }


def span_of(task: Task, windows: Windows, starts: Tensor) -> dict[str, Any]:
    """The times of the first and last target of the windows that start at ``starts`` ``(W,)``, ascending, and how many
    windows these are.
    """
    first, last = int(starts[0]) + windows.input_steps, int(starts[-1]) + windows.input_steps + windows.horizon - 1
    return {"from": str(task.time[first]), "until": str(task.time[last]), "windows": len(starts)}
