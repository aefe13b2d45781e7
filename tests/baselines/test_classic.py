"""ARIMA and SVR, against their libraries asked window by window and against recursions by hand."""

import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cmust.baselines import arima, svr
from cmust.errors import ConfigError


def autoregression(steps: int, share: float, rng: np.random.Generator) -> NDArray[np.float64]:
    x = np.zeros(steps)
    for i in range(1, steps):
        x[i] = share * x[i - 1] + rng.normal()
    return x


def test_arima_of_one_term_falls_back_to_the_mean_by_powers() -> None:
    pytest.importorskip("statsmodels")
    rng = np.random.default_rng(0)
    series = np.stack([autoregression(400, 0.8, rng) + 50, autoregression(400, 0.3, rng) - 7], axis=1)[..., None]
    model = arima.Arima(series[:300], (1, 0, 0))
    origins = np.array([310, 350])
    forecast = model.forecast(series, origins, 3)
    assert forecast.shape == (2, 3, 2, 1) and forecast.dtype == np.float32
    for node, truth in enumerate((0.8, 0.3)):
        share = model.models[node, 0].params[0]
        assert share == pytest.approx(truth, abs=0.12)
        mean = series[:300, node, 0].mean()
        by_hand = mean + share ** np.arange(1, 4) * (series[origins - 1, node] - mean)
        assert np.allclose(forecast[:, :, node, 0], by_hand, rtol=1e-5)


@pytest.mark.parametrize("order", [(3, 0, 1), (2, 1, 2)])
def test_arima_filters_on_as_statsmodels_does_window_by_window(order: arima.Order) -> None:
    pytest.importorskip("statsmodels")
    rng = np.random.default_rng(1)
    series = np.cumsum(rng.normal(size=(260, 1, 1)), axis=0) * 0.1 + rng.normal(size=(260, 1, 1))
    model = arima.Arima(series[:200], order)
    gaps = series.copy()
    gaps[205:208] = np.nan
    origins = np.array([210, 240])
    forecast = model.forecast(gaps, origins, 4)
    mean = series[:200].mean()
    for i, origin in enumerate(origins):
        slow = model.models[0, 0].apply(gaps[:origin, 0, 0] - mean).forecast(4) + mean
        assert np.allclose(forecast[i, :, 0, 0], slow, rtol=1e-5, atol=1e-5)
    later = gaps.copy()
    later[240:] += 100.0
    assert np.array_equal(model.forecast(later, origins, 4), forecast), "nothing from the origin on is seen"


def test_the_order_that_does_best_in_validation_is_taken() -> None:
    pytest.importorskip("statsmodels")
    walk = np.cumsum(np.random.default_rng(2).normal(size=(400, 1, 1)), axis=0) + np.arange(400.0)[:, None, None] * 0.5
    chosen = arima.best(walk[:300], walk, np.arange(300, 390), 5, orders=((0, 0, 1), (1, 1, 0)))
    assert chosen.order == (1, 1, 0)


def test_a_series_that_never_changes_is_forecast_as_it_is() -> None:
    pytest.importorskip("statsmodels")
    series = np.full((100, 1, 1), 3.0)
    for order in arima.ORDERS:
        assert np.allclose(arima.Arima(series[:80], order).forecast(series, np.array([90]), 2), 3.0)


def test_svr_learns_a_wave_and_scales_by_node() -> None:
    pytest.importorskip("sklearn")
    wave = np.sin(np.arange(200.0) * 2 * np.pi / 20)
    series = np.stack([wave, 40 * wave + 100], axis=1)[..., None]
    model = svr.Svr(series[:150], 6, 3, penalty=10.0, rows=200)
    origins = np.array([160, 171])
    forecast = model.forecast(series, origins)
    assert forecast.shape == (2, 3, 2, 1)
    assert np.abs(forecast[:, :, 0] - series[origins[:, None] + np.arange(3), 0]).max() < 0.2
    assert np.allclose(forecast[:, :, 1], 40 * forecast[:, :, 0] + 100, rtol=1e-3)
    later = series.copy()
    later[171:] = 0.0
    assert np.array_equal(model.forecast(later, origins), forecast)


def test_svr_is_scikit_learns_on_the_windows() -> None:
    sklearn = pytest.importorskip("sklearn.svm")
    series = np.random.default_rng(3).normal(size=(30, 1, 2))
    model = svr.Svr(series[:20], 3, 2, penalty=1.0)
    scaled = (series - series[:20].mean(0)) / series[:20].std(0)
    windows = [scaled[i : i + 3, 0, 1] for i in range(16)]
    machine = sklearn.SVR(C=1.0).fit(windows, [scaled[i + 4, 0, 1] for i in range(16)])
    expected = machine.predict([scaled[22:25, 0, 1]]) * series[:20, 0, 1].std() + series[:20, 0, 1].mean()
    assert model.forecast(series, np.array([25]))[0, 1, 0, 1] == pytest.approx(expected[0], rel=1e-3, abs=1e-3)


def test_the_penalty_that_does_best_in_validation_is_taken_missing_values_left_out() -> None:
    pytest.importorskip("sklearn")
    wave = np.sin(np.arange(300.0) * 2 * np.pi / 20)[:, None, None]
    valid = np.ones_like(wave, dtype=bool)
    origins = np.arange(210, 280)
    assert svr.best(wave[:200], wave, valid, origins, 6, 2, penalties=(1e-4, 10.0)).penalty == 10.0
    broken = wave.copy()
    broken[290:] = np.nan
    valid[290:] = False
    assert svr.best(wave[:200], broken, valid, np.array([289]), 6, 2, penalties=(1.0,)).penalty == 1.0


def test_what_is_not_installed_or_too_short_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    series: Any = np.zeros((9, 1, 1))
    monkeypatch.setitem(sys.modules, "statsmodels.tsa.arima.model", None)
    monkeypatch.setitem(sys.modules, "sklearn.svm", None)
    with pytest.raises(ConfigError, match=r"install cmust\[baselines\]"):
        arima.Arima(series, (1, 0, 0))
    with pytest.raises(ConfigError, match=r"install cmust\[baselines\]"):
        svr.Svr(series, 3, 2, 1.0)
    monkeypatch.undo()
    pytest.importorskip("sklearn")
    with pytest.raises(ConfigError, match="9 steps, a window takes 12"):
        svr.Svr(series, 6, 6, 1.0)
