"""``cmust ingest``: raw records to a city."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from cmust.cli import ingest_recipes
from cmust.cli.arguments import pairs
from cmust.cli.grouped import grouped
from cmust.cli.ingest_options import Cells, Files, Interval, Records, Target, Work
from cmust.errors import IngestError
from cmust.ingest.clock import parse_interval
from cmust.ingest.events import Event, EventPlan, Measure, ingest_events
from cmust.ingest.names import renamed, slug
from cmust.ingest.sensors import Quantity, SensorPlan, ingest_sensors

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")


@app.callback()
def _group() -> None:
    """Make a city from raw records: trips, events, sensors.

    **Events** (a time, a place, perhaps a category or a weight) are counted per cell and interval:

        cmust ingest events crimes.csv --to city.zarr.zip --timezone America/Chicago --time Date --lon Longitude
        --lat Latitude --category Type --box -87.95,41.64,-87.52,42.03 --grid 20x20 --interval 1h

    **Trips** have two events, the start and the end:

        cmust ingest trips 'trips-*.parquet' --to city.zarr.zip --timezone Europe/Paris --interval 30min
        --start-time began --start-lon x0 --start-lat y0 --end-time ended --end-lon x1 --end-lat y1
        --box 2.2,48.8,2.45,48.91 --grid 20x20

    **Sensors** are fixed nodes with readings; gaps stay gaps:

        cmust ingest sensors readings.csv --nodes sensors.csv --to city.zarr.zip --timezone Asia/Shanghai
        --quantity flow=veh_count:sum --quantity speed=kmh:mean

    **Recipes** know their files: nyc-taxi, chicago, beijing-air, nyc-mobility.

    Every record is kept, or counted under the reason it was thrown away for. `docs/data.md` tells more.
    """


@app.command("events")
@grouped
def events(
    files: Files,
    target: Target,
    cells: Cells,
    records: Records,
    work: Work,
    time: Annotated[str, typer.Option(help="Column of the time.")],
    lon: Annotated[str | None, typer.Option(help="Column of the longitude.")] = None,
    lat: Annotated[str | None, typer.Option(help="Column of the latitude.")] = None,
    zone: Annotated[str | None, typer.Option(help="Column of a zone id, instead of lon and lat.")] = None,
    task: Annotated[str, typer.Option(help="Name of the task, and of what is counted.")] = "events",
    category: Annotated[str | None, typer.Option(help="Column of a category: a task for each.")] = None,
    categories: Annotated[
        str | None,
        typer.Option(
            help="Those wanted, with commas between (one that holds a comma in double quotes); all when not given. "
            "With --cells-of one of no record is zero."
        ),
    ] = None,
    weight: Annotated[str | None, typer.Option(help="Column to sum; events are counted when not given.")] = None,
    unit: Annotated[str | None, typer.Option(help="Of the sum or the count.")] = None,
    kind: Annotated[str, typer.Option(help="count, risk, speed, concentration or other.")] = "count",
    interval: Interval = "30min",
) -> None:
    """Records with a time and a place: a task per category, counts or sums.

    Example: `cmust ingest events calls.csv --to city.zarr.zip --timezone Europe/Berlin --time when --lon x --lat y
    --category kind --box 13.1,52.3,13.8,52.7 --grid 20x20 --interval 1h`
    """
    wanted = _categories(categories)
    if wanted and category is None:
        raise IngestError("categories are named but not their column: give --category")
    front = "" if category is not None and task == "events" else task
    plan = EventPlan(
        name=target.city_name,
        events=(Event(task, time, lon, lat, zone),),
        measures=(Measure(front, task, "weight" if weight else None, unit or task, kind),),
        timezone=target.timezone,
        interval=parse_interval(interval),
        weights={"weight": weight} if weight else {},
        category=category,
        categories=wanted,
        **cells.for_plan,
        **records.for_plan,
    )
    with work.begun() as (engine, progress):
        made = ingest_events(files, plan, engine, records.reading, progress)
    target.save(made)


@app.command("trips")
@grouped
def trips(
    files: Files,
    target: Target,
    cells: Cells,
    records: Records,
    work: Work,
    start_time: Annotated[str, typer.Option(help="Column of the time at the start.")],
    end_time: Annotated[str, typer.Option(help="Column of the time at the end.")],
    start_lon: Annotated[str | None, typer.Option(help="Column of the longitude at the start.")] = None,
    start_lat: Annotated[str | None, typer.Option(help="Column of the latitude at the start.")] = None,
    end_lon: Annotated[str | None, typer.Option(help="Column of the longitude at the end.")] = None,
    end_lat: Annotated[str | None, typer.Option(help="Column of the latitude at the end.")] = None,
    start_zone: Annotated[str | None, typer.Option(help="Column of the zone id at the start.")] = None,
    end_zone: Annotated[str | None, typer.Option(help="Column of the zone id at the end.")] = None,
    weight: Annotated[str | None, typer.Option(help="Column of people or goods: two more tasks, their sums.")] = None,
    prefix: Annotated[
        str, typer.Option(help="Tasks are PREFIX_start, PREFIX_end, WEIGHT_start, WEIGHT_end.")
    ] = "trips",
    whole_trips: Annotated[
        bool, typer.Option("--whole-trips", help="Leave both ends out when one has no usable time or place.")
    ] = False,
    interval: Interval = "30min",
) -> None:
    """Records with a start and an end: a task of departures and one of arrivals.

    Example: `cmust ingest trips rides.csv --to city.zarr.zip --timezone Europe/Paris --start-time t0 --start-lon x0
    --start-lat y0 --end-time t1 --end-lon x1 --end-lat y1 --box 2.2,48.8,2.45,48.91 --grid 20x20 --min-total 100`
    """
    if not re.search(r"[a-z0-9]", prefix.lower()):
        raise IngestError(f"--prefix is '{prefix}', but task names are of a-z, 0-9 and _: write it with these letters")
    measures = [Measure(f"{slug(prefix)}_{end}", end, None, "trips") for end in ("start", "end")]
    if weight:
        named = slug(weight)
        measures += [Measure(f"{named}_{end}", end, "weight", weight, description=weight) for end in ("start", "end")]
    plan = EventPlan(
        name=target.city_name,
        events=(
            Event("start", start_time, start_lon, start_lat, start_zone),
            Event("end", end_time, end_lon, end_lat, end_zone),
        ),
        measures=tuple(measures),
        timezone=target.timezone,
        interval=parse_interval(interval),
        weights={"weight": weight} if weight else {},
        whole_records=whole_trips,
        **cells.for_plan,
        **records.for_plan,
    )
    with work.begun() as (engine, progress):
        made = ingest_events(files, plan, engine, records.reading, progress)
    made.report.notes += renamed(name for name in (prefix, weight) if name)
    target.save(made)


@app.command("sensors")
@grouped
def sensors(
    files: Files,
    target: Target,
    records: Records,
    work: Work,
    quantity: Annotated[
        list[str] | None,
        typer.Option(
            help="TASK=COLUMN:HOW with HOW sum, mean or last; may be repeated. Flow and speed when not given."
        ),
    ] = None,
    nodes: Annotated[Path | None, typer.Option(help="CSV with node, lon, lat; else columns of the readings.")] = None,
    node: Annotated[str, typer.Option(help="Column of the sensor's id.")] = "node",
    time: Annotated[str, typer.Option(help="Column of the time.")] = "time",
    lon: Annotated[str | None, typer.Option(help="Column of the longitude, without --nodes.")] = None,
    lat: Annotated[str | None, typer.Option(help="Column of the latitude, without --nodes.")] = None,
    unit: Annotated[list[str] | None, typer.Option(help="TASK=UNIT; may be repeated.")] = None,
    kind: Annotated[
        list[str] | None, typer.Option(help="TASK=count|speed|risk|concentration|other; may be repeated.")
    ] = None,
    negative: Annotated[list[str] | None, typer.Option(help="TASK whose values may be below zero.")] = None,
    interval: Interval = "5min",
    min_share: Annotated[float, typer.Option(help="A node needs values in this share of the steps.")] = 0.0,
) -> None:
    """Readings of fixed nodes: sums, means or last values; in the manner of the Suzhou data set by default.

    Example: `cmust ingest sensors detectors.csv --nodes sites.csv --to city.zarr.zip --timezone Asia/Shanghai
    --quantity flow=count:sum --quantity speed=kmh:mean --interval 5min --min-share 0.8`
    """
    units, kinds, below = pairs("--unit", unit), pairs("--kind", kind), negative or []
    quantities = tuple(
        _quantity(text, units, kinds, below) for text in quantity or ("flow=flow:sum", "speed=speed:mean")
    )
    for option, given in (("--unit", units), ("--kind", kinds), ("--negative", below)):
        _check_tasks(option, given, [each.task for each in quantities])
    plan = SensorPlan(
        name=target.city_name,
        node=node,
        time=time,
        quantities=quantities,
        timezone=target.timezone,
        interval=parse_interval(interval),
        nodes=nodes,
        lon=lon,
        lat=lat,
        min_share=min_share,
        **records.for_plan,
    )
    with work.begun() as (engine, progress):
        made = ingest_sensors(files, plan, engine, records.reading, progress)
    target.save(made)


ingest_recipes.add_to(app)


def _categories(text: str | None) -> tuple[str, ...]:
    if text is None:
        return ()
    found = tuple(part.strip() for row in csv.reader([text], skipinitialspace=True) for part in row)
    if not all(found) or not found:  # a shell variable that is not set is not to mean all
        raise IngestError(f"--categories is '{text}', which leaves a name out: name each, or leave --categories out")
    return found


def _check_tasks(option: str, given: Iterable[str], tasks: list[str]) -> None:
    for name in given:
        if name not in tasks:
            raise IngestError(f"{option} is given for '{name}', but the tasks are {', '.join(tasks)}: name one of them")


def _quantity(text: str, units: dict[str, str], kinds: dict[str, str], negative: list[str]) -> Quantity:
    task, mark, rest = text.partition("=")
    column, colon, how = rest.rpartition(":")
    if not (task and mark and column and colon):
        raise IngestError(f"--quantity is '{text}': write TASK=COLUMN:HOW, such as speed=kmh:mean")
    kind = kinds.get(task, {"speed": "speed", "flow": "count"}.get(task, "other"))
    return Quantity(task, column, how, units.get(task, ""), kind, task in negative)
