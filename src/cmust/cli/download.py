"""``cmust download``: public records from their official addresses."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from cmust.ingest.download import Item, Manners, chicago_items, download, nyc_taxi_items, parse_months

app = typer.Typer(no_args_is_help=True, rich_markup_mode="markdown")

Months = Annotated[str, typer.Option(help="2023-01, 2023-01,2023-03 or 2023-01:2023-03 (both included).")]
To = Annotated[Path, typer.Option("--to", help="Folder to write into.")]
Pause = Annotated[float, typer.Option(help="Seconds between two files.")]
Timeout = Annotated[float, typer.Option(help="Seconds without a byte, after which it starts anew.")]


@app.callback()
def _group() -> None:
    """Fetch public records from their official addresses, one file at a time.

    Start the same command again after a break: complete files are left alone, others are resumed.

        cmust download nyc-taxi --months 2023-01:2023-03 --to raw/nyc

        cmust download chicago --months 2023-06:2023-12 --to raw/chicago
    """


@app.command("nyc-taxi")
def nyc_taxi(months: Months, to: To, pause: Pause = 1.0, timeout: Timeout = 60.0) -> None:
    """Yellow taxi trips of the TLC (Parquet, zone ids without coordinates) and the taxi zones.

    Then: `cmust ingest nyc-taxi 'raw/nyc/yellow_*.parquet' --zones raw/nyc/taxi_zones.zip --to nyc.zarr.zip`
    """
    _fetch(nyc_taxi_items(parse_months(months)), to, Manners(pause=pause, timeout=timeout))


@app.command("chicago")
def chicago(months: Months, to: To, pause: Pause = 1.0, timeout: Timeout = 300.0) -> None:
    """Taxi trips, crashes and people of the City of Chicago's data portal, as CSV.

    Then: `cmust ingest chicago 'raw/chicago/taxi-*.csv' --crashes raw/chicago/crashes-MONTHS.csv
    --people raw/chicago/people-MONTHS.csv --to chicago.zarr.zip`
    """
    _fetch(chicago_items(parse_months(months)), to, Manners(pause=pause, timeout=timeout))


def _fetch(items: list[Item], to: Path, manners: Manners) -> None:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        bars: dict[str, TaskID] = {}

        def show(name: str, here: int, size: int | None) -> None:
            if name not in bars:
                bars[name] = bar.add_task(name, total=size)
            bar.update(bars[name], completed=here, total=size)

        paths = download(items, to, manners, show)
    for path in paths:
        typer.echo(str(path))
