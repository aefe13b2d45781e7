"""``cmust adapt``, ``cmust update`` and ``cmust versions``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cmust.cli.arguments import Accelerator, RunFolder, names, shown_command

CityOption = Annotated[
    Path, typer.Option("--city", metavar="CITY", help="A city file, NAME.zarr.zip.", show_default=False)
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="training.KEY=VALUE", help="One setting; may be repeated.", show_default=False),
]


def adapt(
    run: RunFolder,
    city: CityOption,
    task: Annotated[str, typer.Option(help="The task of the city to learn.", show_default=False)],
    name: Annotated[
        str | None, typer.Option("--as", help="What the run calls it; for other places of a task that it has.")
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            help="A task of the run whose prompts and weights it takes over; the one of the same name when not given.",
            show_default=False,
        ),
    ] = None,
    train: Annotated[
        str,
        typer.Option(
            help="unfrozen: what is not frozen; prompt: its head alone; auto: its head where less than a week trains, "
            "else what is not frozen; nothing: for other places of a known task alone (--like)."
        ),
    ] = "auto",
    until: Annotated[
        str | None, typer.Option(help="History ends before this time; what follows is scored.", show_default=False)
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Train it from scratch too; tell scores and times of both.")
    ] = False,
    changes: Changes = None,
    accelerator: Accelerator = "auto",
) -> None:
    """Teach a finished run one more task; the forecasts of the others do not change.

    A few days of history are enough. Makes a new version of the run: see `cmust versions`.

    Examples:

        cmust adapt runs/demo --city new.zarr.zip --task bike_pickup

        cmust adapt runs/demo --city new.zarr.zip --task bike_pickup --until 2024-05-01 --compare

        cmust adapt runs/demo --city uptown.zarr.zip --task taxi_pickup --as taxi_uptown --train nothing
    """
    from rich.console import Console

    from cmust import adapt as carry_out
    from cmust import open_city
    from cmust.cli.continued import show_adaptation
    from cmust.cli.progress import training_watcher

    settings = _training(changes)
    with training_watcher() as watcher:
        done = carry_out(
            run,
            open_city(city),
            task,
            name=name,
            like=like,
            train=train,
            until=until,
            compare=compare,
            accelerator=accelerator,
            watcher=watcher,
            **settings,
        )
    show_adaptation(done.record, Console())
    assert done.version is not None  # what is adapted in a run folder is a version of it
    typer.echo(_in_force(run, done.version))


def update(
    run: RunFolder,
    city: CityOption,
    tasks: Annotated[
        str | None, typer.Option(help="Which tasks, separated by commas; else all with new data.", show_default=False)
    ] = None,
    changes: Changes = None,
    accelerator: Accelerator = "auto",
) -> None:
    """Bring a finished run up to date with data that has arrived since.

    Per task the better of before and after is kept, on the last days of the data. Makes a new version of the run, or
    none where nothing is better: see `cmust versions`.

    Examples:

        cmust update runs/demo --city grown.zarr.zip

        cmust update runs/demo --city grown.zarr.zip --tasks taxi_pickup --set training.refine_epochs=5
    """
    from rich.console import Console

    from cmust import open_city
    from cmust import update as carry_out
    from cmust.cli.continued import show_update
    from cmust.cli.progress import training_watcher

    settings = _training(changes)
    with training_watcher() as watcher:
        done = carry_out(
            run, open_city(city), tasks=names("--tasks", tasks), accelerator=accelerator, watcher=watcher, **settings
        )
    show_update(done.record, Console())
    if done.version is None:
        typer.echo("nothing is better than what is in force, which stays")
    else:
        typer.echo(_in_force(run, done.version))


def versions(
    run: RunFolder,
    compare: Annotated[
        tuple[int, int] | None, typer.Option(metavar="A B", help="Two versions beside each other.", show_default=False)
    ] = None,
    city: Annotated[
        Path | None,
        typer.Option(metavar="CITY", help="With --compare: score both on what follows their data.", show_default=False),
    ] = None,
    use: Annotated[
        int | None, typer.Option(metavar="N", help="Bring a version into force.", show_default=False)
    ] = None,
) -> None:
    """List the versions of a run, compare two, or bring one into force.

    Examples:

        cmust versions runs/demo

        cmust versions runs/demo --compare 1 3 --city grown.zarr.zip

        cmust versions runs/demo --use 1
    """
    from rich.console import Console

    from cmust import open_city
    from cmust.cli.continued import show_comparison, show_versions
    from cmust.continual.compare import compare_versions
    from cmust.continual.versions import list_versions, use_version
    from cmust.errors import ConfigError

    if city is not None and compare is None:
        raise ConfigError("--city is for --compare A B")
    if use is not None and compare is not None:
        raise ConfigError("--use and --compare are two things; give one of them")
    if use is not None:
        use_version(run, use)
        typer.echo(f"version {use} of {run} is in force")
    elif compare is not None:
        data = None if city is None else open_city(city)
        show_comparison(compare_versions(run, *compare, data), compare, Console())
    else:
        show_versions(list_versions(run), Console())


def _in_force(run: Path, version: int) -> str:
    """Which version is used from now on, and how to go back."""
    from cmust.run import Run, read_json

    about = Run(run).version_folder(version) / "version.json"
    back = shown_command("versions", run, "--use", read_json(about, f"{about} is missing")["parent"])
    return f"version {version} of {run} is in force; back to the one before: {back}"


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    commands: tuple[Any, ...] = (adapt, update, versions)
    for command in commands:
        app.command()(command)


def _training(changes: list[str] | None) -> dict[str, Any]:
    """The training settings given with ``--set``; the network's are the run's."""
    from cmust.cli.overrides import parse_overrides
    from cmust.errors import ConfigError
    from cmust.rolling import training_config

    values = parse_overrides(changes or [])
    training = values.pop("training", {})
    if values or not isinstance(training, dict):
        raise ConfigError(
            f"--set {next(iter(values), 'training')} cannot be changed after training; only training.KEY can"
        )
    training_config(**training)  # an unknown setting is no argument of the function either
    return training
