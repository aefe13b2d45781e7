"""Events to counts: records with a time and a place become values per cell and interval.

The way of a record: read once, typed, given its cell or the first reason that speaks against it, and kept in a table
of small numbers (cell or reason, slot, weights). One query over that table, per event, counts the reasons and sums what
is kept; only these sums come into Python, where the cells are chosen and the steps laid out. The expressions are the
same on every engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cmust.ingest import typed
from cmust.ingest.engine import Engine, Progress, read_pieces
from cmust.ingest.events.layout import lay_out
from cmust.ingest.events.plan import Event, EventPlan, Ingested, Measure, check_plan, columns_of
from cmust.ingest.events.records import HUGE, locate, read_records
from cmust.ingest.events.sums import PlanSums, sum_event
from cmust.ingest.reasons import Account, Report
from cmust.ingest.sources import Column, Layout, Reading, read_layouts

__all__ = ["HUGE", "Event", "EventPlan", "Ingested", "Measure", "ingest_events"]


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
        CityError: the time zone is not known.
        IngestError: the files cannot be read as told, nothing is left, or too much would be thrown away.
    """
    check_plan(plan)
    files = engine.expand(inputs)
    layouts = read_layouts(files, columns_of(plan) | dict(extra or {}), reading or Reading(), engine.head)
    typed.check_files(files)
    sums = sum_layouts(layouts, plan, engine, progress, enrich)
    report = Report(list(sums.accounts.values()))
    progress("laying out the city", 0.95)
    city = lay_out(plan, sums.events, sums.categories, sums.accounts, report)
    for account in report.accounts:
        account.check()
    report.check_bad_share(plan.max_bad_share)
    progress("done", 1.0)
    return Ingested(city, report)


def sum_layouts(
    layouts: Sequence[Layout],
    plan: EventPlan,
    engine: Engine,
    progress: Progress = lambda what, share: None,
    enrich: Callable[[Any], Any] | None = None,
) -> PlanSums:
    """What :func:`ingest_events` makes of the files before cells are chosen; the arguments are described there."""
    times = [f"time{at}" for at in range(len(plan.events))]
    plan = replace(plan, utc=typed.in_utc(engine, layouts, times, plan.time_format, plan.utc))
    accounts = {event.name: Account(event.name) for event in plan.events}
    pieces = read_pieces(
        engine, layouts, lambda piece: read_records(engine, piece, plan, enrich), list(accounts.values()), progress
    )
    table = engine.keep(pieces)
    if plan.located_late:
        progress("finding the zones of points near borders", 0.8)
        table = locate(engine, table, plan)
    categories: list[str] = []
    sums = {}
    for at, event in enumerate(plan.events):
        progress(f"counting: {event.name}", 0.85)
        sums[event.name] = sum_event(engine, table, plan, at, accounts[event.name], categories)
    return PlanSums(sums, categories, accounts)
