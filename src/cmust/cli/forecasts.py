"""Forecasts in a terminal: a table per task, the busiest places as rows, times as columns."""

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table


def render(table: pd.DataFrame, units: dict[str, str], places: int, console: Console, *, synthetic: bool) -> None:
    """Print forecasts.

    Args:
        table: of :func:`cmust.forecast_table.forecast_table`.
        units: by task.
        places: at most so many rows per task and channel.
        console: where.
        synthetic: whether the city is, which is said.
    """
    keys = ["task", "channel"] if "channel" in table else ["task"]
    for key, rows in table.groupby(keys, sort=False, dropna=False):
        task, *channel = (part for part in key if isinstance(part, str))
        wide = rows.pivot(index="node", columns="time", values="value")
        busiest = wide.loc[wide.sum(axis=1).sort_values(ascending=False, kind="stable").index[:places]]
        label = " (SYNTHETIC)" if synthetic else ""
        console.print(
            f"{' '.join((task, *channel))}, {units[task]}{label}, from {wide.columns[0]}", markup=False, highlight=False
        )
        console.print(_table(busiest))
        if len(wide) > places:
            console.print(f"and {len(wide) - places} more places; --out FILE.csv writes all", highlight=False)


def _table(wide: pd.DataFrame) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 1))
    table.add_column("place")
    for time in pd.DatetimeIndex(wide.columns):
        table.add_column(f"{time:%H:%M}", justify="right", no_wrap=True)
    for node, values in wide.iterrows():
        table.add_row(escape(str(node)), *(f"{value:.3g}" for value in values))
    return table
