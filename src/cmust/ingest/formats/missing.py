"""What becomes of missing values in formats that have no place for them."""

from __future__ import annotations

from enum import StrEnum

import numpy as np
import numpy.typing as npt

from cmust.city import City
from cmust.errors import IngestError


class Missing(StrEnum):
    """The rule for missing values on export.

    Attributes:
        REFUSE: a city with missing values is not exported.
        ZERO: they become 0. The authors' code and most peers leave targets equal to 0 out of loss and scores; as
            inputs such zeros cannot be told from observed ones.
        NAN: they stay NaN (an empty cell in text). Nothing is lost, but most peers' losses become NaN.
    """

    REFUSE = "refuse"
    ZERO = "zero"
    NAN = "nan"


def check_missing(city: City, rule: Missing) -> tuple[str, ...]:
    """A sentence on what becomes of the missing values, if there are any.

    Raises:
        IngestError: there are some and the rule is to refuse.
    """
    counts = {name: int(np.isnan(task.values).sum()) for name, task in city.tasks.items()}
    listed = ", ".join(f"{name}: {count} of {city.tasks[name].values.size}" for name, count in counts.items() if count)
    if not listed:
        return ()
    if rule is Missing.REFUSE:
        raise IngestError(
            f"city '{city.name}' has missing values ({listed}) and the format has no place for them: choose "
            "'zero' (written as 0, "
            "which the authors' code leaves out of loss and scores) or 'nan' (kept, which most other code "
            "cannot train on)"
        )
    return (f"missing values written as {'0' if rule is Missing.ZERO else 'NaN'} ({listed})",)


def fill(values: npt.NDArray[np.float32], rule: Missing) -> npt.NDArray[np.float32]:
    """``values`` under the rule; the same array when nothing changes."""
    return np.nan_to_num(values, nan=0.0) if rule is Missing.ZERO else values
