"""Splits by days from the end, worked by hand."""

import numpy as np
import pytest

from cmust.continual.splits import history_split, update_split
from cmust.errors import CityError, RunError
from cmust.windows import windows_between
from tests.rolling.tiny import START, tiny_task

DAY = 12  # steps of two hours


def held(split, part: str = "validation") -> range:
    """The target steps of a part, windows of 4 + 3."""
    starts = split.starts[part].tolist()
    assert starts == list(range(starts[0], starts[-1] + 1))
    return range(starts[0] + 4, starts[-1] + 7)


@pytest.mark.parametrize(
    ("steps", "days"),
    [(3 * DAY, 1), (5 * DAY, 1), (7 * DAY, 1), (8 * DAY, 2), (14 * DAY, 3), (28 * DAY, 6), (1200, 14)],
)
def test_the_last_fifth_of_the_days_validates(steps: int, days: int) -> None:
    split = history_split(tiny_task(steps=steps), 4, 3)
    assert held(split) == range(steps - days * DAY, steps)
    assert held(split, "train") == range(4, steps - days * DAY)
    assert split.train_steps == steps - days * DAY


def test_less_than_three_days() -> None:
    split = history_split(tiny_task(steps=20), 4, 3)
    assert held(split) == range(16, 20) and held(split, "train") == range(4, 16)
    split = history_split(tiny_task(steps=10), 4, 3)  # a fifth would be shorter than the horizon
    assert split.starts["train"].tolist() == [0] and held(split) == range(7, 10)
    with pytest.raises(CityError, match=r"has 9 steps of history; adapting needs at least 10: 4 \+ 3"):
        history_split(tiny_task(steps=9), 4, 3)


@pytest.mark.parametrize(("new", "days"), [(3, 1), (5, 1), (6, 2), (20, 6), (21, 7), (90, 7)])
def test_an_update_keeps_two_stretches_of_the_new_days(new: int, days: int) -> None:
    steps = (14 + new) * DAY
    seen = START + np.timedelta64(14 * DAY - 1, "m") * 120
    split = update_split(tiny_task(steps=steps), seen, 4, 3)
    assert held(split, "test") == range(steps - days * DAY, steps)
    assert held(split) == range(steps - 2 * days * DAY, steps - days * DAY)
    assert held(split, "train") == range(4, steps - 2 * days * DAY)


def test_no_new_data_or_too_little() -> None:
    task = tiny_task(steps=14 * DAY)
    for seen in (task.time[-1], task.time[-1] + np.timedelta64(9, "D")):
        with pytest.raises(RunError, match=r"'trips' has no new data: the run has seen it until 2024-03-"):
            update_split(task, seen, 4, 3)
    with pytest.raises(
        RunError, match=r"has 35 new steps, 2\.9 days after 2024-03-15T00:00:00; an update needs 3 days"
    ):
        update_split(task, task.time[-36], 4, 3)
    with pytest.raises(CityError, match="has 36 steps, of which 12 are left"):
        update_split(tiny_task(steps=36), START - np.timedelta64(1, "D"), 10, 3)


def test_stretches_as_long_as_a_forecast_are_of_new_targets_only() -> None:
    task = tiny_task(steps=60, interval=86400)
    with pytest.raises(RunError, match=r"has 23 new steps, 23\.0 days after .*; an update needs 24 days, 24 steps"):
        update_split(task, task.time[-24], 12, 12)
    split = update_split(task, task.time[-25], 12, 12)
    targets = [starts[0].item() + 12 for starts in (split.starts["validation"], split.starts["test"])]
    assert targets == [36, 48] and task.time[36] > task.time[-25]
    assert split.train_steps == 36


def test_windows_between_two_steps() -> None:
    for begin, end in ((0, 20), (9, 20), (9, 12), (9, 11), (2, 7), (2, 6), (20, 20)):
        expected = [s for s in range(20) if s + 7 <= 20 and begin <= s + 4 and s + 7 <= end]
        assert windows_between(begin, end, 4, 3).tolist() == expected
