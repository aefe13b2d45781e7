"""How good intervals are: coverage, width and interval score, by horizon and node group.

Shapes: O origins, F forecast steps, M series, G groups.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from cmust.intervals.conformal import Floats, Groups


def interval_score(lower: Floats, upper: Floats, truth: Floats, level: float) -> Floats:
    """Winkler's score: the width, and ``2 / (1 - level)`` times as much as the truth lies outside; lower is better."""
    below, above = np.maximum(lower - truth, 0), np.maximum(truth - upper, 0)
    score: Floats = upper - lower + 2 / (1 - level) * (below + above)
    return score


def interval_scores(lower: Floats, upper: Floats, truth: Floats, group: Groups, level: float) -> dict[str, Any]:
    """Scores of intervals ``(O, F, M)`` against the ``truth``; where one of them is NaN nothing is counted.

    Returns:
        ``coverage``, ``width``, ``interval_score`` and ``count``: pooled, and as lists under ``per_horizon`` and
        ``per_group``; None where nothing was counted.
    """
    counted = ~(np.isnan(lower) | np.isnan(truth))
    measures = {
        "coverage": (lower <= truth) & (truth <= upper),
        "width": upper - lower,
        "interval_score": interval_score(lower, upper, truth, level),
    }
    sums = {
        name: _by_group(np.where(counted, values, 0).sum(0, dtype=np.float64), group)
        for name, values in measures.items()
    }
    count = _by_group(counted.sum(0).astype(np.float64), group)
    return {
        **{name: _ratio(total.sum(), count.sum()) for name, total in sums.items()},
        "count": int(count.sum()),
        "per_horizon": {name: _ratios(total.sum(1), count.sum(1)) for name, total in sums.items()},
        "per_group": {name: _ratios(total.sum(0), count.sum(0)) for name, total in sums.items()},
    }


def _by_group(sums: npt.NDArray[np.float64], group: Groups) -> npt.NDArray[np.float64]:
    """``(F, M)`` to ``(F, G)``."""
    by_group: npt.NDArray[np.float64] = sums @ (group[:, None] == np.arange(int(group.max()) + 1))
    return by_group


def _ratio(total: float, count: float) -> float | None:
    return float(total / count) if count else None


def _ratios(totals: npt.NDArray[np.float64], counts: npt.NDArray[np.float64]) -> list[float | None]:
    return [_ratio(total, count) for total, count in zip(totals.tolist(), counts.tolist(), strict=True)]
