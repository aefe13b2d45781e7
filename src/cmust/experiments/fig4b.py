"""Figure 4b: the error of each task as tasks are added one by one; and how much their order matters."""

from collections.abc import Sequence
from typing import Any

from cmust.experiments.engine import Cell, Record
from cmust.experiments.study import Experiment, title
from cmust.experiments.table import Table, rows_of


def cells(tasks: Sequence[str], system: str, seeds: Sequence[int]) -> list[Cell]:
    """The first task, the first two, ... all; then all of them beginning with each other task, and in reverse."""
    names = tuple(tasks)
    added = [names[:count] for count in range(1, len(names) + 1)]
    turned = [names[first:] + names[:first] for first in range(1, len(names))]
    groups = dict.fromkeys([*added, *turned, names[::-1]])
    return [Cell(system, group, seed) for seed in seeds for group in groups]


def table(config: dict[str, Any], records: Sequence[Record]) -> Table:
    """A row for each sequence of tasks; columns of tasks that are not in it are empty."""
    names = list(config["tasks"])
    sequences = {tuple(cell.tasks) for cell in cells(names, "", [0])}
    ordered = sorted(sequences, key=lambda each: (len(each), [names.index(task) for task in each]))
    labels = {" ".join(each): ", ".join(each) for each in ordered}
    rows = rows_of(records, labels, key=lambda cell, system: " ".join(cell["tasks"]))
    presets = sorted({record["cell"]["system"] for record in records})
    notes = [
        f"Preset: {', '.join(presets)}. Rolling goes through the tasks in the order of the row. Each cell gets its "
        f"budget for each of its tasks.",
    ]
    return Table(title(config), tuple(names), rows, notes)


FIG4B = Experiment("fig4b", table)
