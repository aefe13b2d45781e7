"""Reads a run folder for the report: every file checked, every complaint naming the file and the place in it."""

import json
import math
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, BaseModel, ValidationError

from cmust.errors import RunError
from cmust.run import FIRST, MODEL_SCHEMA, Run

M = TypeVar("M", bound=BaseModel)

SCHEMA = 1
"""The one layout of ``evaluation.json`` this version reads."""
MODEL_SCHEMAS = range(1, MODEL_SCHEMA + 1)
"""The layouts of ``model/model.json``; what a report needs of it is the same in all."""


def _finite_or_none(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


Number = Annotated[float | None, AfterValidator(_finite_or_none)]
"""A number that may be missing; NaN and infinite count as missing, since neither can be drawn."""


class Plain(BaseModel):
    """Scores over all targets, pooled."""

    mae: Number = None
    rmse: Number = None
    wape: Number = None


class Masked(BaseModel):
    """Scores without the targets that are zero, averaged over horizons."""

    mae: Number = None
    rmse: Number = None
    mape: Number = None


class PerHorizon(BaseModel):
    """Mean absolute error per forecast step, first to last."""

    plain_mae: list[Number] = []
    masked_mae: list[Number] = []


class PerNode(BaseModel):
    """Mean absolute error per place, in the order of the task's nodes."""

    plain_mae: list[Number] = []


class Scores(BaseModel):
    """What one system reached on one task."""

    plain: Plain = Plain()
    masked: Masked = Masked()
    per_horizon: PerHorizon = PerHorizon()
    per_node: PerNode = PerNode()


class TaskEvaluation(BaseModel):
    """All systems on one task."""

    unit: str = ""
    kind: str = "other"
    interval: int
    model: str = ""
    nodes: list[str]
    windows: int | None = None
    systems: dict[str, Scores]


class Made(BaseModel):
    """Who made the evaluation, when and on what."""

    when: str | None = None
    command: str | list[str] | None = None
    versions: dict[str, str] = {}
    machine: str | dict[str, Any] | None = None


class CityName(BaseModel):
    """The city that was evaluated."""

    name: str
    fingerprint: str = ""
    synthetic: bool = False


class Evaluation(BaseModel):
    """``evaluation.json``."""

    made: Made = Made()
    city: CityName
    version: int = FIRST
    protocol: str
    part: str
    tasks: dict[str, TaskEvaluation]


class ModelTask(BaseModel):
    """What ``model/model.json`` says about the places of one task."""

    nodes: list[str]
    lon: list[Number]
    lat: list[Number]
    geometry: list[dict[str, Any] | None] | None = None
    unit: str = ""
    kind: str = "other"
    interval: int | None = None


class ModelFile(BaseModel):
    """``model/model.json``, as far as a report needs it."""

    tasks: dict[str, ModelTask]
    city: CityName | None = None


class Epoch(BaseModel):
    """One ``epoch`` line of ``history.jsonl``."""

    phase: str
    kind: str
    tasks: list[str] = []
    epoch: int
    train_loss: Number = None
    validation_loss: Number = None
    frozen_share: Number = None
    updates: int | None = None
    seconds: Number = None
    best: bool = False


class PhaseEnd(BaseModel):
    """One ``phase`` line of ``history.jsonl``."""

    phase: str
    kind: str
    tasks: list[str] = []
    epochs: int | None = None
    best_epoch: int | None = None
    updates: int | None = None
    frozen_share: Number = None
    frozen_by_layer: dict[str, Number] = {}
    seconds: Number = None


@dataclass(frozen=True)
class History:
    """``history.jsonl`` in file order; an epoch trained again after a resume stands once, as last written."""

    epochs: tuple[Epoch, ...] = ()
    phases: tuple[PhaseEnd, ...] = ()


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
    config = _read_object(folder / "config.json")
    history = _read_history(folder / "history.jsonl")
    run = Run(folder)
    model = _read_model(run.version_model() / "model.json")
    evaluation = _read_evaluation(folder / "evaluation.json", run.pointer()[0])
    if evaluation is not None and model is not None:
        _check_same_places(folder, evaluation, model)
    samples = {} if evaluation is None else _read_samples(folder / "evaluation_sample.npz", evaluation)
    return RunFiles(folder, config, history, model, evaluation, samples)


def check_evaluation(content: dict[str, Any], where: str = "evaluation") -> Evaluation:
    """Check the content of an ``evaluation.json``.

    Raises:
        RunError: another schema, or a field that is missing or of the wrong type.
    """
    _check_schema(content, where, "run `cmust evaluate` again")
    evaluation = _checked(Evaluation, content, where)
    for name, task in evaluation.tasks.items():
        for system, scores in task.systems.items():
            count = len(scores.per_node.plain_mae)
            if count not in (0, len(task.nodes)):
                raise RunError(
                    f"{where}: tasks.{name}.systems.{system}.per_node.plain_mae has {count} values "
                    f"for {len(task.nodes)} nodes: run `cmust evaluate` again"
                )
    return evaluation


def _check_schema(content: dict[str, Any], where: str, remedy: str, known: Sequence[int] = (SCHEMA,)) -> None:
    schema = content.get("schema")
    if schema not in known:
        raise RunError(
            f"{where} has schema {schema!r}, this version of cmust reads {' and '.join(map(str, known))}: "
            f"{remedy}, or use the version that wrote it"
        )


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise RunError(
            f"{path} is damaged at line {error.lineno}, column {error.colno}: {error.msg}; "
            "restore it or make the run again"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path} cannot be read: {error}; restore it or make the run again") from error
    if not isinstance(content, dict):
        raise RunError(f"{path} holds a {type(content).__name__}, not an object; restore it or make the run again")
    return content


def _checked(model: type[M], content: dict[str, Any], where: str) -> M:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RunError(
            f"{where}: {place}: {first['msg']}; the file is damaged or from another version of cmust"
        ) from error


def _read_history(path: Path) -> History:
    if not path.is_file():
        return History()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path} cannot be read: {error}; restore it or make the run again") from error
    epochs: dict[tuple[str, int], Epoch] = {}
    phases: dict[str, PhaseEnd] = {}
    # What follows the last line end is a line still being written (or cut by a kill): it is not a record yet.
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise RunError(
                f"{where} is damaged, column {error.colno}: {error.msg}; remove the line or train again"
            ) from error
        if not isinstance(record, dict):
            raise RunError(f"{where} holds a {type(record).__name__}, not an object; remove the line or train again")
        if record.get("event") == "epoch":
            epoch = _checked(Epoch, record, where)
            epochs[epoch.phase, epoch.epoch] = epoch
        elif record.get("event") == "phase":
            phase = _checked(PhaseEnd, record, where)
            phases[phase.phase] = phase
    return History(tuple(epochs.values()), tuple(phases.values()))


def _read_model(path: Path) -> ModelFile | None:
    if not path.is_file():
        return None
    content = _read_object(path)
    _check_schema(content, str(path), "make the run again", MODEL_SCHEMAS)
    model = _checked(ModelFile, content, str(path))
    for name, task in model.tasks.items():
        lengths = {"lon": len(task.lon), "lat": len(task.lat)}
        if task.geometry is not None:
            lengths["geometry"] = len(task.geometry)
        for field, length in lengths.items():
            if length != len(task.nodes):
                raise RunError(
                    f"{path}: tasks.{name}.{field} has {length} entries for {len(task.nodes)} nodes; "
                    "the file is damaged: make the run again"
                )
    return model


def _read_evaluation(path: Path, version: int) -> Evaluation | None:
    """The scores of the version in force; those of another one count as not there."""
    evaluation = check_evaluation(_read_object(path), str(path)) if path.is_file() else None
    return evaluation if evaluation is not None and evaluation.version == version else None


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
