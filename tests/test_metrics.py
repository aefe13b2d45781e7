"""Scores against slow loops over single targets."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cmust.metrics import Scores


def mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def slow(forecast: np.ndarray, truth: np.ndarray, valid: np.ndarray) -> dict:
    """All scores, one target at a time; ``(B, F, N, C)``."""
    horizons, nodes = truth.shape[1], truth.shape[2]
    plain, size, node_errors = [], 0.0, [[] for _ in range(nodes)]
    per_horizon = [[] for _ in range(horizons)]
    masked = [([], [], []) for _ in range(horizons)]
    for b, f, n, c in np.ndindex(truth.shape):
        if not valid[b, f, n, c]:
            continue
        error = float(forecast[b, f, n, c]) - float(truth[b, f, n, c])
        plain.append(error)
        size += abs(float(truth[b, f, n, c]))
        node_errors[n].append(abs(error))
        per_horizon[f].append(abs(error))
        if truth[b, f, n, c] != 0:
            masked[f][0].append(abs(error))
            masked[f][1].append(error**2)
            masked[f][2].append(abs(error) / abs(float(truth[b, f, n, c])))
    maes = [mean(part[0]) for part in masked]
    rmses = [None if not part[1] else math.sqrt(mean(part[1])) for part in masked]
    mapes = [mean(part[2]) for part in masked]
    total = sum(abs(error) for error in plain)
    return {
        "plain": {
            "mae": mean([abs(error) for error in plain]),
            "rmse": math.sqrt(mean([error**2 for error in plain])) if plain else None,
            "wape": total / size if size else None,
        },
        "masked": {
            "mae": mean([value for value in maes if value is not None]),
            "rmse": mean([value for value in rmses if value is not None]),
            "mape": mean([value for value in mapes if value is not None]),
        },
        "per_horizon": {"plain_mae": [mean(part) for part in per_horizon], "masked_mae": maes},
        "per_node": {"plain_mae": [mean(part) for part in node_errors]},
    }


def flat(scores: dict) -> list[float | None]:
    result: list[float | None] = []
    for value in scores.values():
        result += flat(value) if isinstance(value, dict) else value if isinstance(value, list) else [value]
    return result


@settings(max_examples=40, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.integers(1, 2)),
    seed=st.integers(0, 10_000),
    zeros=st.sampled_from([0.0, 0.4, 1.0]),
    missing=st.sampled_from([0.0, 0.5, 1.0]),
    batch=st.integers(1, 5),
)
def test_against_slow_loops_in_any_batches(shape, seed: int, zeros: float, missing: float, batch: int) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.normal(3, 4, shape).astype(np.float32)
    truth[rng.random(shape) < zeros] = 0
    forecast = rng.normal(3, 4, shape).astype(np.float32)
    valid = rng.random(shape) >= missing
    truth[~valid] = 1e9
    scores = Scores(shape[1], shape[2])
    tensors = [torch.from_numpy(array) for array in (forecast, truth, valid)]
    for parts in zip(*(tensor.split(batch) for tensor in tensors), strict=True):
        scores.add(*parts)
    found, expected = scores.result(), slow(forecast, truth, valid)
    assert found.keys() == expected.keys()
    for ours, theirs in zip(flat(found), flat(expected), strict=True):
        if theirs is None:
            assert ours is None
        else:
            assert ours == pytest.approx(theirs, rel=1e-6, abs=1e-9)


def test_masked_averages_over_horizons_plain_pools() -> None:
    truth = torch.tensor([[1.0, 0.0], [2.0, 4.0]])[:, :, None, None]  # (B=2, F=2)
    forecast = torch.tensor([[2.0, 3.0], [4.0, 5.0]])[:, :, None, None]
    scores = Scores(2, 1)
    scores.add(forecast, truth, torch.ones_like(truth, dtype=torch.bool))
    result = scores.result()
    assert result["masked"]["mae"] == (1.5 + 1) / 2  # horizon 1: (1 + 2) / 2, horizon 2: only |5 - 4|
    assert result["masked"]["mape"] == (1 + 0.25) / 2
    assert result["plain"]["mae"] == (1 + 3 + 2 + 1) / 4
    assert result["plain"]["wape"] == 7 / 7


def test_a_forecast_that_is_no_number_gives_no_score() -> None:
    """One horizon without a number must not be left out of the average in silence."""
    truth = torch.ones(2, 3, 1, 1)
    forecast = torch.ones(2, 3, 1, 1)
    forecast[0, 1] = torch.nan
    scores = Scores(3, 1)
    scores.add(forecast, truth, torch.ones_like(truth, dtype=torch.bool))
    result = scores.result()
    assert result["plain"]["mae"] is None
    assert result["masked"] == {"mae": None, "rmse": None, "mape": None}
    assert result["per_horizon"]["masked_mae"] == [0, None, 0]
