"""Figure 3: CMuST without one of its three parts, beside the naive forecasts."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cmust import naive
from cmust.experiments.engine import Cell, Record
from cmust.experiments.study import Experiment, preset_of, title
from cmust.experiments.table import Table, costs, rows_of
from cmust.experiments.work import NAIVE_CELL, Terms, changed

WITHOUT: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {
    "": ("CMuST", {}),
    "no_interactions": ("without context-data interaction", {"model": {"cross_interactions": False}}),
    "no_freezing": ("without consistency maintainer", {"training": {"freezing": False}}),
    "no_prompts": ("without task-specific preserver", {"model": {"prompts": False}}),
}
"""By variation: what it is called, and the settings it changes."""


def cells(tasks: Sequence[str], system: str, seeds: Sequence[int]) -> list[Cell]:
    """Seed by seed, so that whole comparisons are there first."""
    made = [Cell(system, tuple(tasks), seed, variation) for seed in seeds for variation in WITHOUT]
    return [Cell(NAIVE_CELL, tuple(tasks), 0), *made]


def vary(terms: Terms, cell: Cell) -> Terms:
    """The settings without the part."""
    return replace(terms, settings=changed(terms.settings, WITHOUT[cell.variation][1]))


def table(config: dict[str, Any], records: Sequence[Record]) -> Table:
    """A row for each part that is left out."""
    labels = {variation: label for variation, (label, _) in WITHOUT.items()}
    rows = rows_of(records, {**naive.LABELS, **labels}, key=lambda cell, system: str(cell["variation"]))
    notes = [f"Preset: {preset_of(records)}.", "", *costs(records, labels, key="variation")]
    return Table(title(config), tuple(config["tasks"]), rows, notes)


FIG3 = Experiment("fig3", table, vary, one_preset=True)
