"""From sums to the city: which cells and steps there are, and what falls out by that."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cmust.city import City, Task
from cmust.city.ownership import hand_over
from cmust.errors import IngestError
from cmust.ingest import clock
from cmust.ingest.events.plan import EventPlan
from cmust.ingest.events.sums import Sums
from cmust.ingest.names import renamed, slug
from cmust.ingest.reasons import Account, Reason, Report

MAX_BYTES = 4 << 30
LONG, MANY = 86_400, 20
"""Seconds without a record, and how many are to be expected in them, from which on a note tells of it."""


def per_interval(unit: str, interval: int) -> str:
    """``trips`` -> ``trips / 30 min``."""
    for length, name in ((86_400, "day"), (3600, "h"), (60, "min")):
        if interval % length == 0:
            return f"{unit} / {interval // length} {name}"
    return f"{unit} / {interval} s"


def lay_out(
    plan: EventPlan, sums: dict[str, Sums], categories: list[str], accounts: dict[str, Account], report: Report
) -> City:
    """Choose cells and steps, lay out the tasks, and settle the accounts for what falls out by that."""
    _check_caught(plan, accounts)
    first, steps = clock.period(
        np.concatenate([one.slot for one in sums.values()]),
        np.concatenate([one.count for one in sums.values()]),
        plan.start,
        plan.stop,
        plan.interval,
        plan.timezone,
    )
    time = clock.axis(first, steps, plan.interval)
    skipped = clock.skipped(time, plan.interval, plan.timezone)
    for name, one in sums.items():
        lost = skipped[one.slot - first]
        accounts[name].throw(Reason.SKIPPED_HOUR, int(one.count[lost].sum()))
        accounts[name].kept -= int(one.count[lost].sum())
        sums[name] = one.only(~lost)
    report.notes += _silence(first, time, plan.interval, sums)
    cells = _choose_cells(plan, sums)
    position = np.full(len(plan.place), -1, dtype=np.int64)
    position[cells] = np.arange(len(cells))
    for name, one in sums.items():
        small = position[one.cell] < 0
        accounts[name].throw(Reason.FEW_IN_CELL, int(one.count[small].sum()))
        accounts[name].kept -= int(one.count[small].sum())
        sums[name] = one.only(~small)
    labels = _labels(plan, categories)
    if steps * len(cells) * len(plan.measures) * len(labels) * 4 > MAX_BYTES:
        raise IngestError(
            f"{steps} steps x {len(cells)} cells x {len(plan.measures) * len(labels)} tasks do not fit into "
            f"{MAX_BYTES >> 30} GiB: a shorter period, a longer interval, a coarser grid or a higher threshold"
        )
    lon, lat = plan.place.centres()
    shared: dict[str, Any] = {
        "time": time,
        "nodes": tuple(np.array(plan.place.names, dtype=object)[cells]),
        "lon": lon[cells],
        "lat": lat[cells],
        "interval": plan.interval,
        "geometry": tuple(plan.place.geometry(int(cell)) for cell in cells),
    }
    tasks: dict[str, Task] = {}
    for measure in plan.measures:
        one = sums[measure.event]
        amounts = one.count if measure.weight is None else one.weights[list(plan.weights).index(measure.weight)]
        for number, category, label in labels:
            mine = one.category == number
            values = np.zeros((steps, len(cells)), dtype=np.float64)
            np.add.at(values, (one.slot[mine] - first, position[one.cell[mine]]), amounts[mine])
            values[skipped] = np.nan
            name = "_".join(part for part in (measure.task, label) if part)
            if name in tasks:
                raise IngestError(f"two tasks would be called '{name}': give the measures other names")
            unit = per_interval(measure.unit, plan.interval)
            numbers = hand_over(values.astype(np.float32)[:, :, None])
            about = measure.description or category
            tasks[name] = Task(name, numbers, unit=unit, kind=measure.kind, description=about, **shared)
    report.notes += renamed(category for _, category, _ in labels if category)
    for number, category, _ in labels:
        if number < 0:
            there = ", ".join(sorted(categories))
            report.notes.append(f"no record kept has the category '{category}', it is zero; there are {there}")
    if skipped.any():
        report.notes.append(f"{int(skipped.sum())} steps from {time[skipped][0]} on do not exist on the clock: missing")
    return City(plan.name, tasks, timezone=plan.timezone, source=plan.source, description=plan.description)


def _silence(first: int, time: npt.NDArray[np.datetime64], interval: int, sums: dict[str, Sums]) -> list[str]:
    """A note on the longest time without a record: zero all the same, although a file may be missing."""
    slots = np.unique(np.concatenate([one.slot for one in sums.values()])) - first
    edges = np.concatenate([[-1], slots, [len(time)]])
    longest = int(np.diff(edges).argmax())
    begin, end = int(edges[longest]) + 1, int(edges[longest + 1])
    records = sum(int(one.count.sum()) for one in sums.values())
    if (end - begin) * interval < LONG or records / len(time) * (end - begin) < MANY:
        return []
    return [
        f"no record at all in the steps from {time[begin]} to {time[end - 1]}, which are zero: if a file is missing, "
        "give it, or another period"
    ]


def _labels(plan: EventPlan, categories: list[str]) -> list[tuple[int, str, str]]:
    """Numbers of the categories, their names and the task names they make, in the order asked for, else by name.

    In cells that are known beforehand a category asked for may be one of no record: its number is -1.
    """
    if plan.category is None:
        return [(0, "", "")]
    wanted = list(plan.categories) or sorted(categories)
    missing = [name for name in wanted if name not in categories]
    if missing and plan.cells is None:
        raise IngestError(f"no record kept has the category '{missing[0]}'; there are {', '.join(sorted(categories))}")
    called: dict[str, str] = {}
    for name in wanted:
        if (twin := called.setdefault(slug(name), name)) != name:
            raise IngestError(
                f"the categories '{twin}' and '{name}' would both be the task '{slug(name)}': ask for one of them only "
                "(--categories; in Python categories=), or write both alike in the records"
            )
    return [(-1 if name in missing else categories.index(name), name, label) for label, name in called.items()]


def _check_caught(plan: EventPlan, accounts: dict[str, Account]) -> None:
    """Refuse a run that keeps nothing, or that reads the coordinates the wrong way round."""
    for account in accounts.values():
        if account.records == 0:
            raise IngestError("the files hold no records: get them again, or name others")
        exchanged = account.thrown.get(Reason.SWAPPED, 0)
        if exchanged > account.kept:
            raise IngestError(
                f"{account.name}: longitude and latitude are exchanged: {exchanged:,} of {account.records:,} records "
                f"lie in the box the other way round, {account.kept:,} as they are: exchange the two columns"
            )
    if not any(account.kept for account in accounts.values()):
        box = (
            ""
            if plan.cells
            else f"; the box is {','.join(f'{edge:g}' for edge in plan.place.box)} (west,south,east,north)"
        )
        said = ". ".join(account.summary() for account in accounts.values())
        raise IngestError(f"no record is left: {said}{box}: check columns, box and period")


def _choose_cells(plan: EventPlan, sums: dict[str, Sums]) -> npt.NDArray[np.int64]:
    """The cells to keep: those named, or those with enough events, counted over all events and categories."""
    if plan.cells is not None:
        at = {name: cell for cell, name in enumerate(plan.place.names)}
        unknown = [name for name in plan.cells if name not in at]
        if unknown:
            raise IngestError(f"there is no cell '{unknown[0]}' in the grid or zones: the city has another grid")
        return np.array([at[name] for name in plan.cells], dtype=np.int64)
    totals = np.zeros(len(plan.place), dtype=np.int64)
    for one in sums.values():
        np.add.at(totals, one.cell, one.count)
    cells = np.flatnonzero(totals >= plan.min_total)
    if not len(cells):
        raise IngestError(
            f"no cell has {plan.min_total} events or more, the fullest has {int(totals.max()):,}: a lower threshold, "
            "a coarser grid or a longer period"
        )
    return cells
