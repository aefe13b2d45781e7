"""What an adaptation reached, beside training from scratch and the naive forecasts of the same history (Table 6)."""

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from cmust.assembly import span_of
from cmust.city import City
from cmust.continual.newcomer import Newcomer, Wish
from cmust.evaluation import score_systems
from cmust.forecaster import Forecaster
from cmust.identity import describe_city
from cmust.task_model import TaskModel, computed_on
from cmust.windows import Windows, windows_between

SCHEMA = 1
FROM_SCRATCH = "from_scratch"


def score_adaptation(
    after: Forecaster,
    city: City,
    wish: Wish,
    newcomer: Newcomer,
    models: dict[str, TaskModel],
    device: torch.device,
) -> dict[str, Any]:
    """Scores in the form of ``evaluation.json``, on what follows the history, or else on the days that chose.

    Args:
        after: with the new task.
        city: holds the history, and perhaps what follows it.
        wish: what was adapted.
        newcomer: the history.
        models: by system; on the CPU before and after.
        device: where their forecasts are computed.
    """
    config, history = after.config, newcomer.task
    task = replace(city.task(wish.task), name=wish.name)
    later = windows_between(history.n_steps, task.n_steps, config.input_steps, config.horizon)
    part, tasks, windows, starts = "test", {}, after.windows(task), later
    if not len(later):  # the days that chose, with the seasonal expectation of those before them
        part, windows = "validation", newcomer.windows
        starts = windows.split.starts.get("validation", later)
    if len(starts):
        tasks[wish.name] = {
            "unit": task.unit,
            "kind": task.kind,
            "interval": task.interval,
            "nodes": list(task.nodes),
            **span_of(task, windows, starts),
            "systems": _scores(after.model(wish.name), models, windows, starts, device),
        }
    return {
        "schema": SCHEMA,
        "adapted": vars(wish),
        "city": describe_city(city.select(tasks=[wish.task])),
        "protocol": "after the history" if part == "test" else "end of the history",
        "part": part,
        "history": {
            "from": str(history.time[0]),
            "until": str(history.time[-1]),
            "steps": history.n_steps,
            "trained_steps": newcomer.windows.split.train_steps,
        },
        "tasks": tasks,
    }


def _scores(
    adapted: TaskModel, models: dict[str, TaskModel], windows: Windows, starts: Tensor, device: torch.device
) -> dict[str, Any]:
    learned = {name: model.forecast for name, model in models.items()}
    with computed_on(device, *models.values()):
        scores = score_systems(windows, starts, {**learned, **adapted.without_network()})
    return {name: {"plain": each["plain"], "masked": each["masked"]} for name, each in scores.items()}
