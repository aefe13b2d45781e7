"""``cmust demo`` and ``cmust inspect``."""

from pathlib import Path
from typing import Annotated

import typer

from cmust.cli.arguments import CityFile, Force, check_new, shown_command


def demo(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The city file to write, NAME.zarr.zip.")],
    weeks: Annotated[int, typer.Option(help="Whole weeks.")] = 8,
    places: Annotated[int, typer.Option(help="Number of places, at least 16.")] = 60,
    seed: Annotated[int, typer.Option(help="Of everything drawn by lot.")] = 7,
    force: Force = False,
) -> None:
    """Make the demo city: synthetic, five coupled tasks in half hours.

    Example: `cmust demo demo.zarr.zip --weeks 4`
    """
    from cmust import demo_city

    check_new(out, force=force)
    written = demo_city(seed=seed, weeks=weeks, places=places).save(out)
    typer.echo(f"wrote {written} (synthetic); look at it with: {shown_command('inspect', written)}")


def inspect(city: CityFile) -> None:
    """Show a city: its tasks, spans, gaps, zeros, units, the mean day and week.

    Warns of counts below zero, and of places without any value or with always the same.

    Example: `cmust inspect demo.zarr.zip`
    """
    from rich.console import Console

    from cmust import open_city
    from cmust.city.summary import describe
    from cmust.cli.inspect import render

    render(describe(open_city(city)), Console())


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(demo)
    app.command()(inspect)
