"""Sums per cell, slot and category of the records that are kept; the others go to the account by reason."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from cmust.errors import IngestError
from cmust.ingest import clock
from cmust.ingest.engine import Engine
from cmust.ingest.events.plan import EventPlan
from cmust.ingest.reasons import Account, Reason, add_counts

MAX_CATEGORIES = 64


@dataclass
class Sums:
    """What one event came to, per (cell, local slot, category): arrays ``(group,)`` and weights ``(weight, group)``."""

    cell: npt.NDArray[np.int64]
    slot: npt.NDArray[np.int64]
    category: npt.NDArray[np.int64]
    count: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]

    @classmethod
    def none(cls, weights: int) -> Sums:
        """Of no groups."""
        nothing = np.zeros(0, dtype=np.int64)
        return cls(nothing, nothing, nothing, nothing, np.zeros((weights, 0)))

    def only(self, which: npt.NDArray[np.bool_]) -> Sums:
        """The groups where ``which`` holds."""
        return Sums(self.cell[which], self.slot[which], self.category[which], self.count[which], self.weights[:, which])


@dataclass
class PlanSums:
    """What all events of a plan came to.

    Attributes:
        events: per name of an event.
        categories: what the numbers in :attr:`Sums.category` mean.
        accounts: per name of an event: how many records were kept, and what became of the others.
    """

    events: dict[str, Sums]
    categories: list[str]
    accounts: dict[str, Account]


def sum_event(engine: Engine, table: Any, plan: EventPlan, at: int, account: Account, categories: list[str]) -> Sums:
    """Counts and weights of what is kept of event ``at``; what is not is added to ``account`` by its reason.

    Categories met are added to ``categories``.
    """
    cell = table[f"c{at}"]
    keys = {"cell": cell, "slot": (cell >= 0).ifelse(table[f"s{at}"], None)}
    if plan.category is not None:
        keys["category"] = (cell >= 0).ifelse(table.category, None)
    weights = {f"w_{name}": table[f"w_{name}"].sum() for name in plan.weights}
    grouped = table.group_by(**keys).aggregate(n=table.count(), **weights)
    parts = [Sums.none(len(weights))]
    for batch in engine.fetch(grouped):
        thrown = pc.less(batch.column("cell"), 0)
        codes, counts = (batch.filter(thrown).column(name).to_pylist() for name in ("cell", "n"))
        add_counts(account, ((-code, count) for code, count in zip(codes, counts, strict=True)))
        batch = batch.filter(pc.invert(thrown))
        number = {name: batch.column(name).to_numpy(zero_copy_only=False) for name in ("cell", "slot", "n", *weights)}
        category = np.zeros(len(batch), dtype=np.int64)
        if plan.category is not None:
            category = _category_numbers(batch.column("category"), categories, plan)
        parts.append(
            Sums(
                number["cell"].astype(np.int64),
                number["slot"].astype(np.int64),
                category,
                number["n"].astype(np.int64),
                np.array([number[name] for name in weights], dtype=np.float64).reshape(len(weights), len(batch)),
            )
        )
    sums = Sums(
        np.concatenate([part.cell for part in parts]),
        np.concatenate([part.slot for part in parts]),
        np.concatenate([part.category for part in parts]),
        np.concatenate([part.count for part in parts]),
        np.concatenate([part.weights for part in parts], axis=1),
    )
    add_counts(account, [(Reason.KEPT, int(sums.count.sum()))])
    base = clock.base_seconds(plan.interval, plan.in_utc)
    return replace(sums, slot=clock.to_local_slots(sums.slot, base, plan.interval, plan.timezone, plan.in_utc))


def _category_numbers(column: Any, categories: list[str], plan: EventPlan) -> npt.NDArray[np.int64]:
    encoded = column.dictionary_encode()
    numbers = []
    for name in encoded.dictionary.to_pylist():
        if name not in categories:
            categories.append(name)
        numbers.append(categories.index(name))
    if len(categories) > MAX_CATEGORIES:
        raise IngestError(
            f"column '{plan.category}' holds more than {MAX_CATEGORIES} categories ({', '.join(categories[:5])}, ...): "
            "name those wanted (--categories; in Python categories=), each becomes a task"
        )
    out: npt.NDArray[np.int64] = np.array(numbers, dtype=np.int64)[encoded.indices.to_numpy()]
    return out
