"""``cmust evaluate``, ``cmust forecast`` and ``cmust report``."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cmust.cli.arguments import CityFile, RunFolder

WIDE = 110
"""Columns that the table of all scores needs; a narrower terminal gets the mean absolute errors."""


def evaluate(
    run: RunFolder,
    city: CityFile,
    part: Annotated[Literal["train", "validation", "test"], typer.Option(help="Which windows.")] = "test",
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
) -> None:
    """Score a finished run beside the naive forecasts.

    Writes evaluation.json and evaluation_sample.npz into the run folder.

    Example: `cmust evaluate runs/demo demo.zarr.zip`
    """
    from rich.console import Console

    import cmust
    from cmust.cli.progress import scoring_progress
    from cmust.report.console import score_markdown, score_table
    from cmust.report.scores import MASKED_MAE, METRICS, PLAIN_MAE

    with scoring_progress() as progress:
        evaluation = cmust.evaluate(run, cmust.open_city(city), part=part, progress=progress)
    if markdown:
        typer.echo(score_markdown(evaluation))
    else:
        console = Console()
        fitting = METRICS if console.width >= WIDE else (PLAIN_MAE, MASKED_MAE)
        console.print(score_table(evaluation, fitting))
        typer.echo(f"wrote {run / 'evaluation.json'}; look at it with: cmust report {run}")


def forecast(
    run: RunFolder,
    city: CityFile,
    task: Annotated[str, typer.Option(help="A task of the run, or all.")] = "all",
    at: Annotated[
        str | None,
        typer.Option(
            help="Local time of the first forecast step, such as 2024-05-06T08:00; else the step after the last.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A .csv or .parquet file to write, one row per time, node and task.", show_default=False),
    ] = None,
    places: Annotated[int, typer.Option(min=1, help="How many places the printed table shows: the busiest.")] = 10,
) -> None:
    """Forecast the steps that follow a time.

    Examples:

        cmust forecast runs/demo demo.zarr.zip --task taxi_pickup

        cmust forecast runs/demo demo.zarr.zip --at 2024-05-10T08:00 --out forecast.csv
    """
    from rich.console import Console

    from cmust import Forecaster, open_city
    from cmust.cli.forecasts import render
    from cmust.forecast_table import forecast_table, task_names, write_table

    forecaster = Forecaster.load(run)
    data = open_city(city)
    table = forecast_table(forecaster, data, task_names(forecaster, task), at)
    if out is not None:
        write_table(table, out)
        typer.echo(f"wrote {out}: {len(table)} rows")
        return
    units = {name: model.about["unit"] for name, model in forecaster.tasks.items()}
    render(table, units, places, Console(), synthetic=data.synthetic)


def report(
    run: RunFolder,
    out: Annotated[
        Path | None,
        typer.Option(help="The page to write; else report.html in the run folder.", show_default=False),
    ] = None,
) -> None:
    """Write one offline HTML page about a run: scores, map, errors, training curves, frozen shares.

    Example: `cmust report runs/demo`
    """
    from cmust.report import write_report

    typer.echo(f"wrote {write_report(run, out)}")


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    commands: tuple[Any, ...] = (evaluate, forecast, report)
    for command in commands:
        app.command()(command)
