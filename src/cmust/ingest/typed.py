"""Raw columns of any type as times, numbers and texts, with a reason where they cannot be."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import ibis
import pyarrow.parquet as pq

from cmust.errors import IngestError
from cmust.ingest import clock, timeformats
from cmust.ingest.engine import Engine
from cmust.ingest.reasons import Reason
from cmust.ingest.sources import Layout, is_parquet

LONG_AGO = -2_208_988_800
"""Seconds: a time has to be later than 1900. DuckDB makes that moment of ``epoch`` and ``infinity``, and of a year of
two digits, where four are asked for, one long before."""
FAR = 1e12
"""Seconds: no time is further from 1970; keeps slot numbers in range."""
SAY_UTC = "say that they are UTC (--times-in utc; in Python utc=True; a recipe takes local times only)"
"""Advice of several messages."""
NUMBER = re.compile(r"[+-]?[0-9]{1,15}(\.[0-9]*)?")


def in_utc(engine: Engine, layouts: Sequence[Layout], names: list[str], given: str | None, utc: bool | None) -> bool:
    """Whether the records' times are UTC: as said, or else they are where they are epochs, which always are.

    Raises:
        IngestError: epochs are said to be local, or nothing is said where other times stand beside them; a time format
            cannot be told.
    """
    if utc:
        return True
    found = {layout.files[0]: _are_epochs(engine, layout, names, given) for layout in layouts}
    epochs = [file for file, columns in found.items() if any(columns)]
    others = [file for file, columns in found.items() if not all(columns)]
    if epochs and utc is False:
        raise IngestError(
            f"{epochs[0]}: its times are numbers that count from 1970 in UTC (epoch), so they are not local: leave out "
            f"--times-in (in Python utc=), or {SAY_UTC}"
        )
    if epochs and others:
        raise IngestError(
            f"{epochs[0]} has times as numbers that count from 1970 in UTC (epoch), {others[0]} has others: "
            f"write them alike, or {SAY_UTC}"
        )
    return bool(epochs)


def _are_epochs(engine: Engine, layout: Layout, names: list[str], given: str | None) -> list[bool]:
    """For each of the time columns, whether it holds epochs."""
    epochs = time_pattern(layout, names, given, False) in timeformats.EPOCHS
    if not epochs or layout.kind == "csv":
        return [epochs for _ in names]
    # Parquet has types of its own: a time format that is given says nothing of a column that holds times already
    table = engine.scan(layout)
    kinds = [table[name].type() for name in names]
    return [not (kind.is_timestamp() or kind.is_date()) for kind in kinds]


def time_pattern(layout: Layout, names: list[str], given: str | None, utc: bool) -> str:
    """The time format of a layout's texts: as given, or as its first records show; ISO where they show nothing.

    Raises:
        IngestError: it cannot be told, or the times carry an offset although they are said to be local.
    """
    if given is not None and given not in timeformats.LEFT_OUT:
        return timeformats.check_format(given)
    patterns = set()
    for name in names:
        values = [value for value in layout.sample.get(name, []) if value.strip()]
        if not values:
            continue  # empty, or no texts: another column may tell
        where = layout.where(name)
        pattern = timeformats.detect(values, where, given)
        patterns.add(pattern)
        if pattern == timeformats.ISO and not utc and any(timeformats.has_offset(value) for value in values):
            raise IngestError(
                f"{where}: times such as '{next(v for v in values if timeformats.has_offset(v))}' carry an offset, so "
                f"they are not local wall-clock times: write local ones, or {SAY_UTC}"
            )
    if len(patterns) > 1:
        raise IngestError(
            f"{layout.files[0]}: the time columns are written differently ({', '.join(sorted(patterns))}): "
            f"write them alike, or {timeformats.GIVE_FORMAT}"
        )
    return patterns.pop() if patterns else timeformats.ISO


def plain_columns(layout: Layout, times: Sequence[str], numbers: Sequence[str], pattern: str) -> dict[str, str]:
    """Which columns of a CSV an engine may read as numbers and times at once, which takes less than texts.

    They are those whose first values are all written in the plainest way. That says nothing about the values that
    follow: whatever is written otherwise comes back from the engine and is read again as text.

    Returns:
        Column -> ``number``, or the ``strptime`` pattern of its times.
    """
    if layout.kind != "csv" or layout.as_texts:
        return {}
    numbers = [*numbers, *times] if pattern in timeformats.EPOCHS else numbers
    plain = {name: "number" for name in numbers if _all(layout, name, lambda text: NUMBER.fullmatch(text) is not None)}
    form = timeformats.PLAIN if pattern == timeformats.ISO else pattern
    if form not in timeformats.EPOCHS and timeformats.fixed_width(form) is None:
        plain |= {name: form for name in times if _all(layout, name, lambda text: timeformats.reads(text, form))}
    return plain


def _all(layout: Layout, name: str, holds: Callable[[str], bool]) -> bool:
    values = [value for value in layout.sample[name] if value]
    return bool(values) and all(holds(value) for value in values)


def blank(column: Any) -> Any:
    """Where nothing is recorded: null or a blank text. Slow for texts: to be asked only where they cannot be read."""
    return column.isnull() | (column.strip() == "") if column.type().is_string() else column.isnull()


def seconds(engine: Engine, column: Any, pattern: str, utc: bool, where: str) -> Any:
    """Seconds since 1970 as int64, null where it is no time: nor is a text with an offset where times are local.

    ``where`` is the column and its file, for messages.

    Raises:
        IngestError: a column of numbers without a format, or an instant that is said to be local.
    """
    kind = column.type()
    if kind.is_timestamp() or kind.is_date():
        if getattr(kind, "timezone", None) and not utc:
            raise IngestError(
                f"{where}: it holds instants ({kind}), not local wall-clock times: write local ones, or {SAY_UTC}"
            )
        return _whole_seconds(column.cast("timestamp"))
    if kind.is_numeric() or (kind.is_string() and pattern in timeformats.EPOCHS):
        if pattern not in timeformats.EPOCHS:
            raise IngestError(
                f"{where}: it holds numbers ({kind}), not times: write it as times, or {timeformats.GIVE_FORMAT}"
            )
        numbers = number(engine, column, where)
        numbers = numbers / 1000.0 if pattern == timeformats.EPOCH_MS else numbers
        near = (numbers > LONG_AGO) & (numbers < FAR)
        return near.ifelse(numbers.floor().cast("int64"), ibis.null("int64"))
    if not kind.is_string():
        raise IngestError(
            f"{where}: its type is {kind}, which is not a time: write it as times, or name another column"
        )
    if pattern == timeformats.ISO and not utc:
        pattern = timeformats.ISO_LOCAL
    return _whole_seconds(engine.text_to_time(column, pattern))


def number(engine: Engine, column: Any, where: str) -> Any:
    """A float64, null where it is none; it may be infinite, which every comparison takes as far too large.

    A truth is 1 or 0, as the engines have it where other files hold numbers. ``where`` is the column and its file, for
    messages.

    Raises:
        IngestError: the column holds neither numbers nor texts.
    """
    kind = column.type()
    if kind.is_string():
        return _no_nan(engine.text_to_number(column))
    if kind.is_floating():
        return _no_nan(column.cast("float64"))
    if kind.is_numeric() or kind.is_boolean():
        return column.cast("float64")
    raise IngestError(
        f"{where}: its type is {kind}, which is not a number: write it as numbers, or name another column"
    )


def _no_nan(number: Any) -> Any:
    """Null in place of NaN: the bounds of a Parquet file leave NaN out, and comparisons may be answered from them."""
    return number.isnan().ifelse(ibis.null("float64"), number)


def first_reason(*cases: tuple[Any, Any], otherwise: Any = Reason.KEPT) -> Any:
    """Minus the code of the first condition that holds (null counts as not), else of ``otherwise``; int32.

    In place of a reason an expression may stand: an int32 that is given as it is.
    """
    *codes, last = (
        ibis.literal(-int(reason), "int32") if isinstance(reason, Reason) else reason
        for reason in (*(reason for _, reason in cases), otherwise)
    )
    conditions = (condition for condition, _ in cases)
    return ibis.cases(*zip(conditions, codes, strict=True), else_=last) if cases else last


def unread(column: Any, missing: Reason, bad: Reason) -> Any:
    """Why a column could not be read: nothing is recorded, or not what it should be."""
    return first_reason((blank(column), missing), otherwise=bad)


def outside_period(
    time: Any, start: str | None, stop: str | None, timezone: str, utc: bool
) -> list[tuple[Any, Reason]]:
    """The one case, or none, of a time in seconds before ``start`` or not before ``stop`` (local moments)."""
    outside = []
    if start is not None:
        outside.append(time < clock.to_epoch(start, timezone, utc, "start"))
    if stop is not None:
        outside.append(time >= clock.to_epoch(stop, timezone, utc, "stop"))
    return [(ibis.or_(*outside), Reason.OUTSIDE_PERIOD)] if outside else []


def _whole_seconds(time: Any) -> Any:
    """Down to the second before: the time may have fractions, and a cast to int64 would round them up."""
    whole = time.epoch_seconds().floor().cast("int64")
    return (whole > LONG_AGO).ifelse(whole, ibis.null("int64"))


def check_files(files: list[str]) -> None:
    """Refuse Parquet files that hold no rows at all before a long run starts.

    Raises:
        IngestError: all are empty.
    """
    local = [file for file in files if "://" not in file]
    all_parquet = local == files and all(is_parquet(file) for file in files)
    if all_parquet and not any(pq.read_metadata(file).num_rows for file in files):
        raise IngestError(f"{files[0]} holds no records: get it again")
