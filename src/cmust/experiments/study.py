"""An experiment: its cells, what of each differs from the plain one, and the table it becomes."""

import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmust.baselines.registry import find_system, is_own
from cmust.baselines.train import check_recipe
from cmust.city import City
from cmust.errors import ConfigError, RunError
from cmust.experiments.budget import Budget
from cmust.experiments.engine import Cell, Record, begin, carry_out, cell_file, cell_of, finished, records
from cmust.experiments.sheet import Exhibit
from cmust.experiments.work import CMUST, PRESET_OF, Terms, work
from cmust.files import write_text
from cmust.identity import describe_city
from cmust.model.config import PRESETS, model_config
from cmust.rolling.config import training_config
from cmust.run import Run
from cmust.settings import derived_settings, make_settings
from cmust.training import Watcher

Watching = Callable[[], AbstractContextManager[Watcher | None]]


@dataclass(frozen=True)
class Experiment:
    """What is compared.

    Attributes:
        name: of the command and of the files.
        table: from what makes the experiment (``config.json``) and its finished cells.
        vary: the terms of a cell's variation.
        work: computes a cell in its folder.
        one_preset: all its cells of CMuST are of the same preset.
        systems: the others that its cells may be of, and that the settings may have tables for.
        own_systems: a user's own may be among them, too.
        fixes: training settings of CMuST that it decides itself within a budget, each with what of them.
        check: refuses settings that its cells of CMuST cannot take.
    """

    name: str
    table: Callable[[dict[str, Any], Sequence[Record]], Exhibit]
    vary: Callable[[Terms, Cell], Terms] = lambda terms, cell: terms
    work: Callable[[Cell, Path, Terms, Watcher | None], Record] = work
    one_preset: bool = False
    systems: tuple[str, ...] = ()
    own_systems: bool = False
    fixes: Callable[[Budget], dict[str, str]] = lambda budget: budget.fixes
    check: Callable[[Terms, Cell], None] = lambda terms, cell: None


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
        RunError: the folder holds another experiment, or one with another budget, city or settings; or cells failed.
        CmustError: there is one cell only, and it failed.
    """

    def compute(cell: Cell, place: Path) -> Record:
        with watching() as watcher:
            return experiment.work(cell, place, experiment.vary(terms, cell), watcher)

    claim(experiment, cells, terms, folder)
    carry_out(folder, cells, compute, tell=tell)


def claim(experiment: Experiment, cells: Sequence[Cell], terms: Terms, folder: Path) -> None:
    """Begin the experiment in its folder, or check that it is the one that was begun there.

    Raises:
        ConfigError: a setting is unknown, does not fit, or would be ignored; nothing is begun.
        RunError: the folder holds another one; or cells of another preset of CMuST, where the table has one.
    """
    check_settings(experiment, cells, terms)
    begin(folder, identity(experiment, terms), _before_presets_were_kept())
    if experiment.one_preset:
        present = [cell_of(record) for record in finished(folder)]
        found = sorted({CMUST[cell.system] for cell in [*present, *cells] if cell.system in CMUST})
        if len(found) > 1:
            raise RunError(
                f"{folder} would hold cells of the presets {' and '.join(found)}, this table is of one; use another "
                f"folder for the other"
            )


def check_settings(experiment: Experiment, cells: Sequence[Cell], terms: Terms) -> None:
    """Check the settings as they are given; what cells derive from them is not refused any more.

    Raises:
        ConfigError: one is unknown, does not fit, or would be ignored, for a preset of CMuST among the cells or for
            another system.
    """
    own = {key: value for key, value in terms.settings.items() if key != "systems"}
    derived_settings(**own)  # protocol and windows are those of all systems
    by_preset = {PRESET_OF[cell.system]: cell for cell in cells if cell.system in PRESET_OF}
    for preset, cell in by_preset.items():
        make_settings(**own, preset=preset)
        experiment.check(terms, cell)
    _check_free("training", own.get("training", {}), experiment.fixes(terms.budget))
    asked = {cell.system for cell in cells}
    for name, tables in terms.settings.get("systems", {}).items():
        _check_free(f"systems.{name}.training", tables.get("training", {}), terms.budget.fixes)
        own_system = experiment.own_systems and is_own(name)
        if name not in experiment.systems and not own_system:
            raise ConfigError(
                f"systems.{name} is of a system that {experiment.name} has no cells of "
                f"({', '.join(experiment.systems) or 'there are only those of CMuST'}); leave the table out"
            )
        if name in asked or not own_system:  # a user's module is imported where it is asked for
            check_recipe(find_system(name), tables.get("network", {}), tables.get("training", {}))


def _check_free(table: str, given: dict[str, Any], fixed: dict[str, str]) -> None:
    for name in given:
        if name in fixed:
            raise ConfigError(f"{table}.{name} is decided by the experiment: {fixed[name]}; leave {name} out")


def take(cells: Sequence[Cell], terms: Terms, folder: Path, other: Experiment, source: Path) -> None:
    """Take those of the cells that another experiment, which computes them alike, has finished.

    Args:
        cells: wanted.
        terms: of both experiments.
        folder: where the cells go.
        other: the other experiment.
        source: its folder; what is kept there under version control is enough.

    Raises:
        RunError: ``source`` holds no such experiment, or one with another budget, city or settings.
    """
    if not (source / "config.json").exists():
        raise RunError(f"{source} holds no {other.name} to take cells from: it has no config.json")
    Run(source).claim(identity(other, terms), {}, _before_presets_were_kept())
    wanted = {cell.name for cell in cells}
    for record in records(source):
        cell = cell_of(record)
        if cell.name in wanted and not cell_file(folder, cell).exists():
            write_text(cell_file(folder, cell), json.dumps(record) + "\n")


def identity(experiment: Experiment, terms: Terms) -> dict[str, Any]:
    """What makes it this experiment, as plain JSON values."""
    return {
        "experiment": experiment.name,
        "budget": str(terms.budget),
        "tasks": list(terms.city.tasks),
        "settings": terms.settings,
        "presets": _presets(),
        "city": describe_city(terms.city),
    }


def _before_presets_were_kept() -> dict[str, Any]:
    """What ``identity`` had for an experiment that was begun when presets were not part of it."""
    presets = _presets()
    presets["tuned"]["model"].update(fusion="sum", spread="task")
    return {"presets": presets}


def _presets() -> dict[str, Any]:
    """What the presets mean: cells of before and after a change of them do not belong in one row."""
    return {
        name: {
            "model": model_config(name).model_dump(mode="json"),
            "training": training_config(name).model_dump(mode="json"),
        }
        for name in PRESETS
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


def preset_of(found: Sequence[Record]) -> str:
    """The preset of CMuST that there are cells of."""
    systems = (record["cell"]["system"] for record in found)
    return next((CMUST[system] for system in systems if system in CMUST), "none")
