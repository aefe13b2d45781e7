"""The options of ``cmust ingest`` that several commands share, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from cmust.city import City, open_city
from cmust.cli.arguments import Force, check_new
from cmust.errors import CmustError, IngestError
from cmust.ingest.engine import Engine, open_engine
from cmust.ingest.events import Ingested
from cmust.ingest.places import Box, Grid, Zones, cells_of, read_zones
from cmust.ingest.reasons import TEXT, Report
from cmust.ingest.sources import Reading

Files = Annotated[list[str], typer.Argument(help="Files, folders or quoted patterns: CSV (also .gz, .zip) or Parquet.")]
Folder = Annotated[Path, typer.Argument(help="The folder of the files.")]
To = Annotated[Path, typer.Option("--to", help="The city file to write, NAME.zarr.zip.")]
ReportFile = Annotated[Path | None, typer.Option("--report", help="Write the account of the records as JSON.")]
Interval = Annotated[str, typer.Option(help="Length of a step: 5min, 30min, 1h, 1d.")]
Start = Annotated[str | None, typer.Option(help="First local time that counts, such as 2016-01-01.")]
Stop = Annotated[str | None, typer.Option(help="Local time after the last, such as 2016-04-01.")]
BoxOption = Annotated[str | None, typer.Option("--box", help="WEST,SOUTH,EAST,NORTH in degrees.")]
GridOption = Annotated[str | None, typer.Option("--grid", help="ROWSxCOLUMNS over the box, such as 30x15.")]
ZoneId = Annotated[str | None, typer.Option(help="Property of the polygons that a zone column refers to.")]
ZoneName = Annotated[str | None, typer.Option(help="Property of the polygons that names the nodes.")]
MinTotal = Annotated[int | None, typer.Option(help="A cell is kept with at least this many events.")]
MaxBadShare = Annotated[float, typer.Option(help="Stop when more than this share is thrown away.")]

MARKS = {"\\t": "\t", "tab": "\t", "comma": ",", "semicolon": ";"}


@dataclass(frozen=True)
class Target:
    """The city to write."""

    to: To
    timezone: Annotated[
        str, typer.Option(help="The city's zone, such as America/Chicago: its wall clock is the city's.")
    ]
    name: Annotated[str | None, typer.Option(help="Name of the city; that of the file when not given.")] = None
    add_to: Annotated[
        Path | None, typer.Option("--add-to", help="A city whose tasks come first; names that are there are replaced.")
    ] = None
    report: ReportFile = None
    force: Force = False

    def __post_init__(self) -> None:
        """Refuse to replace a city that was not named twice."""
        added_to_itself = self.add_to is not None and self.add_to.resolve() == self.to.resolve()
        check_new(self.to, force=self.force or added_to_itself)

    @property
    def city_name(self) -> str:
        """As given, or that of the file."""
        return self.name or self.to.name.removesuffix(".zip").removesuffix(".zarr")

    def save(self, made: Ingested) -> None:
        """Print the account, write the city (added to another one's tasks) and the report."""
        city = made.city
        if self.add_to is not None:
            base = open_city(self.add_to)
            if base.timezone != city.timezone:
                raise CmustError(
                    f"{self.add_to} is in {base.timezone}, the new tasks are in {city.timezone}: give the same zone"
                )
            for task in city.tasks.values():
                base = base.with_task(task)
            city = base
        save(city, made.report, self.to, self.report)


@dataclass(frozen=True)
class Cells:
    """Where: a grid over a box, or zones; and which of them are kept."""

    box: BoxOption = None
    grid: GridOption = None
    zones: Annotated[
        Path | None, typer.Option("--zones", help="Polygons, GeoJSON or shapefile, instead of a grid.")
    ] = None
    zone_id: ZoneId = None
    zone_name: ZoneName = None
    min_total: MinTotal = None
    cells_of: Annotated[
        Path | None,
        typer.Option(
            "--cells-of", help="A city of this grid or these zones: keep its cells, however many events they have."
        ),
    ] = None

    @property
    def for_plan(self) -> dict[str, Any]:
        """What a plan takes of it."""
        if self.cells_of is None:
            return {"place": self.place, "min_total": 1 if self.min_total is None else self.min_total}
        if self.min_total is not None:
            raise IngestError("--min-total chooses cells by their events, --cells-of names them: give one of the two")
        place = self.place
        return {"place": place, "cells": cells_of(open_city(self.cells_of), place)}

    @property
    def place(self) -> Grid | Zones:
        """The grid or the zones."""
        if zones := given_zones(self.zones, self.zone_id, self.zone_name, self.box, self.grid):
            return zones
        if self.box is None or self.grid is None:
            raise IngestError("where are the cells? give --box W,S,E,N and --grid ROWSxCOLUMNS, or --zones FILE")
        return Grid(parse_box(self.box), *rows_columns(self.grid))


@dataclass(frozen=True)
class Records:
    """How the records are written, and which count."""

    times_in: Annotated[
        str | None,
        typer.Option(
            help="Clock of the records: local (wall clock of the city) or utc. When not given, local; epochs are UTC."
        ),
    ] = None
    time_format: Annotated[
        str | None,
        typer.Option(
            help="Such as '%d.%m.%Y %H:%M'; or iso, epoch, epoch-ms (seconds or milliseconds since 1970 in UTC). Found "
            "out when not given; month-first or day-first say what cannot be found out."
        ),
    ] = None
    start: Start = None
    stop: Stop = None
    max_bad_share: MaxBadShare = 0.5
    delimiter: Annotated[str | None, typer.Option(help="Between fields; found out when not given.")] = None
    columns: Annotated[
        str | None, typer.Option(help="Names of all columns of files that have no header line: a,b,c.")
    ] = None

    @property
    def for_plan(self) -> dict[str, Any]:
        """What a plan takes of it."""
        if self.times_in not in (None, "local", "utc"):
            raise IngestError(f"--times-in is '{self.times_in}': write local or utc")
        return {
            "utc": None if self.times_in is None else self.times_in == "utc",
            "time_format": self.time_format,
            "start": self.start,
            "stop": self.stop,
            "max_bad_share": self.max_bad_share,
        }

    @property
    def reading(self) -> Reading:
        """How the files are to be read."""
        names = None if self.columns is None else tuple(part.strip() for part in self.columns.split(","))
        mark = None if self.delimiter is None else MARKS.get(self.delimiter, self.delimiter)
        if mark is not None and len(mark) != 1:
            raise IngestError(f"--delimiter is '{self.delimiter}': write one character, or {', '.join(MARKS)}")
        return Reading(mark, names)


@dataclass(frozen=True)
class Work:
    """The engine."""

    engine: Annotated[str, typer.Option("--engine", help="duckdb, or spark for a cluster.")] = "duckdb"
    threads: Annotated[int | None, typer.Option(help="Of DuckDB; all processors when not given.")] = None
    memory: Annotated[str, typer.Option(help="Of DuckDB, or of a Spark driver started here: 1500MB.")] = "1500MB"
    work_dir: Annotated[
        Path | None, typer.Option(help="Where temporary files go; the system's place when not given.")
    ] = None

    @contextmanager
    def begun(self) -> Iterator[tuple[Engine, Callable[[str, float], None]]]:
        """The engine, open, and what to tell how far it is: a bar on standard error."""
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
        bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        with self._opened() as engine, bar:
            work = bar.add_task("opening", total=1.0)
            yield engine, lambda what, share: bar.update(work, description=what, completed=share)

    def _opened(self) -> Engine:
        settings: dict[str, Any] = {"memory": self.memory, "work": self.work_dir}
        if self.engine == "duckdb":
            settings["threads"] = self.threads
        elif self.threads is not None:
            raise IngestError("--threads is for DuckDB: tell spark-submit how many processors Spark may use")
        return open_engine(self.engine, **settings)


def save(city: City, account: Report, to: Path, report: Path | None) -> None:
    """Print the account of the records, write it as JSON if that is wanted, and write the city."""
    _print_account(account)
    if report is not None:
        account.save(report)
    write(city, to)


def write(city: City, to: Path) -> None:
    """Write the city and say what is in it."""
    path = city.save(to)
    lines = (f"{name} {task.n_steps} steps x {task.n_nodes} nodes" for name, task in city.tasks.items())
    typer.echo(f"{path}: " + "; ".join(lines))


def given_zones(
    zones: Path | None, zone_id: str | None, zone_name: str | None, box: str | None, grid: str | None
) -> Zones | None:
    """The zones of ``--zones``; None where it is not given.

    Raises:
        IngestError: an option of the other is given too, or the file cannot be read.
    """
    if zones is None:
        if zone_id is not None or zone_name is not None:
            raise IngestError("--zone-id and --zone-name belong to --zones, which is not given")
        return None
    if box is not None or grid is not None:
        raise IngestError("both a grid and zones are given: give --box and --grid, or --zones")
    return read_zones(zones, zone_id, zone_name)


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


def rows_columns(text: str) -> tuple[int, int]:
    """``30x15`` as numbers.

    Raises:
        IngestError: it is not two whole numbers.
    """
    try:
        rows, columns = (int(part) for part in text.lower().split("x"))
    except ValueError as error:
        raise IngestError(f"the grid is '{text}': write ROWSxCOLUMNS, such as 30x15") from error
    return rows, columns


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
