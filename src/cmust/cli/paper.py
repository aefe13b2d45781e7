"""``cmust experiment table1``, ``table2``, ``fig3``, ``fig4b``, ``fig6``, ``render``: the paper's evidence as commands.

In all of them finished cells are not repeated, a killed one resumes; seeds and systems may be added later, and other
processes may share the work in the same folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cmust.cli.arguments import CityFile, names, whole

if TYPE_CHECKING:
    from cmust.city import City
    from cmust.experiments.engine import Cell
    from cmust.experiments.study import Experiment

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Where cells and table go, one experiment in each.")]
BudgetText = Annotated[
    str,
    typer.Option(
        "--budget",
        help="How long a cell trains: smoke (a few updates), 'minutes N' (wall time for each task that it serves), "
        "full (as published).",
        show_default=False,
    ),
]
Seeds = Annotated[str, typer.Option(help="Of the trained systems, separated by commas.")]
Systems = Annotated[
    str | None, typer.Option(help="Which, separated by commas; all when not given.", show_default=False)
]
Preset = Annotated[str, typer.Option(help="Of CMuST: paper, reference or tuned.")]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="TOML: protocol and windows of all systems, network and training of CMuST.",
        show_default=False,
    ),
]  # fmt: skip
Accelerator = Annotated[str, typer.Option(help="auto, cpu or cuda.")]


def table1(
    city: CityFile,
    folder: Folder,
    budget: BudgetText,
    seeds: Seeds = "0",
    systems: Systems = None,
    config: Config = None,
    accelerator: Accelerator = "auto",
) -> None:
    """Table 1: other systems and CMuST on every task, beside the naive forecasts.

    Finished cells are not repeated, a killed one resumes; seeds and systems may be added later.

    Examples:

        cmust experiment table1 nyc.zarr.zip results/table1 --budget 'minutes 5' --seeds 0,1,2

        cmust experiment table1 nyc.zarr.zip results/table1 --budget 'minutes 5' --systems naive,stid,cmust_tuned
    """
    from cmust.experiments import table1

    def cells(data: City) -> list[Cell]:
        return table1.cells(tuple(data.tasks), names(systems) or table1.ALL, _seeds(seeds))

    _make(table1.TABLE1, cells, city, folder, budget, config, accelerator)


def table2(
    city: CityFile,
    folder: Folder,
    budget: BudgetText,
    task: Annotated[
        str | None, typer.Option(help="That is changed; the first when not given.", show_default=False)
    ] = None,
    seeds: Seeds = "0",
    systems: Systems = None,
    config: Config = None,
    accelerator: Accelerator = "auto",
) -> None:
    """Table 2: one task with 25 % and 50 % of its nodes, with 2 and 4 times its interval, the others whole.

    Example:

        cmust experiment table2 nyc.zarr.zip results/table2 --budget 'minutes 5' --task bike_pickup
    """
    from cmust.experiments import table2

    def cells(data: City) -> list[Cell]:
        tasks = tuple(data.tasks)
        return table2.cells(tasks, task or tasks[0], names(systems) or table2.ALL, _seeds(seeds))

    _make(table2.TABLE2, cells, city, folder, budget, config, accelerator)


def fig3(
    city: CityFile,
    folder: Folder,
    budget: BudgetText,
    preset: Preset = "tuned",
    seeds: Seeds = "0,1,2",
    config: Config = None,
    accelerator: Accelerator = "auto",
) -> None:
    """Figure 3: CMuST without one of its three parts.

    Example:

        cmust experiment fig3 nyc.zarr.zip results/fig3 --budget 'minutes 5'
    """
    from cmust.experiments import fig3

    def cells(data: City) -> list[Cell]:
        return fig3.cells(tuple(data.tasks), _system(preset), _seeds(seeds))

    _make(fig3.FIG3, cells, city, folder, budget, config, accelerator)


def fig4b(
    city: CityFile,
    folder: Folder,
    budget: BudgetText,
    preset: Preset = "tuned",
    seeds: Seeds = "0",
    config: Config = None,
    accelerator: Accelerator = "auto",
) -> None:
    """Figure 4b: tasks added one by one, and their order.

    Example:

        cmust experiment fig4b nyc.zarr.zip results/fig4b --budget 'minutes 5'
    """
    from cmust.experiments import fig4b

    def cells(data: City) -> list[Cell]:
        return fig4b.cells(tuple(data.tasks), _system(preset), _seeds(seeds))

    _make(fig4b.FIG4B, cells, city, folder, budget, config, accelerator)


def fig6(
    city: CityFile,
    folder: Folder,
    budget: BudgetText,
    preset: Preset = "paper",
    seeds: Seeds = "0",
    config: Config = None,
    accelerator: Accelerator = "auto",
) -> None:
    """Figure 6: width of the prompts, heads, threshold of freezing, with the frozen share.

    Example:

        cmust experiment fig6 nyc.zarr.zip results/fig6 --budget 'minutes 2'
    """
    from cmust.experiments import fig6

    def cells(data: City) -> list[Cell]:
        return fig6.cells(tuple(data.tasks), _system(preset), _seeds(seeds))

    _make(fig6.FIG6, cells, city, folder, budget, config, accelerator)


def render(folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Of an experiment.")]) -> None:
    """A table once more from its stored results: Markdown, LaTeX, a picture. Nothing is trained.

    Example:

        cmust experiment render results/table1
    """
    from cmust.experiments.rendering import render

    typer.echo(render(folder))


def _make(
    experiment: Experiment,
    cells: Callable[[City], Sequence[Cell]],
    city: Path,
    folder: Path,
    budget: str,
    config: Path | None,
    accelerator: str,
) -> None:
    from cmust import open_city
    from cmust.cli.progress import training_watcher
    from cmust.experiments.rendering import render
    from cmust.experiments.study import make_terms, run
    from cmust.settings import read_settings

    data = open_city(city)
    terms = make_terms(data, budget, read_settings(config) if config else {}, accelerator)
    run(
        experiment,
        cells(data),
        terms,
        folder,
        watching=training_watcher,
        tell=lambda line: typer.echo(line, err=True),
    )
    typer.echo(render(folder))


def _seeds(given: str) -> list[int]:
    return list(dict.fromkeys(whole("--seeds", seed, least=0) for seed in names(given) or ["0"]))


def _system(preset: str) -> str:
    from cmust.errors import ConfigError
    from cmust.experiments.work import CMUST

    system = next((name for name, each in CMUST.items() if each == preset), None)
    if system is None:
        raise ConfigError(f"unknown preset {preset!r}; choose one of {', '.join(CMUST.values())}")
    return system
