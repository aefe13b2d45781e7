"""``cmust ingest``: raw records to a city."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from cmust.city import City, open_city
from cmust.errors import CmustError, IngestError
from cmust.ingest.clock import parse_interval
from cmust.ingest.engine import Engine, open_engine
from cmust.ingest.events import Event, EventPlan, Ingested, Measure, ingest_events
from cmust.ingest.places import Box, Grid, Zones, read_zones
from cmust.ingest.reasons import TEXT, Report
from cmust.ingest.recipes.beijing_air import beijing_air
from cmust.ingest.recipes.chicago import BOX as CHICAGO_BOX
from cmust.ingest.recipes.chicago import WEIGHTS, chicago
from cmust.ingest.recipes.nyc_mobility import nyc_mobility
from cmust.ingest.recipes.nyc_taxi import BOX as NYC_BOX
from cmust.ingest.recipes.nyc_taxi import nyc_taxi
from cmust.ingest.sensors import Quantity, SensorPlan, ingest_sensors
from cmust.ingest.sources import Reading

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")

Files = Annotated[list[str], typer.Argument(help="Files, folders or quoted patterns: CSV (also .gz, .zip) or Parquet.")]
To = Annotated[Path, typer.Option("--to", help="The city file to write, NAME.zarr.zip.")]
Folder = Annotated[Path, typer.Argument(help="The folder of the files.")]
AddTo = Annotated[
    Path | None, typer.Option("--add-to", help="A city whose tasks come first; names that are there are replaced.")
]
Timezone = Annotated[str, typer.Option(help="The city's zone, such as America/Chicago: its wall clock is the city's.")]
TimesIn = Annotated[str, typer.Option(help="Clock of the records: local (wall clock of the city) or utc.")]
TimeFormat = Annotated[
    str | None, typer.Option(help="Such as '%d.%m.%Y %H:%M'; or iso, epoch, epoch-ms. Found out when not given.")
]
Interval = Annotated[str, typer.Option(help="Length of a step: 5min, 30min, 1h, 1d.")]
Start = Annotated[str | None, typer.Option(help="First local time that counts, such as 2016-01-01.")]
Stop = Annotated[str | None, typer.Option(help="Local time after the last, such as 2016-04-01.")]
BoxOption = Annotated[str | None, typer.Option("--box", help="WEST,SOUTH,EAST,NORTH in degrees.")]
GridOption = Annotated[str | None, typer.Option("--grid", help="ROWSxCOLUMNS over the box, such as 30x15.")]
ZonesOption = Annotated[Path | None, typer.Option("--zones", help="Polygons, GeoJSON or shapefile, instead of a grid.")]
ZoneId = Annotated[str | None, typer.Option(help="Property of the polygons that a zone column refers to.")]
ZoneName = Annotated[str | None, typer.Option(help="Property of the polygons that names the nodes.")]
MinTotal = Annotated[int | None, typer.Option(help="A cell is kept with at least this many events.")]
MaxBadShare = Annotated[float, typer.Option(help="Stop when more than this share is thrown away.")]
Delimiter = Annotated[str | None, typer.Option(help="Between fields; found out when not given.")]
Columns = Annotated[str | None, typer.Option(help="Names of all columns of files that have no header line: a,b,c.")]
EngineName = Annotated[str, typer.Option("--engine", help="duckdb, or spark for a cluster.")]
Threads = Annotated[int | None, typer.Option(help="Of DuckDB; all processors when not given.")]
Memory = Annotated[str, typer.Option(help="Of DuckDB, or of a Spark driver started here: 1500MB.")]
WorkDir = Annotated[Path | None, typer.Option(help="Where temporary files go; the system's place when not given.")]
ReportFile = Annotated[Path | None, typer.Option("--report", help="Write the account of the records as JSON.")]
NameOption = Annotated[str | None, typer.Option(help="Name of the city; that of the file when not given.")]

MARKS = {"\\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";"}


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
def events(
    files: Files,
    to: To,
    timezone: Timezone,
    time: Annotated[str, typer.Option(help="Column of the time.")],
    lon: Annotated[str | None, typer.Option(help="Column of the longitude.")] = None,
    lat: Annotated[str | None, typer.Option(help="Column of the latitude.")] = None,
    zone: Annotated[str | None, typer.Option(help="Column of a zone id, instead of lon and lat.")] = None,
    task: Annotated[str, typer.Option(help="Name of the task, and of what is counted.")] = "events",
    category: Annotated[str | None, typer.Option(help="Column of a category: a task for each.")] = None,
    categories: Annotated[
        str | None, typer.Option(help="Those wanted, separated by commas; all when not given.")
    ] = None,
    weight: Annotated[str | None, typer.Option(help="Column to sum; events are counted when not given.")] = None,
    unit: Annotated[str | None, typer.Option(help="Of the sum or the count.")] = None,
    kind: Annotated[str, typer.Option(help="count, risk, speed, concentration or other.")] = "count",
    box: BoxOption = None,
    grid: GridOption = None,
    zones: ZonesOption = None,
    zone_id: ZoneId = None,
    zone_name: ZoneName = None,
    interval: Interval = "30min",
    times_in: TimesIn = "local",
    time_format: TimeFormat = None,
    start: Start = None,
    stop: Stop = None,
    min_total: MinTotal = None,
    max_bad_share: MaxBadShare = 0.5,
    delimiter: Delimiter = None,
    columns: Columns = None,
    name: NameOption = None,
    add_to: AddTo = None,
    report: ReportFile = None,
    engine: EngineName = "duckdb",
    threads: Threads = None,
    memory: Memory = "1500MB",
    work_dir: WorkDir = None,
) -> None:
    """Records with a time and a place: a task per category, counts or sums.

    Example: `cmust ingest events calls.csv --to city.zarr.zip --timezone Europe/Berlin --time when --lon x --lat y
    --category kind --box 13.1,52.3,13.8,52.7 --grid 20x20 --interval 1h`
    """
    wanted = tuple(part.strip() for part in categories.split(",")) if categories else ()
    if wanted and category is None:
        raise IngestError("categories are named but not their column: give --category")
    front = "" if category is not None and task == "events" else task
    plan = EventPlan(
        name=name or _stem(to),
        events=(Event(task, time, lon, lat, zone),),
        measures=(Measure(front, task, "weight" if weight else None, unit or task, kind),),
        place=_place(box, grid, zones, zone_id, zone_name),
        timezone=timezone,
        interval=parse_interval(interval),
        weights={"weight": weight} if weight else {},
        category=category,
        categories=wanted,
        utc=_utc(times_in),
        time_format=time_format,
        start=start,
        stop=stop,
        min_total=1 if min_total is None else min_total,
        max_bad_share=max_bad_share,
    )
    reading = _reading(delimiter, columns)
    with _engine(engine, threads, memory, work_dir) as opened, _shown() as shown:
        made = ingest_events(files, plan, opened, reading, shown)
    _save(made, to, add_to, report)


@app.command("trips")
def trips(
    files: Files,
    to: To,
    timezone: Timezone,
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
    box: BoxOption = None,
    grid: GridOption = None,
    zones: ZonesOption = None,
    zone_id: ZoneId = None,
    zone_name: ZoneName = None,
    interval: Interval = "30min",
    times_in: TimesIn = "local",
    time_format: TimeFormat = None,
    start: Start = None,
    stop: Stop = None,
    min_total: MinTotal = None,
    max_bad_share: MaxBadShare = 0.5,
    delimiter: Delimiter = None,
    columns: Columns = None,
    name: NameOption = None,
    add_to: AddTo = None,
    report: ReportFile = None,
    engine: EngineName = "duckdb",
    threads: Threads = None,
    memory: Memory = "1500MB",
    work_dir: WorkDir = None,
) -> None:
    """Records with a start and an end: a task of departures and one of arrivals.

    Example: `cmust ingest trips rides.csv --to city.zarr.zip --timezone Europe/Paris --start-time t0 --start-lon x0
    --start-lat y0 --end-time t1 --end-lon x1 --end-lat y1 --box 2.2,48.8,2.45,48.91 --grid 20x20 --min-total 100`
    """
    from cmust.ingest.events import slug

    measures = [Measure(f"{slug(prefix)}_{end}", end, None, "trips") for end in ("start", "end")]
    if weight:
        measures += [Measure(f"{slug(weight)}_{end}", end, "weight", weight) for end in ("start", "end")]
    plan = EventPlan(
        name=name or _stem(to),
        events=(
            Event("start", start_time, start_lon, start_lat, start_zone),
            Event("end", end_time, end_lon, end_lat, end_zone),
        ),
        measures=tuple(measures),
        place=_place(box, grid, zones, zone_id, zone_name),
        timezone=timezone,
        interval=parse_interval(interval),
        weights={"weight": weight} if weight else {},
        utc=_utc(times_in),
        time_format=time_format,
        start=start,
        stop=stop,
        min_total=1 if min_total is None else min_total,
        whole_records=whole_trips,
        max_bad_share=max_bad_share,
    )
    reading = _reading(delimiter, columns)
    with _engine(engine, threads, memory, work_dir) as opened, _shown() as shown:
        made = ingest_events(files, plan, opened, reading, shown)
    _save(made, to, add_to, report)


@app.command("sensors")
def sensors(
    files: Files,
    to: To,
    timezone: Timezone,
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
        list[str] | None, typer.Option(help="TASK=count|speed|concentration|other; may be repeated.")
    ] = None,
    negative: Annotated[list[str] | None, typer.Option(help="TASK whose values may be below zero.")] = None,
    interval: Interval = "5min",
    times_in: TimesIn = "local",
    time_format: TimeFormat = None,
    start: Start = None,
    stop: Stop = None,
    min_share: Annotated[float, typer.Option(help="A node needs values in this share of the steps.")] = 0.0,
    max_bad_share: MaxBadShare = 0.5,
    delimiter: Delimiter = None,
    columns: Columns = None,
    name: NameOption = None,
    add_to: AddTo = None,
    report: ReportFile = None,
    engine: EngineName = "duckdb",
    threads: Threads = None,
    memory: Memory = "1500MB",
    work_dir: WorkDir = None,
) -> None:
    """Readings of fixed nodes: sums, means or last values; in the manner of the Suzhou data set by default.

    Example: `cmust ingest sensors detectors.csv --nodes sites.csv --to city.zarr.zip --timezone Asia/Shanghai
    --quantity flow=count:sum --quantity speed=kmh:mean --interval 5min --min-share 0.8`
    """
    units, kinds = _pairs(unit, "--unit"), _pairs(kind, "--kind")
    quantities = tuple(
        _quantity(text, units, kinds, negative or []) for text in quantity or ("flow=flow:sum", "speed=speed:mean")
    )
    plan = SensorPlan(
        name=name or _stem(to),
        node=node,
        time=time,
        quantities=quantities,
        timezone=timezone,
        interval=parse_interval(interval),
        nodes=nodes,
        lon=lon,
        lat=lat,
        utc=_utc(times_in),
        time_format=time_format,
        start=start,
        stop=stop,
        min_share=min_share,
        max_bad_share=max_bad_share,
    )
    reading = _reading(delimiter, columns)
    with _engine(engine, threads, memory, work_dir) as opened, _shown() as shown:
        made = ingest_sensors(files, plan, opened, reading, shown)
    _save(made, to, add_to, report)


@app.command("nyc-taxi")
def nyc_taxi_command(
    files: Files,
    to: To,
    zones: Annotated[
        Path | None, typer.Option(help="Taxi zones (shapefile, GeoJSON), for files with zone ids.")
    ] = None,
    zone_id: ZoneId = None,
    zone_name: ZoneName = None,
    box: BoxOption = None,
    grid: GridOption = "30x15",
    min_total: MinTotal = None,
    interval: Interval = "30min",
    start: Start = None,
    stop: Stop = None,
    max_bad_share: MaxBadShare = 0.5,
    report: ReportFile = None,
    engine: EngineName = "duckdb",
    threads: Threads = None,
    memory: Memory = "1500MB",
    work_dir: WorkDir = None,
) -> None:
    """TLC yellow taxi trips, Appendix C.1: taxi pickup, taxi drop-off, crowd out, crowd in.

    Files with coordinates (2009 to June 2016): `cmust ingest nyc-taxi 'yellow_tripdata_2016-0[1-3].csv' --to
    nyc.zarr.zip`. Files of today: add `--zones taxi_zones.zip`.
    """
    rows, columns = _rows_columns(grid or "30x15")
    with _engine(engine, threads, memory, work_dir) as opened, _shown() as shown:
        made = nyc_taxi(
            files,
            opened,
            zones=None if zones is None else read_zones(zones, zone_id, zone_name),
            box=NYC_BOX if box is None else parse_box(box),
            rows=rows,
            columns=columns,
            min_trips=min_total,
            interval=parse_interval(interval),
            start=start,
            stop=stop,
            max_bad_share=max_bad_share,
            progress=shown,
        )
    _save(made, to, None, report)


@app.command("chicago")
def chicago_command(
    files: Files,
    to: To,
    crashes: Annotated[list[str] | None, typer.Option(help="Crashes table, for the risk; may be repeated.")] = None,
    people: Annotated[list[str] | None, typer.Option(help="People table, for the risk; may be repeated.")] = None,
    injury_weight: Annotated[
        list[str] | None, typer.Option(help="'CLASS=WEIGHT', such as 'FATAL=5'; may be repeated.")
    ] = None,
    box: BoxOption = None,
    grid: GridOption = "30x20",
    min_total: MinTotal = None,
    interval: Interval = "30min",
    start: Start = None,
    stop: Stop = None,
    max_bad_share: MaxBadShare = 0.5,
    report: ReportFile = None,
    engine: EngineName = "duckdb",
    threads: Threads = None,
    memory: Memory = "1500MB",
    work_dir: WorkDir = None,
) -> None:
    """Chicago's taxi trips and accidents, Appendix C.1: taxi pickup, taxi drop-off, risk.

    Example: `cmust ingest chicago 'taxi-*.csv' --crashes crashes.csv --people people.csv --to chicago.zarr.zip
    --start 2023-06-01 --stop 2024-01-01`
    """
    rows, columns = _rows_columns(grid or "30x20")
    given = {
        key.upper(): _number(value, "--injury-weight")
        for key, value in _pairs(injury_weight, "--injury-weight").items()
    }
    with _engine(engine, threads, memory, work_dir) as opened, _shown() as shown:
        made = chicago(
            files,
            opened,
            crashes=crashes or (),
            people=people or (),
            weights=WEIGHTS | given,
            box=CHICAGO_BOX if box is None else parse_box(box),
            rows=rows,
            columns=columns,
            **({} if min_total is None else {"min_trips": min_total}),
            interval=parse_interval(interval),
            start=start,
            stop=stop,
            max_bad_share=max_bad_share,
            progress=shown,
        )
    _save(made, to, None, report)


@app.command("beijing-air")
def beijing_air_command(folder: Folder, to: To) -> None:
    """Six pollutants at 12 stations, from the folder of the stations' files."""
    _write(beijing_air(folder), to)


