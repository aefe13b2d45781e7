"""How history that is short, or that has grown, is split: by days from its end, every target in one part only."""

import numpy as np

from cmust.city import Task
from cmust.errors import CityError, RunError
from cmust.windows import Split, windows_between

HELD_OUT = 0.2
"""Of a new task's days, so many choose when to stop."""
MOST_DAYS = 14
"""But never more than these; the last days are worth most in training."""
FRESH_DAYS = 7
"""At most so many days of an update's data compare the model before with the model after."""
LEAST_NEW_DAYS = 3


def history_split(task: Task, input_steps: int, horizon: int) -> Split:
    """Training and validation windows of a new task: the last fifth of its days validates, at least one and at most 14.

    A history of less than three days has a fifth of its steps there instead.

    Raises:
        CityError: there is no window left for one of the parts.
    """
    steps, day = task.n_steps, task.steps_per_day
    days = round(HELD_OUT * steps / day)
    held = min(max(days, 1), MOST_DAYS) * day if steps >= 3 * day else round(HELD_OUT * steps)
    held = max(held, horizon)
    train = windows_between(0, steps - held, input_steps, horizon)
    validation = windows_between(steps - held, steps, input_steps, horizon)
    if not len(train) or not len(validation):
        raise CityError(
            f"task {task.name!r} has {steps} steps of history; adapting needs at least "
            f"{input_steps + 2 * horizon}: {input_steps} + {horizon} to train and {horizon} to validate"
        )
    return Split({"train": train, "validation": validation}, steps - held)


def update_split(task: Task, seen_until: np.datetime64, input_steps: int, horizon: int) -> Split:
    """Windows of a task whose data has grown: everything but the end trains, a stretch of days before the end chooses
    when to stop (``validation``), and the last days, as many, are fresh to the old model and to the new one (``test``).

    A stretch is 7 days, or a third of the new days where they are fewer than 21, but as long as a forecast at least.

    Args:
        task: old data and new.
        seen_until: the last step that had a say in the old model.
        input_steps: T.
        horizon: F.

    Raises:
        RunError: the data ends where the old model's ended, or the new part is shorter than three days or than the two
            stretches, whose targets all have to be new to the old model.
        CityError: there is no window left to train on.
    """
    day = task.steps_per_day
    seen = int(np.searchsorted(task.time, seen_until, side="right"))
    new = task.n_steps - seen
    if new <= 0:
        raise RunError(
            f"task {task.name!r} has no new data: the run has seen it until {seen_until}, the city's data ends at "
            f"{task.time[-1]}; update when more has arrived"
        )
    needed = max(LEAST_NEW_DAYS * day, 2 * horizon)
    if new < needed:
        raise RunError(
            f"task {task.name!r} has {new} new steps, {new / day:.1f} days after {seen_until}; an update needs "
            f"{needed / day:.3g} days, {needed} steps, to train, to stop and to compare: update when more has arrived"
        )
    held = max(min(FRESH_DAYS, new // day // 3) * day, horizon)
    stop, fresh = task.n_steps - 2 * held, task.n_steps - held
    train = windows_between(0, stop, input_steps, horizon)
    if not len(train):
        raise CityError(
            f"task {task.name!r} has {task.n_steps} steps, of which {stop} are left to train on; give its older "
            f"data too, {input_steps + horizon} steps at least"
        )
    return Split(
        {
            "train": train,
            "validation": windows_between(stop, fresh, input_steps, horizon),
            "test": windows_between(fresh, task.n_steps, input_steps, horizon),
        },
        stop,
    )
