"""Scores of another run beside a run's own, for tables that compare systems."""

import json
from pathlib import Path
from typing import Any

from cmust.errors import RunError
from cmust.files import write_text
from cmust.run import Run, read_json


def add_system(run: Path | str, name: str, other: Path | str) -> dict[str, Any]:
    """Put what ``other`` reached into the ``evaluation.json`` of ``run``, as a system called ``name``.

    Args:
        run: an evaluated run folder, rewritten.
        name: such as ``alone`` or ``joint``.
        other: a run folder evaluated on the same part of the same city.

    Returns:
        What ``evaluation.json`` of ``run`` holds now.

    Raises:
        RunError: one of them is not evaluated, or they were not evaluated on the same windows of the same tasks.
    """
    ours, theirs = _evaluation(run), _evaluation(other)
    for key in ("city", "protocol", "part"):
        if ours[key] != theirs[key]:
            raise RunError(f"{run} and {other} were evaluated with different {key}; their scores do not compare")
    if set(ours["tasks"]) != set(theirs["tasks"]):
        raise RunError(f"{run} and {other} have different tasks; their scores do not compare")
    for task, scored in ours["tasks"].items():
        counted = theirs["tasks"][task]["windows"]
        if scored["windows"] != counted:
            raise RunError(
                f"{run} has {scored['windows']} windows of {task}, {other} has {counted}; their scores do not compare"
            )
        systems = scored["systems"]
        scored["systems"] = {**systems, name: theirs["tasks"][task]["systems"]["cmust"]}
    write_text(Run(run).evaluation_file, json.dumps(ours, indent=1) + "\n")
    return ours


def _evaluation(run: Path | str) -> dict[str, Any]:
    return read_json(Run(run).evaluation_file, f"run {run} is not evaluated yet; use `cmust evaluate`")
