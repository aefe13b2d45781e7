"""Chicago: taxi pickups and drop-offs, and the accident risk, of Appendix C.1.

What C.1 says: June to December 2023; 30 x 20 cells, those with more than 100 trips (220); 30 minutes; the risk of an
accident is the sum over its casualties, weighted by their injuries, mapped to the same cells.

What it leaves open, and what is done here:

- the box: :data:`BOX`, the city with both airports (a setting);
- the trips counted for the 100: pickups plus drop-offs of the cell;
- the weight of an injury: :data:`WEIGHTS` (a setting), in the manner of 1, 2, 3 for minor, injured, fatal;
- a taxi record with one end that has no place (the portal hides some) is left out whole;
- an accident without any person in the people table has risk zero.

The portal rounds taxi times to 15 minutes and places to centroids of census tracts or community areas.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import ibis

from cmust.city import Task
from cmust.errors import IngestError
from cmust.ingest.engine import Engine, Progress, read_pieces
from cmust.ingest.events import Event, EventPlan, Ingested, Measure, ingest_events
from cmust.ingest.places import Box, Grid, id_text
from cmust.ingest.reasons import Account, Report
from cmust.ingest.sources import Column, Layout, Reading, read_layouts

TIMEZONE = "America/Chicago"
BOX: Box = (-87.95, 41.64, -87.52, 42.03)
ROWS, COLUMNS = 30, 20
MIN_TRIPS = 101
INTERVAL = 1800

PICKUP = Event(
    "pickup",
    ("Trip Start Timestamp", "trip_start_timestamp"),
    ("Pickup Centroid Longitude", "pickup_centroid_longitude", "pickup_longitude"),
    ("Pickup Centroid Latitude", "pickup_centroid_latitude", "pickup_latitude"),
)
DROPOFF = Event(
    "dropoff",
    ("Trip End Timestamp", "trip_end_timestamp"),
    ("Dropoff Centroid Longitude", "dropoff_centroid_longitude", "dropoff_longitude"),
    ("Dropoff Centroid Latitude", "dropoff_centroid_latitude", "dropoff_latitude"),
)
CRASH = Event("crash", ("CRASH_DATE", "Crash Date"), ("LONGITUDE", "Longitude"), ("LATITUDE", "Latitude"))
CRASH_ID: Column = ("CRASH_RECORD_ID", "Crash Record ID")
INJURY: Column = ("INJURY_CLASSIFICATION", "Injury Classification")

WEIGHTS = {
    "FATAL": 3.0,
    "INCAPACITATING INJURY": 2.0,
    "NONINCAPACITATING INJURY": 1.0,
    "REPORTED, NOT EVIDENT": 1.0,
    "NO INDICATION OF INJURY": 0.0,
}
"""Injury classes of the people table and their weights."""


TAXIS = EventPlan(
    name="chicago",
    events=(PICKUP, DROPOFF),
    measures=(
        Measure("taxi_pickup", "pickup", None, "trips", "count", "taxi trips that start here"),
        Measure("taxi_dropoff", "dropoff", None, "trips", "count", "taxi trips that end here"),
    ),
    place=Grid(BOX, ROWS, COLUMNS),
    timezone=TIMEZONE,
    interval=INTERVAL,
    weights={},
    time_format="month-first",
    min_total=MIN_TRIPS,
    whole_records=True,
    source="City of Chicago data portal",
    description="Taxi trips and accident risk, after Appendix C.1",
)


def chicago(
    trips: Sequence[str | Path],
    engine: Engine,
    *,
    crashes: Sequence[str | Path] = (),
    people: Sequence[str | Path] = (),
    weights: Mapping[str, float] = WEIGHTS,
    box: Box = BOX,
    rows: int = ROWS,
    columns: int = COLUMNS,
    min_trips: int = MIN_TRIPS,
    interval: int = INTERVAL,
    start: str | None = None,
    stop: str | None = None,
    max_bad_share: float = 0.5,
    progress: Progress = lambda what, share: None,
) -> Ingested:
    """The city of the portal's files: ``taxi_pickup``, ``taxi_dropoff`` and, with crashes and people, ``risk``.

    Args:
        trips: taxi trips, CSV (gz, zip) or Parquet.
        engine: open.
        crashes: the crashes table; needs ``people``.
        people: the people table.
        weights: injury class to weight; a person of another or no class weighs nothing and is counted in a note.
        box: west, south, east, north of the grid.
        rows: of the grid.
        columns: of the grid.
        min_trips: pickups plus drop-offs a cell needs.
        interval: seconds.
        start: first local time; the first taxi record's when None.
        stop: local time after the last; the last taxi record's when None.
        max_bad_share: stop when more is thrown away.
        progress: told how far it is.

    Raises:
        IngestError: see :func:`cmust.ingest.events.ingest_events`.
    """
    if bool(crashes) != bool(people):
        raise IngestError("the risk needs both tables: give crashes and people, or neither")
    if wrong := [weight for weight in weights.values() if not 0 <= weight < math.inf]:
        raise IngestError(f"an injury weight is {wrong[0]}: weights have to be numbers of zero or more")
    plan = replace(
        TAXIS,
        place=Grid(box, rows, columns),
        interval=interval,
        start=start,
        stop=stop,
        min_total=min_trips,
        max_bad_share=max_bad_share,
    )
    taxis = ingest_events(trips, plan, engine, progress=progress)
    if not crashes:
        return taxis
    risk = _risk(crashes, people, weights, plan, taxis.city.task("taxi_pickup"), engine, progress)
    report = Report([*taxis.report.accounts, *risk.report.accounts], [*taxis.report.notes, *risk.report.notes])
    return Ingested(taxis.city.with_task(risk.city.task("risk")), report)


def _risk(
    crashes: Sequence[str | Path],
    people: Sequence[str | Path],
    weights: Mapping[str, float],
    taxis: EventPlan,
    pickup: Task,
    engine: Engine,
    progress: Progress,
) -> Ingested:
    """The accidents in the cells and the time of the taxis; the report says of the people, too."""
    step = pickup.time[1] - pickup.time[0] if pickup.n_steps > 1 else pickup.time[0] - pickup.time[0]
    injuries, notes = _injuries(engine, people, weights, progress)
    plan = replace(
        taxis,
        events=(CRASH,),
        measures=(Measure("risk", "crash", "severity", "risk", "risk", _describe(weights)),),
        weights={"severity": ""},
        start=str(pickup.time[0]),
        stop=str(pickup.time[-1] + step),
        cells=pickup.nodes,
        whole_records=False,
        max_bad_share=1.0,  # accidents outside the cells of the taxis are to be left out
    )
    risk = ingest_events(
        crashes,
        plan,
        engine,
        progress=progress,
        enrich=lambda table: _with_severity(table, injuries),
        extra={"crash_id": CRASH_ID},
    )
    return Ingested(risk.city, Report(risk.report.accounts, notes))


def _injuries(
    engine: Engine, people: Sequence[str | Path], weights: Mapping[str, float], progress: Progress
) -> tuple[Any, list[str]]:
    """The severity of each accident, a table of ``crash`` and ``severity``; and notes about the people."""
    layouts = read_layouts(engine.expand(people), {"crash_id": CRASH_ID, "injury": INJURY}, Reading(), engine.head)

    def weighed(piece: Layout) -> Any:
        person = engine.scan(piece)
        injury = person.injury.cast("string").strip().upper()
        weight = ibis.cases(*((injury == name.upper(), weight) for name, weight in weights.items()), else_=None)
        return person.select(crash=id_text(person.crash_id).nullif(""), weight=weight.cast("float64"))

    unreadable = Account("people")
    person = engine.keep(read_pieces(engine, layouts, weighed, [unreadable], progress))
    total = person.aggregate(people=person.count(), weighed=person.weight.count(), loose=person.crash.isnull().sum())
    counts = next(iter(engine.fetch(total))).to_pylist()[0]
    known = person.filter(person.crash.notnull())
    injuries = known.group_by(crash=known.crash).aggregate(severity=known.weight.sum().fill_null(0.0))
    notes = [
        f"people: {counts['people']:,} rows, {counts['people'] - counts['weighed']:,} without a known injury class "
        f"(weight 0), {int(counts['loose'] or 0):,} without an accident's id, {unreadable.records:,} lines that cannot "
        "be read"
    ]
    return engine.keep([injuries]), notes


def _with_severity(crashes: Any, injuries: Any) -> Any:
    joined = crashes.mutate(crash_key=id_text(crashes.crash_id))
    joined = joined.left_join(injuries, joined.crash_key == injuries.crash)
    return joined.mutate(weight_severity=joined.severity.fill_null(0.0))


def _describe(weights: Mapping[str, float]) -> str:
    return "sum over casualties of " + ", ".join(f"{name.lower()} {weight:g}" for name, weight in weights.items())
