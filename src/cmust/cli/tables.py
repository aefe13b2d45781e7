"""What training begins with, tables of calibration and of rolling-origin evaluation, in a terminal."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cmust.city import City
from cmust.city.task import shorten
from cmust.report.scores import NOTHING, label, show_number
from cmust.settings import Settings
from cmust.windows import PARTS, city_splits

SHOWN = ("cmust", "weekly_average", "scaled_weekly_average", "weekly_profile")


LITTLE = 0.35
"""Half of the share of its windows that a task usually learns from."""


def print_parts(city: City, settings: Settings, console: Console) -> None:
    """A line per task: its windows in each part; and what is wrong with them."""
    network = settings.network
    city = city.select(tasks=settings.tasks or list(city.tasks))
    for name, split in city_splits(city, settings.protocol, network.input_steps, network.horizon).items():
        counts = {part: len(split.starts[part]) for part in PARTS}
        lines = [f"{name}: windows " + ", ".join(f"{count:,} {part}" for part, count in counts.items())]
        if counts["train"] < LITTLE * sum(counts.values()):
            lines.append(
                f"{name}: learns from few of its windows, since all tasks are cut at one time, by the span they share; "
                f"give tasks of one span, or take the protocol published"
            )
        task = city.task(name)
        unknown = np.isnan(task.values[: split.train_steps]).all(axis=(0, 2))
        if unknown.any():
            nodes = shorten(np.array(task.nodes)[unknown].tolist())
            lines.append(f"{name}: has no observation to learn from at {nodes}: no forecast of its own")
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def coverage_table(result: dict[str, Any]) -> Table:
    """Coverage, width and interval score per task, system and level, of what :func:`cmust.calibrate` returns."""
    headings = ("task", "interval", "around", "coverage", "of groups", "width", "interval\nscore")
    table = _table("intervals, each judged by truth it could not know", headings, left=3)
    for name, task in result["tasks"].items():
        for level in next(iter(task["systems"].values())):
            for system, scores in task["systems"].items():
                own = scores[level]
                groups = [share for share in own["per_group"]["coverage"] if share is not None]
                spread = f"{100 * min(groups):.0f}-{100 * max(groups):.0f} %" if groups else NOTHING
                table.add_row(
                    escape(name),
                    f"{100 * float(level):g} %",
                    label(system),
                    _percent(own["coverage"]),
                    spread,
                    show_number(own["width"]),
                    show_number(own["interval_score"]),
                )
        table.add_section()
    return table


def forecasters(result: dict[str, Any]) -> list[str]:
    """A line per task that several versions of the run have forecast, of what :func:`cmust.calibrate` returns."""
    shares = {name: task["origins_by_version"] for name, task in result["tasks"].items()}
    return [
        f"{name}: forecast by "
        + ", ".join(f"version {number} ({origins} origins)" for number, origins in versions.items())
        + "; what an update has seen is forecast by the version before it"
        for name, versions in shares.items()
        if len(versions) > 1
    ]


def print_backtest(result: dict[str, Any], console: Console, places: int = 5) -> None:
    """Errors of each task by weekday, hour, holiday, week and place; then what earlier tasks lost."""
    for name, task in result["tasks"].items():
        first = f"{name}, {task['unit']}: {task['origins']} origins from {task['from']}, targets to {task['until']}"
        console.print(first, markup=False, highlight=False, soft_wrap=True)
        rows = [("", row) for row in task["by"]["whole"]]
        for by in ("week", "weekday", "holiday", "hour"):
            rows += [(by, row) for row in task["by"].get(by, [])]
        worst = sorted(task["by"]["place"], key=lambda row: -row["mae"]["cmust"])[:places]
        console.print(_errors(rows + [("place", row) for row in worst]))
        if len(task["by"]["place"]) > places:
            console.print(
                f"the {places} places with the largest errors; backtest.json has all", highlight=False, soft_wrap=True
            )
    if result["forgetting"]:
        console.print(_forgetting(result["forgetting"]))
    print_left_out(result["left_out"], console)


def print_left_out(reasons: dict[str, str], console: Console) -> None:
    """Which tasks something was not done for, and why."""
    for name, reason in reasons.items():
        console.print(f"left out: {name}: {reason}", markup=False, highlight=False, soft_wrap=True)


def _errors(rows: Iterable[tuple[str, dict[str, Any]]]) -> Table:
    table = _table(None, ("by", "", "mean", "bias", *(f"MAE\n{label(system)}" for system in SHOWN)), left=2)
    before = ""
    for by, row in rows:
        if by != before:
            table.add_section()
        table.add_row(
            by if by != before else "",
            escape(row["name"]),
            show_number(row["mean"]),
            show_number(row["bias"]["cmust"]),
            *(show_number(row["mae"][system]) for system in SHOWN),
        )
        before = by
    return table


def _forgetting(rows: list[dict[str, Any]]) -> Table:
    tasks = list(dict.fromkeys(task for row in rows for task in row["losses"]))
    title = "validation loss of every task so far, and its change since the task was last trained itself"
    table = _table(title, ("after phase", *tasks), left=1)
    for row in rows:
        cells = []
        for task in tasks:
            loss, change = row["losses"].get(task), row["change"].get(task)
            share = f" ({100 * change:+.1f} %)" if change else ""
            cells.append("" if loss is None else f"{loss:.4g}{share}")
        table.add_row(escape(row["phase"]), *cells)
    return table


def _table(title: str | None, headings: tuple[str, ...], left: int) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for number, heading in enumerate(headings):
        table.add_column(heading, justify="left" if number < left else "right", no_wrap=number < left)
    return table


def _percent(share: float | None) -> str:
    return NOTHING if share is None else f"{100 * share:.1f} %"
