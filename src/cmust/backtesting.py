"""Rolling-origin evaluation: forecasts from every step of a stretch that is new to the model, scored by place, time and
week, beside the naive forecasts; and what earlier tasks lost while later ones were learned.

Shapes: S steps of a task, F forecast steps, N nodes.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cmust.city import City, Task, check_is_city
from cmust.city.clock import WEEKDAYS
from cmust.clock import day_of_week, second_of_day
from cmust.files import write_text
from cmust.forecaster import Forecaster
from cmust.holidays import Days, holidays_of
from cmust.machine import provenance
from cmust.origins import Batch, forecasts_from, unseen_origins
from cmust.run import Run
from cmust.training import device_of

SCHEMA = 1
FILE = "backtest.json"
OURS = "cmust"
Sums = npt.NDArray[np.float64]
Progress = Callable[[str, int, int], None]


def backtest(
    run: Path | str,
    city: City,
    *,
    since: str | None = None,
    until: str | None = None,
    holidays: str | None = None,
    accelerator: str = "auto",
    progress: Progress = lambda task, done, origins: None,
    command: str | None = None,
) -> dict[str, Any]:
    """Forecast from every step after the model's validation part, score it, and write ``backtest.json``.

    Args:
        run: a finished run folder.
        city: the one it was trained on, or newer data of the same places.
        since: local time of the first forecast; the first that is new to the model when not given.
        until: local time from which on no truth is used.
        holidays: see :func:`cmust.holidays.holidays_of`.
        accelerator: where forecasts are computed: ``cpu``, ``cuda``, or ``auto`` for a GPU where there is one.
        progress: called with task, origins done and origins in all.
        command: how it was started, for the records; the program's arguments when not given.

    Returns:
        What ``backtest.json`` holds (docs/evaluation.md).

    Raises:
        CityError: the data does not fit the model, or the holidays cannot be read.
        ConfigError: there is no such accelerator here.
        RunError: the run is not finished, no task has enough data that is new to its model, with truths in it, or a
            model's forecasts are not numbers.
    """
    check_is_city(city)
    version, _ = Run(run).pointer()
    device = device_of(accelerator)
    forecaster = Forecaster.load(run, version).to(device)
    days = holidays_of(city, holidays)
    found, left_out = unseen_origins(forecaster, city, since, until, needs=lambda task: forecaster.config.horizon)
    tasks = {name: _backtest_task(forecaster, task, origins, days, progress) for name, (task, origins) in found.items()}
    content = {
        "schema": SCHEMA,
        "made": provenance(command, device),
        "city": {"name": city.name, "synthetic": city.synthetic},
        "version": version,
        "tasks": tasks,
        "left_out": left_out,
        "forgetting": forgetting(Run(run).history()),
    }
    write_text(Path(run) / FILE, json.dumps(content, indent=1) + "\n")
    return content


class StepErrors:
    """Running sums of one system over its forecasts, per target step ``(S,)``, forecast step ``(F,)``, node ``(N,)``.

    Targets that are missing count nowhere; none may lie after the data.
    """

    def __init__(self, steps: int, horizon: int, nodes: int) -> None:
        # Rows: how many targets, their sum, the sum of absolute errors, the sum of errors (forecast less truth).
        self.step, self.horizon, self.node = np.zeros((4, steps)), np.zeros((4, horizon)), np.zeros((4, nodes))

    def add(self, batch: Batch, system: str) -> None:
        """Count a batch's forecasts of a system."""
        valid = ~np.isnan(batch.truth)
        error = np.where(valid, batch.forecasts[system] - batch.truth, 0).astype(np.float64)
        truth = np.where(valid, batch.truth, 0).astype(np.float64)
        terms = np.stack([valid.astype(np.float64), truth, np.abs(error), error]).sum(-1)  # (4, B, F, N)
        self.horizon += terms.sum((1, 3))
        self.node += terms.sum((1, 2))
        targets = batch.origins[:, None] + np.arange(valid.shape[1])
        for total, term in zip(self.step, terms.sum(3), strict=True):
            np.add.at(total, targets, term)

    def by(self, label: npt.NDArray[np.int64], count: int) -> Sums:
        """Sums over the target steps of each label ``(S,)``: ``(4, count)``."""
        return np.stack([np.bincount(label, weights=row, minlength=count) for row in self.step])


