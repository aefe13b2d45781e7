"""``cmust quickstart``."""

from pathlib import Path
from typing import Annotated

import typer

FOLDER = Path("runs/quickstart")


def quickstart(
    folder: Annotated[Path, typer.Argument(metavar="[FOLDER]", help="Gets the city and the runs.")] = FOLDER,
) -> None:
    """Demo city, training, table and report in one go, at a small setting.

    Five to six minutes on two cores. Interrupted and started again, it resumes.

    Example: `cmust quickstart`
    """
    from rich.console import Console

    from cmust.cli.progress import scoring_progress, training_watcher
    from cmust.quickstart import quickstart as carry_out
    from cmust.report.console import score_table
    from cmust.report.scores import MASKED_MAE, PLAIN_MAE

    done = carry_out(
        folder, say=lambda text: typer.echo(text, err=True), training=training_watcher, scoring=scoring_progress
    )
    Console().print(score_table(done.evaluation, (PLAIN_MAE, MASKED_MAE)))
    names = f" ({', '.join(done.beaten)})" if done.beaten else ""
    typer.echo(
        f"CMuST beats the weekly average (plain MAE, test part) on {len(done.beaten)} of "
        f"{len(done.evaluation['tasks'])} tasks{names}; a narrow network and few epochs, to be quick."
    )
    typer.echo(f"report: {done.report}")


def add_to(app: typer.Typer) -> None:
    """Add the command of this module."""
    app.command()(quickstart)
