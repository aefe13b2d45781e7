"""What adapting, updating and versions have to show in a terminal."""

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cmust.cli.progress import duration
from cmust.cli.tables import print_left_out
from cmust.continual.versions import Version
from cmust.report.console import score_table
from cmust.report.scores import MASKED_MAE, NOTHING, PLAIN_MAE, label, show_number


def show_adaptation(record: dict[str, Any], console: Console) -> None:
    """Scores beside the naive forecasts, and what they cost."""
    if record["tasks"]:
        console.print(score_table(record, (PLAIN_MAE, MASKED_MAE)))
    else:
        told = "no scores: nothing was trained, and nothing follows the history; --until TIME keeps its end for them"
        console.print(told, markup=False, highlight=False, soft_wrap=True)
    if not record["costs"]:
        return
    table = _table("cost", "system", "epochs", "best", "updates", "weights trained", "time")
    for system, cost in record["costs"].items():
        table.add_row(
            label(system),
            f"{cost['epochs']} of {cost['most_epochs']}",
            str(cost["best_epoch"]),
            str(cost["updates"]),
            str(cost["trained_weights"]),
            duration(cost["seconds"]),
        )
    console.print(table)


def show_update(record: dict[str, Any], console: Console) -> None:
    """Before and after on fresh data, per task, and what is left out."""
    table = _table("plain MAE on fresh data", "task", "from", "until", "before", "new profile", "updated", "kept")
    for name, task in record["tasks"].items():
        fresh = task["fresh"]
        scores = [show_number(each["plain_mae"]) for each in fresh.values()]
        before = fresh["before"]
        table.add_row(name, before["from"][:10], before["until"][:10], *scores, task["kept"].replace("_", " "))
    console.print(table)
    if revised := [name for name, task in record["tasks"].items() if task["revised"]]:
        told = f"note: of {', '.join(revised)} the city holds other values than the run has seen; it went on with these"
        console.print(told, markup=False, highlight=False, soft_wrap=True)
    print_left_out(record["left_out"], console)


def show_versions(versions: Sequence[Version], console: Console) -> None:
    """A row per version and task; a star for the one in force."""
    table = _table(
        "plain MAE on the data that chose", "version", "made by", "when", "from", "task", "MAE", "data until"
    )
    for version in versions:
        first = (
            f"{version.number}{' *' if version.in_force else ''}",
            version.made_by,
            str(version.made.get("when") or NOTHING)[:16].replace("T", " "),
            NOTHING if version.parent is None else str(version.parent),
        )
        for row, (name, task) in enumerate(version.tasks.items()):
            scores = task.get("validation")
            shown = NOTHING if scores is None else show_number(scores["plain_mae"])
            until = task.get("seen", {}).get("until", task["trained_until"])
            table.add_row(*(first if row == 0 else ("",) * len(first)), name, shown, until[:10])
    console.print(table)
    console.print("* in force; another one: --use N; two beside each other: --compare A B", highlight=False)


def show_comparison(table: dict[str, dict[str, Any]], pair: tuple[int, int], console: Console) -> None:
    """Two versions beside each other."""
    for kind, title in (
        ("validation", "plain MAE on the data that chose"),
        ("later", "plain MAE on what follows the data of both"),
    ):
        rows = {name: each[kind] for name, each in table.items() if each[kind] and any(each[kind])}
        if not rows:
            continue
        shown = _table(title, "task", *(f"version {number}" for number in pair), "from", "until")
        for name, scores in rows.items():
            same = len({(each["from"], each["until"]) for each in scores if each}) == 1
            known = next(each for each in scores if each)
            shown.add_row(
                name,
                *(NOTHING if each is None else show_number(each["plain_mae"]) for each in scores),
                *((known["from"][:10], known["until"][:10]) if same else ("different data:", "do not compare")),
            )
        console.print(shown)


def _table(title: str, *columns: str) -> Table:
    table = Table(title=escape(title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, no_wrap=True)
    return table
