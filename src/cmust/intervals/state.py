"""Calibrated intervals on disk: ``intervals.json``, read as data only.

Shapes: F forecast steps, N nodes, C channels, G groups, V levels.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cmust.errors import RunError, reason
from cmust.files import write_text
from cmust.intervals.conformal import Floats, Groups, Scale

SCHEMA = 1
FILE = "intervals.json"


@dataclass(frozen=True)
class TaskIntervals:
    """The intervals of one task as they stand after the last truth that was heard.

    Attributes:
        model: identity of the model they belong to.
        until: the last step whose truth was heard.
        levels: ``(V,)``.
        scale: of the errors.
        group: ``(N, C)``.
        lower, upper: ``(V, F, G)``, in units of the scale; NaN where too few truths were heard for an interval.
    """

    model: str
    until: np.datetime64
    levels: tuple[float, ...]
    scale: Scale
    group: Groups
    lower: Floats
    upper: Floats

    @property
    def unknown(self) -> npt.NDArray[np.bool_]:
        """``(V, F, G)``: where too few truths were heard for an interval."""
        return np.isnan(self.lower) | np.isnan(self.upper)

    def around(self, forecast: Floats, level: float) -> tuple[Floats, Floats]:
        """Lower and upper bounds, each ``(F, N, C)``, of a forecast ``(F, N, C)``; NaN where they are unknown.

        Raises:
            RunError: this level was not calibrated.
        """
        if level not in self.levels:
            known = ", ".join(f"{each:g}" for each in self.levels)
            raise RunError(
                f"intervals are calibrated for the levels {known}, not for {level!r}; choose one of them, or calibrate "
                f"again with --level {level}"
            )
        which = self.levels.index(level)
        return bounds(self.scale, forecast, self.lower[which][:, self.group], self.upper[which][:, self.group])

    def fits(self, horizon: int, nodes: int) -> bool:
        """Whether they are of so many forecast steps and nodes."""
        return (self.lower.shape[1], len(self.group)) == (horizon, nodes)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "model": self.model,
            "until": str(self.until),
            "levels": list(self.levels),
            "floor": self.scale.floor,
            "group": self.group.tolist(),
            "lower": _or_null(self.lower),
            "upper": _or_null(self.upper),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "TaskIntervals":
        """What ``to_json`` gave.

        Raises:
            KeyError, TypeError, ValueError: it is something else.
        """
        floor = content["floor"]
        made = cls(
            model=str(content["model"]),
            until=np.datetime64(content["until"], "s"),
            levels=tuple(float(level) for level in content["levels"]),
            scale=Scale(None if floor is None else float(floor)),
            group=np.array(content["group"], np.int64),
            lower=np.array(content["lower"], np.float32),
            upper=np.array(content["upper"], np.float32),
        )
        shape = (len(made.levels), *made.lower.shape[1:2], made.group.max() + 1)
        if made.group.ndim != 2 or made.group.min() < 0 or made.lower.shape != shape or made.upper.shape != shape:
            raise ValueError(f"ends of shape {made.lower.shape} and {made.upper.shape} do not fit its groups")
        return made


def _or_null(values: Floats) -> Any:
    """Nested lists, None for NaN, which JSON does not have."""
    plain = values.astype(object)
    plain[np.isnan(values)] = None
    return plain.tolist()


def bounds(scale: Scale, forecast: Floats, lower: Floats, upper: Floats) -> tuple[Floats, Floats]:
    """The interval of each forecast; where values cannot be below 0, neither can its ends."""
    centre, size = scale.centre(forecast), scale.size(forecast)
    ends = centre + size * lower, centre + size * upper
    return (np.maximum(ends[0], 0), np.maximum(ends[1], 0)) if scale.bounded else ends


def write_intervals(path: Path, content: dict[str, Any]) -> None:
    """Write ``content``, with the states of tasks under ``states``, its schema and checksum, atomically."""
    whole = {"schema": SCHEMA, **content}
    write_text(path, json.dumps({**whole, "checksum": _checksum(whole)}, indent=1, allow_nan=False) + "\n")


REMEDY = "calibrate again with `cmust calibrate`"


def read_document(path: Path) -> dict[str, Any] | None:
    """All that the file holds; None where there is no file.

    Raises:
        RunError: the file is damaged, was altered, or is of a newer version.
    """
    if not path.exists():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        schema, found = content["schema"], content.pop("checksum")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RunError(f"{path} is damaged ({reason(error)}); {REMEDY}") from error
    if schema != SCHEMA:
        raise RunError(f"{path} has schema {schema!r}, this version reads {SCHEMA}; {REMEDY}")
    if found != _checksum(content):
        raise RunError(f"{path} was altered: its checksum does not fit; {REMEDY}")
    return content


def read_intervals(path: Path) -> dict[str, TaskIntervals]:
    """The intervals of every task that has some; none where there is no file.

    Raises:
        RunError: the file is damaged, was altered, or is of a newer version.
    """
    content = read_document(path)
    if content is None:
        return {}
    try:
        return {name: TaskIntervals.from_json(state) for name, state in content["states"].items()}
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise RunError(f"{path} is damaged ({reason(error)}); {REMEDY}") from error


def of_these_models(path: Path, identities: Mapping[str, str]) -> dict[str, Any]:
    """What the file holds, with the states and scores of these very models only; none where there is no file.

    Args:
        path: of the file.
        identities: by task (see :meth:`cmust.forecaster.Forecaster.identity`).

    Raises:
        RunError: the file is damaged, was altered, or is of a newer version.
    """
    own = {name: each for name, each in read_intervals(path).items() if each.model == identities.get(name)}
    content = read_document(path) or {}
    try:
        tasks = {name: each for name, each in content.get("tasks", {}).items() if name in own}
    except AttributeError as error:
        raise RunError(f"{path} is damaged ({reason(error)}); {REMEDY}") from error
    return {**content, "states": {name: each.to_json() for name, each in own.items()}, "tasks": tasks}


def for_a_bundle(content: dict[str, Any]) -> dict[str, Any]:
    """What a bundle tells others of a file's content: when and with what it was made, not where and by which
    command.
    """
    made = content.get("made", {})
    told = {key: content[key] for key in content if key in ("city", "adaptation", "tasks", "states")}
    return {**told, "made": {key: made[key] for key in made if key in ("when", "versions")}}


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
