"""Table 5: the unified models UniST and UniTime against CMuST, all on the same tasks at once (C.4)."""

from collections.abc import Sequence

from cmust.errors import ConfigError
from cmust.experiments import table1
from cmust.experiments.engine import Cell
from cmust.experiments.study import Experiment
from cmust.experiments.work import CMUST, NAIVE_CELL

ALL = (NAIVE_CELL, "unist", "unitime", *CMUST)


def cells(tasks: Sequence[str], systems: Sequence[str], seeds: Sequence[int]) -> list[Cell]:
    """Seed by seed, one cell for all tasks.

    Raises:
        ConfigError: a system is not in this table.
    """
    for name in systems:
        if name not in ALL:
            raise ConfigError(f"system {name!r} is not in this table; choose among {', '.join(ALL)}")
    return table1.cells(tasks, systems, seeds)


# Its settings may be those of Table 1, whose cells it takes.
TABLE5 = Experiment("table5", table1.table, systems=table1.TABLE1.systems, own_systems=True)
