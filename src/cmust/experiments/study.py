"""An experiment: its cells, what of each is otherwise than plain, and the table it becomes."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmust.city import City
from cmust.experiments.budget import Budget
from cmust.experiments.engine import Cell, Record, carry_out
from cmust.experiments.table import Table
from cmust.experiments.work import Terms, work
from cmust.identity import describe_city
from cmust.training import Watcher

Watching = Callable[[], AbstractContextManager[Watcher | None]]


@dataclass(frozen=True)
class Experiment:
    """What is compared.

    Attributes:
        name: of the command and of the files.
        table: from what makes the experiment (``config.json``) and its finished cells.
        vary: the terms of a cell's variation.
    """

    name: str
    table: Callable[[dict[str, Any], Sequence[Record]], Table]
    vary: Callable[[Terms, Cell], Terms] = lambda terms, cell: terms


def run(
    experiment: Experiment,
    cells: Sequence[Cell],
    terms: Terms,
    folder: Path,
    *,
    watching: Watching = nullcontext,
    tell: Callable[[str], None] = lambda line: None,
) -> None:
    """Compute what is not finished yet; more cells of the same experiment may be added later.

    Args:
        experiment: which.
        cells: which of it.
        terms: what all of them have in common.
        folder: of the experiment.
        watching: gives a watcher for a cell.
        tell: hears a line for each cell.

    Raises:
        ConfigError: a system or setting is unknown.
        CityError: the city does not fit.
        RunError: the folder holds another experiment, or one with another budget, city or settings.
    """

    def compute(cell: Cell, place: Path) -> Record:
        with watching() as watcher:
            return work(cell, place, experiment.vary(terms, cell), watcher)

    carry_out(folder, identity(experiment, terms), cells, compute, tell=tell)


def identity(experiment: Experiment, terms: Terms) -> dict[str, Any]:
    """What makes it this experiment, as plain JSON values."""
    return {
        "experiment": experiment.name,
        "budget": str(terms.budget),
        "tasks": list(terms.city.tasks),
        "settings": terms.settings,
        "city": describe_city(terms.city),
    }


def make_terms(city: City, budget: str, settings: dict[str, Any], accelerator: str) -> Terms:
    """From what a command is given.

    Raises:
        ConfigError: there is no such budget, or a setting is not for experiments.
    """
    return Terms(city, Budget.parse(budget), settings, accelerator)


def title(config: dict[str, Any]) -> str:
    """City and budget."""
    synthetic = ", synthetic" if config["city"]["synthetic"] else ""
    return f"{config['city']['name']}{synthetic}, budget {config['budget']}"
