"""Scores of intervals, by hand."""

import numpy as np
import pytest

from cmust.intervals.coverage import interval_score, interval_scores


def test_by_hand() -> None:
    lower, upper = np.array([2.0, 2.0, 2.0]), np.array([6.0, 6.0, 6.0])
    truth = np.array([4.0, 1.0, 9.0])
    np.testing.assert_allclose(interval_score(lower, upper, truth, 0.9), [4.0, 4 + 20 * 1, 4 + 20 * 3])


def test_pooled_by_horizon_and_by_group() -> None:
    lower = np.zeros((2, 2, 3), np.float32)
    upper = np.full((2, 2, 3), 10, np.float32)
    upper[:, 1] = 20
    truth = np.full((2, 2, 3), 5, np.float32)
    truth[0, 0] = [11, 5, np.nan]
    lower[1, 1, 2] = np.nan
    group = np.array([0, 1, 1])
    scores = interval_scores(lower, upper, truth, group, 0.8)
    assert scores["count"] == 10
    assert scores["coverage"] == pytest.approx(9 / 10)
    assert scores["per_horizon"]["coverage"] == pytest.approx([4 / 5, 1])
    assert scores["per_group"]["coverage"] == pytest.approx([3 / 4, 1])
    assert scores["per_horizon"]["width"] == pytest.approx([10, 20])
    assert scores["width"] == pytest.approx((5 * 10 + 5 * 20) / 10)
    assert scores["interval_score"] == pytest.approx((5 * 10 + 10 * 1 + 5 * 20) / 10)
    assert scores["per_group"]["interval_score"] == pytest.approx([(20 + 10 + 20 + 20) / 4, (3 * 10 + 3 * 20) / 6])


def test_nothing_to_count() -> None:
    nothing = np.full((1, 1, 2), np.nan, np.float32)
    scores = interval_scores(nothing, nothing, nothing, np.array([0, 1]), 0.9)
    assert scores["count"] == 0 and scores["coverage"] is None and scores["per_group"]["width"] == [None, None]
