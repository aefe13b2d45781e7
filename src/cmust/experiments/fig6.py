"""Figure 6: width of the prompts, heads of attention, threshold of freezing, one changed at a time."""

from collections.abc import Sequence
from dataclasses import replace
from statistics import mean
from typing import Any

from cmust import naive
from cmust.errors import ConfigError
from cmust.experiments.engine import Cell, Record
from cmust.experiments.study import Experiment, preset_of, title
from cmust.experiments.table import Table, costs, rows_of
from cmust.experiments.work import NAIVE_CELL, Terms, changed

SWEEPS: dict[str, tuple[Any, ...]] = {
    "d_p": (18, 36, 72, 108, 144),
    "heads": (1, 2, 4, 8, 16),
    "delta": (1e-4, 1e-5, 1e-6, 1e-7),
}
VARIATIONS = tuple(f"{name}={value:g}" for name, values in SWEEPS.items() for value in values)


def cells(tasks: Sequence[str], system: str, seeds: Sequence[int]) -> list[Cell]:
    """Seed by seed."""
    made = [Cell(system, tuple(tasks), seed, variation) for seed in seeds for variation in VARIATIONS]
    return [Cell(NAIVE_CELL, tuple(tasks), 0), *made]


def check(terms: Terms, cell: Cell) -> None:
    """Refuse what leaves nothing to sweep, and self-interactions of another width than the representation.

    Raises:
        ConfigError: the settings ask for one of them.
    """
    settings = terms.of(cell)
    if not settings.trainer.freezing:
        raise ConfigError("this figure changes the threshold of freezing: leave training.freezing out")
    wide = _rounded(settings.network.d_h, settings.network.heads)
    if settings.model.get("self_width", wide) != wide:
        raise ConfigError(
            f"model.self_width = {settings.network.self_width}, but in this figure the self-interactions are as wide "
            f"as the representation, {wide}; leave self_width out"
        )


def vary(terms: Terms, cell: Cell) -> Terms:
    """The settings with one changed; widths that its number of heads does not divide are rounded up.

    The self-interactions are as wide as the representation, as published; ``delta`` is the paper's, of the variance
    itself.
    """
    if not cell.variation:
        return terms
    name, _, text = cell.variation.partition("=")
    changes: dict[str, dict[str, Any]] = {"model": {}}
    if name == "delta":
        changes["training"] = {"delta": float(text), "delta_unit": "absolute"}
    else:
        changes["model"][name] = int(text)
    network = terms.of(cell).network
    wanted = network.model_copy(update=changes["model"])
    changes["model"] |= {
        "self_width": _rounded(wanted.d_h, wanted.heads),
        "cross_width": _rounded(network.cross_width, wanted.heads),
    }
    return replace(terms, settings=changed(terms.settings, changes))


def _rounded(width: int, heads: int) -> int:
    return -(-width // heads) * heads


def table(config: dict[str, Any], records: Sequence[Record]) -> Table:
    """A row for each value, with the share of the shared weights that was frozen in the end."""
    frozen: dict[str, list[float]] = {}
    for record in (record for record in records if "cost" in record):
        frozen.setdefault(record["cell"]["variation"], []).append(record["cost"]["frozen_share"])
    labels = {each: f"{each} (frozen {mean(frozen[each]):.1%})" for each in VARIATIONS if each in frozen}
    rows = rows_of(records, {**naive.LABELS, **labels}, key=lambda cell, system: str(cell["variation"]))
    notes = [
        f"Preset: {preset_of(records)}. One setting is changed at a time. The self-interactions are as wide as the "
        f"representation; widths are rounded up to a multiple of the heads. delta is of the variance itself.",
        "",
        *costs(records, {each: each for each in VARIATIONS}, key="variation"),
    ]
    return Table(title(config), tuple(config["tasks"]), rows, notes)


FIG6 = Experiment("fig6", table, vary, one_preset=True, check=check)
