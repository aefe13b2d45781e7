"""The steps before a time as a forecast needs them, and how much of them was observed.

The rule for missing observations: a missing input is replaced by the weekly average of its node (over the training
part), as in training. At most a stated share of a task's inputs may be missing; a node may miss all of them. Which
nodes miss how much is said with every forecast.

Shapes: T input steps, F forecast steps, N nodes, C channels.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from cmust.city import Task
from cmust.city.clock import local_time
from cmust.city.ownership import hand_over
from cmust.errors import CityError, ConfigError

MAX_MISSING = 0.5
FLAGS = ("ok", "partly_filled", "all_filled")


@dataclass(frozen=True)
class Recent:
    """What a forecast is made from.

    Attributes:
        task: T steps, NaN where missing, followed by the F steps to forecast, all missing.
        filled: ``(N,)``, share of a node's inputs that are missing.
    """

    task: Task
    filled: npt.NDArray[np.float32]

    @property
    def flag(self) -> npt.NDArray[np.str_]:
        """``(N,)``, one of ``FLAGS`` per node."""
        flags: npt.NDArray[np.str_] = np.array(FLAGS)[(self.filled > 0).astype(int) + (self.filled == 1)]
        return flags


def recent_steps(
    task: Task, at: str | np.datetime64 | None, input_steps: int, horizon: int, max_missing: float = MAX_MISSING
) -> Recent:
    """The ``input_steps`` steps before ``at``, whatever comes later left out.

    Args:
        task: the data.
        at: local time of the first forecast step; when not given, the step after the last one with an observation.
            It may lie after the end of the data: steps in between are missing.
        input_steps, horizon: T and F.
        max_missing: largest share of the task's inputs that may be missing.

    Raises:
        CityError: ``at`` is no step of the task, too few steps are before it, or too much is missing.
        ConfigError: ``max_missing`` is no share.
    """
    if not 0 <= max_missing <= 1:
        raise ConfigError(f"max_missing is {max_missing}; it is a share of the inputs, from 0 to 1")
    origin = _origin(task, at)
    step = np.timedelta64(task.interval, "s")
    moment = task.time[0] + step * origin
    if origin < input_steps:
        raise CityError(
            f"task {task.name!r} has {max(origin, 0)} steps before {moment}, a forecast needs {input_steps}; give more "
            f"recent history or a later time"
        )
    begin = origin - input_steps
    values = np.full((input_steps + horizon, *task.values.shape[1:]), np.nan, np.float32)
    observed = task.values[begin:origin]
    values[: len(observed)] = observed
    missing = np.isnan(values[:input_steps])
    if missing.mean() > max_missing:
        raise CityError(
            f"task {task.name!r}: {missing.mean():.0%} of the observations in the {input_steps} steps before {moment} "
            f"are missing (the data goes from {task.time[0]} to {task.time[-1]}), at most {max_missing:.0%} may be; "
            f"give newer data or an earlier time, or allow more (--max-missing)"
        )
    time = task.time[0] + step * np.arange(begin, origin + horizon)
    return Recent(replace(task, values=values, time=time), missing.mean((0, 2)).astype(np.float32))


def with_missing(task: Task, steps: int) -> Task:
    """The task, followed by ``steps`` steps of which nothing is known."""
    step = np.timedelta64(task.interval, "s")
    time = task.time[0] + step * np.arange(task.n_steps + steps)
    unknown = np.full((steps, *task.values.shape[1:]), np.nan, np.float32)
    return replace(task, values=hand_over(np.concatenate([task.values, unknown])), time=time)


def seconds_after(task: Task, moment: str | np.datetime64) -> int:
    """Seconds from the first step of a task to a local time.

    Raises:
        CityError: it is no time (:func:`cmust.city.clock.local_time`).
    """
    return int((local_time(moment) - task.time[0]).astype(np.int64))


def _origin(task: Task, at: str | np.datetime64 | None) -> int:
    """Index of the first forecast step."""
    if at is not None:
        steps, rest = divmod(seconds_after(task, at), task.interval)
        if rest:
            raise CityError(
                f"{at} is not a step of task {task.name!r}, which has one every {task.interval} s from {task.time[0]} "
                f"to {task.time[-1]}"
            )
        return steps
    observed = np.flatnonzero(task.valid.any(axis=(1, 2)))
    return int(observed[-1]) + 1 if len(observed) else task.n_steps
