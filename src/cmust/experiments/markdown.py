"""Tables of scores in Markdown: masked MAE (plain MAE), the best of a column in bold."""

from collections.abc import Mapping
from typing import Any

Scored = Mapping[str, Mapping[str, Mapping[str, Mapping[str, float]]]]
"""By task and system, ``plain`` and ``masked``, each with its ``mae``."""


def score_rows(title: str, tasks: Scored, labels: Mapping[str, str]) -> list[str]:
    """Lines of a table: a row for every system of ``labels`` that all tasks have, a column per task."""
    lines = [f"| {title} | {' | '.join(tasks)} |", f"|---|{'---|' * len(tasks)}"]
    best = {
        (task, kind): min(scores[kind]["mae"] for scores in systems.values())
        for task, systems in tasks.items()
        for kind in ("masked", "plain")
    }

    def cell(task: str, kind: str, system: str) -> str:
        value = tasks[task][system][kind]["mae"]
        return f"**{value:.2f}**" if value == best[task, kind] else f"{value:.2f}"

    for system, label in labels.items():
        if all(system in systems for systems in tasks.values()):
            cells = [f"{cell(task, 'masked', system)} ({cell(task, 'plain', system)})" for task in tasks]
            lines.append(f"| {label} | {' | '.join(cells)} |")
    return lines


def better(scores: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether ``scores`` are lower than ``other`` in plain and in masked MAE."""
    return all(scores[kind]["mae"] < other[kind]["mae"] for kind in ("plain", "masked"))
