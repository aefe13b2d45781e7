"""Times as other people write them, to regular steps of wall-clock time."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cmust.errors import IngestError

Times = npt.NDArray[np.datetime64]
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.0+)?)?)?Z?")
_LEAST_SHARE = 0.1  # below this share of steps present, a wrong time is likelier than a gap


@dataclass(frozen=True)
class Steps:
    """A regular time axis and where the times that were found stand on it.

    Attributes:
        time: ``datetime64[s]`` (T',), exactly ``interval`` apart.
        interval: seconds.
        positions: (T,) of each found time on ``time``.
        notes: a sentence when steps were missing.
    """

    time: Times
    interval: int
    positions: npt.NDArray[np.int64]
    notes: tuple[str, ...]

    def spread(self, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Values (T, N) to (T', N), NaN at the steps that were not found."""
        if len(self.time) == len(values):
            return values
        full = np.full((len(self.time), *values.shape[1:]), np.nan, dtype=np.float32)
        full[self.positions] = values
        return full


def regular_steps(found: Times, interval: int | None, source: str) -> Steps:
    """The regular axis through ``found`` (sorted, unique).

    Args:
        found: ``datetime64[s]`` (T,).
        interval: seconds; the most frequent distance when None.
        source: for messages.

    Raises:
        IngestError: there can be no such interval, a time is off the axis, or so many steps lack that a time must be
            wrong.
    """
    if interval is not None:
        _check_interval(interval, source)
    if len(found) < 2:
        raise IngestError(f"{source} has {len(found)} time steps, too few for a city")
    if interval is None:
        distances, counts = np.unique(np.diff(found).astype(np.int64), return_counts=True)
        interval = int(distances[counts.argmax()])
    offset = (found - found[0]).astype(np.int64)
    wrong = offset % interval != 0
    if wrong.any():
        raise IngestError(
            f"{source}: time {found[wrong.argmax()]} is not a whole number of {interval}-second steps after "
            f"{found[0]}; "
            "give the right interval, or bring the readings to regular steps (cmust ingest)"
        )
    positions = offset // interval
    total = int(positions[-1]) + 1
    if len(found) < _LEAST_SHARE * total:
        raise IngestError(
            f"{source}: only {len(found)} of the {total} steps from {found[0]} to {found[-1]} are there: "
            "one of these times is wrong, or the interval is"
        )
    missing = total - len(found)
    notes = (
        (f"{missing} of {total} steps from {found[0]} to {found[-1]} are not in the data: missing",) if missing else ()
    )
    time = found[0] + np.arange(total) * np.timedelta64(interval, "s")
    return Steps(time, interval, positions, notes)


def counted_steps(start: str, interval: int, count: int) -> Times:
    """``count`` times from ``start`` (ISO), for formats that carry none.

    Raises:
        IngestError: the start cannot be read or there can be no such interval.
    """
    _check_interval(interval, "the times")
    time: Times = wall_clock([start], "the start given")[0] + np.arange(count) * np.timedelta64(interval, "s")
    return time


def _check_interval(interval: int, source: str) -> None:
    if interval <= 0:  # whether it divides a day is asked by the city
        raise IngestError(
            f"{source}: the interval is {interval} seconds, it has to be positive and divide a day: 300, 900, 1800 ..."
        )


def wall_clock(texts: Iterable[str], source: str) -> Times:
    """ISO times to ``datetime64[s]``; a closing Z is dropped: LibCity writes it after local times and drops it on
    reading too.

    Raises:
        IngestError: one cannot be read.
    """
    plain = []
    for text in texts:
        if not _ISO.fullmatch(text):
            raise IngestError(
                f"{source}: time '{text}' is not of the form 2019-01-31T23:30:00 (local wall-clock time, no offset)"
            )
        plain.append(text.removesuffix("Z").replace(" ", "T"))
    try:
        return np.array(plain, dtype="datetime64[s]")
    except ValueError as error:
        raise IngestError(f"{source}: a time does not exist: {error}") from error


def sorted_unique(time: Times, source: str) -> npt.NDArray[np.int64]:
    """The order that sorts ``time`` (T,).

    Raises:
        IngestError: a time is there twice.
    """
    order = np.argsort(time, kind="stable")
    twice = np.diff(time[order]).astype(np.int64) == 0
    if twice.any():
        raise IngestError(f"{source}: time {time[order][:-1][twice][0]} is there twice: keep one row of each time")
    return order
