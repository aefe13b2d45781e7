"""Ways of training the same network, at equal numbers of updates: what rolling, freezing and sharing are worth.

Cells by variation: ``rolling`` (Algorithm 1), ``no_freezing`` (the same without the consistency maintainer), ``alone``
(each task by itself, as many updates as rolling gives that task), ``joint`` (all tasks mixed, as many updates in all);
beside them a small MLP and the naive forecasts.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from cmust import naive
from cmust.baselines.registry import find_system
from cmust.errors import ConfigError
from cmust.experiments.budget import Budget
from cmust.experiments.engine import Cell, Record
from cmust.experiments.study import Experiment, preset_of
from cmust.experiments.table import Table, costs, rows_of
from cmust.experiments.work import NAIVE_CELL, Terms, changed, work
from cmust.rolling import epochs_by_task, rolling_plan
from cmust.run import Run
from cmust.settings import Scheme
from cmust.training import Watcher

MLP = "residual_mlp"
WAYS: dict[str, tuple[str, Scheme]] = {
    "rolling": ("CMuST", "rolling"),
    "no_freezing": ("CMuST without freezing", "rolling"),
    "joint": ("the network trained jointly", "joint"),
    "alone": ("the network alone on each task", "alone"),
}
"""By variation: what it is called, and the scheme it trains by."""


def cells(tasks: Sequence[str], system: str, ways: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
    """Seed by seed, so that whole comparisons are there first.

    Raises:
        ConfigError: there is no such way of training.
    """
    for way in ways:
        if way not in WAYS:
            raise ConfigError(f"unknown way of training {way!r}; choose among {', '.join(WAYS)}")
    made = [Cell(NAIVE_CELL, tuple(tasks), 0)]
    for seed in seeds:
        made += [Cell(MLP, (task,), seed) for task in tasks]
        made += [Cell(system, tuple(tasks), seed, way) for way in ways]
    return made


def vary(terms: Terms, cell: Cell) -> Terms:
    """The settings of a way of training, with the updates that rolling has by the settings of the experiment.

    No phase ends early; the best epoch on validation counts all the same.
    """
    if not cell.variation:
        return terms
    plan = rolling_plan(cell.tasks, terms.of(cell).trainer)
    epochs = sum(phase.epochs for phase in plan)
    training: dict[str, dict[str, Any]] = {
        "rolling": {},
        "no_freezing": {"freezing": False},
        "joint": {"start_epochs": math.ceil(epochs / len(cell.tasks))},
        "alone": {"epochs_by_task": epochs_by_task(plan)},
    }
    settings = changed(terms.settings, {"training": {"patience": epochs, **training[cell.variation]}})
    return replace(terms, settings=settings, scheme=WAYS[cell.variation][1])


def work_with_phases(cell: Cell, folder: Path, terms: Terms, watcher: Watcher | None) -> Record:
    """Compute a cell; the record of the network tells of its phases, too."""
    record = work(cell, folder, terms, watcher)
    if cell.variation:
        keys = ("phase", "kind", "epochs", "best_epoch", "best_validation_loss", "updates", "frozen_share")
        ends = [event for event in Run(folder / "run").history() if event["event"] == "phase"]
        record["phases"] = [{key: end[key] for key in keys} for end in ends]
    return record


def table(config: dict[str, Any], records: Sequence[Record]) -> Table:
    """A row for each way of training."""
    labels = {way: label for way, (label, _) in WAYS.items()}
    rows = rows_of(
        records,
        {**naive.LABELS, MLP: find_system(MLP).label, **labels},
        key=lambda cell, system: str(cell["variation"] or system),
    )
    notes = [f"Preset: {preset_of(records)}.", "", *costs(records, labels, key="variation"), *_phases(records)]
    return Table(f"{config['city']['name']}, equal updates", tuple(config["tasks"]), rows, notes)


def _phases(records: Sequence[Record]) -> list[str]:
    """A table in Markdown of the phases of rolling: their updates, the best epoch of each seed, what was frozen."""
    rolled = [record["phases"] for record in records if record["cell"]["variation"] == "rolling"]
    if not rolled:
        return []
    lines = ["", "| phase of CMuST | updates | best epoch, by seed | frozen after it |", "|---|---|---|---|"]
    for same in zip(*rolled, strict=True):
        first = same[0]
        best = ", ".join(str(phase["best_epoch"]) for phase in same)
        frozen = mean(phase["frozen_share"] for phase in same)
        lines.append(f"| {first['phase']} | {first['updates']} | {best} of {first['epochs']} | {frozen:.1%} |")
    return lines


def fixes(budget: Budget) -> dict[str, str]:
    """What the experiment decides itself."""
    return {**budget.fixes, "patience": "no phase ends early, so that all ways get as many updates"}


SCHEMES = Experiment("schemes", table, vary, work_with_phases, one_preset=True, systems=(MLP,), fixes=fixes)
