"""Forecasts in a terminal: a table per task, the busiest places as rows, times as columns."""

import pandas as pd
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

VALUES = ("value", "lower", "upper")


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
        console.print(_table({name: each.loc[busiest] for name, each in wide.items()}))
        if len(value) > places:
            console.print(f"and {len(value) - places} more places; --out FILE.csv writes all", highlight=False)
        if filled := _filled(rows):
            console.print(filled, markup=False, highlight=False, soft_wrap=True)


def _table(wide: dict[str, pd.DataFrame]) -> Table:
    value, *ends = wide.values()
    table = Table(box=SIMPLE_HEAD, padding=(0, 0, 0, 1))
    table.add_column("place")
    for time in pd.DatetimeIndex(value.columns):
        table.add_column(f"{time:%H:%M}", justify="right", no_wrap=True)
    for node in value.index:
        table.add_row(escape(str(node)), *map(_number, value.loc[node]))
        for name, end in zip(("  from", "  to"), ends, strict=False):
            table.add_row(name, *map(_number, end.loc[node]), style="dim")
    return table


def _number(value: float) -> str:
    return f"{value:.3g}"


def _filled(rows: pd.DataFrame) -> str:
    """Which places miss inputs, in words; empty where none does."""
    share = rows.groupby("node", sort=False)["filled"].first()
    share = share[share > 0].sort_values(ascending=False, kind="stable")
    if share.empty:
        return ""
    named = ", ".join(f"{node} {part:.0%}" for node, part in share.head(5).items())
    more = f" and {len(share) - 5} more" if len(share) > 5 else ""
    return f"missing inputs, filled by the weekly average: {named}{more}"
