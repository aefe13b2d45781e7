"""ARIMA: every series by itself, fitted once, then filtered on over what comes (statsmodels).

Box, Jenkins: "Time Series Analysis: Forecasting and Control", 1970. Parameters by Hannan and Rissanen (1982) on the
training part, about its mean; the order is the one with the smallest error on validation (``best``). In a test the
Kalman filter takes every observation up to a window's end, the whole past and not its input steps alone, and is not
fitted again.

Shapes: S steps, W windows, F forecast steps, N nodes, C channels. Original or standardised units, as given.
"""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmust.errors import ConfigError

Array = NDArray[np.floating[Any]]
Order = tuple[int, int, int]

ORDERS: tuple[Order, ...] = ((3, 0, 1), (2, 1, 2), (2, 0, 0))


class Arima:
    """One model for each node and channel.

    Args:
        training: ``(S, N, C)``, without gaps.
        order: terms of autoregression, differences, terms of the moving average.

    Raises:
        ConfigError: ``statsmodels`` is not installed.
    """

    def __init__(self, training: Array, order: Order) -> None:
        self.order = order
        self.mean = training.mean(0)
        centred = np.asarray(training - self.mean, dtype=np.float64)
        places = np.ndindex(*self.mean.shape)
        self.models = {place: _fit(centred[(slice(None), *place)], order) for place in places}

    def forecast(self, series: Array, origins: NDArray[np.int64], horizon: int) -> NDArray[np.float32]:
        """``(W, F, N, C)``.

        Args:
            series: ``(S, N, C)`` from the first step of the training part on; NaN where an observation is missing.
            origins: ``(W,)``, first step of each forecast; only steps before it are seen.
            horizon: F.
        """
        out = np.empty((len(origins), horizon, *self.mean.shape), dtype=np.float32)
        for place, model in self.models.items():
            whole = np.asarray(series[(slice(None), *place)] - self.mean[place], dtype=np.float64)
            # One filter over the series predicts the state at every step; from there on it moves by itself.
            filtered = model.apply(whole).filter_results
            state = filtered.predicted_state[:, origins]
            for step in range(horizon):
                out[(slice(None), step, *place)] = (filtered.design[:, :, 0] @ state)[0]
                state = filtered.transition[:, :, 0] @ state
        out += self.mean
        return out


def best(
    training: Array, series: Array, origins: NDArray[np.int64], horizon: int, orders: tuple[Order, ...] = ORDERS
) -> Arima:
    """The model of the order with the smallest mean absolute error in windows of the validation part.

    Args:
        training: as of ``Arima``.
        series, origins, horizon: as of ``Arima.forecast``; truth is read from ``series``, NaN does not count.
        orders: to choose from.
    """
    truth = series[origins[:, None] + np.arange(horizon)]
    models = [Arima(training, order) for order in orders]
    errors = [float(np.nanmean(np.abs(model.forecast(series, origins, horizon) - truth))) for model in models]
    return models[int(np.argmin(errors))]


def _fit(series: NDArray[np.float64], order: Order) -> Any:
    try:
        from statsmodels.tsa.arima.model import ARIMA
    except ImportError as error:
        raise ConfigError("ARIMA needs 'statsmodels': install cmust[baselines]") from error
    model = ARIMA(series, order=order, trend="n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of starting parameters and of a series that never changes
        try:
            return model.fit(method="hannan_rissanen")
        except (ValueError, np.linalg.LinAlgError):  # its parameters would make an unstable model
            return model.fit()
