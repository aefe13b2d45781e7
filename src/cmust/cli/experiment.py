"""``cmust experiment``: the tables, each a command."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from cmust.cli import paper
from cmust.cli.arguments import Accelerator, CityFile, names, whole

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the cells and the table go.")]
Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="A TOML file of settings of the rolling run.", show_default=False),
]
Cells = Annotated[
    str | None, typer.Option(help="Which cells, separated by commas; all when not given.", show_default=False)
]
Cut = Annotated[str | None, typer.Option(help="Training ends here; else 28 days before the end.", show_default=False)]

app = typer.Typer(no_args_is_help=True, help="Compare systems: tables of results, resumable.")


@app.callback()
def _group() -> None:
    """Compare systems: tables of results, resumable."""


@app.command()
def coldstart(
    city: CityFile,
    folder: Folder,
    config: Config = None,
    cells: Cells = None,
    cut: Cut = None,
    days: Annotated[str, typer.Option(help="Lengths of history, separated by commas.")] = "7,14,28",
    accelerator: Accelerator = "auto",
) -> None:
    """A task that comes later, with a few days of history, against training it from scratch and its averages.

    A cell is a task: the others are trained before the cut, then it is added. The file's table `adapt` holds training
    settings of the adaptation (refine_epochs) and of training from scratch (start_epochs).

    Example:

        cmust experiment coldstart nyc.zarr.zip results/coldstart --config examples/coldstart.toml
    """
    from cmust import open_city
    from cmust.cli.progress import training_watcher
    from cmust.experiments.coldstart import check_cells, collect, default_cut, render, run_cell

    data, settings = open_city(city), _settings(config)
    lengths = [whole("--days", length, least=1) for length in names("--days", days) or []]
    wanted, end = names("--cells", cells) or list(data.tasks), cut or default_cut(data)
    check_cells(wanted, data, settings, cut=end, days=lengths)  # all of them before the first one trains
    for cell in wanted:
        with training_watcher() as watcher:
            run_cell(cell, data, folder, settings, cut=end, days=lengths, accelerator=accelerator, watcher=watcher)
    _write_table(folder, collect, render)


@app.command()
def newplaces(
    city: CityFile,
    folder: Folder,
    config: Config = None,
    cells: Cells = None,
    cut: Cut = None,
    accelerator: Accelerator = "auto",
) -> None:
    """Places that training never saw, without adaptation and with, against the naive forecasts.

    Every fourth place is held out. A cell is a task. The file's table `adapt` holds training settings of the
    adaptation; a file of `coldstart` will do, its start_epochs are for that study.

    Example:

        cmust experiment newplaces nyc.zarr.zip results/newplaces --config examples/coldstart.toml
    """
    from cmust import open_city
    from cmust.cli.progress import training_watcher
    from cmust.experiments.coldstart import default_cut
    from cmust.experiments.newplaces import check_cells, collect, render, run_cell

    data, settings = open_city(city), _settings(config)
    wanted, end = names("--cells", cells) or list(data.tasks), cut or default_cut(data)
    check_cells(wanted, data, settings, cut=end)  # all of them before the first one trains
    for cell in wanted:
        with training_watcher() as watcher:
            run_cell(cell, data, folder, settings, cut=end, accelerator=accelerator, watcher=watcher)
    _write_table(folder, collect, render)


@app.command()
def updating(
    city: CityFile,
    folder: Folder,
    cuts: Annotated[
        str, typer.Option(help="Times in order, separated by commas: the end of training, then every update.")
    ],
    config: Config = None,
    accelerator: Accelerator = "auto",
) -> None:
    """Updates, month by month say, against not updating, each on what follows.

    The file's table `update` holds training settings of the updates.

    Example:

        cmust experiment updating nyc.zarr.zip results/updating --config examples/updating.toml
        --cuts 2019-04-01,2019-05-01,2019-06-01
    """
    from cmust import open_city
    from cmust.cli.progress import training_watcher
    from cmust.experiments.updating import collect, render, run_study

    with training_watcher() as watcher:
        data, settings = open_city(city), _settings(config)
        run_study(data, folder, settings, cuts=names("--cuts", cuts) or [], accelerator=accelerator, watcher=watcher)
    _write_table(folder, collect, render)


paper.add_to(app)


def _settings(config: Path | None) -> dict[str, Any]:
    from cmust.settings import read_settings

    return read_settings(config) if config else {}


def _write_table(
    folder: Path, collect: Callable[[Path], dict[str, Any]], render: Callable[[dict[str, Any]], str]
) -> None:
    """Write what is finished as ``table.json`` and ``table.md``, and print it."""
    import json

    from cmust.files import write_text

    table = collect(folder)
    text = render(table)
    write_text(folder / "table.json", json.dumps(table, indent=1) + "\n")
    write_text(folder / "table.md", text)
    typer.echo(text)
