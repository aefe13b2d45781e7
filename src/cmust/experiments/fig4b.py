"""Figure 4b: the error of each task as tasks are added one by one; and how much their order matters."""

from collections.abc import Sequence
from statistics import mean
from typing import Any

from cmust import naive
from cmust.experiments.engine import Cell, Record
from cmust.experiments.study import Experiment, preset_of, title
from cmust.experiments.table import MEASURES, Row, Table, rows_of
from cmust.experiments.work import NAIVE_CELL


def cells(tasks: Sequence[str], system: str, seeds: Sequence[int]) -> list[Cell]:
    """The first task, the first two, ... all; then all of them beginning with each other task, and in reverse."""
    names = tuple(tasks)
    added = [names[:count] for count in range(1, len(names) + 1)]
    turned = [names[first:] + names[:first] for first in range(1, len(names))]
    groups = dict.fromkeys([*added, *turned, names[::-1]])
    return [Cell(NAIVE_CELL, names, 0), *(Cell(system, group, seed) for seed in seeds for group in groups)]


def table(config: dict[str, Any], records: Sequence[Record]) -> Table:
    """A row for each sequence of tasks; columns of tasks that are not in it are empty."""
    names = list(config["tasks"])
    sequences = {cell.tasks for cell in cells(names, "", [0]) if cell.system != NAIVE_CELL}
    ordered = sorted(sequences, key=lambda each: (len(each), [names.index(task) for task in each]))
    labels = {" ".join(each): ", ".join(each) for each in ordered}
    rows = rows_of(records, {**naive.LABELS, **labels}, key=lambda cell, system: " ".join(cell["tasks"]))
    whole = [row for row in rows if not row.naive and set(row.scores) == set(names)]
    notes = [
        f"Preset: {preset_of(records)}. Rolling goes through the tasks in the order of the row. Each cell gets its "
        f"budget for each of its tasks.",
        *_order(names, whole),
    ]
    return Table(title(config), tuple(names), rows, notes)


def _order(tasks: Sequence[str], rows: Sequence[Row]) -> list[str]:
    """How much the order of all tasks matters to each of them."""
    if len(rows) < 2:
        return []
    found = []
    for task in tasks:
        errors = [mean(MEASURES[0].values(row.scores[task], "masked")) for row in rows]
        found.append(f"{task} {max(errors) / min(errors) - 1:.1%}")
    return [f"Over {len(rows)} orders of all tasks, the worst masked MAE is above the best: {', '.join(found)}."]


FIG4B = Experiment("fig4b", table, one_preset=True)
