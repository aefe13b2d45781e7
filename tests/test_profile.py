"""The weekly profile against a slow loop over weeks, and its choice on validation data."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from cmust.heads import make_head
from cmust.model import Trunk, forecast, model_config
from cmust.profile import Shape, choose_shape, make_profile, profile_alone, shaped
from cmust.windows import make_windows
from tests.test_windows import tiny_city, tiny_task

WEEK = 84  # two-hour steps


def slow(values: np.ndarray, steps: int, weeks: list[int], ages: list[int], half_life: float) -> np.ndarray:
    """Weighted mean of whole weeks counted back from the end of training, NaN left out, ``(P, N, C)``."""
    result = np.full((WEEK, *values.shape[1:]), np.nan)
    for slot in range(WEEK):
        for node in range(values.shape[1]):
            total = count = 0.0
            for week, age in zip(weeks, ages, strict=True):
                step = steps - (week + 1) * WEEK + slot
                if step >= 0 and not np.isnan(values[step, node, 0]):
                    weight = 0.5 ** (age / half_life)
                    total, count = total + weight * values[step, node, 0], count + weight
            if count:
                result[slot, node, 0] = total / count
    return result


@pytest.mark.parametrize("half_life", [1.5, math.inf])
def test_profile_equals_a_slow_loop(half_life: float) -> None:
    task = tiny_task(steps=9 * WEEK, nodes=2, missing=0.05)
    windows = make_windows(tiny_city(task), "purged", 4, 3)["trips"]
    steps = windows.split.train_steps
    profile = make_profile(windows, task.time, task.interval, Shape(half_life, smooth=False))
    weeks = -(-steps // WEEK)
    everything = slow(task.values, steps, list(range(weeks)), list(range(weeks)), half_life)
    ends = task.time[0] + np.timedelta64(task.interval, "s") * np.arange(steps - WEEK, steps)
    slots = ((ends.astype("datetime64[D]").astype(int) + 3) % 7) * 12 + ends.astype("datetime64[h]").astype(
        int
    ) % 24 // 2
    known = ~np.isnan(everything)
    np.testing.assert_allclose(profile.table[slots][known], everything[known], rtol=1e-5)
    # The last training week, as the weeks before it would have foretold it.
    before = slow(task.values, steps, list(range(1, weeks)), list(range(weeks - 1)), half_life)
    known = ~np.isnan(before)
    np.testing.assert_allclose(profile.training[-WEEK:][known], before[known], rtol=1e-5)


def test_every_training_week_is_foretold_by_others_the_first_three_by_later_ones() -> None:
    task = tiny_task(steps=9 * WEEK, nodes=2, missing=0)
    windows = make_windows(tiny_city(task), "purged", 4, 3)["trips"]
    steps = windows.split.train_steps
    weeks = -(-steps // WEEK)
    assert weeks == 7
    profile = make_profile(windows, task.time, task.interval, Shape(1.5, smooth=False))
    for back in range(weeks):  # weeks before the last one; the nearest other week has age 0
        later = back > weeks - 4
        others = list(range(back - 1, -1, -1)) if later else list(range(back + 1, weeks))
        expected = slow(task.values, steps, others, list(range(len(others))), 1.5)
        begin = steps - (back + 1) * WEEK
        found = profile.training[max(begin, 0) : begin + WEEK]
        expected = expected[WEEK - len(found) :]
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_a_smooth_profile_has_half_of_a_slot_and_a_quarter_of_either_neighbour() -> None:
    task = tiny_task(steps=9 * WEEK, nodes=1, missing=0)
    values = np.full_like(task.values, 8.0)
    values[30::WEEK] = 12.0
    windows = make_windows(tiny_city(replace(task, values=values)), "purged", 4, 3)["trips"]
    table = make_profile(windows, task.time, task.interval, Shape(3.0, smooth=True)).table[:, 0, 0]
    assert table[28:33].tolist() == pytest.approx([8, 9, 10, 9, 8])


def test_a_training_week_never_sees_itself() -> None:
    task = tiny_task(steps=9 * WEEK, nodes=2, missing=0)
    windows = make_windows(tiny_city(task), "purged", 4, 3)["trips"]
    steps = windows.split.train_steps
    week = slice(steps - 2 * WEEK, steps - WEEK)
    windows.values[week] += 1000
    changed = make_profile(windows, task.time, task.interval, Shape(1.5, smooth=True))
    windows.values[week] -= 1000
    plain = make_profile(windows, task.time, task.interval, Shape(1.5, smooth=True))
    np.testing.assert_allclose(changed.training[week], plain.training[week], rtol=1e-4, atol=1e-3)
    assert (changed.training[steps - WEEK :] > plain.training[steps - WEEK :] + 100).all()


def test_validation_chooses_and_the_test_part_does_not() -> None:
    task = tiny_task(steps=9 * WEEK, nodes=2, missing=0)
    growing = task.values * np.exp(np.arange(len(task.values)) / (2 * WEEK))[:, None, None].astype(np.float32)
    windows = make_windows(tiny_city(task), "purged", 4, 3)["trips"]
    windows.values[:] = torch.from_numpy(growing)
    assert choose_shape(windows, task.time, task.interval).half_life == 1.5
    shape, before = shaped(windows, task.time, task.interval)
    first = int(windows.split.starts["test"][0]) + windows.input_steps
    windows.values[first + windows.horizon :] = 0
    again, after = shaped(windows, task.time, task.interval)
    assert shape == again
    assert torch.equal(before.profile, after.profile)


def test_what_is_missing_has_no_say_in_the_choice() -> None:
    """A growing task, five of six steps of whose validation part are filled as if it had never grown."""
    task = tiny_task(steps=9 * WEEK, nodes=2, missing=0)
    growing = task.values * np.exp(np.arange(len(task.values)) / (2 * WEEK))[:, None, None].astype(np.float32)
    windows = make_windows(tiny_city(replace(task, values=growing)), "purged", 4, 3)["trips"]
    starts = windows.split.starts["validation"]
    steps = np.arange(int(starts[0]) + 4, int(starts[-1]) + 7)
    gaps = steps[steps % 6 > 0]
    flat = make_profile(windows, task.time, task.interval, Shape(math.inf, smooth=True)).table
    windows.valid[gaps] = False
    windows.values[gaps] = torch.from_numpy(flat[gaps % WEEK])
    assert choose_shape(windows, task.time, task.interval, leveled=False).half_life == 1.5


def test_where_no_training_week_knows_a_slot_the_weekly_average_stands_in() -> None:
    task = tiny_task(steps=108, nodes=2, missing=0)
    windows = make_windows(tiny_city(task), "purged", 4, 3)["trips"]
    steps = windows.split.train_steps
    unknown = slice(steps + 1, WEEK - 1)  # their neighbours are unknown, too
    assert 70 < steps < 78
    _, seen = shaped(windows, task.time, task.interval)
    assert torch.equal(seen.profile[unknown], windows.average[unknown]) and seen.profile[unknown].all()


def test_a_task_that_goes_below_zero_has_no_level() -> None:
    task = tiny_task(steps=9 * WEEK, nodes=2, missing=0)
    windows = make_windows(tiny_city(task), "purged", 4, 3)["trips"]
    assert choose_shape(windows, task.time, task.interval).power is not None
    late = windows.split.train_steps
    windows.values[late:] = -1
    assert choose_shape(windows, task.time, task.interval).power is not None  # the training part alone tells
    windows.values[late - 1, 0, 0] = -1
    assert choose_shape(windows, task.time, task.interval).power is None


@pytest.mark.parametrize("leveled", [True, False])
def test_whether_a_known_task_has_levels_is_told(leveled: bool) -> None:
    task = tiny_task(steps=9 * WEEK, nodes=2, missing=0)
    windows = make_windows(tiny_city(task), "purged", 4, 3)["trips"]
    if leveled:
        windows.values[3] = -1  # the data alone would say the opposite
    shape, seen = shaped(windows, task.time, task.interval, leveled=leveled)
    assert (shape.power is not None) is leveled and torch.isfinite(seen.profile).all()


def test_alone_it_is_what_a_network_of_tuned_forecasts_before_it_learns() -> None:
    task = tiny_task(steps=9 * WEEK, nodes=2, missing=0.05)
    city = tiny_city(task)
    plain = make_windows(city, "purged", 4, 3)["trips"]
    shape, windows = shaped(plain, task.time, task.interval)
    config = model_config("tuned", input_steps=4, horizon=3)
    head = make_head(config, task, windows, 0, shape.power).head
    starts = windows.split.starts["test"]
    expected = forecast(Trunk(config, 12, (1,)), head, windows.inputs(starts))
    found = profile_alone(plain, task.time, task.interval)(plain, starts)
    torch.testing.assert_close(found, expected.detach())


def test_alone_it_follows_the_levels_by_hand() -> None:
    task = tiny_task(steps=9 * WEEK, nodes=2, missing=0)
    levels = np.array([95.0, 195.0], dtype=np.float32)[None, :, None]
    task = replace(task, values=np.broadcast_to(levels, task.values.shape))
    windows = make_windows(tiny_city(task), "purged", 4, 3)["trips"]
    start = windows.split.starts["test"][:1]
    observed = slice(int(start), int(start) + 4)
    alone, power = (
        profile_alone(windows, task.time, task.interval),
        choose_shape(windows, task.time, task.interval).power,
    )
    windows.values[observed, 0] = 190.0  # the city's level: (4 * (190 + 195) + 5) / (4 * (95 + 195) + 5)
    assert power is not None
    city = (1545 / 1165) ** power
    node = (4 * 190 + 5) / (city * 4 * 95 + 5)
    expected = 95 * city * (1 + (node - 1) / 2)
    assert alone(windows, start)[0, :, 0, 0].tolist() == pytest.approx([expected] * 3, rel=1e-4)
