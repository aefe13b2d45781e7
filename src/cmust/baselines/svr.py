"""Support vector regression: the next steps from the last ones, all nodes alike (scikit-learn).

Drucker, Burges, Kaufman, Smola, Vapnik: "Support Vector Regression Machines", NIPS 1996. One machine with a Gaussian
kernel for each forecast step and channel, on windows of any node, each in units of its node's mean and standard
deviation. It is trained on windows drawn at random, since its cost grows with the square of their number; the penalty
is the one with the smallest error on validation (``best``).

Shapes: S steps, W windows, T input steps, F forecast steps, N nodes, C channels.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmust.errors import ConfigError

Array = NDArray[np.floating[Any]]

PENALTIES = (0.1, 1.0, 10.0)
ROWS = 2000


class Svr:
    """A machine for each forecast step and channel.

    Args:
        training: ``(S, N, C)``, without gaps.
        input_steps, horizon: T, F.
        penalty: C of the machines.
        rows: windows of single nodes that each machine is trained on, at most.
        seed: of their draw.

    Raises:
        ConfigError: ``scikit-learn`` is not installed, or the training part has no window.
    """

    def __init__(
        self, training: Array, input_steps: int, horizon: int, penalty: float, rows: int = ROWS, seed: int = 0
    ) -> None:
        try:
            from sklearn.svm import SVR
        except ImportError as error:
            raise ConfigError("SVR needs 'scikit-learn': install cmust[baselines]") from error
        steps, nodes, channels = training.shape
        if (windows := steps - input_steps - horizon + 1) < 1:
            raise ConfigError(f"SVR: the training part has {steps} steps, a window takes {input_steps + horizon}")
        self.input_steps, self.horizon, self.penalty = input_steps, horizon, penalty
        self.mean, self.std = training.mean(0), training.std(0)
        self.std = np.where(self.std > 0, self.std, 1.0)
        scaled = (training - self.mean) / self.std
        drawn = np.random.default_rng(seed).permutation(windows * nodes)[:rows]
        origin, node = drawn // nodes + input_steps, drawn % nodes
        seen = scaled[origin[:, None] + np.arange(-input_steps, 0), node[:, None]]  # (rows, T, C)
        self.machines = [
            [SVR(C=penalty).fit(seen[:, :, c], scaled[origin + step, node, c]) for c in range(channels)]
            for step in range(horizon)
        ]

    def forecast(self, series: Array, origins: NDArray[np.int64]) -> NDArray[np.float32]:
        """``(W, F, N, C)``, the units those of ``series`` ``(S, N, C)``, which has no gaps; ``origins`` as of ARIMA."""
        scaled = (series - self.mean) / self.std
        seen = np.moveaxis(scaled[origins[:, None] + np.arange(-self.input_steps, 0)], 1, -1)  # (W, N, C, T)
        nodes, channels = self.mean.shape
        out = np.empty((len(origins), self.horizon, nodes, channels), dtype=np.float32)
        for step, machines in enumerate(self.machines):
            for c, machine in enumerate(machines):
                out[:, step, :, c] = machine.predict(seen[:, :, c].reshape(-1, self.input_steps)).reshape(-1, nodes)
        out *= self.std
        out += self.mean
        return out


def best(
    training: Array,
    series: Array,
    valid: NDArray[np.bool_],
    origins: NDArray[np.int64],
    input_steps: int,
    horizon: int,
    penalties: tuple[float, ...] = PENALTIES,
    seed: int = 0,
) -> Svr:
    """The machines of the penalty with the smallest mean absolute error in windows of the validation part.

    Args:
        training: as of ``Svr``.
        series, origins: as of ``Svr.forecast``; fewer origins make it faster.
        valid: like ``series``; only what was observed counts.
        input_steps, horizon: T, F.
        penalties: to choose from.
        seed: of the draw of training windows.
    """
    ahead = origins[:, None] + np.arange(horizon)
    machines = [Svr(training, input_steps, horizon, penalty, seed=seed) for penalty in penalties]
    errors = [float(np.abs(one.forecast(series, origins) - series[ahead])[valid[ahead]].mean()) for one in machines]
    return machines[int(np.argmin(errors))]
