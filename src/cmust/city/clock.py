"""Wall-clock times: which of them a time zone leaves out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from cmust.city.checks import check_timezone


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
