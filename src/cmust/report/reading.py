"""Reads a run folder for the report: every file checked, every complaint naming the file and the place in it."""

import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmust.errors import RunError
from cmust.report.checking import check_evaluation, read_object
from cmust.report.history import History, read_history
from cmust.report.layout import Backtest, Evaluation, Intervals, ModelFile
from cmust.report.unseen import fresh_tasks, read_backtest, read_intervals
from cmust.report.versions import VersionRecord, read_model, read_versions
from cmust.run import Run


@dataclass(frozen=True)
class Sample:
    """Truth and forecasts of one task, for pictures.

    Attributes:
        time: ``(step,)`` int64, seconds since 1970 in the city's wall clock, start of the interval.
        truth: ``(step, node)`` observed values, NaN where missing.
        first: ``(step, node)`` forecasts made one step ahead.
        last: ``(step, node)`` forecasts made the last horizon ahead.
    """

    time: NDArray[np.int64]
    truth: NDArray[np.float64]
    first: NDArray[np.float64]
    last: NDArray[np.float64]


@dataclass(frozen=True)
class RunFiles:
    """Everything a report is made of. ``None`` or empty where the run has not come that far."""

    folder: Path
    config: dict[str, Any]
    history: History
    model: ModelFile | None
    evaluation: Evaluation | None
    samples: dict[str, Sample]
    versions: tuple[VersionRecord, ...] = ()
    backtest: Backtest | None = None
    intervals: Intervals | None = None
    stale: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By file: tasks that it tells of, but of other weights than those in force."""


def read_run(folder: Path) -> RunFiles:
    """Read a run folder.

    Raises:
        RunError: it is not a run folder, or a file in it is damaged, of an unknown schema, or from another run.
    """
    if not folder.is_dir():
        raise RunError(f"{folder} is not a folder; give the run folder that `cmust train` wrote")
    if not (folder / "config.json").is_file():
        if (folder / "model.json").is_file():
            raise RunError(f"{folder} is a bundle: it has no history to report; its scores are in its README.md")
        raise RunError(f"{folder} is not a run folder: it has no config.json; give the folder that `cmust train` wrote")
    config = read_object(folder / "config.json")
    run = Run(folder)
    model = read_model(run.version_model() / "model.json")
    versions = read_versions(run, config) if model is not None else ()
    evaluation, old_scores = _read_evaluation(run, model, versions)
    samples = {} if evaluation is None else _read_samples(folder / "evaluation_sample.npz", evaluation)
    backtest, old_tests = read_backtest(folder / "backtest.json", model, versions)
    intervals, old_intervals = read_intervals(folder / "intervals.json", model, versions)
    return RunFiles(
        folder=folder,
        config=config,
        history=read_history(run.history_file),
        model=model,
        evaluation=evaluation,
        samples=samples,
        versions=versions,
        backtest=backtest,
        intervals=intervals,
        stale={"evaluation.json": old_scores, "backtest.json": old_tests, "intervals.json": old_intervals},
    )


def _read_evaluation(
    run: Run, model: ModelFile | None, versions: tuple[VersionRecord, ...]
) -> tuple[Evaluation | None, tuple[str, ...]]:
    """The scores of weights in force, and the tasks that are scored with others; None where there are none."""
    path = run.evaluation_file
    evaluation = check_evaluation(read_object(path), str(path)) if path.is_file() else None
    old: tuple[str, ...] = ()
    if evaluation is not None and model is not None:
        if evaluation.version != run.pointer()[0]:
            evaluation, old = fresh_tasks(evaluation, versions)
        if evaluation is not None:
            _check_same_places(run.folder, evaluation, model)
    return evaluation, old


def _check_same_places(folder: Path, evaluation: Evaluation, model: ModelFile) -> None:
    for name, task in evaluation.tasks.items():
        if name not in model.tasks:
            raise RunError(
                f"{folder / 'evaluation.json'} scores task {name!r}, the model has {', '.join(model.tasks)}; "
                "it belongs to another run: run `cmust evaluate` again"
            )
        if model.tasks[name].nodes != task.nodes:
            raise RunError(
                f"{folder / 'evaluation.json'} scores task {name!r} at {len(task.nodes)} places that are not "
                f"the model's {len(model.tasks[name].nodes)}; it belongs to another run: run `cmust evaluate` again"
            )


def _read_samples(path: Path, evaluation: Evaluation) -> dict[str, Sample]:
    """Read the samples of the tasks that have one; a task whose sample the file lacks is left out."""
    if not path.is_file():
        return {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            if not isinstance(archive, np.lib.npyio.NpzFile):
                raise ValueError("it is a single array, not an archive")
            arrays = {key: archive[key] for key in archive.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(f"{path} is damaged: {error}; run `cmust evaluate` again") from error
    samples = {}
    for name, task in evaluation.tasks.items():
        keys = [f"{name}.{part}" for part in ("time", "truth", "forecast_first", "forecast_last")]
        present = [key for key in keys if key in arrays]
        if not present:
            continue
        if present != keys:
            missing = ", ".join(key for key in keys if key not in arrays)
            raise RunError(f"{path} lacks {missing}; run `cmust evaluate` again")
        samples[name] = _checked_sample(path, name, len(task.nodes), *(arrays[key] for key in keys))
    return samples


def _checked_sample(
    path: Path, name: str, nodes: int, time: NDArray[Any], truth: NDArray[Any], first: NDArray[Any], last: NDArray[Any]
) -> Sample:
    shape = (len(time), nodes) if time.ndim == 1 else None
    for part, array in {"truth": truth, "forecast_first": first, "forecast_last": last}.items():
        if array.shape != shape or array.dtype.kind not in "fiu":
            raise RunError(
                f"{path}: {name}.{part} is {array.dtype} {array.shape}, expected numbers of shape (steps, {nodes}) "
                f"with the {time.shape} steps of {name}.time; run `cmust evaluate` again"
            )
    if time.dtype.kind != "i":
        raise RunError(f"{path}: {name}.time is {time.dtype}, expected int64 seconds; run `cmust evaluate` again")
    return Sample(time.astype(np.int64), truth.astype(np.float64), first.astype(np.float64), last.astype(np.float64))
