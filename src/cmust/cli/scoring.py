"""``cmust evaluate``, ``cmust calibrate``, ``cmust forecast`` and ``cmust report``."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from cmust.cli.arguments import Accelerator, CityFile, ModelFolder, RunFolder, shown_command
from cmust.errors import ConfigError

WIDE = 110
"""Columns that the table of all scores needs; a narrower terminal gets the mean absolute errors."""

Since = Annotated[
    str | None,
    typer.Option(help="Local time of the first forecast; else the first that is new to the model.", show_default=False),
]
Until = Annotated[
    str | None,
    typer.Option(help="Local time from which on no truth is used; else the end of the data.", show_default=False),
]


def evaluate(
    run: ModelFolder,
    city: CityFile,
    part: Annotated[
        Literal["train", "validation", "test"] | None,
        typer.Option(
            help="Which windows; test when not given. The others, which had a say in the model, are only shown.",
            show_default=False,
        ),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
    rolling_origin: Annotated[
        bool,
        typer.Option(
            "--rolling-origin",
            help="Score by place, hour, weekday, holiday and week: every forecast that is new to the model.",
        ),
    ] = False,
    since: Since = None,
    until: Until = None,
    holidays: Annotated[
        str | None,
        typer.Option(
            help="us-federal, or a file with a date on each line; else the city's covariate 'holiday'.",
            show_default=False,
        ),
    ] = None,
    accelerator: Accelerator = "auto",
) -> None:
    """Score a finished run beside the naive forecasts.

    Writes evaluation.json and evaluation_sample.npz (of the test part) into the run folder; with `--rolling-origin`,
    backtest.json.

    Examples:

        cmust evaluate runs/demo demo.zarr.zip

        cmust evaluate runs/demo demo.zarr.zip --rolling-origin
    """
    if rolling_origin:
        if part is not None or markdown:
            raise ConfigError(
                "--part and --markdown do not go with --rolling-origin; choose a time with --since, --until"
            )
        _backtest(run, city, since, until, holidays, accelerator)
        return
    if since is not None or until is not None or holidays is not None:
        raise ConfigError("--since, --until and --holidays need --rolling-origin")
    from rich.console import Console

    import cmust
    from cmust.cli.progress import scoring_progress
    from cmust.cli.tables import print_left_out
    from cmust.report.console import score_markdown, score_table
    from cmust.report.scores import MASKED_MAE, METRICS, PLAIN_MAE

    with scoring_progress() as progress:
        evaluation = cmust.evaluate(
            run, cmust.open_city(city), part=part or "test", accelerator=accelerator, progress=progress
        )
    if markdown:
        typer.echo(score_markdown(evaluation))
        print_left_out(evaluation["left_out"], Console(stderr=True))
        return
    console = Console()
    fitting = METRICS if console.width >= WIDE else (PLAIN_MAE, MASKED_MAE)
    console.print(score_table(evaluation, fitting))
    print_left_out(evaluation["left_out"], console)
    if evaluation["part"] == "test":
        typer.echo(f"wrote {run / 'evaluation.json'}{_look(run)}")


def _backtest(
    run: Path, city: Path, since: str | None, until: str | None, holidays: str | None, accelerator: str
) -> None:
    from rich.console import Console

    import cmust
    from cmust.cli.progress import scoring_progress
    from cmust.cli.tables import print_backtest

    with scoring_progress() as progress:
        result = cmust.backtest(
            run,
            cmust.open_city(city),
            since=since,
            until=until,
            holidays=holidays,
            accelerator=accelerator,
            progress=progress,
        )
    print_backtest(result, Console())
    typer.echo(f"wrote {run / 'backtest.json'}{_look(run)}")


def _look(run: Path) -> str:
    """How to look at what was measured; a bundle has no report."""
    return f"; look at it with: {shown_command('report', run)}" if (run / "config.json").exists() else ""


def calibrate(
    run: ModelFolder,
    city: CityFile,
    level: Annotated[
        list[float] | None,
        typer.Option(
            help="Share of the truth an interval shall hold; may be given several times. [default: 0.5, 0.8, "
            "0.9, 0.95]",
            show_default=False,
        ),
    ] = None,
    first_days: Annotated[int, typer.Option(min=1, help="Days of errors before there is an interval.")] = 4,
    since: Since = None,
    until: Until = None,
    accelerator: Accelerator = "auto",
) -> None:
    """Calibrate intervals on what the model has not seen, and say how well they would have covered it.

    Writes intervals.json into the run folder, for `cmust forecast --level`. Run it again when new truth has arrived
    and after every update: what an update has seen is forecast by the version before it.

    Example: `cmust calibrate runs/demo demo.zarr.zip`
    """
    from rich.console import Console

    import cmust
    from cmust.cli.progress import scoring_progress
    from cmust.cli.tables import coverage_table, forecasters, print_left_out
    from cmust.intervals.conformal import Adaptation

    adaptation = Adaptation(levels=tuple(level or Adaptation.levels), first_days=first_days)
    with scoring_progress() as progress:
        result = cmust.calibrate(
            run,
            cmust.open_city(city),
            adaptation=adaptation,
            since=since,
            until=until,
            accelerator=accelerator,
            progress=progress,
        )
    console = Console()
    console.print(coverage_table(result))
    for told in forecasters(result):
        console.print(told, markup=False, highlight=False, soft_wrap=True)
    print_left_out(result["left_out"], console)
    use = shown_command("forecast", run, city, "--level", f"{adaptation.levels[-1]:g}")
    typer.echo(f"wrote {run / 'intervals.json'}; use it with: {use}")


def forecast(
    run: ModelFolder,
    data: Annotated[
        Path,
        typer.Argument(
            metavar="DATA",
            help="A city file, or a .csv or .parquet table: time, node, value[, task][, channel]; or time and a column "
            "per node.",
            show_default=False,
        ),
    ],
    task: Annotated[str, typer.Option(help="A task of the run, or all that the data has.")] = "all",
    at: Annotated[
        str | None,
        typer.Option(
            help="Local time of the first forecast step, such as 2024-05-06T08:00; nothing later is used. Else the "
            "step after each task's last observation.",
            show_default=False,
        ),
    ] = None,
    level: Annotated[
        float | None,
        typer.Option(
            help="Also give the interval that holds this share of the truth, such as 0.9.", show_default=False
        ),
    ] = None,
    max_missing: Annotated[
        float, typer.Option(min=0, max=1, help="Largest share of a task's recent observations that may be missing.")
    ] = 0.5,
    out: Annotated[
        Path | None,
        typer.Option(help="A .csv, .parquet, .nc or .zarr.zip file to write.", show_default=False),
    ] = None,
    places: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="How many places the printed table shows: the busiest, 10 when not given. Not with --out.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Forecast the steps that follow a time.

    Examples:

        cmust forecast runs/demo demo.zarr.zip --task taxi_pickup

        cmust forecast runs/demo recent.csv --task taxi_pickup --level 0.9

        cmust forecast runs/demo demo.zarr.zip --at 2024-05-10T08:00 --out forecast.csv
    """
    from rich.console import Console

    from cmust import Forecaster
    from cmust.cli.forecasts import interval_notes, render
    from cmust.errors import ConfigError
    from cmust.forecast_table import forecast_table, forecast_tasks, task_names, write_forecasts
    from cmust.observations import read_observations

    if out is not None and places is not None:
        raise ConfigError("--places is for the printed table; --out writes every place: leave one of them out")
    forecaster = Forecaster.load(run)
    city = read_observations(data, forecaster, None if task == "all" else task)
    names = task_names(forecaster, city, task)
    forecasts = forecast_tasks(forecaster, city, names, at, level=level, max_missing=max_missing)
    if level is not None:
        for told in interval_notes(forecasts, shown_command("calibrate", run, "CITY")):
            typer.echo(told, err=True)
    if out is not None:
        write_forecasts(forecasts, out)
        typer.echo(f"wrote {out}: {sum(data['value'].size for data in forecasts.values())} forecasts")
        return
    units = {name: model.about["unit"] for name, model in forecaster.tasks.items()}
    render(forecast_table(forecasts), units, places or 10, Console(), synthetic=city.synthetic)


def report(
    run: RunFolder,
    out: Annotated[
        Path | None,
        typer.Option(help="The page to write; else report.html in the run folder.", show_default=False),
    ] = None,
) -> None:
    """Write one offline HTML page about a run: scores, map, errors, backtest, intervals, versions, training.

    What the run has not come to yet stands on it as the command that makes it.

    Example: `cmust report runs/demo`
    """
    from cmust.report import write_report

    typer.echo(f"wrote {write_report(run, out)}")


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    commands: tuple[Any, ...] = (evaluate, calibrate, forecast, report)
    for command in commands:
        app.command()(command)