@app.command("nyc-mobility")
def nyc_mobility_command(folder: Folder, to: To, start: Start = None, stop: Stop = None) -> None:
    """Manhattan taxis and bikes of 2019, from the folder with flows-2019h1.npz and zones.geojson."""
    _write(nyc_mobility(folder, start, stop), to)


def parse_box(text: str) -> Box:
    """``-74.03,40.69,-73.91,40.88`` as numbers.

    Raises:
        IngestError: it is not four numbers.
    """
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError as error:
        raise IngestError(f"the box is '{text}': write WEST,SOUTH,EAST,NORTH, four numbers with commas") from error
    return west, south, east, north


def _rows_columns(text: str) -> tuple[int, int]:
    try:
        rows, columns = (int(part) for part in text.lower().split("x"))
    except ValueError as error:
        raise IngestError(f"the grid is '{text}': write ROWSxCOLUMNS, such as 30x15") from error
    return rows, columns


def _place(
    box: str | None, grid: str | None, zones: Path | None, zone_id: str | None, zone_name: str | None
) -> Grid | Zones:
    if zones is not None:
        if box is not None or grid is not None:
            raise IngestError("both a grid and zones are given: give --box and --grid, or --zones")
        return read_zones(zones, zone_id, zone_name)
    if box is None or grid is None:
        raise IngestError("where are the cells? give --box W,S,E,N and --grid ROWSxCOLUMNS, or --zones FILE")
    if zone_id is not None or zone_name is not None:
        raise IngestError("--zone-id and --zone-name belong to --zones, which is not given")
    return Grid(parse_box(box), *_rows_columns(grid))


