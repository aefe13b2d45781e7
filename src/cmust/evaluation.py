"""Scores of a run on a part of its city, beside the naive forecasts."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmust.city import City, check_is_city
from cmust.errors import ConfigError
from cmust.files import atomic_path, write_text
from cmust.forecaster import Forecaster
from cmust.identity import describe_city
from cmust.machine import provenance
from cmust.metrics import Scores
from cmust.run import Run
from cmust.training import device_of
from cmust.unseen import windows_to_score
from cmust.windows import PARTS, Part, Windows

SYSTEM = "cmust"
SCHEMA = 1


def evaluate(
    run: Path | str,
    city: City,
    *,
    part: Part = "test",
    batch_size: int = 64,
    sample_steps: int = 336,
    accelerator: str = "auto",
    progress: Callable[[str, int, int], None] = lambda task, done, windows: None,
    command: str | None = None,
) -> dict[str, Any]:
    """Score a finished run and the naive forecasts; of the test part write ``evaluation.json`` and
    ``evaluation_sample.npz`` into the run.

    Args:
        run: a finished run folder.
        city: the one it was trained on, or later data of it (see :mod:`cmust.unseen`).
        part: which windows. The scores of ``train`` and ``validation``, which had a say in the model, are returned
            only; the weekly average of the training part holds the very targets there.
        batch_size: windows at a time; memory grows with it.
        sample_steps: the last so many steps of the part are kept for pictures.
        accelerator: where forecasts are computed: ``cpu``, ``cuda``, or ``auto`` for a GPU where there is one.
        progress: called with task, windows done and windows in all.
        command: how the evaluation was started, for its records; the program's arguments when not given.

    Returns:
        What ``evaluation.json`` holds (docs/architecture.md).

    Raises:
        CityError: it is no city, or time zone, nodes, interval, channels or unit of a task are not the model's.
        ConfigError: there is no such part, or no such accelerator here.
        RunError: the run is not finished, was trained on another city, or there is no window to score.
    """
    check_is_city(city)
    if part not in PARTS:
        raise ConfigError(f"there is no part {part!r}; choose among {', '.join(PARTS)}")
    folder = Run(run)
    version, _ = folder.pointer()
    device = device_of(accelerator)
    forecaster = Forecaster.load(run, version).to(device)
    to_score = windows_to_score(forecaster, city, part)
    tasks, sample = {}, {}
    for name, windows in to_score.windows.items():
        task = forecaster.task_of(city, name)
        scores, pictures = _score(forecaster, windows, part, batch_size, sample_steps, progress)
        tasks[name] = {
            "unit": task.unit,
            "kind": task.kind,
            "interval": task.interval,
            "model": forecaster.identity(name),
            "nodes": list(task.nodes),
            "split": to_score.splits[name],
            "windows": len(windows.split.starts[part]),
            "systems": scores,
        }
        steps = pictures.pop("steps")
        sample[f"{name}.time"] = task.time[steps].astype("datetime64[s]").astype(np.int64)
        sample.update({f"{name}.{key}": value for key, value in pictures.items()})
    evaluation = {
        "schema": SCHEMA,
        "made": provenance(command, device),
        "city": describe_city(_evaluated(city, forecaster, to_score.windows)),
        "version": version,
        "protocol": " and ".join(dict.fromkeys(to_score.splits.values())),
        "part": part,
        "tasks": tasks,
        "left_out": to_score.left_out,
    }
    if part != "test":
        return evaluation
    with atomic_path(folder.folder / "evaluation_sample.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **sample)
    write_text(folder.evaluation_file, json.dumps(evaluation, indent=1) + "\n")
    return evaluation


def _evaluated(city: City, forecaster: Forecaster, names: Iterable[str]) -> City:
    """The city with the tasks that were scored, as the model calls them."""
    return replace(city, tasks={name: forecaster.task_of(city, name) for name in names})


def score_systems(
    windows: Windows,
    starts: Tensor,
    systems: dict[str, Callable[[Windows, Tensor], Tensor]],
    *,
    batch_size: int = 64,
    progress: Callable[[int], None] = lambda done: None,
    keep: Callable[[Tensor, dict[str, Tensor]], None] = lambda starts, forecasts: None,
) -> dict[str, dict[str, Any]]:
    """Score systems on the same windows in one streaming pass.

    Args:
        windows: of one task.
        starts: ``(W,)``, which windows.
        systems: by name, each from windows and starts ``(B,)`` to a forecast ``(B, F, N, C)``.
        batch_size: windows at a time.
        progress: called with the number of windows done.
        keep: called with every batch and its forecasts, for pictures.

    A forecast never sees its targets: they are read after it was made.
    """
    done = 0

    def forecasts(batch: Tensor) -> dict[str, dict[str, Tensor]]:
        nonlocal done
        made = {name: system(windows, batch) for name, system in systems.items()}
        keep(batch, made)
        done += len(batch)
        progress(done)
        return {windows.name: made}

    return score_tasks({windows.name: windows}, starts, list(systems), forecasts, batch_size=batch_size)[windows.name]


def score_tasks(
    windows: Mapping[str, Windows],
    starts: Tensor,
    systems: Sequence[str],
    forecasts: Callable[[Tensor], Mapping[str, Mapping[str, Tensor]]],
    *,
    batch_size: int = 64,
) -> dict[str, dict[str, dict[str, Any]]]:
    """Score systems on the same windows of several tasks in one streaming pass, for what forecasts them together.

    Args:
        windows: by task; all have the same times.
        starts: ``(W,)``, which windows.
        systems: their names.
        forecasts: from starts ``(B,)`` to forecasts ``(B, F, N, C)``, by task and system.
        batch_size: windows at a time.

    Returns:
        Scores by task and system.
    """
    scores = {task: {name: Scores(each.horizon, each.n_nodes) for name in systems} for task, each in windows.items()}
    for batch in starts.split(batch_size):
        for task, made in forecasts(batch).items():
            truth, valid = windows[task].targets(batch)
            for name, forecast in made.items():
                scores[task][name].add(forecast, truth, valid)
    return {task: {name: score.result() for name, score in found.items()} for task, found in scores.items()}


def _score(
    forecaster: Forecaster,
    windows: Windows,
    part: Part,
    batch_size: int,
    sample_steps: int,
    progress: Callable[[str, int, int], None],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Scores of all systems on a task, and the picture arrays of the last steps of the part."""
    starts = windows.split.starts[part]
    pictures = Pictures(windows, starts, sample_steps)
    scores = score_systems(
        windows,
        starts,
        {SYSTEM: forecaster.forecast, **forecaster.model(windows.name).without_network()},
        batch_size=batch_size,
        progress=lambda done: progress(windows.name, done, len(starts)),
        keep=lambda batch, forecasts: pictures.keep(batch, forecasts[SYSTEM]),
    )
    return scores, pictures.arrays()


