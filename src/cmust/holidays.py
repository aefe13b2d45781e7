"""Which days are holidays: from the city's own covariate, a calendar, or a list of dates."""

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
        values = covariate.values if covariate.values.ndim == 1 else covariate.values.max(axis=1)
        return np.unique(covariate.time[values > 0].astype("datetime64[D]"))
    if source == US:
        first = min(task.time[0] for task in city.tasks.values())
        last = max(task.time[-1] for task in city.tasks.values())
        days = USFederalHolidayCalendar().holidays(str(first)[:10], str(last)[:10])
        return np.asarray(days.to_numpy(), dtype="datetime64[D]")
    try:
        lines = Path(source).read_text(encoding="utf-8").split()
        return np.unique(np.array(lines, dtype="datetime64[D]"))
    except OSError as error:
        raise CityError(f"cannot read holidays {source}: {error.strerror}; give a file or {US}") from error
    except ValueError as error:
        raise CityError(f"{source} is no list of dates ({error}); write one such as 2019-12-25 on each line") from error
