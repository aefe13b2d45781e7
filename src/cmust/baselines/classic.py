"""ARIMA and SVR: fitted by their libraries on one task; the forecasts of the test part are made at once."""

import time
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cmust.baselines import arima, svr
from cmust.baselines.material import Learned, Material
from cmust.windows import Part, Windows

VALIDATED = 200
"""Windows of the validation part that choose the penalty of SVR, evenly spread."""


def fit_classic(name: str, material: Material, seed: int) -> Learned:
    """A system fitted on the training part, its order or penalty chosen on validation."""
    began = time.perf_counter()
    made = torch.from_numpy(_FITS[name](material.windows, seed))
    starts = material.windows.split.starts["test"]

    def forecast(asked: Tensor) -> dict[str, Tensor]:
        return {material.windows.name: made[torch.searchsorted(starts, asked)]}

    return Learned(forecast, {"seconds": time.perf_counter() - began})


def _origins(windows: Windows, part: Part) -> NDArray[np.int64]:
    return (windows.split.starts[part] + windows.input_steps).numpy()


def _arima(windows: Windows, seed: int) -> NDArray[np.float32]:
    training = windows.values[: windows.split.train_steps].numpy()
    observed = torch.where(windows.valid, windows.values, torch.nan).numpy()
    model = arima.best(training, observed, _origins(windows, "validation"), windows.horizon)
    return model.forecast(observed, _origins(windows, "test"), windows.horizon)


def _svr(windows: Windows, seed: int) -> NDArray[np.float32]:
    training, series = windows.values[: windows.split.train_steps].numpy(), windows.values.numpy()
    origins = _origins(windows, "validation")
    some = origins[:: max(len(origins) // VALIDATED, 1)]
    shape = (windows.input_steps, windows.horizon)
    return svr.best(training, series, windows.valid.numpy(), some, *shape, seed=seed).forecast(
        series, _origins(windows, "test")
    )


_FITS: dict[str, Callable[[Windows, int], NDArray[np.float32]]] = {"arima": _arima, "svr": _svr}
