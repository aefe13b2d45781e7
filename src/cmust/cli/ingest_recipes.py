"""``cmust ingest nyc-taxi``, ``chicago``, ``beijing-air``, ``nyc-mobility``: sources whose files are known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cmust.cli.arguments import Force, check_new, pairs
from cmust.cli.grouped import grouped
from cmust.cli.ingest_options import (
    BoxOption,
    Files,
    Folder,
    Interval,
    MaxBadShare,
    MinTotal,
    ReportFile,
    Start,
    Stop,
    To,
    Work,
    ZoneId,
    ZoneName,
    given_zones,
    parse_box,
    rows_columns,
    save,
    write,
)
from cmust.errors import IngestError
from cmust.ingest.clock import parse_interval
from cmust.ingest.recipes.beijing_air import beijing_air
from cmust.ingest.recipes.chicago import BOX as CHICAGO_BOX
from cmust.ingest.recipes.chicago import WEIGHTS, chicago
from cmust.ingest.recipes.nyc_mobility import nyc_mobility
from cmust.ingest.recipes.nyc_taxi import BOX as NYC_BOX
from cmust.ingest.recipes.nyc_taxi import nyc_taxi


def add_to(app: typer.Typer) -> None:
    """Add the recipes to the commands of ``cmust ingest``."""
    app.command("nyc-taxi")(grouped(_nyc_taxi))
    app.command("chicago")(grouped(_chicago))
    app.command("beijing-air")(_beijing_air)
    app.command("nyc-mobility")(_nyc_mobility)


def _nyc_taxi(
    files: Files,
    to: To,
    work: Work,
    zones: Annotated[
        Path | None, typer.Option(help="Taxi zones (shapefile, GeoJSON): needed for files with zone ids.")
    ] = None,
    zone_id: ZoneId = None,
    zone_name: ZoneName = None,
    box: BoxOption = None,
    grid: Annotated[str | None, typer.Option(help="ROWSxCOLUMNS over the box; 30x15 when not given.")] = None,
    min_total: MinTotal = None,
    interval: Interval = "30min",
    start: Start = None,
    stop: Stop = None,
    max_bad_share: MaxBadShare = 0.5,
    report: ReportFile = None,
    force: Force = False,
) -> None:
    """TLC yellow taxi trips, Appendix C.1: taxi pickup, taxi drop-off, crowd out, crowd in.

    Files with coordinates (2009 to June 2016): `cmust ingest nyc-taxi 'yellow_tripdata_2016-0[1-3].csv' --to
    nyc.zarr.zip`. Files of today: add `--zones taxi_zones.zip`, which the older ones may have too.
    """
    check_new(to, force=force)
    places = given_zones(zones, zone_id, zone_name, box, grid)
    rows, columns = rows_columns("30x15" if grid is None else grid)
    with work.begun() as (engine, progress):
        made = nyc_taxi(
            files,
            engine,
            zones=places,
            box=NYC_BOX if box is None else parse_box(box),
            rows=rows,
            columns=columns,
            min_trips=min_total,
            interval=parse_interval(interval),
            start=start,
            stop=stop,
            max_bad_share=max_bad_share,
            progress=progress,
        )
    save(made.city, made.report, to, report)


def _chicago(
    files: Files,
    to: To,
    work: Work,
    crashes: Annotated[list[str] | None, typer.Option(help="Crashes table, for the risk; may be repeated.")] = None,
    people: Annotated[list[str] | None, typer.Option(help="People table, for the risk; may be repeated.")] = None,
    injury_weight: Annotated[
        list[str] | None, typer.Option(help="'CLASS=WEIGHT', such as 'FATAL=5'; may be repeated.")
    ] = None,
    box: BoxOption = None,
    grid: Annotated[str, typer.Option(help="ROWSxCOLUMNS over the box.")] = "30x20",
    min_total: MinTotal = None,
    interval: Interval = "30min",
    start: Start = None,
    stop: Stop = None,
    max_bad_share: MaxBadShare = 0.5,
    report: ReportFile = None,
    force: Force = False,
) -> None:
    """Chicago's taxi trips and accidents, Appendix C.1: taxi pickup, taxi drop-off, risk.

    Example: `cmust ingest chicago 'taxi-*.csv' --crashes crashes.csv --people people.csv --to chicago.zarr.zip
    --start 2023-06-01 --stop 2024-01-01`
    """
    check_new(to, force=force)
    if injury_weight and not crashes:
        raise IngestError("--injury-weight is for the risk: give --crashes and --people too, or leave it out")
    rows, columns = rows_columns(grid)
    given = {key.upper(): _weight(value) for key, value in pairs("--injury-weight", injury_weight).items()}
    if unknown := [key for key in given if key not in WEIGHTS]:
        raise IngestError(f"--injury-weight is given for '{unknown[0]}', but the classes are {'; '.join(WEIGHTS)}")
    with work.begun() as (engine, progress):
        made = chicago(
            files,
            engine,
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
            progress=progress,
        )
    save(made.city, made.report, to, report)


def _beijing_air(folder: Folder, to: To, force: Force = False) -> None:
    """Six pollutants at 12 stations, from the folder of the stations' files."""
    check_new(to, force=force)
    write(beijing_air(folder), to)


def _nyc_mobility(folder: Folder, to: To, start: Start = None, stop: Stop = None, force: Force = False) -> None:
    """Manhattan taxis and bikes, from a checkout of github.com/Evens1sen/Deep-NYC-Taxi-Bike (2019 and 2020), or from
    flows-2019h1.npz and zones.geojson.
    """
    check_new(to, force=force)
    write(nyc_mobility(folder, start, stop), to)


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise IngestError(f"--injury-weight: '{text}' is not a number") from error
