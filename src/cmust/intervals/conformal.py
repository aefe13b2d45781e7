"""Adaptive conformal intervals of one task: what the errors of the last days say about the next ones.

Shapes: O origins (one per step), F forecast steps, N nodes, C channels, M = N * C series, G groups, V levels.

A score is a normalised error, ``(truth - forecast) / scale``. The interval of origin ``t`` and horizon ``h`` is
``forecast + scale * [lower, upper]`` with quantiles of the scores that were known when the forecast was made: a truth
``h`` steps ahead (``h`` from 0) of origin ``o`` is known from origin ``o + h + 1`` on, and nothing later is used.

Two things adapt. The quantiles are those of a rolling window of days (split conformal prediction: of n scores the
order statistic ``ceil((n + 1) (1 - alpha / 2))``, and its mirror below). ``alpha`` follows what is missed: ``alpha +=
rate * (nominal - share missed)`` with every origin whose truth became known (adaptive conformal inference, Gibbs and
Candes 2021), so that a drift which the window has not seen yet widens the interval within hours.
Each level has an ``alpha`` of its own; what is given, and judged, contains the intervals of lower levels.

Of n scores no interval has a level above ``1 - 2 / (n + 1)``: beyond the extremes they say nothing. A group with fewer
scores than its level needs takes those of the wider group it is part of, at the same horizon, and where these are too
few as well there is no interval. Other horizons never stand in: the errors of nearer steps are smaller.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from cmust.errors import ConfigError

Floats = npt.NDArray[np.float32]
Groups = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Adaptation:
    """How intervals adapt. The defaults were chosen around naive forecasts, on data before any test part.

    Attributes:
        levels: nominal coverages, each in (0, 1).
        window_days: scores of so many days make the quantiles.
        rate: of ``alpha``, per step.
        first_days: so many days of origins before the first interval; it comes later where their scores are too few.
        groups: of nodes, at most; each has at least four nodes.

    Raises:
        ConfigError: one of them is out of its range.
    """

    levels: tuple[float, ...] = (0.5, 0.8, 0.9, 0.95)
    window_days: int = 14
    rate: float = 0.02
    first_days: int = 4
    groups: int = 5

    def __post_init__(self) -> None:
        """Check every field."""
        levels = self.levels if isinstance(self.levels, Sequence) else ()
        if not levels or not all(isinstance(level, float) and 0 < level < 1 for level in levels):
            raise ConfigError(f"levels are {self.levels!r}; give a list, each between 0 and 1, such as (0.9,)")
        if not 0 <= self.rate <= 1:
            raise ConfigError(f"rate is {self.rate}; it has to lie from 0 to 1, such as 0.02")
        for name in ("window_days", "first_days", "groups"):
            if (value := getattr(self, name)) < 1:
                raise ConfigError(f"{name} is {value}; it has to be 1 or more")


@dataclass(frozen=True)
class Scale:
    """The size of the errors to be expected of a forecast.

    Attributes:
        floor: for values that cannot be below 0: the scale is ``sqrt(forecast + floor)``. None: it is 1, and errors are
            as large at every level.
    """

    floor: float | None

    @classmethod
    def of(cls, kind: str, spread: float) -> "Scale":
        """The scale of a kind of task; ``spread`` is the standard deviation of its values.

        Counts vary by the root of their mean, and a count of 0 may well be one; for other values that cannot be below
        0, a tenth of the spread is what one is for counts.
        """
        if kind == "other":
            return cls(None)
        return cls(1.0 if kind == "count" else 0.1 * spread)

    @property
    def bounded(self) -> bool:
        """Whether values below 0 do not exist."""
        return self.floor is not None

    def centre(self, forecast: Floats) -> Floats:
        """The forecast, moved to 0 where it says less than there can be."""
        return np.maximum(forecast, np.float32(0)) if self.bounded else forecast

    def size(self, forecast: Floats) -> Floats:
        """The scale of each forecast."""
        if self.floor is None:
            return np.ones_like(forecast)
        size: Floats = np.sqrt(self.centre(forecast) + np.float32(self.floor))
        return size


def node_groups(level: Floats, at_most: int) -> Groups:
    """The group of each node by its mean level, channel by channel: equally many nodes each, the quietest first.

    Args:
        level: ``(N, C)``.
        at_most: so many groups per channel, fewer where a group would have less than four nodes.

    Returns:
        ``(N, C)``, numbered from 0 over the channels.
    """
    nodes, channels = level.shape
    count = max(1, min(at_most, nodes // 4))
    rank = level.argsort(axis=0, kind="stable").argsort(axis=0, kind="stable")
    groups: Groups = rank * count // nodes + count * np.arange(channels)
    return groups


def channel_of_group(group: Groups) -> Groups:
    """The channel ``(G,)`` of each group that :func:`node_groups` made, ``(N, C)``."""
    channels = group.shape[1]
    return np.repeat(np.arange(channels), (int(group.max()) + 1) // channels)


def scores_needed(alpha: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Of how many scores a quantile is one of them: fewer leave more than ``alpha / 2`` beyond their extremes."""
    # A millionth, as for the ranks: 0.05 needs 39, not the 40 that floating point makes of it.
    return np.ceil(2 / alpha - 1 - 1e-6).astype(np.int64)