def _utc(times_in: str) -> bool:
    if times_in not in ("local", "utc"):
        raise IngestError(f"--times-in is '{times_in}': write local or utc")
    return times_in == "utc"


def _reading(delimiter: str | None, columns: str | None) -> Reading:
    names = None if columns is None else tuple(part.strip() for part in columns.split(","))
    return Reading(None if delimiter is None else MARKS.get(delimiter, delimiter), names)


def _pairs(texts: list[str] | None, option: str) -> dict[str, str]:
    pairs = {}
    for text in texts or []:
        key, mark, value = text.partition("=")
        if not (key.strip() and mark and value.strip()):
            raise IngestError(f"{option} is '{text}': write NAME=VALUE")
        pairs[key.strip()] = value.strip()
    return pairs


def _number(text: str, option: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise IngestError(f"{option}: '{text}' is not a number") from error


def _quantity(text: str, units: dict[str, str], kinds: dict[str, str], negative: list[str]) -> Quantity:
    task, mark, rest = text.partition("=")
    column, colon, how = rest.rpartition(":")
    if not (task and mark and column and colon):
        raise IngestError(f"--quantity is '{text}': write TASK=COLUMN:HOW, such as speed=kmh:mean")
    kind = kinds.get(task, {"speed": "speed", "flow": "count"}.get(task, "other"))
    return Quantity(task, column, how, units.get(task, ""), kind, task in negative)


def _stem(to: Path) -> str:
    return to.name.removesuffix(".zip").removesuffix(".zarr")


def _engine(name: str, threads: int | None, memory: str, work: Path | None) -> Engine:
    settings: dict[str, Any] = {"memory": memory, "work": work}
    if name == "duckdb":
        settings["threads"] = threads
    elif threads is not None:
        raise IngestError("--threads is for DuckDB: tell spark-submit how many processors Spark may use")
    else:
        settings["memory"] = memory.lower().removesuffix("b")
    return open_engine(name, **settings)


@contextmanager
def _shown() -> Iterator[Callable[[str, float], None]]:
    """A bar on standard error while the work goes on."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        work = bar.add_task("opening", total=1.0)
        yield lambda what, share: bar.update(work, description=what, completed=share)


def _save(made: Ingested, to: Path, add_to: Path | None, report: Path | None) -> None:
    """Print the account, write the city (added to another one's tasks) and the report."""
    city = made.city
    if add_to is not None:
        base = open_city(add_to)
        if base.timezone != city.timezone:
            raise CmustError(
                f"{add_to} is in {base.timezone}, the new tasks are in {city.timezone}: give the same zone"
            )
        for task in city.tasks.values():
            base = base.with_task(task)
        city = base
    _print_account(made.report)
    if report is not None:
        made.report.save(report)
    _write(city, to)


def _write(city: City, to: Path) -> None:
    path = city.save(to)
    typer.echo(f"{path}: " + "; ".join(_line(city, name) for name in city.tasks))


def _line(city: City, name: str) -> str:
    task = city.task(name)
    return f"{name} {task.n_steps} steps x {task.n_nodes} nodes"


def _print_account(report: Report) -> None:
    table = Table("", *[account.name for account in report.accounts], box=None, pad_edge=False)
    table.add_row("records read", *[f"{account.records:,}" for account in report.accounts])
    table.add_row("kept", *[f"{account.kept:,}" for account in report.accounts])
    for reason in sorted({reason for account in report.accounts for reason in account.thrown}):
        counts = [f"{account.thrown.get(reason, 0):,}" for account in report.accounts]
        table.add_row(f"thrown away: {TEXT[reason]}", *counts)
    Console(stderr=True).print(table)
    for note in report.notes:
        typer.echo(f"note: {note}", err=True)
