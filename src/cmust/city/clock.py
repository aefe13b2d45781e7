"""Wall-clock times: how a user gives one, and which of them a time zone leaves out."""

from __future__ import annotations

import re
import warnings
from datetime import date

import numpy as np
import numpy.typing as npt
import pandas as pd

from cmust.city.checks import check_timezone
from cmust.errors import CityError

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_BEGINS_WITH_A_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
"""NumPy takes 20190320 for a year, 2019 for its first of January, and "today" for that of Greenwich."""


def local_time(moment: str | date | np.datetime64) -> np.datetime64:
    """A local time that a user gives, ``datetime64[s]``: ISO 8601 text with a day at least, or a time of Python, NumPy
    or pandas.

    Raises:
        CityError: it is no time, one of a time zone, or has a fraction of a second.
    """
    refusal = f"{moment!r} is not a time; write it like 2019-03-20T08:00"
    readable = _BEGINS_WITH_A_DAY.match(moment) if isinstance(moment, str) else isinstance(moment, date | np.datetime64)
    if not readable:
        raise CityError(refusal)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # NumPy makes UTC of a time with an offset, and only warns
            exact = np.array([moment], dtype="datetime64[us]")[0]
    except UserWarning as error:
        raise CityError(
            f"{moment} is a time of a zone; give the local time of the city without one, like 2019-03-20T08:00"
        ) from error
    except (ValueError, TypeError) as error:
        raise CityError(refusal) from error
    seconds: np.datetime64 = exact.astype("datetime64[s]")
    if seconds != exact:  # NaT is not even itself
        raise CityError(refusal)
    return seconds


def iso_time(moment: str | date | np.datetime64) -> str:
    """A local time as it is kept in records, no longer than it has to be.

    Raises:
        CityError: it is no :func:`local_time`.
    """
    return str(np.datetime_as_string(local_time(moment), unit="auto"))


def nonexistent_times(time: npt.NDArray[np.datetime64], timezone: str) -> npt.NDArray[np.bool_]:
    """Where ``time`` does not exist on the wall clock of ``timezone``: the hour skipped when summer time begins.

    A regular local time axis has steps there all the same; nothing can have been observed in them, so they are missing,
    not zero.

    Args:
        time: ``(time,)`` local times.
        timezone: IANA name.

    Returns:
        bool ``(time,)``.

    Raises:
        CityError: the time zone is not known.
    """
    check_timezone(timezone)
    index = pd.DatetimeIndex(time)
    either = np.ones(len(index), dtype=bool)  # an hour that happens twice exists: which of the two does not matter here
    return np.asarray(index.tz_localize(timezone, ambiguous=either, nonexistent="NaT").isna())
