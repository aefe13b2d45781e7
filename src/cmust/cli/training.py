"""``cmust train`` and ``cmust settings``."""

from pathlib import Path
from typing import Annotated, Any

import typer

from cmust.cli.arguments import Accelerator, CityFile, is_first_process, names, shown_command

Preset = Annotated[str | None, typer.Option(help="tuned (default), paper or reference.", show_default=False)]


def train(
    city: CityFile,
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The run folder to write, or to resume.")],
    preset: Preset = None,
    scheme: Annotated[str | None, typer.Option(help="rolling (default), alone or joint.", show_default=False)] = None,
    protocol: Annotated[
        str | None, typer.Option(help="Split of the windows: purged (default) or published.", show_default=False)
    ] = None,
    tasks: Annotated[
        str | None, typer.Option(help="Tasks in the order of rolling, separated by commas.", show_default=False)
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="A TOML file of settings; flags win.", show_default=False),
    ] = None,
    changes: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="One setting; may be repeated.", show_default=False),
    ] = None,
    accelerator: Accelerator = "auto",
    devices: Annotated[str, typer.Option(help="How many; auto: one, or those that torchrun started.")] = "auto",
) -> None:
    """Train on a city and write a run folder.

    Started again with the same settings, it resumes where it was stopped.

    Examples:

        cmust train demo.zarr.zip runs/demo

        cmust train demo.zarr.zip runs/short --tasks taxi_pickup,taxi_dropoff --set training.start_epochs=5

        cmust train demo.zarr.zip runs/paper --preset paper --config settings.toml

    `cmust settings` lists every setting.
    """
    from cmust import fit, open_city
    from cmust.cli.progress import training_watcher
    from cmust.cli.tables import print_parts
    from cmust.settings import make_settings

    settings = _settings(config, changes or [], preset=preset, scheme=scheme, protocol=protocol, tasks=tasks)
    chosen = make_settings(**settings)  # an unknown setting is no argument of fit either
    data = open_city(city)
    with training_watcher(lambda console: print_parts(data, chosen, console)) as watcher:
        fit(
            data,
            run,
            accelerator=accelerator,
            devices=int(devices) if devices.isdecimal() else devices,
            watcher=watcher,
            **settings,
        )
    if is_first_process():
        typer.echo(f"trained: {run}; score it with: {shown_command('evaluate', run, city)}")


def settings(preset: Preset = None) -> None:
    """List every setting with its value in a preset, and what it means.

    Example: `cmust settings --preset paper`
    """
    from rich.console import Console

    from cmust.cli.listing import list_settings

    list_settings(preset or "tuned", Console())


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(train)
    app.command()(settings)


def _settings(config: Path | None, changes: list[str], tasks: str | None, **flags: str | None) -> dict[str, Any]:
    from cmust.cli.overrides import merged, parse_overrides
    from cmust.errors import ConfigError
    from cmust.settings import read_settings

    values = read_settings(config) if config else {}
    given: dict[str, Any] = {key: value for key, value in flags.items() if value is not None}
    if tasks is not None:
        given["tasks"] = names("--tasks", tasks)
    changed = parse_overrides(changes)
    for key in given:
        if key in changed:
            raise ConfigError(f"--{key} and --set {key} are both given; keep one of them")
    return merged(merged(values, given), changed)
