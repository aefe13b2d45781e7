"""Which days are holidays: from the city's own covariate, a calendar, or a list of dates."""

import re
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pandas.tseries.holiday import USFederalHolidayCalendar

from cmust.city import City
from cmust.errors import CityError

US = "us-federal"
COVARIATE = "holiday"
Days = npt.NDArray[np.datetime64]


def holidays_of(city: City, source: str | None = None) -> Days | None:
    """The days, ``datetime64[D]``, sorted; None where nothing says which are.

    Args:
        city: its covariate ``holiday`` (above 0 at any time of a day) is taken when there is no ``source``.
        source: ``us-federal``, or a file with a date (YYYY-MM-DD) on each line.

    Raises:
        CityError: the file is missing or holds something else.
    """
    if source is None:
        covariate = city.covariates.get(COVARIATE)
        if covariate is None:
            return None
        above = covariate.values > 0  # NaN is not: a node that does not say leaves it to the others
        said = above if above.ndim == 1 else above.any(axis=1)
        return np.unique(covariate.time[said].astype("datetime64[D]"))
    if source == US:
        first = min(task.time[0] for task in city.tasks.values())
        last = max(task.time[-1] for task in city.tasks.values())
        days = USFederalHolidayCalendar().holidays(str(first)[:10], str(last)[:10])
        return np.asarray(days.to_numpy(), dtype="datetime64[D]")
    return np.unique(np.array(_dates(source), dtype="datetime64[D]"))


def _dates(source: str) -> list[str]:
    """The dates of a file; empty lines count for nothing.

    Raises:
        CityError: it is missing, or a line is no date. NumPy alone would take 2019 for its first of January, and move a
            time of a zone to another day.
    """
    try:
        lines = [line.strip() for line in Path(source).read_text(encoding="utf-8-sig").splitlines()]
    except OSError as error:
        raise CityError(f"cannot read holidays {source}: {error.strerror}; give a file or {US}") from error
    except ValueError as error:
        raise CityError(f"{source} is no list of dates ({error}); write one such as 2019-12-25 on each line") from error
    for number, line in enumerate(lines, start=1):
        if line and not _is_date(line):
            raise CityError(
                f"{source} is no list of dates: line {number} is {line[:40]!r}; "
                f"write one such as 2019-12-25 on each line"
            )
    return [line for line in lines if line]


def _is_date(text: str) -> bool:
    if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True
