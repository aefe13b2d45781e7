"""``cmust bundle`` and ``cmust export-model``."""

from pathlib import Path
from typing import Annotated

import typer

from cmust.cli.arguments import ModelFolder, RunFolder


def bundle(
    run: RunFolder,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The folder to write; new or empty.")],
    license: Annotated[
        str | None,
        typer.Option(help="Licence of the model, an identifier such as cc-by-4.0; for its card.", show_default=False),
    ] = None,
    push: Annotated[
        str | None,
        typer.Option(metavar="OWNER/NAME", help="Upload it to this repository of the hub too.", show_default=False),
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make that repository a private one.")] = False,
) -> None:
    """Write a finished run as one folder to keep, copy or publish.

    It holds the model (safetensors and JSON, with checksums) and README.md, its card: data, tasks, scores, settings,
    limits. Evaluate the run first, so that the card has scores. Every command that takes a run for forecasting takes
    a bundle too.

    Examples:

        cmust bundle runs/demo demo-model --license cc-by-4.0

        cmust forecast demo-model demo.zarr.zip --out forecast.csv
    """
    from cmust import Forecaster
    from cmust.bundle import hub
    from cmust.errors import ConfigError

    if private and push is None:
        raise ConfigError("--private is for a repository of the hub; name it with --push OWNER/NAME")
    if push is not None:
        hub.hub_library("to push to the hub")  # missing, it is better missed before anything is written
    forecaster = Forecaster.load(run)
    forecaster.save_pretrained(folder, license=license)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    typer.echo(f"wrote {folder}: {', '.join(forecaster.tasks)}; {size / 1e6:.1f} MB; its card is README.md")
    if push is not None:
        typer.echo(f"pushed: {hub.push(folder, push, private=private or None)}")


def export_model(
    run: ModelFolder,
    target: Annotated[Path, typer.Argument(metavar="FILE", help="The .pt2 file to write.")],
    task: Annotated[str, typer.Option(help="A task of the run.")],
) -> None:
    """Write the network of one task as a torch.export program, for use without cmust.

    Numbers of windows and of places are free. docs/bundle.md lists what goes in and what comes out.

    Example: `cmust export-model runs/demo taxi.pt2 --task taxi_pickup`
    """
    from cmust import Forecaster
    from cmust.bundle import export_graph

    model = Forecaster.load(run).model(task)
    export_graph(model.trunk, model.head, target)
    typer.echo(f"wrote {target}: load it with torch.export.load")


def add_to(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(bundle)
    app.command("export-model")(export_model)
