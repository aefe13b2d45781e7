"""Scores of a run on a part of its city, beside the naive forecasts."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmust import __version__
from cmust.city import City
from cmust.errors import RunError
from cmust.files import atomic_path, write_text
from cmust.forecaster import Forecaster
from cmust.machine import command_line, describe_machine
from cmust.metrics import Scores
from cmust.naive import NAIVE
from cmust.run import Run
from cmust.windows import Part, Windows, make_windows

SYSTEM = "cmust"
SCHEMA = 1


def evaluate(
    run: Path | str,
    city: City,
    *,
    part: Part = "test",
    batch_size: int = 64,
    sample_steps: int = 336,
    progress: Callable[[str, int, int], None] = lambda task, done, windows: None,
    command: str | None = None,
) -> dict[str, Any]:
    """Score a finished run and the naive forecasts; write ``evaluation.json`` and ``evaluation_sample.npz`` into the
    run.

    Args:
        run: a finished run folder.
        city: the one it was trained on.
        part: which windows.
        batch_size: windows at a time; memory grows with it.
        sample_steps: the last so many steps of the part are kept for pictures.
        progress: called with task, windows done and windows in all.
        command: how the evaluation was started, for its records; the program's arguments when not given.

    Returns:
        What ``evaluation.json`` holds (docs/architecture.md).

    Raises:
        RunError: the run is not finished, or was trained on another city.
    """
    folder = Run(run)
    forecaster = Forecaster.load(run)
    city = city.select(tasks=tuple(name for name in forecaster.tasks if name in city.tasks))
    if city.fingerprint() != forecaster.city["fingerprint"]:
        raise RunError(
            f"run {run} was trained on city {forecaster.city['name']!r} with other data than {city.name!r} holds; "
            f"give the city it was trained on"
        )
    splits = make_windows(city, forecaster.protocol, forecaster.config.input_steps, forecaster.config.horizon)  # type: ignore[arg-type]
    tasks, sample = {}, {}
    for name, task in city.tasks.items():
        windows = replace(forecaster.windows(task), split=splits[name].split)
        scores, pictures = _score(forecaster, windows, part, batch_size, sample_steps, progress)
        tasks[name] = {
            "unit": task.unit,
            "kind": task.kind,
            "interval": task.interval,
            "nodes": list(task.nodes),
            "windows": len(windows.split.starts[part]),
            "systems": scores,
        }
        steps = pictures.pop("steps")
        sample[f"{name}.time"] = task.time[steps].astype("datetime64[s]").astype(np.int64)
        sample.update({f"{name}.{key}": value for key, value in pictures.items()})
    evaluation = {
        "schema": SCHEMA,
        "made": {
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "command": command or command_line(),
            "versions": {"cmust": __version__, "torch": torch.__version__, "numpy": np.__version__},
            "machine": describe_machine(torch.device("cpu")),
        },
        "city": forecaster.city,
        "protocol": forecaster.protocol,
        "part": part,
        "tasks": tasks,
    }
    with atomic_path(folder.folder / "evaluation_sample.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **sample)
    write_text(folder.evaluation_file, json.dumps(evaluation, indent=1) + "\n")
    return evaluation


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
    scores = {name: Scores(windows.horizon, windows.n_nodes) for name in systems}
    done = 0
    for batch in starts.split(batch_size):
        forecasts = {name: system(windows, batch) for name, system in systems.items()}
        truth, valid = windows.targets(batch)
        for name, forecast in forecasts.items():
            scores[name].add(forecast, truth, valid)
        keep(batch, forecasts)
        done += len(batch)
        progress(done)
    return {name: score.result() for name, score in scores.items()}


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
        {SYSTEM: forecaster.forecast, **NAIVE},
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
