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
        name: such as ``alone`` or ``joint``; none that is there already.
        other: a run folder evaluated on the same part of the same city, of as many forecast steps.

    Returns:
        What ``evaluation.json`` of ``run`` holds now.

    Raises:
        RunError: one of them is not evaluated, they were not evaluated on the same windows of the same tasks, or
            ``run`` has a system of this name.
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
        systems, added = scored["systems"], theirs["tasks"][task]["systems"]["cmust"]
        if name in systems:
            raise RunError(
                f"{run} has scores of {name!r} for {task} already (it has {', '.join(systems)}); take another name, or "
                f"evaluate the run again, which leaves only its own"
            )
        if (steps := _steps(systems["cmust"])) != (other_steps := _steps(added)):
            raise RunError(
                f"{run} forecasts {steps} steps of {task}, {other} forecasts {other_steps}; their scores do not compare"
            )
        scored["systems"] = {**systems, name: added}
    write_text(Run(run).evaluation_file, json.dumps(ours, indent=1) + "\n")
    return ours


def _steps(scores: dict[str, Any]) -> int:
    """How many forecast steps a system was scored on; 0 where it is not said."""
    return len(scores.get("per_horizon", {}).get("plain_mae", []))


def _evaluation(run: Path | str) -> dict[str, Any]:
    return read_json(Run(run).evaluation_file, f"run {run} is not evaluated yet; use `cmust evaluate`")
