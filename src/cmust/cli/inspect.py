"""The picture of a city in a terminal: a header, a table, and a small chart per task."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from cmust.city.checks import DAY
from cmust.city.summary import CitySummary, CovariateSummary, TaskSummary

BARS = "▁▂▃▄▅▆▇█"
_WEEKDAYS = "Mo  Tu  We  Th  Fr  Sa  Su"
_DAY_LABEL = "mean day, 0 to 24 h"
_DAY_COLUMNS = 24
_WEEK_COLUMNS = 28


def render(summary: CitySummary, console: Console) -> None:
    """Print ``summary``: what the city is, its numbers in tables, what may be a mistake, and the mean day and
    week of each task.
    """
    if summary.synthetic:
        console.print(Panel(Text("S Y N T H E T I C   D A T A", justify="center", style="bold reverse yellow")))
    console.print(f"[bold]{escape(summary.name)}[/bold]  {escape(summary.description)}")
    console.print(f"time zone {escape(summary.timezone)}, fingerprint {summary.fingerprint[:12]}")
    if summary.source:
        console.print(f"source: {escape(summary.source)}")
    console.print(_task_table(summary.tasks))
    for task in summary.tasks:
        for doubt in task.doubts:
            console.print(Text(f"warning: {task.name}: {doubt}", style="yellow"))
    if summary.covariates:
        console.print(_covariate_table(summary.covariates))
    for task in summary.tasks:
        _print_task(task, console)


def sparkline(values: npt.NDArray[np.float64], columns: int) -> str:
    """``values`` as a row of bars from zero (or the smallest, if negative) to the largest; a space where none is known.

    More values than ``columns`` are averaged in equal groups.
    """
    groups = (
        np.array_split(values, columns) if len(values) > columns else [values[at : at + 1] for at in range(len(values))]
    )
    heights = np.array([np.nanmean(group) if np.isfinite(group).any() else np.nan for group in groups])
    if not np.isfinite(heights).any():
        return " " * len(heights)
    low = min(0.0, float(np.nanmin(heights)))
    span = float(np.nanmax(heights)) - low
    levels = (heights - low) / span * (len(BARS) - 1) if span > 0 else heights * 0
    return "".join(" " if np.isnan(level) else BARS[round(float(level))] for level in levels)


def _task_table(tasks: tuple[TaskSummary, ...]) -> Table:
    table = _table("task", "steps", "nodes", "missing", "zero", "min", "mean", "max")
    for task in tasks:
        table.add_row(
            escape(task.name),
            f"{task.steps}",
            f"{task.nodes}" if len(task.channels) == 1 else f"{task.nodes} x {len(task.channels)}",
            _share(task.missing),
            _share(task.zero),
            f"{task.minimum:.4g}",
            f"{task.mean:.4g}",
            f"{task.maximum:.5g}",
        )
    return table


def _covariate_table(covariates: tuple[CovariateSummary, ...]) -> Table:
    table = _table("covariate", "unit", "every", "of", "missing", "future")
    for covariate in covariates:
        table.add_row(
            escape(covariate.name),
            escape(covariate.unit),
            duration(covariate.interval),
            f"{covariate.nodes} nodes" if covariate.nodes else "the city",
            _share(covariate.missing),
            "known" if covariate.known_ahead else "not known",
        )
    return table


def _table(first: str, *headings: str) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), header_style="bold")
    table.add_column(first, overflow="fold")  # a long name takes several lines, the numbers none
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _print_task(task: TaskSummary, console: Console) -> None:
    about = ", ".join(part for part in (task.kind, task.unit, f"every {duration(task.interval)}") if part)
    console.print(Text.assemble((task.name, "bold"), f": {about}"))
    console.print(Text(f"  {_moment(task.start)} to {_moment(task.stop)}; {_gap(task)}"))
    console.print(
        Text(f"  {sparkline(task.daily, _DAY_COLUMNS):<{_DAY_COLUMNS}}   {sparkline(task.weekly, _WEEK_COLUMNS)}")
    )
    console.print(Text(f"  {_DAY_LABEL:<{_DAY_COLUMNS}}   {_WEEKDAYS}", style="dim"), no_wrap=True)


def duration(seconds: int) -> str:
    """Whole days, hours, minutes or seconds, in the largest unit that fits."""
    if seconds % DAY == 0:
        return f"{seconds // DAY} day{'s' if seconds > DAY else ''}"
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def _gap(task: TaskSummary) -> str:
    if task.gap is None:
        return "no gaps"
    seconds = task.gap.steps * task.interval
    length = f"{seconds / DAY:.1f} days" if seconds > 2 * DAY else duration(seconds)
    return f"longest gap {length}, {_moment(task.gap.start)} at {task.gap.node}"


def _moment(time: np.datetime64) -> str:
    return str(time.astype("datetime64[m]")).replace("T", " ")


def _share(share: float) -> str:
    """A percentage in which a little never reads as nothing."""
    if np.isnan(share):
        return "-"
    return "< 0.1 %" if 0 < share < 0.001 else f"{100 * share:.1f} %"
