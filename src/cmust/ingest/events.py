"""Events to counts: records with a time and a place become values per cell and interval.

The way of a record: read once, typed, given its cell or the first reason that speaks against it, and kept in a table
of small numbers (cell or reason, slot, weights). One query over that table, per event, counts the reasons and sums what
is kept; only these sums come into Python, where the cells are chosen and the steps laid out. The expressions are the
same on every engine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from cmust.city import City, Task
from cmust.errors import IngestError
from cmust.ingest import clock, typed
from cmust.ingest.engine import Engine, Progress, read_pieces
from cmust.ingest.places import Grid, Zones, id_text, inside, locate_points
from cmust.ingest.reasons import Account, Reason, Report, add_counts
from cmust.ingest.sources import Column, Layout, Reading, read_layouts

MAX_CATEGORIES = 64
HUGE = 1e30
"""A weight beyond this is no number that was meant; NaN counts as beyond."""
MAX_BYTES = 4 << 30
FAULTS = (Reason.NO_TIME, Reason.BAD_TIME, Reason.NO_PLACE, Reason.BAD_PLACE, Reason.SWAPPED, Reason.UNKNOWN_ZONE)


@dataclass(frozen=True)
class Event:
    """A time and a place in a record; a trip has two.

    Attributes:
        name: for reports: ``pickup``.
        time: its column.
        lon: longitude column, with ``lat``; not with ``zone``.
        lat: latitude column.
        zone: zone-id column.
    """

    name: str
    time: Column
    lon: Column | None = None
    lat: Column | None = None
    zone: Column | None = None


@dataclass(frozen=True)
class Measure:
    """What becomes a task: the number of events, or the sum of a weight over them.

    Attributes:
        task: its name; with categories, the part in front of the category's name (may be empty).
        event: whose time and place count.
        weight: a name in :attr:`EventPlan.weights`; None counts events.
        unit: without the interval: ``trips``.
        kind: of the task.
        description: of the task.
    """

    task: str
    event: str
    weight: str | None = None
    unit: str = "events"
    kind: str = "count"
    description: str = ""


@dataclass(frozen=True)
class EventPlan:
    """Everything that decides what city the records become.

    Attributes:
        name: of the city.
        events: one, or two for trips: the start and the end.
        measures: the tasks.
        place: grid or zones.
        timezone: IANA name of the city's zone.
        interval: seconds.
        weights: weight name -> column.
        category: column; a task per category and measure.
        categories: those wanted; all that are found when empty.
        utc: whether the records' times are UTC; else local wall-clock time.
        time_format: see :mod:`cmust.ingest.timeformats`; found out when None.
        start: first local time that counts; the first found when None.
        stop: local time after the last; the last found when None.
        min_total: a cell is kept with at least this many events, over all events and categories.
        cells: names of the cells to keep instead of by ``min_total``.
        whole_records: throw both ends of a trip away when one has no usable time or place.
        max_bad_share: stop when more than this share of the records is thrown away.
        source: of the city.
        description: of the city.
    """

    name: str
    events: tuple[Event, ...]
    measures: tuple[Measure, ...]
    place: Grid | Zones
    timezone: str
    interval: int
    weights: dict[str, Column]
    category: Column | None = None
    categories: tuple[str, ...] = ()
    utc: bool = False
    time_format: str | None = None
    start: str | None = None
    stop: str | None = None
    min_total: int = 1
    cells: tuple[str, ...] | None = None
    whole_records: bool = False
    max_bad_share: float = 0.5
    source: str = ""
    description: str = ""

    @property
    def located_late(self) -> bool:
        """Whether points are looked up in polygons, which is done when all are read."""
        return isinstance(self.place, Zones) and self.events[0].zone is None


@dataclass(frozen=True)
class Ingested:
    """A city and the account of the records it was made from."""

    city: City
    report: Report


@dataclass
class _Sums:
    """What one event came to, per (cell, local slot, category): arrays ``(group,)`` and weights ``(weight, group)``."""

    cell: npt.NDArray[np.int64]
    slot: npt.NDArray[np.int64]
    category: npt.NDArray[np.int64]
    count: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]

    @classmethod
    def none(cls, weights: int) -> _Sums:
        """Of no groups."""
        nothing = np.zeros(0, dtype=np.int64)
        return cls(nothing, nothing, nothing, nothing, np.zeros((weights, 0)))

    def only(self, which: npt.NDArray[np.bool_]) -> _Sums:
        """The groups where ``which`` holds."""
        return _Sums(
            self.cell[which], self.slot[which], self.category[which], self.count[which], self.weights[:, which]
        )


def ingest_events(
    inputs: Sequence[str | Path],
    plan: EventPlan,
    engine: Engine,
    reading: Reading | None = None,
    progress: Progress = lambda what, share: None,
    enrich: Callable[[Any], Any] | None = None,
    extra: Mapping[str, Column] | None = None,
) -> Ingested:
    """Make a city from event records.

    Args:
        inputs: files, folders or patterns; CSV (also gz, zip) or Parquet.
        plan: what to make of them.
        engine: open; from :func:`cmust.ingest.engine.open_engine`.
        reading: delimiter and column names, where the files do not say.
        progress: told how far it is.
        enrich: adds columns to the table just read (a join): ``weight_NAME`` for every weight NAME without a column.
        extra: further columns that ``enrich`` needs: what it calls them -> their spellings.

    Raises:
        IngestError: the files cannot be read as told, nothing is left, or too much would be thrown away.
    """
    _check_plan(plan)
    files = engine.expand(inputs)
    layouts = read_layouts(files, _columns(plan) | dict(extra or {}), reading or Reading(), engine.head)
    typed.check_files(files)
    accounts = {event.name: Account(event.name) for event in plan.events}
    table = engine.keep(
        read_pieces(
            engine, layouts, lambda piece: _records(engine, piece, plan, enrich), list(accounts.values()), progress
        )
    )
    if plan.located_late:
        progress("finding the zones of points near borders", 0.8)
        table = _locate(engine, table, plan)
    names: list[str] = []
    sums = {}
    for at, event in enumerate(plan.events):
        progress(f"counting: {event.name}", 0.85)
        sums[event.name] = _sum(engine, table, plan, at, accounts[event.name], names)
    report = Report(list(accounts.values()))
    progress("laying out the city", 0.95)
    city = _build(plan, sums, names, accounts, report)
    for account in report.accounts:
        account.check()
    report.check_bad_share(plan.max_bad_share)
    progress("done", 1.0)
    return Ingested(city, report)


def slug(text: str) -> str:
    """A task name from any text: ``CRIMINAL DAMAGE`` -> ``criminal_damage``."""
    return re.sub(r"[^a-z0-9]+", "_", text.strip().lower()).strip("_") or "empty"


def per_interval(unit: str, interval: int) -> str:
    """``trips`` -> ``trips / 30 min``."""
    for length, name in ((86_400, "day"), (3600, "h"), (60, "min")):
        if interval % length == 0:
            return f"{unit} / {interval // length} {name}"
    return f"{unit} / {interval} s"


def _check_plan(plan: EventPlan) -> None:
    clock.parse_interval(str(plan.interval))
    names = {event.name for event in plan.events}
    for event in plan.events:
        by_zone, by_point = event.zone is not None, event.lon is not None and event.lat is not None
        if by_zone == by_point:
            raise IngestError(f"{event.name}: give either a longitude and a latitude column, or a zone column")
        if by_zone and not isinstance(plan.place, Zones):
            raise IngestError(f"{event.name}: a zone column needs zones: give the file of the zones, not a grid")
    for measure in plan.measures:
        if measure.event not in names or (measure.weight is not None and measure.weight not in plan.weights):
            raise IngestError(f"task '{measure.task}' names an event or a weight that the plan does not have")
    if not 0 <= plan.max_bad_share <= 1:
        raise IngestError(f"the bad share allowed is {plan.max_bad_share}, it has to be between 0 and 1")


def _columns(plan: EventPlan) -> dict[str, Column]:
    """What the plan calls a column -> its spellings in the files."""
    columns: dict[str, Column] = {}
    for at, event in enumerate(plan.events):
        for field in ("time", "lon", "lat", "zone"):
            spelling = getattr(event, field)
            if spelling is not None:
                columns[f"{field}{at}"] = spelling
    if plan.category is not None:
        columns["category"] = plan.category
    columns |= {f"weight_{name}": column for name, column in plan.weights.items() if column}
    return columns


def _records(engine: Engine, piece: Layout, plan: EventPlan, enrich: Callable[[Any], Any] | None) -> Any:
    """The records of one piece of the files: per event its cell and slot; category; weights.

    The cell of an event that is thrown away is minus the code of the reason.
    """
    times = [f"time{at}" for at in range(len(plan.events))]
    places = [f"{axis}{at}" for at, event in enumerate(plan.events) if event.lon is not None for axis in ("lon", "lat")]
    weights = [f"weight_{name}" for name, column in plan.weights.items() if column]
    pattern = typed.time_pattern(piece, times, plan.time_format, plan.utc)
    raw = engine.scan(piece, typed.plain_columns(piece, times, [*places, *weights], pattern))
    if enrich is not None:
        raw = enrich(raw)
    # every step refers to the columns of the one before, so that nothing is computed twice
    table = raw.mutate(**_parsed(engine, raw, plan, pattern))
    for at in range(len(plan.events)):
        table = _with_cell(engine, table, plan, at)
    table = table.mutate(
        shared=typed.first_reason(*_shared_reasons(table, plan)),
        **{f"own{at}": _own_cell(table, plan, at) for at in range(len(plan.events))},
    )
    base = clock.base_seconds(plan.interval, plan.utc)
    out: dict[str, Any] = {}
    for at in range(len(plan.events)):
        own, other = table[f"own{at}"], table[f"own{len(plan.events) - 1 - at}"]
        fates = [(own < 0, own), (table.shared < 0, table.shared)]
        if plan.whole_records and len(plan.events) == 2:
            faulty = (other < 0) & ibis.or_(*[other == -int(reason) for reason in FAULTS])
            fates.append((faulty, ibis.literal(-int(Reason.OTHER_END), "int32")))
        out[f"c{at}"] = ibis.cases(*fates, else_=own)
        out[f"s{at}"] = (table[f"t{at}"] // base).cast("int64")
        if plan.located_late:
            out |= {axis: table[axis] for axis in (f"x{at}", f"y{at}")}
    for name in plan.weights:
        out[f"w_{name}"] = (table.shared == 0).ifelse(table[f"w_{name}"], ibis.null("float64"))
    if plan.category is not None:
        out["category"] = table.label
    return table.select(**out)


def _parsed(engine: Engine, raw: Any, plan: EventPlan, pattern: str) -> dict[str, Any]:
    """Per event its time ``t`` in seconds and its place ``x``, ``y``; weights ``w_NAME``; the category ``label``."""
    parsed = {}
    for at, event in enumerate(plan.events):
        parsed[f"t{at}"] = typed.seconds(engine, raw[f"time{at}"], pattern, plan.utc)
        if event.lon is not None:
            parsed[f"x{at}"] = typed.number(engine, raw[f"lon{at}"])
            parsed[f"y{at}"] = typed.number(engine, raw[f"lat{at}"])
    for name in plan.weights:
        parsed[f"w_{name}"] = typed.number(engine, raw[f"weight_{name}"])
    if plan.category is not None:
        parsed["label"] = raw.category.cast("string").strip().nullif("")
    return parsed


def _with_cell(engine: Engine, table: Any, plan: EventPlan, at: int) -> Any:
    """The table with the ``cell`` of event ``at``, null outside; 0 where points are located when all are read."""
    place = plan.place
    if plan.events[at].lon is not None:
        lon, lat = table[f"x{at}"], table[f"y{at}"]
        cell = place.cell(lon, lat) if isinstance(place, Grid) else inside(lon, lat, place.box).ifelse(0, None)
        return table.mutate(**{f"cell{at}": cell.cast("int32")})
    assert isinstance(place, Zones)
    import pyarrow as pa

    known = engine.upload(
        "zone_ids", pa.table({f"id{at}": list(place.ids), f"cell{at}": pa.array(range(len(place)), pa.int32())})
    )
    table = table.mutate(**{f"zone_text{at}": id_text(table[f"zone{at}"])})
    return table.left_join(known, table[f"zone_text{at}"] == known[f"id{at}"])


def _own_cell(table: Any, plan: EventPlan, at: int) -> Any:
    """The cell of event ``at``, or minus the code of what speaks against the event itself, most basic first."""
    event, time, cell = plan.events[at], table[f"t{at}"], table[f"cell{at}"]
    reasons: list[tuple[Any, Any]] = [
        (table.unreadable, Reason.UNREADABLE),
        (time.isnull(), typed.unread(table[f"time{at}"], Reason.NO_TIME, Reason.BAD_TIME)),
        *typed.outside_period(time, plan.start, plan.stop, plan.timezone, plan.utc),
    ]
    if event.zone is not None:
        nowhere = typed.unread(table[f"zone{at}"], Reason.NO_PLACE, Reason.UNKNOWN_ZONE)
    else:
        lon, lat = table[f"x{at}"], table[f"y{at}"]
        reasons.append(((lon == 0) & (lat == 0), Reason.NO_PLACE))
        nowhere = typed.first_reason(
            (typed.blank(table[f"lon{at}"]) | typed.blank(table[f"lat{at}"]), Reason.NO_PLACE),
            (inside(lat, lon, plan.place.box), Reason.SWAPPED),
            (lon.isnull() | lat.isnull() | (lon.abs() > 180) | (lat.abs() > 90), Reason.BAD_PLACE),
            otherwise=Reason.OUTSIDE,
        )
    # why there is no cell is only asked where there is none
    return typed.first_reason(*reasons, otherwise=ibis.coalesce(cell, nowhere))


def _shared_reasons(table: Any, plan: EventPlan) -> list[tuple[Any, Any]]:
    """What speaks against a record as a whole."""
    reasons: list[tuple[Any, Any]] = []
    if plan.category is not None:
        reasons.append((table.label.isnull(), Reason.NO_CATEGORY))
        if plan.categories:
            reasons.append((~table.label.isin(list(plan.categories)), Reason.OTHER_CATEGORY))
    for name in plan.weights:
        value = table[f"w_{name}"]
        reasons += [
            (value.isnull(), typed.unread(table[f"weight_{name}"], Reason.NO_VALUE, Reason.BAD_VALUE)),
            (value.abs() > HUGE, Reason.BAD_VALUE),
            (value < 0, Reason.NEGATIVE),
        ]
    if len(plan.events) == 2:
        reasons.append((table.t1 < table.t0, Reason.END_BEFORE_START))
    return reasons


def _locate(engine: Engine, table: Any, plan: EventPlan) -> Any:
    """Cells by polygons for all events; a point in no polygon is outside."""
    assert isinstance(plan.place, Zones)
    ends = range(len(plan.events))
    table = locate_points(engine, table, plan.place, [(f"x{at}", f"y{at}", f"found{at}") for at in ends])
    outside = ibis.literal(-int(Reason.OUTSIDE), "int32")
    cells = {
        f"c{at}": (table[f"c{at}"] < 0).ifelse(table[f"c{at}"], ibis.coalesce(table[f"found{at}"], outside))
        for at in ends
    }
    table = table.mutate(**cells)
    return engine.keep([table.select(*[c for c in table.columns if re.fullmatch(r"[cs]\d|w_.*|category", c)])])


def _sum(engine: Engine, table: Any, plan: EventPlan, at: int, account: Account, categories: list[str]) -> _Sums:
    """Counts and weights of what is kept of event ``at``; what is not is added to ``account`` by its reason.

    Categories met are added to ``categories``.
    """
    cell = table[f"c{at}"]
    keys = {"cell": cell, "slot": (cell >= 0).ifelse(table[f"s{at}"], None)}
    if plan.category is not None:
        keys["category"] = (cell >= 0).ifelse(table.category, None)
    weights = {f"w_{name}": table[f"w_{name}"].sum() for name in plan.weights}
    grouped = table.group_by(**keys).aggregate(n=table.count(), **weights)
    parts = [_Sums.none(len(weights))]
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
            _Sums(
                number["cell"].astype(np.int64),
                number["slot"].astype(np.int64),
                category,
                number["n"].astype(np.int64),
                np.array([number[name] for name in weights], dtype=np.float64).reshape(len(weights), len(batch)),
            )
        )
    sums = _Sums(
        np.concatenate([part.cell for part in parts]),
        np.concatenate([part.slot for part in parts]),
        np.concatenate([part.category for part in parts]),
        np.concatenate([part.count for part in parts]),
        np.concatenate([part.weights for part in parts], axis=1),
    )
    add_counts(account, [(Reason.KEPT, int(sums.count.sum()))])
    base = clock.base_seconds(plan.interval, plan.utc)
    return replace(sums, slot=clock.to_local_slots(sums.slot, base, plan.interval, plan.timezone, plan.utc))


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
            "name those wanted, each becomes a task"
        )
    out: npt.NDArray[np.int64] = np.array(numbers, dtype=np.int64)[encoded.indices.to_numpy()]
    return out


def _build(
    plan: EventPlan, sums: dict[str, _Sums], categories: list[str], accounts: dict[str, Account], report: Report
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
    tasks = {}
    for measure in plan.measures:
        one = sums[measure.event]
        amounts = one.count if measure.weight is None else one.weights[list(plan.weights).index(measure.weight)]
        for number, label in labels:
            mine = one.category == number
            values = np.zeros((steps, len(cells)), dtype=np.float64)
            np.add.at(values, (one.slot[mine] - first, position[one.cell[mine]]), amounts[mine])
            values[skipped] = np.nan
            name = "_".join(part for part in (measure.task, label) if part)
            if name in tasks:
                raise IngestError(f"two tasks would be called '{name}': name the categories wanted")
            unit = per_interval(measure.unit, plan.interval)
            numbers = values.astype(np.float32)[:, :, None]
            tasks[name] = Task(name, numbers, unit=unit, kind=measure.kind, description=measure.description, **shared)
    if skipped.any():
        report.notes.append(f"{int(skipped.sum())} steps from {time[skipped][0]} on do not exist on the clock: missing")
    return City(plan.name, tasks, timezone=plan.timezone, source=plan.source, description=plan.description)


def _labels(plan: EventPlan, categories: list[str]) -> list[tuple[int, str]]:
    """Category numbers and the task names they make, in the order asked for, else by name."""
    if plan.category is None:
        return [(0, "")]
    wanted = list(plan.categories) or sorted(categories)
    missing = [name for name in wanted if name not in categories]
    if missing:
        raise IngestError(f"no record kept has the category '{missing[0]}'; there are {', '.join(sorted(categories))}")
    return [(categories.index(name), slug(name)) for name in wanted]


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


def _choose_cells(plan: EventPlan, sums: dict[str, _Sums]) -> npt.NDArray[np.int64]:
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
