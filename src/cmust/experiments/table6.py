"""Table 6: cold start. Each task in turn comes last, adapted from a run of the others, beside training it alone: errors
and times (C.5).

The others are trained on their training part; the last task arrives with its history up to where the test part begins,
and is scored on the test part. (``coldstart`` is the harder case of a history of a few days.)
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

from cmust import naive
from cmust.continual.record import FROM_SCRATCH
from cmust.errors import ConfigError
from cmust.evaluation import SYSTEM
from cmust.experiments.budget import Budget, Pace, Part
from cmust.experiments.engine import Cell, Record
from cmust.experiments.later import keep_adaptation
from cmust.experiments.study import Experiment, preset_of, title
from cmust.experiments.table import MEASURES, Measure, Table, rows_of
from cmust.experiments.work import Terms, fitted, timed, training_windows
from cmust.run import Run
from cmust.training import Watcher
from cmust.windows import common_cuts

ALONE, LATER = "single_task", "cold_start"
LABELS = {ALONE: "single task", LATER: "cold start"}
NAMES = {FROM_SCRATCH: ALONE, SYSTEM: LATER}
"""What an adaptation's record calls them, and this table."""
SECONDS = Measure("seconds", "seconds", drawn=True)
UNCOUNTED = Pace(0.0, 0.0)


def cells(tasks: Sequence[str], system: str, seeds: Sequence[int]) -> list[Cell]:
    """Seed by seed, a cell for each task that comes last.

    Raises:
        ConfigError: there is one task only.
    """
    if len(tasks) < 2:
        raise ConfigError(f"a cold start needs tasks that were there before, and the city has {tasks[0]} only")
    orders = [(*(other for other in tasks if other != last), last) for last in tasks]
    return [Cell(system, order, seed, "cold start") for seed in seeds for order in orders]


def check(terms: Terms, cell: Cell) -> None:
    """Refuse another split than by time.

    Raises:
        ConfigError: the settings ask for one.
    """
    if terms.of(cell).protocol != "purged":
        raise ConfigError("this table cuts all tasks at one time: leave protocol out of the settings, or set purged")


def work(cell: Cell, folder: Path, terms: Terms, watcher: Watcher | None) -> Record:
    """Train all tasks but the last by rolling; then adapt the last one, and train it alone."""
    *others, last = cell.tasks
    before, settled = fitted(replace(cell, tasks=tuple(others)), folder / "before", terms, watcher)
    later = _settled(replace(cell, tasks=(last,)), folder / "last", terms)
    record = keep_adaptation(
        folder / "last",
        before,
        terms.city,
        last,
        later["training"],
        watcher,
        accelerator=terms.accelerator,
        compare=True,
        train="unfrozen",
        until=str(common_cuts(terms.city)[1]),
    )
    entry = record["tasks"][last]
    systems = {NAMES.get(system, system): scores for system, scores in entry["systems"].items()}
    return {
        "made": Run(folder / "before" / "run").config()["made"],
        "budget": settled,
        "later": {"budget": later, "costs": {NAMES[system]: cost for system, cost in record["costs"].items()}},
        "tasks": {last: {"windows": entry["windows"], "systems": systems}},
    }


def _settled(cell: Cell, folder: Path, terms: Terms) -> dict[str, Any]:
    """What the training of the last task changes to keep within the budget: trained alone it gets the minutes; adapted,
    epochs in the published proportion, and what that takes is measured. Unlike elsewhere both end early by themselves.
    """
    settings = terms.of(cell)
    training = settings.trainer
    published = {key: getattr(training, key) for key in ("start_epochs", "refine_epochs", "batch_size")}
    if training.head_epochs:
        published["head_epochs"] = training.head_epochs
    if training.schedule == "milestones":
        published["milestones"] = training.milestones

    def probe(place: Path, batch: int) -> Sequence[Part]:
        alone = Part("start_epochs", timed(cell, place, terms, "alone", batch))
        adapted = [key for key in ("head_epochs", "refine_epochs") if key in published]
        return [alone, *(Part(key, UNCOUNTED) for key in adapted)]

    windows, halves = partial(training_windows, terms, settings), "batch_size" not in settings.training
    settled = terms.budget.settle(folder, 1, published, windows, probe, halves=halves)
    changes = dict(settled["training"])
    if "patience" in changes:
        share = changes["start_epochs"] / training.start_epochs
        changes["patience"] = max(1, round(share * training.patience))
    return {**settled, "training": changes}


def table(config: dict[str, Any], records: Sequence[Record]) -> Table:
    """Both trainings beside the naive forecasts of the same history, with the seconds they took."""
    timed_records = [
        {**record, "tasks": {task: _with_seconds(record, entry) for task, entry in record["tasks"].items()}}
        for record in records
    ]
    notes = [
        f"Preset: {preset_of(records)}. Each task in turn comes last, with its history before the test part; the "
        f"others were trained before. Seconds: of its training, alone or adapting.",
        "",
        "| | updates | epochs | best epoch | most epochs | trained weights |",
        "|---|---|---|---|---|---|",
    ]
    for system, label in LABELS.items():
        found = [record["later"]["costs"][system] for record in records]
        keys = ("updates", "epochs", "best_epoch", "most_epochs", "trained_weights")
        notes.append(f"| {label} | {' | '.join(f'{mean(cost[key] for cost in found):,.1f}' for key in keys)} |")
    rows = rows_of(timed_records, {**naive.LABELS, **LABELS})
    return Table(title(config), tuple(config["tasks"]), rows, notes, (*MEASURES, SECONDS))


def _with_seconds(record: Record, entry: dict[str, Any]) -> dict[str, Any]:
    systems = dict(entry["systems"])
    for system, cost in record["later"]["costs"].items():
        masked = {**systems[system]["masked"], SECONDS.masked: cost["seconds"]}
        systems[system] = {**systems[system], "masked": masked}
    return {**entry, "systems": systems}


def fixes(budget: Budget) -> dict[str, str]:
    """What the budget decides: not the patience, by which the training of the last task ends."""
    return {key: what for key, what in budget.fixes.items() if key != "patience"}


TABLE6 = Experiment("table6", table, work=work, one_preset=True, fixes=fixes, check=check)
