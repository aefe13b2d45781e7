"""Reads what was measured on data that the model had not seen: the backtest and the calibrated intervals."""

from collections.abc import Collection
from pathlib import Path
from typing import TypeVar

from cmust.errors import RunError
from cmust.intervals.state import read_document
from cmust.report.checking import check_schema, checked, read_object
from cmust.report.layout import Backtest, Evaluation, Intervals, ModelFile, TaskIntervals
from cmust.report.versions import VersionRecord, still_in_force

R = TypeVar("R", Evaluation, Backtest, Intervals)

BACKTEST, CALIBRATE = "cmust evaluate --rolling-origin", "cmust calibrate"


def read_backtest(
    path: Path, model: ModelFile | None, versions: tuple[VersionRecord, ...]
) -> tuple[Backtest | None, tuple[str, ...]]:
    """``backtest.json`` without the tasks whose weights are no longer in force, and those; None where nothing is left.

    Raises:
        RunError: it is damaged, of an unknown schema, or of another run.
    """
    if model is None or not path.is_file():
        return None, ()
    content = read_object(path)
    check_schema(content, str(path), f"run `{BACKTEST}` again")
    backtest, old = fresh_tasks(checked(Backtest, content, str(path)), versions)
    for name, task in backtest.tasks.items() if backtest else ():
        _check_places(path, name, {row.name for row in task.by.get("place", [])}, model, BACKTEST)
    return backtest, old


def read_intervals(
    path: Path, model: ModelFile | None, versions: tuple[VersionRecord, ...]
) -> tuple[Intervals | None, tuple[str, ...]]:
    """The same of ``intervals.json``, whose checksum has to fit.

    Raises:
        RunError: it is damaged, was altered, is of an unknown schema, or of another run.
    """
    content = read_document(path)
    if model is None or content is None:
        return None, ()
    intervals, old = fresh_tasks(checked(Intervals, content, str(path)), versions)
    for name, task in intervals.tasks.items() if intervals else ():
        _check_places(path, name, {node for group in task.groups for node in group.nodes}, model, CALIBRATE)
        _check_groups(f"{path}: tasks.{name}", task)
    return intervals, old


def _check_groups(where: str, task: TaskIntervals) -> None:
    for system, levels in task.systems.items():
        for level, scores in levels.items():
            if len(scores.per_group.coverage) != len(task.groups):
                raise RunError(
                    f"{where}.systems.{system}.{level}.per_group has {len(scores.per_group.coverage)} values for "
                    f"{len(task.groups)} groups; run `{CALIBRATE}` again"
                )


def _check_places(path: Path, name: str, places: Collection[str], model: ModelFile, command: str) -> None:
    if strangers := set(places) - set(model.tasks[name].nodes):
        raise RunError(
            f"{path} tells of place {min(strangers)!r} in task {name!r}, which the model does not have; it belongs to "
            f"another run: run `{command}` again"
        )


def fresh_tasks(record: R, versions: tuple[VersionRecord, ...]) -> tuple[R | None, tuple[str, ...]]:
    """A record without the tasks whose weights are no longer in force, and those; None where nothing is left."""
    kept = still_in_force(versions, record.version)
    tasks = {name: task for name, task in record.tasks.items() if name in kept}
    fresh = record.model_copy(update={"tasks": tasks}) if tasks else None
    return fresh, tuple(name for name in record.tasks if name not in kept)