def _backtest_task(
    forecaster: Forecaster, task: Task, origins: range, days: Days | None, progress: Progress
) -> dict[str, Any]:
    origins = range(origins.start, origins.stop - forecaster.config.horizon + 1)
    systems = {OURS: forecaster.forecast, **forecaster.model(task.name).without_network()}
    errors = {name: StepErrors(task.n_steps, forecaster.config.horizon, task.n_nodes) for name in systems}
    done = 0
    for batch in forecasts_from(forecaster, task, origins, systems):
        for name, each in errors.items():
            each.add(batch, name)
        done += len(batch.origins)
        progress(task.name, done, len(origins))
    labels = _labels(task.time, days)
    tables: dict[str, Mapping[str, Sums]] = {
        "whole": {name: each.step.sum(1, keepdims=True) for name, each in errors.items()},
        "horizon": {name: each.horizon for name, each in errors.items()},
        "place": {name: each.node for name, each in errors.items()},
        **{by: {name: each.by(*_coded(label)) for name, each in errors.items()} for by, label in labels.items()},
    }
    rows = {
        "whole": ["all"],
        "horizon": [str(ahead + 1) for ahead in range(forecaster.config.horizon)],
        "place": list(task.nodes),
        **{by: _names(by, label) for by, label in labels.items()},
    }
    return {
        "unit": task.unit,
        "interval": task.interval,
        "from": str(task.time[origins.start]),
        "until": str(task.time[-1]),
        "origins": len(origins),
        "by": {by: _table(rows[by], sums) for by, sums in tables.items()},
    }


def _labels(time: npt.NDArray[np.datetime64], days: Days | None) -> dict[str, npt.NDArray[np.int64]]:
    """What the target steps are sorted by, each ``(S,)``; a week is named by its Monday."""
    day = time.astype("datetime64[D]")
    labels = {
        "hour": second_of_day(time) // 3600,
        "weekday": day_of_week(time),
        "week": (day - day_of_week(time)).astype(np.int64),
    }
    if days is not None:
        labels["holiday"] = np.isin(day, days).astype(np.int64)
    return labels


def _coded(label: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], int]:
    """Labels counted through, and how many there are."""
    values, code = np.unique(label, return_inverse=True)
    return code.astype(np.int64), len(values)


def _names(by: str, label: npt.NDArray[np.int64]) -> list[str]:
    values = np.unique(label)
    if by == "week":
        return [str(day) for day in values.astype("datetime64[D]")]
    if by == "weekday":
        return [WEEKDAYS[value] for value in values]
    return [("no", "yes")[value] if by == "holiday" else f"{value:02d}" for value in values.tolist()]


def _table(names: list[str], sums: Mapping[str, Sums]) -> list[dict[str, Any]]:
    """A row per name that has targets: how many, their mean, and per system mean absolute error and bias."""
    count, total = next(iter(sums.values()))[:2]
    return [
        {
            "name": name,
            "targets": int(count[at]),
            "mean": float(total[at] / count[at]),
            "mae": {system: float(each[2, at] / count[at]) for system, each in sums.items()},
            "bias": {system: float(each[3, at] / count[at]) for system, each in sums.items()},
        }
        for at, name in enumerate(names)
        if count[at]
    ]


def forgetting(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """How the validation loss of each task stood after its own phase and after every later one (C.3).

    Args:
        history: events of ``history.jsonl``; runs from before ``losses_of_seen`` was recorded have none to tell of.

    Returns:
        A row per phase that trained shared weights for all: ``phase``, and ``losses`` and ``change`` by task, the
        latter relative to the task's loss when it was last trained itself; a loss that was not finite is None and has
        no change.
    """
    own: dict[str, float | None] = {}
    rows = []
    for event in history:
        losses: dict[str, float | None] = event.get("losses_of_seen") or {}
        if event.get("event") != "phase" or not losses:
            continue
        own.update({task: losses[task] for task in event["tasks"]})
        change = {
            task: loss / before - 1 for task, loss in losses.items() if loss is not None and (before := own.get(task))
        }
        rows.append({"phase": event["phase"], "losses": losses, "change": change})
    return rows
