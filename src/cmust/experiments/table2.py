"""Table 2: one task with fewer nodes, or a longer interval, the other tasks whole."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cmust.baselines.registry import SYSTEMS, is_own
from cmust.city import Task
from cmust.errors import ConfigError
from cmust.experiments import table1
from cmust.experiments.engine import Cell, Record
from cmust.experiments.study import Experiment, title
from cmust.experiments.table import Table, rows_of
from cmust.experiments.work import ALONE, CMUST, NAIVE_CELL, Terms

CHANGES = {
    "nodes/4": "25 % of nodes",
    "nodes/2": "50 % of nodes",
    "interval*2": "2 x interval",
    "interval*4": "4 x interval",
}
ONE_TASK = tuple(name for name, system in SYSTEMS.items() if not system.together)
ALL = (NAIVE_CELL, *ONE_TASK, ALONE, *CMUST)


def cells(tasks: Sequence[str], task: str, systems: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
    """For each change of ``task``: it alone for systems of one task, all tasks for CMuST.

    Raises:
        ConfigError: a system is unknown, or a module of one's own is none; it takes several tasks on one graph, which
            they no longer share; or there is no such task.
    """
    if task not in tasks:
        raise ConfigError(f"unknown task {task!r}; choose among {', '.join(tasks)}")
    for name in systems:
        if name not in ALL and not is_own(name):
            raise ConfigError(f"system {name!r} is not in this table; choose among {', '.join(ALL)}")
    alone = [name for name in systems if name not in CMUST]
    made: list[Cell] = []
    for change in CHANGES:
        variation = f"{task} {change}"
        made += table1.cells([task], alone, seeds, variation)
        made += table1.cells(tasks, [name for name in systems if name in CMUST], seeds, variation)
    return made


def vary(terms: Terms, cell: Cell) -> Terms:
    """The city with the task changed."""
    name, change = cell.variation.split(" ")
    what, factor = change[:-2], int(change[-1])
    task = terms.city.task(name)
    fewer = thinned(task, factor) if what == "nodes" else coarsened(task, factor)
    return replace(terms, city=replace(terms.city, tasks={**terms.city.tasks, name: fewer}, covariates={}))


def thinned(task: Task, factor: int) -> Task:
    """Every ``factor``-th node, in the order of the data.

    Raises:
        ConfigError: there are too few.
    """
    if task.n_nodes < factor:
        raise ConfigError(f"task {task.name!r} has {task.n_nodes} nodes; every {factor}th is none, take another task")
    return task.select(nodes=list(task.nodes[factor - 1 :: factor]))


def coarsened(task: Task, factor: int) -> Task:
    """Steps ``factor`` times as long: sums of counts, means of what is no count; missing where any part is missing.

    Raises:
        ConfigError: the day is no whole number of such steps.
    """
    interval = factor * task.interval
    if 86_400 % interval:
        raise ConfigError(f"task {task.name!r}: {interval} s, {factor} times its interval, do not divide a day")
    late = int(task.time[0].astype("datetime64[s]").astype(np.int64)) % interval // task.interval
    first = -late % factor
    steps = (task.n_steps - first) // factor
    parts = task.values[first : first + steps * factor].reshape(steps, factor, *task.values.shape[1:])
    values = parts.sum(1) if task.kind == "count" else parts.mean(1)
    return replace(task, values=values, time=task.time[first : first + steps * factor : factor], interval=interval)


def table(config: dict[str, Any], records: Sequence[Record]) -> Table:
    """A pair of columns for each change; of cells of all tasks, the changed one counts."""
    columns: dict[str, None] = {}
    told = []
    for task in config["tasks"]:
        for change, label in CHANGES.items():
            of_this = [record for record in records if record["cell"]["variation"] == f"{task} {change}"]
            if of_this:
                columns[f"{task}, {label}"] = None
            told += [{**record, "tasks": {f"{task}, {label}": record["tasks"][task]}} for record in of_this]
    notes = ["The other tasks are whole. Every second (fourth) node is kept, in the order of the data."]
    return Table(title(config), tuple(columns), rows_of(told, table1.labels(records)), notes)


TABLE2 = Experiment("table2", table, vary, systems=ONE_TASK, own_systems=True)
