"""Reads the versions of a run: what made each, what it changed, and what that reached."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cmust.errors import RunError
from cmust.report.checking import check_evaluation, check_schema, checked, read_object
from cmust.report.history import History, read_history
from cmust.report.layout import AdaptFile, Evaluation, Made, ModelFile, UpdateFile, VersionFile
from cmust.run import FIRST, MODEL_SCHEMA, Run

MODEL_SCHEMAS = range(1, MODEL_SCHEMA + 1)
"""The layouts of ``model/model.json``; what a report needs of it is the same in all."""


@dataclass(frozen=True)
class VersionRecord:
    """One version of a run.

    Attributes:
        number: 1 is what training made.
        in_force: whether it is the one that is used.
        made_by: train, adapt or update.
        made: when, by which command, on what.
        parent: the version it was made from; None for the first.
        weights: checksum of each task's file. The same checksum is the same forecasts.
        changed: tasks whose weights are new or other than the parent's; none for the first.
        adapted: what an adaptation was and took.
        scores: what it reached.
        updated: what an update compared and kept.
        history: of its making; that of the first version is the run's own and empty here.
    """

    number: int
    in_force: bool
    made_by: str
    made: Made
    parent: int | None
    weights: dict[str, str]
    changed: tuple[str, ...] = ()
    adapted: AdaptFile | None = None
    scores: Evaluation | None = None
    updated: UpdateFile | None = None
    history: History = field(default_factory=History)

    @property
    def unchanged(self) -> tuple[str, ...]:
        """Tasks that are the parent's, byte for byte."""
        return tuple(name for name in self.weights if name not in self.changed)


def read_versions(run: Run, config: dict[str, Any]) -> tuple[VersionRecord, ...]:
    """All versions of a finished run, the first one first.

    Args:
        run: the run.
        config: its ``config.json``.

    Raises:
        RunError: a file of a version is missing or damaged.
    """
    current, last = run.pointer()
    made = config.get("made")
    started = {**made, "when": made.get("started")} if isinstance(made, dict) else {}
    first = VersionRecord(
        number=FIRST,
        in_force=current == FIRST,
        made_by="train",
        made=checked(Made, started, str(run.config_file)),
        parent=None,
        weights=_weights(run, FIRST),
    )
    versions = [first]
    for number in range(FIRST + 1, last + 1):
        versions.append(_read_version(run, number, number == current, versions))
    return tuple(versions)


def lineage(versions: Iterable[VersionRecord]) -> Iterator[VersionRecord]:
    """The version in force, the one it was made from, and so on to the first."""
    by_number = {version.number: version for version in versions}
    at = next((version for version in by_number.values() if version.in_force), None)
    while at is not None:
        yield at
        at = None if at.parent is None else by_number[at.parent]


def still_in_force(versions: tuple[VersionRecord, ...], number: int | None) -> set[str]:
    """The tasks whose weights are still those of a version.

    Args:
        versions: of the run.
        number: the version; None where a file does not say, which tells only in a run of one version.
    """
    current = next(version for version in versions if version.in_force)
    if number is None:
        return set(current.weights) if len(versions) == 1 else set()
    of_that = next((version.weights for version in versions if version.number == number), {})
    return {name for name, digest in current.weights.items() if of_that.get(name) == digest}


def _read_version(run: Run, number: int, in_force: bool, before: list[VersionRecord]) -> VersionRecord:
    folder = run.version_folder(number)
    about = checked(VersionFile, _record(folder / "version.json"), str(folder / "version.json"))
    if not FIRST <= about.parent < number:
        raise RunError(f"{folder / 'version.json'} names version {about.parent} as its parent; restore it from a copy")
    weights, parents = _weights(run, number), before[about.parent - FIRST].weights
    adapted = scores = updated = None
    if about.made_by == "adapt":
        content, where = _record(folder / "adapt.json"), str(folder / "adapt.json")
        adapted, scores = checked(AdaptFile, content, where), check_evaluation(content, where)
    elif about.made_by == "update":
        updated = checked(UpdateFile, _record(folder / "update.json"), str(folder / "update.json"))
    return VersionRecord(
        number=number,
        in_force=in_force,
        made_by=about.made_by,
        made=about.made,
        parent=about.parent,
        weights=weights,
        changed=tuple(name for name, digest in weights.items() if parents.get(name) != digest),
        adapted=adapted,
        scores=scores,
        updated=updated,
        history=read_history(folder / "history.jsonl"),
    )


def _record(path: Path) -> dict[str, Any]:
    content = read_object(path)
    check_schema(content, str(path), "restore it from a copy")
    return content


def _weights(run: Run, number: int) -> dict[str, str]:
    """Checksum of each task's file; its own number where ``model.json`` has none, so that it is like no other's."""
    path = run.version_model(number) / "model.json"
    model = read_model(path)
    if model is None:
        raise RunError(f"{path} is missing; restore it from a copy")
    return {name: model.checksums.get(f"tasks/{name}.safetensors", f"version {number}") for name in model.tasks}


def read_model(path: Path) -> ModelFile | None:
    """What ``model.json`` says about tasks and places; None where there is no file.

    Raises:
        RunError: it is damaged.
    """
    if not path.is_file():
        return None
    content = read_object(path)
    check_schema(content, str(path), "make the run again", MODEL_SCHEMAS)
    model = checked(ModelFile, content, str(path))
    for name, task in model.tasks.items():
        lengths = {"lon": len(task.lon), "lat": len(task.lat)}
        if task.geometry is not None:
            lengths["geometry"] = len(task.geometry)
        for what, length in lengths.items():
            if length != len(task.nodes):
                raise RunError(
                    f"{path}: tasks.{name}.{what} has {length} entries for {len(task.nodes)} nodes; "
                    "the file is damaged: make the run again"
                )
    return model
