"""The weekly average of a task: mean per node, day of week and time of day over the training part."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cmust.clock import day_of_week, second_of_day

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class WeeklyAverage:
    """Sums and counts by slot of the week.

    Where a slot of the week is empty, the slot of the day stands in, then the node, then the task.

    Attributes:
        total: ``(7, L, N, C)`` float64, sum of valid training values; L slots a day.
        count: the same shape, how many.
        interval: seconds between steps.
    """

    total: npt.NDArray[np.float64]
    count: npt.NDArray[np.int64]
    interval: int

    @classmethod
    def fit(cls, values: Array, time: npt.NDArray[np.datetime64], interval: int, train_steps: int) -> "WeeklyAverage":
        """Average the first ``train_steps`` of ``values`` ``(S, N, C)``; NaN is left out."""
        part, slots = values[:train_steps], 86_400 // interval
        valid = ~np.isnan(part)
        total = np.zeros((7 * slots, *values.shape[1:]))
        count = np.zeros((7 * slots, *values.shape[1:]), np.int64)
        index = week_slot(time[:train_steps], interval)
        np.add.at(total, index, np.where(valid, part, 0).astype(np.float64))
        np.add.at(count, index, valid)
        week = (7, slots, *values.shape[1:])
        return cls(total.reshape(week), count.reshape(week), interval)

    def at(self, time: npt.NDArray[np.datetime64], leave_out: Array | None = None) -> Array:
        """The average at ``time`` ``(S,)``, ``(S, N, C)``.

        Args:
            time: local wall-clock times.
            leave_out: ``(S, N, C)``; where given and not NaN, the value of that step is taken out of its own average
                (and out of what stands in for it), so that a training target is never part of the forecast it is
                compared with.
        """
        own = np.zeros((1, 1, 1), np.float64) if leave_out is None else np.nan_to_num(leave_out.astype(np.float64))
        owns = np.zeros((1, 1, 1), np.int64) if leave_out is None else (~np.isnan(leave_out)).astype(np.int64)
        day, slot = np.divmod(week_slot(time, self.interval), self.total.shape[1])
        result = np.full((len(time), *self.total.shape[2:]), np.nan)
        # From the finest mean to the coarsest: what is still without a value takes the next.
        for total, count in (
            (self.total[day, slot], self.count[day, slot]),
            (self.total.sum(0)[slot], self.count.sum(0)[slot]),
            (self.total.sum((0, 1))[None], self.count.sum((0, 1))[None]),
            (self.total.sum((0, 1, 2))[None, None], self.count.sum((0, 1, 2))[None, None]),
        ):
            left = count - owns
            mean = np.where(left > 0, (total - own) / np.maximum(left, 1), np.nan)
            result = np.where(np.isnan(result), mean, result)
            if not np.isnan(result).any():
                break
        return np.nan_to_num(result).astype(np.float32)

    def table(self) -> Array:
        """The average of every slot of the week, ``(7 * L, N, C)``, Monday's first slot first."""
        monday = np.datetime64("1970-01-05T00:00", "s")
        return self.at(monday + np.arange(7 * self.total.shape[1]) * np.timedelta64(self.interval, "s"))


def week_slot(time: npt.NDArray[np.datetime64], interval: int) -> npt.NDArray[np.int64]:
    """Index of the slot of the week, ``(S,)``, Monday's first is 0."""
    return day_of_week(time) * (86_400 // interval) + second_of_day(time) // interval
