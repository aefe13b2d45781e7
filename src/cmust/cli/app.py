"""The program: its commands, its version, and what becomes of errors."""

import errno
import os
from importlib.util import find_spec
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from cmust import __version__
from cmust.cli import bundles, continual, data, quickstart, scoring, training
from cmust.cli.later import EXTERNAL, add_later
from cmust.errors import CmustError
from cmust.memory import keep_freed_memory

UNREACHABLE = {errno.ENAMETOOLONG, errno.EACCES}
"""What looking at a path ends with that the system refuses to follow; whether something is there nobody knows."""
RESUMABLE = {"train", "quickstart", "download", "adapt", "update", "experiment"}


class Commands(TyperGroup):
    """The group of all commands, which turns the errors a user meets into one line each."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was chosen; exit 2 after an error made on purpose or a path that cannot be reached, 130
        after Ctrl-C.
        """
        try:
            return super().invoke(ctx)
        except CmustError as error:
            typer.echo(f"error: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(2) from error
        except OSError as error:
            if error.errno not in UNREACHABLE:
                raise
            typer.echo(f"error: cannot reach {error.filename}: {error.strerror}; give another path", err=True)
            raise typer.Exit(2) from error
        except KeyboardInterrupt as interrupt:
            resumable = ctx.invoked_subcommand in RESUMABLE
            hint = "start the same command again to resume" if resumable else "start the same command again"
            typer.echo(f"interrupted; {hint}", err=True)
            raise typer.Exit(130) from interrupt


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_show_locals=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cmust {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Forecast a whole city at once: several tasks, one network, trained one task after another.

    The shortest way from nothing to a report:

        cmust demo demo.zarr.zip

        cmust train demo.zarr.zip runs/demo

        cmust evaluate runs/demo demo.zarr.zip

        cmust report runs/demo
    """


for module in (data, training, scoring, continual, bundles, quickstart):
    module.add_to(app)
for group in EXTERNAL:
    if find_spec(group.module):
        add_later(app, group)


def main() -> None:
    """The entry point."""
    # PyTorch's threads would spin while they wait for each other: where another program is busy on the same processors,
    # a step takes nine times as long. It is read when PyTorch is imported, which is later.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    keep_freed_memory()
    app(prog_name="cmust")