@dataclass
class Table:
    """The scores known at a time, sorted, by horizon and group.

    Attributes:
        ordered: ``(F, G, P)`` ascending, NaN behind the last score.
        count: ``(F, G)``.
    """

    ordered: Floats
    count: npt.NDArray[np.int64]

    @classmethod
    def of(cls, scores: Floats, group: Groups, known: npt.NDArray[np.int64], window: int) -> "Table":
        """Sort the scores ``(O, F, M)`` of the last ``window`` origins up to ``known`` ``(F,)``."""
        members = [np.flatnonzero(group == number) for number in range(int(group.max()) + 1)]
        longest = min(window, int(known.max()) + 1) * max(map(len, members))
        ordered = np.full((scores.shape[1], len(members), longest), np.nan, np.float32)
        for horizon, last in enumerate(known):
            recent = scores[max(last + 1 - window, 0) : last + 1, horizon]
            for number, which in enumerate(members):
                ordered[horizon, number, : len(recent) * len(which)] = recent[:, which].ravel()
        ordered.sort(axis=-1)  # NaN, what is missing, goes last
        return cls(ordered, (~np.isnan(ordered)).sum(-1))

    def offsets(self, alpha: npt.NDArray[np.float64], of: Groups | None = None) -> tuple[Floats, Floats]:
        """Lower and upper quantiles for ``alpha`` ``(V, F, G)``, half of it missed on either side; NaN without scores.

        Where the scores are too few for so small an ``alpha``, their extremes.

        Args:
            alpha: per level, horizon and group.
            of: ``(G,)``, the group of this table that each is part of; the groups of the table when not given.
        """
        which = np.arange(self.count.shape[1]) if of is None else of
        count = self.count[:, which]
        # A millionth of a rank: 0.95 * 20 is 19, not the number above it that floating point makes of it.
        above = np.ceil((count + 1) * (1 - alpha / 2) - 1e-6).astype(np.int64).clip(1, np.maximum(count, 1))
        below = np.floor((count + 1) * alpha / 2 + 1e-6).astype(np.int64).clip(1, np.maximum(count, 1))
        horizon = np.arange(len(self.ordered))[:, None]
        return self.ordered[horizon, which, below - 1], self.ordered[horizon, which, above - 1]


@dataclass
class Tables:
    """The scores of groups, and those that stand in where they are too few.

    Attributes:
        own: of the groups.
        wider: of the wider groups; None where all groups have enough of their own.
        part_of: ``(G,)``, the wider group of each.
        needed: ``(V, 1, 1)``, how many scores a level needs.
    """

    own: Table
    wider: Table | None
    part_of: Groups
    needed: npt.NDArray[np.int64]

    @classmethod
    def of(
        cls,
        scores: Floats,
        group: Groups,
        part_of: Groups,
        known: npt.NDArray[np.int64],
        window: int,
        needed: npt.NDArray[np.int64],
    ) -> "Tables":
        """See :meth:`Table.of`."""
        own = Table.of(scores, group, known, window)
        short = bool((own.count < needed).any())
        return cls(own, Table.of(scores, part_of[group], known, window) if short else None, part_of, needed)

    def offsets(self, alpha: npt.NDArray[np.float64]) -> tuple[Floats, Floats]:
        """Lower and upper quantiles for ``alpha`` ``(V, F, G)``; NaN where the scores are too few for the level."""
        lower, upper = self.own.offsets(alpha)
        if self.wider is None:
            return lower, upper
        few, too_few = self.own.count < self.needed, self.wider.count[:, self.part_of] < self.needed
        low, high = (np.where(too_few, np.nan, each) for each in self.wider.offsets(alpha, self.part_of))
        return np.where(few, low, lower), np.where(few, high, upper)


