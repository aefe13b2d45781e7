"""Groups of commands in modules of their own, imported when they are called: some need the ``ingest`` extra."""

import importlib
from dataclasses import dataclass
from typing import Any

import typer
import typer.main

from cmust.errors import CmustError


@dataclass(frozen=True)
class Group:
    """A group of commands.

    Attributes:
        name: as it is typed.
        help: one line for the list of commands.
        module: where its app is.
        app: the name of the app in the module.
    """

    name: str
    help: str
    module: str
    app: str


EXTERNAL = (
    Group("experiment", "Compare systems: tables of results, resumable.", "cmust.cli.experiment", "app"),
    Group("ingest", "Make a city from raw records: trips, events, sensors.", "cmust.cli.ingest", "app"),
    Group("download", "Fetch public records from their official addresses.", "cmust.cli.download", "app"),
    Group("import", "Make a city from another project's files.", "cmust.cli.convert", "import_app"),
    Group("export", "Write a city as another project's files.", "cmust.cli.convert", "export_app"),
)


def add_later(app: typer.Typer, group: Group) -> None:
    """Add a stand-in that hands its arguments to the group's own app."""

    @app.command(
        group.name,
        help=group.help,
        add_help_option=False,
        options_metavar="",
        context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    )
    def stand_in(ctx: typer.Context) -> None:
        try:
            command: Any = typer.main.get_command(getattr(importlib.import_module(group.module), group.app))
            code = command.main(
                args=list(ctx.args),
                prog_name=ctx.command_path,
                standalone_mode=False,
                help_option_names=["-h", "--help"],
            )
        except ModuleNotFoundError as error:
            if error.name is None or error.name.split(".")[0] == "cmust":
                raise
            raise CmustError(
                f"`cmust {group.name}` needs {error.name}, which is not installed; "
                "install the extra: pip install 'cmust[ingest]'"
            ) from error
        if isinstance(code, int) and code:
            raise typer.Exit(code)
