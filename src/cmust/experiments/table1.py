"""Table 1: other systems and CMuST on every task of a city, beside the naive forecasts."""

from collections.abc import Sequence
from typing import Any

from cmust import naive
from cmust.baselines.registry import SYSTEMS, find_system, is_own
from cmust.errors import ConfigError
from cmust.experiments.engine import Cell, Record
from cmust.experiments.study import Experiment, title
from cmust.experiments.table import Table, costs, rows_of
from cmust.experiments.work import ALONE, CMUST, NAIVE_CELL

CMUST_LABELS = {
    ALONE: "the network of CMuST, tuned, each task alone",
    **{name: f"CMuST, {preset}" for name, preset in CMUST.items()},
}
ALL = (NAIVE_CELL, *SYSTEMS, ALONE, *CMUST)


def cells(tasks: Sequence[str], systems: Sequence[str], seeds: Sequence[int], variation: str = "") -> list[Cell]:
    """Seed by seed; a system that takes one task at a time has a cell for each task, the others one for all.

    Raises:
        ConfigError: a system is unknown, or a module of one's own is none.
    """
    for name in systems:
        if is_own(name):
            find_system(name)  # before anything is computed
        elif name not in ALL:
            raise ConfigError(f"unknown system {name!r}; choose among {', '.join(ALL)}, or name a module of your own")
    wanted = [*(name for name in ALL if name in systems), *dict.fromkeys(filter(is_own, systems))]
    made = [Cell(NAIVE_CELL, tuple(tasks), 0, variation)] if NAIVE_CELL in wanted else []
    unseeded = [name for name in wanted if name in SYSTEMS and not SYSTEMS[name].seeded]
    made += [Cell(name, (task,), 0, variation) for name in unseeded for task in tasks]
    for seed in seeds:
        for name in [name for name in wanted if name not in unseeded]:
            if name in CMUST or (name in SYSTEMS and SYSTEMS[name].together):
                made.append(Cell(name, tuple(tasks), seed, variation))
            elif name != NAIVE_CELL:
                made += [Cell(name, (task,), seed, variation) for task in tasks]
    return made


def labels(records: Sequence[Record]) -> dict[str, str]:
    """Of all rows there may be; systems of one's own have the names of their modules, which need not be there."""
    own = sorted({system for record in records if is_own(system := record["cell"]["system"])})
    ours = {name: system.label for name, system in SYSTEMS.items()}
    return {**naive.LABELS, **ours, **{name: name for name in own}, **CMUST_LABELS}


def table(config: dict[str, Any], records: Sequence[Record]) -> Table:
    """A row for every system that has a finished cell."""
    languages = sorted({record["language"] for record in records if record.get("language")})
    notes = [
        "A cell is a task; of systems marked with * and of CMuST, which serve all tasks at once, it is all of them, "
        "with as many times the minutes where the budget is minutes.",
        *(f"UniTime reads with this language model: {language}." for language in languages),
        "",
        *costs(records, labels(records)),
    ]
    together = {name: f"{system.label} *" for name, system in SYSTEMS.items() if system.together}
    return Table(title(config), tuple(config["tasks"]), rows_of(records, {**labels(records), **together}), notes)


TABLE1 = Experiment("table1", table, systems=tuple(SYSTEMS), own_systems=True)
