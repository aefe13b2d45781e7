"""Files of a run checked: every complaint names the file, the place in it, and what to do."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from cmust.errors import RunError
from cmust.report.layout import Evaluation

M = TypeVar("M", bound=BaseModel)

SCHEMA = 1
"""The one layout of a run's records that this version reads."""


def check_schema(content: dict[str, Any], where: str, remedy: str, known: Sequence[int] = (SCHEMA,)) -> None:
    """Refuse a file of a layout that this version does not read.

    Raises:
        RunError: it is such a file; ``remedy`` says what to do.
    """
    schema = content.get("schema")
    if schema not in known:
        raise RunError(
            f"{where} has schema {schema!r}, this version of cmust reads {' and '.join(map(str, known))}: "
            f"{remedy}, or use the version that wrote it"
        )


def read_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        RunError: the place of the damage.
    """
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


def checked(model: type[M], content: dict[str, Any], where: str) -> M:
    """The content in its layout.

    Raises:
        RunError: the first field that does not fit.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise RunError(
            f"{where}: {place}: {first['msg']}; the file is damaged or from another version of cmust"
        ) from error


def check_evaluation(content: dict[str, Any], where: str = "evaluation") -> Evaluation:
    """Check the content of an ``evaluation.json``.

    Raises:
        RunError: another schema, or a field that is missing or of the wrong type.
    """
    check_schema(content, where, "run `cmust evaluate` again")
    evaluation = checked(Evaluation, content, where)
    for name, task in evaluation.tasks.items():
        for system, scores in task.systems.items():
            count = len(scores.per_node.plain_mae)
            if count not in (0, len(task.nodes)):
                raise RunError(
                    f"{where}: tasks.{name}.systems.{system}.per_node.plain_mae has {count} values "
                    f"for {len(task.nodes)} nodes: run `cmust evaluate` again"
                )
    return evaluation
