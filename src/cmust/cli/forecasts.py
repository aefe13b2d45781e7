"""Forecasts in a terminal: a table per task, the busiest places as rows, times as columns."""

import math
from collections.abc import Iterable
from itertools import accumulate

import numpy as np
import pandas as pd
import xarray as xr
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cmust.forecast_table import Forecasts
from cmust.intervals.conformal import Adaptation
from cmust.report.scores import NOTHING

VALUES = ("value", "lower", "upper")


def interval_notes(forecasts: Forecasts, command: str) -> list[str]:
    """A line for each task whose intervals are made of errors that are all longer ago than their window of days, and
    for each that has places without one.

    Args:
        forecasts: with intervals.
        command: that brings them up to date.
    """
    told, window = [], Adaptation().window_days
    for task, data in forecasts.items():
        until, first = np.datetime64(data.attrs["calibrated_until"]), data["time"].values[0]
        days = int((first - until) / np.timedelta64(1, "D"))
        if days > window:
            told.append(
                f"note: the intervals of {task} have seen no truth since {until}, {days} days before; "
                f"`{command}` brings them up to date"
            )
        if missing := _without_interval(data):
            told.append(
                f"note: {missing}: too few observations in the days before; `{command}` makes one when there are more"
            )
    return told


def _without_interval(data: xr.Dataset) -> str:
    """Which places of a task have no interval, in words; empty where all have one."""
    unknown = (data["lower"].isnull() | data["upper"].isnull()).transpose("node", ...).values
    unknown = unknown.reshape(len(unknown), -1)
    lacking = data["node"].values[unknown.any(axis=1)]
    if not len(lacking):
        return ""
    which = "any step" if unknown[unknown.any(axis=1)].all() else "some steps"
    verb = "has" if len(lacking) == 1 else "have"
    return f"{_named(lacking)} of {data.attrs['task']} {verb} no interval for {which}"


def _named(places: Iterable[str], most: int = 5) -> str:
    """The first few names, and how many more there are."""
    names = list(places)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def render(table: pd.DataFrame, units: dict[str, str], places: int, console: Console, *, synthetic: bool) -> None:
    """Print forecasts, and with intervals their ends below.

    Args:
        table: of :func:`cmust.forecast_table.forecast_table`.
        units: by task.
        places: at most so many places per task and channel.
        console: where.
        synthetic: whether the city is, which is said.
    """
    keys = ["task", "channel"] if "channel" in table else ["task"]
    for key, rows in table.groupby(keys, sort=False, dropna=False):
        task, *channel = (part for part in key if isinstance(part, str))
        wide = {name: rows.pivot(index="node", columns="time", values=name) for name in VALUES if name in rows}
        value = wide["value"]
        busiest = value.sum(axis=1).sort_values(ascending=False, kind="stable").index[:places]
        label = " (SYNTHETIC)" if synthetic else ""
        console.print(
            f"{' '.join((task, *channel))}, {units[task]}{label}, from {value.columns[0]}",
            markup=False,
            highlight=False,
        )
        cells = {name: _shown(each.loc[busiest]) for name, each in wide.items()}
        fitting = _fitting(cells, console.width)
        console.print(_table({name: each.iloc[:, :fitting] for name, each in cells.items()}))
        left = [(len(value) - places, "more places"), (len(value.columns) - fitting, "later steps")]
        if more := [f"{count} {what}" for count, what in left if count > 0]:
            console.print(f"and {', '.join(more)}; --out FILE.csv writes all", highlight=False)
        if filled := _filled(rows):
            console.print(filled, markup=False, highlight=False, soft_wrap=True)


def _table(wide: dict[str, pd.DataFrame]) -> Table:
    value, *ends = wide.values()
    table = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 1))
    table.add_column("place")
    for time in pd.DatetimeIndex(value.columns):
        table.add_column(f"{time:%H:%M}", justify="right", no_wrap=True)
    for node in value.index:
        table.add_row(escape(str(node)), *value.loc[node])
        for name, end in zip(("  from", "  to"), ends, strict=False):
            table.add_row(name, *end.loc[node], style="dim")
    return table


def _shown(values: pd.DataFrame) -> pd.DataFrame:
    """Numbers as text, all with the decimals that give the largest three digits; a sign where there is none."""
    largest = float(np.nan_to_num(np.abs(values.to_numpy())).max())
    decimals = max(0, 2 - math.floor(math.log10(largest))) if largest > 0 else 0

    def shown(value: float) -> str:
        return NOTHING if math.isnan(value) else f"{round(value, decimals) + 0.0:.{decimals}f}"  # no minus before zero

    return values.map(shown)


def _fitting(cells: dict[str, pd.DataFrame], width: int) -> int:
    """How many steps a line has room for; at least one."""
    first = next(iter(cells.values()))
    room = width - max(len("place"), *(len(str(node)) for node in first.index)) - 2
    columns = [max(5, *(table[time].str.len().max() for table in cells.values())) + 1 for time in first.columns]
    return max(1, sum(used <= room for used in accumulate(columns)))


def _filled(rows: pd.DataFrame) -> str:
    """Which places miss inputs, in words; empty where none does."""
    share = rows.groupby("node", sort=False)["filled"].first()
    share = share[share > 0].sort_values(ascending=False, kind="stable")
    if share.empty:
        return ""
    return (
        f"missing inputs, filled by the weekly average: {_named(f'{node} {part:.0%}' for node, part in share.items())}"
    )
