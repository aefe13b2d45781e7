"""Adaptive intervals against a slow loop that says step by step what was known, and against the truth."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmust.errors import ConfigError
from cmust.intervals.conformal import (
    Adaptation,
    Scale,
    Table,
    adaptive_bounds,
    channel_of_group,
    node_groups,
    scores_needed,
)

DAY = 8  # steps, so that the sorted window is renewed at every step
QUICK = Adaptation(levels=(0.8, 0.5), window_days=4, rate=0.1, first_days=1)


def slowly(scores: np.ndarray, group: np.ndarray, adaptation: Adaptation, steps_per_day: int) -> dict:
    """Quantiles by (level, origin, horizon, group), from a diary of what had been seen before each origin."""
    origins, horizons, _ = scores.shape
    found: dict[tuple, tuple[float, float]] = {}
    for which, level in enumerate(adaptation.levels):
        for horizon in range(horizons):
            for number in range(group.max() + 1):
                alpha = 1 - level
                for now in range(origins + 1):
                    # The truth of origin o at this horizon is the observation of step o + horizon.
                    seen = [o for o in range(origins) if o + horizon < now]
                    if now < adaptation.first_days * steps_per_day + horizons:
                        continue
                    fresh = seen[-1]
                    if (which, fresh, horizon, number) in found:
                        lower, upper = found[which, fresh, horizon, number]
                        truths = [s for s in scores[fresh, horizon, group == number] if not math.isnan(s)]
                        if truths:
                            missed = sum(not lower <= s <= upper for s in truths) / len(truths)
                            alpha += adaptation.rate * ((1 - level) - missed)
                            alpha = min(max(alpha, (1 - level) / 10), 3 * (1 - level), 0.98)
                    window = seen[-adaptation.window_days * steps_per_day :]
                    known = sorted(s for o in window for s in scores[o, horizon, group == number] if not math.isnan(s))
                    n = len(known)
                    above = min(math.ceil((n + 1) * (1 - alpha / 2) - 1e-6), n)
                    below = max(math.floor((n + 1) * alpha / 2 + 1e-6), 1)
                    found[which, now, horizon, number] = (known[below - 1], known[above - 1])
    return found


def test_only_what_was_known_is_used_and_all_of_it() -> None:
    rng = np.random.default_rng(1)
    scores = rng.standard_normal((60, 3, 5)).astype(np.float32) * np.linspace(1, 3, 60, dtype=np.float32)[:, None, None]
    scores[rng.random(scores.shape) < 0.1] = np.nan
    scores[-2:, 2] = scores[-1:, 1] = np.nan  # not known yet
    scores[20, 1] = np.nan
    group = np.array([1, 0, 1, 0, 1])
    bounds = adaptive_bounds(scores, group, DAY, QUICK)
    expected = slowly(scores, group, QUICK, DAY)
    assert np.isnan(bounds.lower[:, : DAY + 3]).all() and not np.isnan(bounds.lower[:, DAY + 3 :]).any()
    for (level, origin, horizon, number), (lower, upper) in expected.items():
        assert bounds.lower[level, origin, horizon, number] == pytest.approx(lower, abs=1e-6)
        assert bounds.upper[level, origin, horizon, number] == pytest.approx(upper, abs=1e-6)
    assert (np.abs(bounds.alpha[0] - 0.2) > 0.01).any()


@pytest.mark.parametrize("origin", [20, 41, 59])
def test_no_truth_from_the_origin_on_moves_an_interval(origin: int) -> None:
    rng = np.random.default_rng(2)
    scores, group = rng.standard_normal((60, 4, 6)).astype(np.float32), np.array([0, 0, 0, 1, 1, 1])
    day = 24 if origin > 28 else DAY  # with 24 the sorted window serves three origins
    before = adaptive_bounds(scores, group, day, QUICK)
    changed = scores.copy()
    for horizon in range(4):
        changed[max(origin - horizon, 0) :, horizon] += 100  # the truth of step origin and later
    after = adaptive_bounds(changed, group, day, QUICK)
    np.testing.assert_array_equal(after.upper[:, : origin + 1], before.upper[:, : origin + 1])
    np.testing.assert_array_equal(after.lower[:, : origin + 1], before.lower[:, : origin + 1])
    assert not np.array_equal(after.upper[:, -1], before.upper[:, -1])


def test_coverage_holds_where_errors_grow_and_plain_quantiles_fail() -> None:
    rng = np.random.default_rng(3)
    scores = rng.standard_normal((1500, 2, 12)) * np.exp(np.linspace(0, 1.5, 1500))[:, None, None]
    scores = scores.astype(np.float32)
    group = np.zeros(12, np.int64)
    day = 24

    def coverage(adaptation: Adaptation) -> float:
        bounds = adaptive_bounds(scores, group, day, adaptation)
        lower, upper = (each[0, :-1][:, :, group] for each in (bounds.lower, bounds.upper))
        known = ~np.isnan(lower)
        return float(((scores >= lower) & (scores <= upper))[known].mean())

    still = Adaptation(levels=(0.9,), window_days=10_000, rate=0.0)
    assert coverage(still) < 0.86
    assert 0.88 < coverage(Adaptation(levels=(0.9,))) < 0.92


@given(st.integers(1, 60), st.floats(0.02, 0.9), st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_quantiles_are_the_conformal_ones(count: int, alpha: float, seed: int) -> None:
    """A new score among n old ones, all alike, lies outside with a probability of at most alpha."""
    scores = np.random.default_rng(seed).permutation(count).astype(np.float32).reshape(count, 1, 1)
    table = Table.of(scores, np.zeros(1, np.int64), np.array([count - 1]), count)
    lower, upper = (float(each.item()) for each in table.offsets(np.full((1, 1, 1), alpha)))
    # A new score falls into one of the count + 1 gaps between old ones, each as likely.
    gaps = np.arange(count + 1) - 0.5
    outside = ((gaps < lower) | (gaps > upper)).sum() / (count + 1)
    smallest = 2 / (count + 1)  # beyond the extremes
    assert outside <= max(alpha, smallest) + 1e-9
    assert outside > alpha - 2 / (count + 1) - 1e-5


def test_too_few_scores_take_those_of_the_wider_group_or_give_no_interval() -> None:
    """Group 0 has a series and 10 scores after 10 origins; groups 0 and 1 are one channel, group 2 is another."""
    rng = np.random.default_rng(5)
    group, part_of = np.array([0, 1, 1, 1, 1, 2]), np.array([0, 0, 1])
    scores = (rng.standard_normal((60, 1, 6)) * np.array([1, 5, 5, 5, 5, 1])).astype(np.float32)
    still = Adaptation(levels=(0.95, 0.5), window_days=10, rate=0.0, first_days=1)
    bounds = adaptive_bounds(scores, group, DAY, still, part_of)

    def interval(known: np.ndarray, alpha: float) -> tuple[float, float]:
        ordered, n = np.sort(known.ravel()), known.size
        return ordered[math.floor((n + 1) * alpha / 2 + 1e-6) - 1], ordered[math.ceil((n + 1) * (1 - alpha / 2)) - 1]

    for origin in (10, 38, 39, 60):
        seen = scores[:origin, 0]
        own = [seen[:, :1], seen[:, 1:5], seen[:, 5:]]
        enough = origin >= 39  # (n + 1) * 0.05 / 2 is 1 for n = 39: one beyond either end
        wanted = [own[0] if enough else seen[:, :5], own[1]]
        for number, known in enumerate(wanted):
            found = bounds.lower[0, origin, 0, number], bounds.upper[0, origin, 0, number]
            assert found == pytest.approx(interval(known, 0.05))
        assert np.isnan(bounds.lower[0, origin, 0, 2]) == np.isnan(bounds.upper[0, origin, 0, 2]) == (not enough)
        for number, known in enumerate(own):  # 0.5 needs only 3
            found = bounds.lower[1, origin, 0, number], bounds.upper[1, origin, 0, number]
            assert found == pytest.approx(interval(known, 0.5))
    assert bounds.count.tolist() == [[60, 240, 60]]


def test_alpha_waits_where_there_is_no_interval() -> None:
    scores = np.random.default_rng(6).standard_normal((30, 1, 1)).astype(np.float32)
    bounds = adaptive_bounds(scores, np.zeros(1, np.int64), DAY, Adaptation(levels=(0.95, 0.5), rate=0.1, first_days=1))
    assert np.isnan(bounds.lower[0]).all() and bounds.alpha[0].item() == pytest.approx(0.05)
    assert not np.isnan(bounds.lower[1, 9:]).any() and bounds.alpha[1].item() != pytest.approx(0.5)


def test_alpha_stays_below_one_however_little_is_missed() -> None:
    """Scores that are all alike never lie outside: alpha rises to three times its nominal value, 0.98 at most."""
    scores = np.zeros((80, 1, 1), np.float32)
    bounds = adaptive_bounds(scores, np.zeros(1, np.int64), DAY, replace(QUICK, levels=(0.8, 0.5)))
    assert bounds.alpha[:, 0, 0].tolist() == pytest.approx([0.6, 0.98])


def test_the_window_is_renewed_eight_times_a_day_and_for_the_origin_that_comes_next() -> None:
    scores = np.arange(61, dtype=np.float32)[:, None, None]
    still = Adaptation(levels=(0.5,), window_days=10, rate=0.0, first_days=1)
    upper = adaptive_bounds(scores, np.zeros(1, np.int64), 24, still).upper[0, :, 0, 0]
    assert np.flatnonzero(np.diff(upper[25:])).tolist() == [origin - 26 for origin in (*range(27, 61, 3), 61)]
    assert upper[61] == 46  # of 61 scores the 47th: 62 * 0.75 = 46.5


@pytest.mark.parametrize("levels", [(0.5, 0.8, 0.9, 0.95), (0.9, 0.5, 0.95, 0.8)])
def test_a_higher_level_contains_the_lower_ones(levels: tuple[float, ...]) -> None:
    """Errors whose size jumps: each level's own alpha would have the intervals cross."""
    rng, group = np.random.default_rng(7), np.array([0, 0, 0, 1, 1, 1])
    size = np.where(np.arange(300) // 25 % 2, 4, 1)[:, None, None]
    scores = (rng.standard_normal((300, 2, 6)) * size).astype(np.float32)
    scores[rng.random(scores.shape) < 0.1] = np.nan
    crossing = Adaptation(levels=levels, window_days=10, rate=0.1, first_days=1)
    bounds = adaptive_bounds(scores, group, DAY, crossing)
    alone = [adaptive_bounds(scores, group, DAY, replace(crossing, levels=(level,))) for level in sorted(levels)]
    ordered = np.argsort(levels)
    lower, upper = bounds.lower[ordered], bounds.upper[ordered]
    assert not (np.diff(upper, axis=0) < 0).any() and not (np.diff(lower, axis=0) > 0).any()
    assert (np.diff([each.upper[0] for each in alone], axis=0) < 0).any()
    np.testing.assert_array_equal(lower[0], alone[0].lower[0])  # nothing is within the lowest
    np.testing.assert_array_equal(upper[0], alone[0].upper[0])
    np.testing.assert_array_equal(np.isnan(lower[-1]), np.isnan(alone[-1].lower[0]))


def test_how_many_scores_a_level_needs() -> None:
    assert scores_needed(1 - np.array([0.5, 0.8, 0.9, 0.95, 0.99])).tolist() == [3, 9, 19, 39, 199]


def test_groups_by_rank() -> None:
    level = np.array([[5.0], [1.0], [1.0], [9.0], [0.0], [7.0], [3.0], [2.0], [8.0]])
    assert node_groups(level, 5)[:, 0].tolist() == [1, 0, 0, 1, 0, 1, 0, 0, 1]
    assert node_groups(level, 1)[:, 0].tolist() == [0] * 9
    two = np.concatenate([level, -level], axis=1)
    assert node_groups(two, 5)[:, 1].tolist() == [2, 3, 3, 2, 3, 2, 2, 3, 2]
    assert channel_of_group(node_groups(two, 5)).tolist() == [0, 0, 1, 1]
    assert node_groups(np.zeros((69, 1)), 5).max() == 4
    assert np.bincount(node_groups(np.zeros((69, 1)), 5)[:, 0]).tolist() == [14, 14, 14, 14, 13]


def test_scales_by_kind() -> None:
    forecast = np.array([-3.0, 0.0, 8.0], np.float32)
    assert Scale.of("count", 7.0).size(forecast).tolist() == [1.0, 1.0, 3.0]
    np.testing.assert_allclose(Scale.of("speed", 10.0).size(forecast), [1.0, 1.0, 3.0])
    assert Scale.of("count", 7.0).centre(forecast).tolist() == [0.0, 0.0, 8.0]
    assert Scale.of("other", 7.0).size(forecast).tolist() == [1.0, 1.0, 1.0]
    assert Scale.of("other", 7.0).centre(forecast).tolist() == [-3.0, 0.0, 8.0]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"levels": ()}, r"levels are \(\); give a list, each between 0 and 1, such as \(0\.9,\)"),
        ({"levels": 0.9}, r"levels are 0\.9; give a list"),
        ({"levels": "0.9"}, r"levels are '0\.9'; give a list"),
        ({"levels": ["0.9"]}, "levels are"),
        ({"levels": (0.9, 1.0)}, "levels are"),
        ({"rate": -1.0}, r"rate is -1\.0; it has to lie from 0 to 1"),
        ({"rate": float("nan")}, "rate is nan"),
        ({"window_days": 0}, "window_days is 0; it has to be 1 or more"),
        ({"first_days": 0}, "first_days is 0"),
        ({"groups": 0}, "groups is 0"),
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Adaptation(**wrong)
