"""From raw records to small numbers: per event its cell, or the reason that speaks against it, and its slot."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import ibis

from cmust.ingest import clock, typed
from cmust.ingest.engine import Engine
from cmust.ingest.events.plan import EventPlan
from cmust.ingest.places import Grid, Zones, id_text, inside, locate_points
from cmust.ingest.reasons import Reason
from cmust.ingest.sources import Layout

HUGE = 1e30
"""A weight beyond this is no number that was meant; NaN counts as beyond."""
FAULTS = (Reason.NO_TIME, Reason.BAD_TIME, Reason.NO_PLACE, Reason.BAD_PLACE, Reason.SWAPPED, Reason.UNKNOWN_ZONE)


def read_records(engine: Engine, piece: Layout, plan: EventPlan, enrich: Callable[[Any], Any] | None) -> Any:
    """The records of one piece of the files: per event its cell and slot; category; weights.

    The cell of an event that is thrown away is minus the code of the reason.
    """
    times = [f"time{at}" for at in range(len(plan.events))]
    places = [f"{axis}{at}" for at, event in enumerate(plan.events) if event.lon is not None for axis in ("lon", "lat")]
    weights = [f"weight_{name}" for name, column in plan.weights.items() if column]
    pattern = typed.time_pattern(piece, times, plan.time_format, plan.in_utc)
    raw = engine.scan(piece, typed.plain_columns(piece, times, [*places, *weights], pattern))
    if enrich is not None:
        raw = enrich(raw)
    # every step refers to the columns of the one before, so that nothing is computed twice
    table = raw.mutate(**_parsed(engine, piece, raw, plan, pattern))
    for at in range(len(plan.events)):
        table = _with_cell(engine, table, plan, at)
    table = table.mutate(
        shared=typed.first_reason(*_shared_reasons(table, plan)),
        **{f"own{at}": _own_cell(table, plan, at) for at in range(len(plan.events))},
    )
    base = clock.base_seconds(plan.interval, plan.in_utc)
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


def _parsed(engine: Engine, piece: Layout, raw: Any, plan: EventPlan, pattern: str) -> dict[str, Any]:
    """Per event its time ``t`` in seconds and its place ``x``, ``y``; weights ``w_NAME``; the category ``label``."""
    parsed = {}
    for at, event in enumerate(plan.events):
        name = f"time{at}"
        parsed[f"t{at}"] = typed.seconds(engine, raw[name], pattern, plan.in_utc, piece.where(name))
        if event.lon is not None:
            parsed[f"x{at}"] = typed.number(engine, raw[f"lon{at}"], piece.where(f"lon{at}"))
            parsed[f"y{at}"] = typed.number(engine, raw[f"lat{at}"], piece.where(f"lat{at}"))
    for name in plan.weights:
        parsed[f"w_{name}"] = typed.number(engine, raw[f"weight_{name}"], piece.where(f"weight_{name}"))
    if plan.category is not None:
        parsed["label"] = id_text(raw.category).nullif("")
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
        *typed.outside_period(time, plan.start, plan.stop, plan.timezone, plan.in_utc),
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


def locate(engine: Engine, table: Any, plan: EventPlan) -> Any:
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