@dataclass
class Bounds:
    """Quantiles of scores, in the order of origins.

    Attributes:
        lower, upper: ``(V, O + 1, F, G)``: for every origin, and last for the one that comes next; NaN before the first
            days are over, and where too few scores are known.
        alpha: ``(V, F, G)``, what the next origin uses.
        count: ``(F, G)``, how many scores of the group itself it knows.
    """

    lower: Floats
    upper: Floats
    alpha: npt.NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    count: npt.NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))


def adaptive_bounds(
    scores: Floats, group: Groups, steps_per_day: int, adaptation: Adaptation, part_of: Groups | None = None
) -> Bounds:
    """Go through the origins in order of time; each sees only what was known before it.

    Args:
        scores: ``(O, F, M)`` of consecutive origins, one per step, NaN where the truth is missing or not yet known.
        group: ``(M,)``.
        steps_per_day: the window's sorting is renewed eight times a day.
        adaptation: how.
        part_of: ``(G,)``, the wider group of each, whose scores stand in where its own are too few; one of all when
            not given.
    """
    origins, horizon, _ = scores.shape
    nominal = 1 - np.array(adaptation.levels)[:, None, None]
    membership = (group[:, None] == np.arange(int(group.max()) + 1)).astype(np.float64)
    part_of = np.zeros(membership.shape[1], np.int64) if part_of is None else part_of
    shape, needed = (len(nominal), horizon, membership.shape[1]), scores_needed(nominal)
    alpha = np.broadcast_to(nominal, shape).copy()
    missed = np.full((origins, *shape), np.nan)
    bounds = Bounds(*(np.full((shape[0], origins + 1, *shape[1:]), np.nan, np.float32) for _ in range(2)))
    by_level = np.argsort(adaptation.levels)
    first, window = adaptation.first_days * steps_per_day, adaptation.window_days * steps_per_day
    renewal = max(1, steps_per_day // 8)
    ahead, tables = np.arange(horizon), None
    for origin in range(first + horizon, origins + 1):
        known = origin - 1 - ahead  # the last origin whose truth is known, by horizon
        heard = missed[known, :, ahead].swapaxes(0, 1)
        step = adaptation.rate * (nominal - heard)
        alpha = np.where(np.isnan(heard), alpha, alpha + step).clip(nominal / 10, np.minimum(3 * nominal, 0.98))
        if tables is None or origin % renewal == 0 or origin == origins:
            tables = Tables.of(scores, group, part_of, known, window, needed)
        lower, upper = _nested(tables.offsets(alpha), by_level)
        bounds.lower[:, origin], bounds.upper[:, origin] = lower, upper
        if origin < origins:
            missed[origin] = _missed(scores[origin], lower[..., group], upper[..., group], membership)
        else:
            bounds.count = tables.own.count
    bounds.alpha = alpha
    return bounds


def _nested(ends: tuple[Floats, Floats], by_level: Groups) -> tuple[Floats, Floats]:
    """Ends ``(V, F, G)`` such that each level's interval contains those of lower levels: every ``alpha`` adapts by
    itself, and that of a low level may for a while ask for the wider one.

    Where a level is unknown, so are those above it, which need more scores.
    """
    lower, upper = (each[by_level] for each in ends)
    back = np.argsort(by_level)
    nested: Floats = np.minimum.accumulate(lower, axis=0)[back]
    return nested, np.maximum.accumulate(upper, axis=0)[back]


def _missed(
    scores: Floats, lower: Floats, upper: Floats, membership: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """The share of each group's scores ``(F, M)`` outside their bounds ``(V, F, M)``: ``(V, F, G)``, NaN if none has a
    score and bounds.
    """
    valid = ~(np.isnan(scores) | np.isnan(lower))
    outside = ((scores < lower) | (scores > upper)) & valid
    with np.errstate(invalid="ignore"):
        share: npt.NDArray[np.float64] = (outside @ membership) / (valid @ membership)
    return share