class Pictures:
    """Truth, and the forecasts one step and the whole horizon ahead, of the last target steps; first channel, NaN
    where there is none.
    """

    def __init__(self, windows: Windows, starts: Tensor, steps: int) -> None:
        last = int(starts[-1]) + windows.input_steps + windows.horizon
        first = max(int(starts[0]) + windows.input_steps, last - steps)
        self._windows, self._first, self._last = windows, first, last
        self._forecasts = {
            key: np.full((last - first, windows.n_nodes), np.nan, np.float32) for key in ("first", "last")
        }

    def keep(self, starts: Tensor, forecast: Tensor) -> None:
        """Note what is wanted of a batch's forecasts ``(B, F, N, C)``."""
        horizon = self._windows.horizon
        for key, ahead in (("first", 0), ("last", horizon - 1)):
            steps = (starts + self._windows.input_steps + ahead - self._first).numpy()
            inside = (steps >= 0) & (steps < self._last - self._first)
            self._forecasts[key][steps[inside]] = forecast[torch.from_numpy(inside), ahead, :, 0].float().numpy()

    def arrays(self) -> dict[str, Any]:
        """``steps`` (a slice), ``truth``, ``forecast_first`` and ``forecast_last``, each ``(S, N)``."""
        steps = slice(self._first, self._last)
        valid = self._windows.valid[steps, :, 0]
        truth = torch.where(valid, self._windows.values[steps, :, 0], torch.nan).numpy()
        return {
            "steps": steps,
            "truth": truth,
            "forecast_first": self._forecasts["first"],
            "forecast_last": self._forecasts["last"],
        }
