"""Intervals on the wall clock.

A slot is a number: whole intervals since 1970-01-01 00:00 on the clock the records use. Records written in local time
are counted in local slots at once. Records in UTC are counted in slots short enough that every change of the clocks
falls between two of them, and these are put into local slots afterwards.

The two hours of the year that are not like the others: what the clocks skip is missing (never zero); what they repeat
is one slot that holds both passes, counts and sums added, means over both, the last value of the second. Nothing is
divided: the city's totals are the records'. Records in local time cannot be told apart there anyway.
"""

from __future__ import annotations

from math import gcd
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cmust.city import nonexistent_times
from cmust.city.clock import local_time
from cmust.errors import CityError, IngestError

QUARTER = 900
"""Seconds: every offset of a time zone since 1972, and every change of one, is a multiple."""

Slots = npt.NDArray[np.int64]


def base_seconds(interval: int, utc: bool) -> int:
    """Length of the slots to count records in."""
    return gcd(interval, QUARTER) if utc else interval


def to_local_slots(slots: Slots, base: int, interval: int, timezone: str, utc: bool) -> Slots:
    """Slots of ``base`` seconds (in UTC or already local) as local slots of ``interval`` seconds."""
    if not utc:
        return slots * base // interval
    distinct, inverse = np.unique(slots, return_inverse=True)
    moments = pd.DatetimeIndex((distinct * base).astype("datetime64[s]")).tz_localize("UTC")
    local = moments.tz_convert(timezone).tz_localize(None).to_numpy().astype("datetime64[s]").astype(np.int64)
    out: Slots = (local // interval)[inverse]
    return out


def to_epoch(moment: str, timezone: str, utc: bool, what: str) -> int:
    """Seconds since 1970 of a local moment, on the clock the records use.

    Raises:
        IngestError: ``moment`` is no :func:`cmust.city.clock.local_time`, or the records are in UTC and it is there
            twice on the clock.
    """
    try:
        stamp = pd.Timestamp(local_time(moment))
    except CityError as error:
        raise IngestError(f"{what}: {error}") from error
    if utc:
        if _repeated(stamp, timezone) and _repeated(stamp - pd.Timedelta("1s"), timezone):
            raise IngestError(
                f"{what} is {moment}, within the hour that the clocks repeat, and records in UTC of both passes lie on "
                "either side of it: name the beginning or the end of that hour"
            )
        stamp = stamp.tz_localize(timezone, ambiguous=True, nonexistent="shift_forward").tz_convert(None)
    return int(stamp.to_datetime64().astype("datetime64[s]").astype(np.int64))


def _repeated(stamp: pd.Timestamp, timezone: str) -> bool:
    """Whether a moment is there twice on the clock."""
    first, second = (
        stamp.tz_localize(timezone, ambiguous=summer, nonexistent="shift_forward") for summer in (True, False)
    )
    return bool(first != second)


def period(
    slots: Slots, counts: Slots, start: str | None, stop: str | None, interval: int, timezone: str
) -> tuple[int, int]:
    """First local slot and number of slots: as asked for, or from the first record to the last.

    Args:
        slots: where records are, local, in any order.
        counts: how many are there.
        start: local time or None.
        stop: local time or None.
        interval: seconds.
        timezone: IANA name.

    Raises:
        IngestError: a bound is not where an interval begins, the period is empty, or a few records reach so far that
            nearly all steps would be empty.
    """
    bounds = []
    for what, given, found in (("start", start, slots.min()), ("stop", stop, slots.max() + 1)):
        if given is None:
            bounds.append(int(found))
            continue
        moment = to_epoch(given, timezone, False, what)
        if moment % interval:
            raise IngestError(f"{what} is {given}, which is not where an interval of {interval} s begins")
        bounds.append(moment // interval)
    first, end = bounds
    if end <= first:
        raise IngestError(f"the period from {start} to {stop} is empty: stop has to be after start")
    order = np.argsort(slots)
    share = np.cumsum(counts[order]) / counts.sum()
    low, high = (int(slots[order[min(int(np.searchsorted(share, edge)), len(order) - 1)]]) for edge in (0.0005, 0.9995))
    day = max(1, 86_400 // interval)
    if (start is None or stop is None) and end - first > 2 * (high - low + 2 * day):
        inner = axis(low, high - low + 1, interval)[[0, -1]]
        outer = axis(first, end - first, interval)[[0, -1]]
        raise IngestError(
            f"a few records reach far: times run from {outer[0]} to {outer[1]}, but 99.9% lie from {inner[0]} to "
            f"{inner[1]}: give --start and --stop (in Python start=, stop=)"
        )
    return first, end - first


def axis(first: int, count: int, interval: int) -> npt.NDArray[np.datetime64]:
    """The starts of ``count`` local slots from ``first`` on, ``datetime64[s]``."""
    return (np.arange(first, first + count, dtype=np.int64) * interval).astype("datetime64[s]")


def skipped(time: npt.NDArray[np.datetime64], interval: int, timezone: str) -> npt.NDArray[np.bool_]:
    """Which slots lie wholly in the hour that the clocks skip, bool ``(time,)``."""
    last: Any = np.timedelta64(interval - 1, "s")
    out: npt.NDArray[np.bool_] = nonexistent_times(time, timezone) & nonexistent_times(time + last, timezone)
    return out


def parse_interval(text: str) -> int:
    """Seconds of ``30min``, ``5 min``, ``1h``, ``900s``, ``1d`` or ``1800``.

    Raises:
        IngestError: it is none of these, or does not divide a day.
    """
    try:
        seconds = float(text) if text.strip().isdigit() else pd.Timedelta(text).total_seconds()
    except ValueError as error:
        raise IngestError(f"the interval is '{text}': write it like 30min, 1h or a number of seconds") from error
    if seconds < 1 or seconds % 1 or 86_400 % seconds:
        raise IngestError(f"the interval is '{text}', it has to divide a day: 5min, 15min, 30min, 1h ...")
    return int(seconds)
