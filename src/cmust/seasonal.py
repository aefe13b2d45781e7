"""The weekly average of a task: mean per node, day of week and time of day over the training part."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cmust.clock import day_of_week, second_of_day

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class WeeklyAverage:
    """Sums and counts by slot of the week.

    Attributes:
        total: ``(7 * L, N, C)`` float64, sum of valid training values; L slots a day.
        count: the same shape, how many.
        fallback: ``(L, N, C)`` float32, mean by slot of the day (then of the node, then of the task) where a slot of the week is empty.
        interval: seconds between steps.
    """

    total: npt.NDArray[np.float64]
    count: npt.NDArray[np.int64]
    fallback: Array
    interval: int

    @classmethod
    def fit(cls, values: Array, time: npt.NDArray[np.datetime64], interval: int, train_steps: int) -> "WeeklyAverage":
        """Average the first ``train_steps`` of ``values`` ``(S, N, C)``; NaN is left out."""
        part, slots = values[:train_steps], 86_400 // interval
        valid = ~np.isnan(part)
        filled = np.where(valid, part, 0).astype(np.float64)
        total = np.zeros((7 * slots, *values.shape[1:]))
        count = np.zeros((7 * slots, *values.shape[1:]), np.int64)
        index = week_slot(time[:train_steps], interval)
        np.add.at(total, index, filled)
        np.add.at(count, index, valid)
        by_day = _mean(total.reshape(7, slots, *values.shape[1:]).sum(0), count.reshape(7, slots, *values.shape[1:]).sum(0))
        by_node = _mean(total.sum(0), count.sum(0))
        of_task = _mean(total.sum((0, 1)), count.sum((0, 1)))
        by_node = np.where(np.isnan(by_node), of_task, by_node)
        fallback = np.where(np.isnan(by_day), by_node, by_day)
        return cls(total, count, np.nan_to_num(fallback).astype(np.float32), interval)

    def at(self, time: npt.NDArray[np.datetime64], leave_out: Array | None = None) -> Array:
        """The average at ``time`` ``(S,)``, ``(S, N, C)``.

        Args:
            time: local wall-clock times.
            leave_out: ``(S, N, C)``; where given and not NaN, the value of that step is taken out of its own average, so that a
                training target is never part of the forecast it is compared with.
        """
        index = week_slot(time, self.interval)
        total, count = self.total[index], self.count[index]
        if leave_out is not None:
            own = ~np.isnan(leave_out)
            total = total - np.where(own, leave_out, 0)
            count = count - own
        fallback = self.fallback[index % len(self.fallback)]
        return np.where(count > 0, total / np.maximum(count, 1), fallback).astype(np.float32)

    def table(self) -> Array:
        """The average of every slot of the week, ``(7 * L, N, C)``."""
        fallback = np.tile(self.fallback, (7, 1, 1))
        return np.where(self.count > 0, self.total / np.maximum(self.count, 1), fallback).astype(np.float32)


def week_slot(time: npt.NDArray[np.datetime64], interval: int) -> npt.NDArray[np.int64]:
    """Index of the slot of the week, ``(S,)``, Monday's first is 0."""
    return day_of_week(time) * (86_400 // interval) + second_of_day(time) // interval


def _mean(total: npt.NDArray[np.float64], count: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
