"""``cmust experiment table1``, ``table2``, ``fig3`` ... ``schemes``, ``render``: the paper's evidence as commands.

In all of them finished cells are not repeated, a killed one resumes; seeds and systems may be added later, and other
processes and machines may share the work in the same folder.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cmust.cli.arguments import Accelerator, CityFile, names, whole
from cmust.cli.grouped import grouped

if TYPE_CHECKING:
    from cmust.city import City
    from cmust.experiments.engine import Cell
    from cmust.experiments.study import Experiment

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Where cells and table go, one experiment in each.")]
Seeds = Annotated[str, typer.Option(help="Of the trained systems, separated by commas.")]
Systems = Annotated[
    str | None,
    typer.Option(
        help="Which, separated by commas; all when not given. Tables 1 and 2 take modules of your own, too: "
        "package.module (docs/baselines.md).",
        show_default=False,
    ),
]
Preset = Annotated[str, typer.Option(help="Of CMuST: paper, reference or tuned.")]


@dataclass(frozen=True)
class Unbudgeted:
    """What all tables and figures are given but for the time."""

    city: CityFile
    folder: Folder
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", help="TOML: protocol and windows of all systems, network and training of CMuST.",
            show_default=False,
        ),
    ] = None  # fmt: skip
    accelerator: Accelerator = "auto"
    cluster: Annotated[
        str | None, typer.Option(help="slurm or local: a job for each cell, all in FOLDER.", show_default=False)
    ] = None
    job: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="Of the jobs: time, parallel, partition, gpus ... (docs/experiments.md).",
            show_default=False,
        ),
    ] = None  # fmt: skip


@dataclass(frozen=True)
class Common(Unbudgeted):
    """What all tables and figures are given."""

    budget: Annotated[
        str,
        typer.Option(
            help="How long a cell trains: smoke (a few updates), 'minutes N' (wall time for each task that it "
            "serves), full (as published).",
            show_default=False,
        ),
    ] = field(kw_only=True)


def table1(common: Common, seeds: Seeds = "0", systems: Systems = None) -> None:
    """Table 1: other systems and CMuST on every task, beside the naive forecasts.

    Finished cells are not repeated, a killed one resumes; seeds and systems may be added later.

    Examples:

        cmust experiment table1 nyc.zarr.zip results/table1 --budget 'minutes 5' --seeds 0,1,2

        cmust experiment table1 nyc.zarr.zip results/table1 --budget 'minutes 5' --systems naive,stid,cmust_tuned

        cmust experiment table1 nyc.zarr.zip results/table1 --budget full --cluster slurm --job gpus=1
    """
    from cmust.experiments import table1

    chosen = names("--systems", systems) or table1.ALL
    _make(table1.TABLE1, lambda tasks: table1.cells(tasks, chosen, _seeds(seeds)), common)


def table2(
    common: Common,
    task: Annotated[
        str | None, typer.Option(help="That is changed; the first when not given.", show_default=False)
    ] = None,
    seeds: Seeds = "0",
    systems: Systems = None,
) -> None:
    """Table 2: one task with 25 % and 50 % of its nodes, with 2 and 4 times its interval, the others whole.

    Example:

        cmust experiment table2 nyc.zarr.zip results/table2 --budget 'minutes 5' --task bike_pickup
    """
    from cmust.experiments import table2

    chosen = names("--systems", systems) or table2.ALL
    _make(table2.TABLE2, lambda tasks: table2.cells(tasks, task or tasks[0], chosen, _seeds(seeds)), common)


def table5(
    common: Common,
    seeds: Seeds = "0",
    systems: Systems = None,
    table1: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER", help="Of Table 1 with the same budget and settings: what is finished there is taken.",
            show_default=False,
        ),
    ] = None,
) -> None:  # fmt: skip
    """Table 5: the unified models UniST and UniTime against CMuST. All its cells are cells of Table 1, too.

    UniTime's language model: weights where `systems.unitime.network` of the file names a folder, else a small random
    one; the table says which.

    Example:

        cmust experiment table5 nyc.zarr.zip results/table5 --budget 'minutes 5' --table1 results/table1
    """
    from cmust.experiments import table5
    from cmust.experiments.table1 import TABLE1

    chosen, taken = names("--systems", systems) or table5.ALL, (TABLE1, table1) if table1 else None
    _make(table5.TABLE5, lambda tasks: table5.cells(tasks, chosen, _seeds(seeds)), common, taken)


def table6(common: Common, preset: Preset = "tuned", seeds: Seeds = "0") -> None:
    """Table 6: each task in turn comes last, adapted, against training it alone; errors and times.

    Example:

        cmust experiment table6 nyc.zarr.zip results/table6 --budget 'minutes 5'
    """
    from cmust.experiments import table6

    _make(table6.TABLE6, lambda tasks: table6.cells(tasks, _system(preset), _seeds(seeds)), common)


def fig3(common: Common, preset: Preset = "tuned", seeds: Seeds = "0,1,2") -> None:
    """Figure 3: CMuST without one of its three parts.

    Example:

        cmust experiment fig3 nyc.zarr.zip results/fig3 --budget 'minutes 5'
    """
    from cmust.experiments import fig3

    _make(fig3.FIG3, lambda tasks: fig3.cells(tasks, _system(preset), _seeds(seeds)), common)


def fig4a(common: Common, preset: Preset = "tuned", seeds: Seeds = "0") -> None:
    """Figure 4a: attention between observations, space and time in each phase of rolling.

    Example:

        cmust experiment fig4a nyc.zarr.zip results/fig4a --budget 'minutes 5'
    """
    from cmust.experiments import fig4a

    _make(fig4a.FIG4A, lambda tasks: fig4a.cells(tasks, _system(preset), _seeds(seeds)), common)


def fig4b(common: Common, preset: Preset = "tuned", seeds: Seeds = "0") -> None:
    """Figure 4b: tasks added one by one, and their order.

    Example:

        cmust experiment fig4b nyc.zarr.zip results/fig4b --budget 'minutes 5'
    """
    from cmust.experiments import fig4b

    _make(fig4b.FIG4B, lambda tasks: fig4b.cells(tasks, _system(preset), _seeds(seeds)), common)


def fig6(common: Common, preset: Preset = "paper", seeds: Seeds = "0") -> None:
    """Figure 6: width of the prompts, heads, threshold of freezing, with the frozen share.

    Example:

        cmust experiment fig6 nyc.zarr.zip results/fig6 --budget 'minutes 2'
    """
    from cmust.experiments import fig6

    _make(fig6.FIG6, lambda tasks: fig6.cells(tasks, _system(preset), _seeds(seeds)), common)


def schemes(
    unbudgeted: Unbudgeted,
    preset: Preset = "tuned",
    seeds: Seeds = "0",
    ways: Annotated[
        str | None,
        typer.Option(help="Of rolling, no_freezing, joint, alone; all when not given.", show_default=False),
    ] = None,
) -> None:
    """CMuST against the same network trained otherwise: jointly, each task alone, without freezing.

    All with the updates that rolling has by the settings; the naive forecasts and a small MLP stand beside them.

    Example:

        cmust experiment schemes nyc.zarr.zip results/schemes --config examples/nyc.toml --seeds 0,1,2
    """
    from cmust.experiments.schemes import SCHEMES, WAYS, cells

    chosen, common = names("--ways", ways) or list(WAYS), Common(**asdict(unbudgeted), budget="full")
    _make(SCHEMES, lambda tasks: cells(tasks, _system(preset), chosen, _seeds(seeds)), common)


def cell(
    city: CityFile,
    folder: Folder,
    cell: Annotated[str, typer.Argument(metavar="CELL", help="As in its record: a JSON object.")],
    accelerator: Accelerator = "auto",
) -> None:
    """One cell of an experiment that has begun: what a job of --cluster runs.

    Example:

        cmust experiment cell nyc.zarr.zip results/table1 '{"system": "stid", "tasks": ["taxi_pickup"], "seed": 0}'
    """
    from cmust import open_city
    from cmust.cli.progress import training_watcher
    from cmust.errors import BusyError
    from cmust.experiments.engine import is_finished, read_cell
    from cmust.experiments.rendering import stored
    from cmust.experiments.study import make_terms, run

    wanted, (experiment, config) = read_cell(cell), stored(folder)
    terms = make_terms(open_city(city), config["budget"], config["settings"], accelerator)
    run(experiment, [wanted], terms, folder, watching=training_watcher, tell=_tell)
    if not is_finished(folder, wanted):
        raise BusyError(f"another process is at cell {wanted.name}; wait for it")


def render(folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Of an experiment.")]) -> None:
    """A table once more from its stored results: Markdown, LaTeX, a picture. Nothing is trained.

    Example:

        cmust experiment render results/table1
    """
    from cmust.experiments.rendering import render

    typer.echo(render(folder))


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (table1, table2, table5, table6, fig3, fig4a, fig4b, fig6, schemes):
        app.command()(grouped(command))
    app.command()(cell)
    app.command()(render)


def _make(
    experiment: Experiment,
    cells: Callable[[tuple[str, ...]], Sequence[Cell]],
    common: Common,
    taken: tuple[Experiment, Path] | None = None,
) -> None:
    """Compute what is missing, here or as jobs, and show the table, also where some cells failed.

    Args:
        experiment, cells: what is computed, the cells by the tasks of the city.
        common: what all tables are given.
        taken: another experiment and its folder, whose finished cells are taken.
    """
    from cmust import open_city
    from cmust.cli.progress import training_watcher
    from cmust.errors import ConfigError
    from cmust.experiments.cluster import Cluster, carry_out_as_jobs, cell_command
    from cmust.experiments.engine import CellsFailedError
    from cmust.experiments.rendering import render
    from cmust.experiments.study import claim, make_terms, run, take
    from cmust.settings import read_settings

    if common.job and not common.cluster:
        raise ConfigError("--job is for jobs; give --cluster slurm or local, or leave it out")
    cluster = Cluster.parse(common.cluster, common.job or []) if common.cluster else None
    data: City = open_city(common.city)
    settings = read_settings(common.config) if common.config else {}
    terms = make_terms(data, common.budget, settings, common.accelerator)
    wanted, folder = cells(tuple(data.tasks)), common.folder
    claim(experiment, wanted, terms, folder)
    if taken:
        take(wanted, terms, folder, *taken)
    try:
        if cluster:
            command = cell_command(common.city, folder, common.accelerator)
            carry_out_as_jobs(folder, wanted, command, cluster, tell=_tell)
        else:
            run(experiment, wanted, terms, folder, watching=training_watcher, tell=_tell)
    except CellsFailedError as failed:
        if len(failed.failed) < len(wanted):
            typer.echo(render(folder))
        raise
    typer.echo(render(folder))


def _tell(line: str) -> None:
    typer.echo(line, err=True)


def _seeds(given: str) -> list[int]:
    return list(dict.fromkeys(whole("--seeds", seed, least=0) for seed in names("--seeds", given) or ["0"]))


def _system(preset: str) -> str:
    from cmust.errors import ConfigError
    from cmust.experiments.work import CMUST

    system = next((name for name, each in CMUST.items() if each == preset), None)
    if system is None:
        raise ConfigError(f"unknown preset {preset!r}; choose one of {', '.join(CMUST.values())}")
    return system
