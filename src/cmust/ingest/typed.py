"""Raw columns of any type as times, numbers and texts, with a reason where they cannot be."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ibis
import pyarrow.parquet as pq

from cmust.errors import IngestError
from cmust.ingest import timeformats
from cmust.ingest.engine import Engine
from cmust.ingest.reasons import Reason
from cmust.ingest.sources import Layout, is_parquet

FAR = 1e12
"""Seconds: no time is further from 1970; keeps slot numbers in range."""


def time_pattern(layout: Layout, names: list[str], given: str | None, utc: bool) -> str:
    """The time format of a layout: as given, or as its first records show.

    Raises:
        IngestError: it cannot be told, or the times carry an offset although they are said to be local.
    """
    if given is not None:
        return timeformats.check_format(given)
    if layout.kind == "parquet":
        return timeformats.ISO
    patterns = set()
    for name in names:
        values = layout.sample_of(name)
        where = f"{layout.files[0]}, column '{layout.wanted[name]}'"
        pattern = timeformats.detect(values, where)
        patterns.add(pattern)
        if pattern == timeformats.ISO and not utc and any(timeformats.has_offset(value) for value in values):
            raise IngestError(
                f"{where}: times such as '{next(v for v in values if timeformats.has_offset(v))}' carry an offset, so "
                "they are not local wall-clock times: say that they are UTC (--times-in utc)"
            )
    if len(patterns) > 1:
        raise IngestError(
            f"{layout.files[0]}: the time columns are written differently ({', '.join(sorted(patterns))}): "
            "give the time format"
        )
    return patterns.pop()


def empty(column: Any, parsed: Any) -> Any:
    """Where nothing is recorded: null or a blank text. Only looked at where ``parsed`` is null: looking is slow."""
    if column.type().is_string():
        return parsed.isnull().ifelse(column.isnull() | (column.strip() == ""), False)
    return column.isnull()


def stripped(parse: Callable[[Any], Any], text: Any) -> Any:
    """``parse(text)``, and where that is null, of the text without outer blanks (which is slow to make)."""
    return ibis.coalesce(parse(text), parse(text.strip()))


def seconds(engine: Engine, column: Any, pattern: str, utc: bool) -> Any:
    """Seconds since 1970 as int64, null where it is no time.

    Raises:
        IngestError: a column of numbers without a format, or an instant that is said to be local.
    """
    kind = column.type()
    if kind.is_timestamp() or kind.is_date():
        if getattr(kind, "timezone", None) and not utc:
            raise IngestError(
                f"column '{column.get_name()}' holds instants ({kind}), not local wall-clock times: "
                "say that they are UTC (--times-in utc)"
            )
        return column.cast("timestamp").epoch_seconds().cast("int64")
    if kind.is_numeric() or pattern in (timeformats.EPOCH, timeformats.EPOCH_MS):
        if pattern not in (timeformats.EPOCH, timeformats.EPOCH_MS):
            raise IngestError(
                f"column '{column.get_name()}' holds numbers: give the time format epoch or epoch-ms, or another column"
            )
        numbers = number(engine, column)
        numbers = numbers / 1000.0 if pattern == timeformats.EPOCH_MS else numbers
        near = (numbers > -FAR) & (numbers < FAR)
        return near.ifelse(numbers.floor().cast("int64"), ibis.null("int64"))
    if not kind.is_string():
        raise IngestError(f"column '{column.get_name()}' is of type {kind}, which is not a time: name another column")
    parsed = stripped(lambda text: engine.text_to_time(text, pattern), column)
    return parsed.epoch_seconds().cast("int64")


def number(engine: Engine, column: Any) -> Any:
    """A float64, null where it is none; it may be infinite or NaN, which every comparison takes as far too large.

    Raises:
        IngestError: the column holds neither numbers nor texts.
    """
    kind = column.type()
    if kind.is_string():
        return stripped(engine.text_to_number, column)
    if kind.is_numeric():
        return column.cast("float64")
    raise IngestError(f"column '{column.get_name()}' is of type {kind}, which is not a number: name another column")


def first_reason(*cases: tuple[Any, Reason]) -> Any:
    """The code of the first condition that holds (null counts as not), else :attr:`Reason.KEPT`; int8."""
    branches = [(condition.fill_null(False), ibis.literal(int(reason), "int8")) for condition, reason in cases]
    if not branches:
        return ibis.literal(int(Reason.KEPT), "int8")
    return ibis.cases(*branches, else_=ibis.literal(int(Reason.KEPT), "int8"))


def check_files(files: list[str]) -> None:
    """Refuse Parquet files that hold no rows at all before a long run starts.

    Raises:
        IngestError: all are empty.
    """
    local = [file for file in files if "://" not in file]
    all_parquet = local == files and all(is_parquet(file) for file in files)
    if all_parquet and not any(pq.read_metadata(file).num_rows for file in files):
        raise IngestError(f"{files[0]} holds no records: get it again")
