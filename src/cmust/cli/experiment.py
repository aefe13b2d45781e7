"""``cmust experiment``: the tables, each a command."""

from pathlib import Path
from typing import Annotated

import typer

from cmust.cli.arguments import CityFile

app = typer.Typer(no_args_is_help=True, help="Compare systems: tables of results, resumable.")


@app.callback()
def _group() -> None:
    """Compare systems: tables of results, resumable."""


@app.command()
def schemes(
    city: CityFile,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where the cells and the table go.")],
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="A TOML file of settings of the rolling run.", show_default=False),
    ] = None,
    cells: Annotated[
        str | None, typer.Option(help="Which cells, separated by commas; all when not given.", show_default=False)
    ] = None,
) -> None:
    """CMuST against the same network alone, jointly, without freezing, an MLP and the naive forecasts.

    All at equal numbers of updates. Finished cells are not repeated; parts of the table may run in processes of their
    own.

    Examples:

        cmust experiment schemes nyc.zarr.zip results/nyc --config examples/nyc.toml

        cmust experiment schemes nyc.zarr.zip results/nyc --config examples/nyc.toml --cells alone,joint
    """
    import json

    from cmust import open_city
    from cmust.cli.progress import training_watcher
    from cmust.experiments.schemes import CELLS, collect, render, run_cell
    from cmust.files import write_text
    from cmust.settings import read_settings

    data = open_city(city)
    settings = read_settings(config) if config else {}
    chosen = [name.strip() for name in cells.split(",")] if cells else list(CELLS)
    for cell in chosen:
        with training_watcher() as watcher:
            run_cell(cell, data, folder, settings, watcher)
    table = collect(folder)
    text = render(table)
    write_text(folder / "table.json", json.dumps(table, indent=1) + "\n")
    write_text(folder / "table.md", text)
    typer.echo(text)
