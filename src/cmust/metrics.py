"""Scores from sums and counts: one pass, bounded memory, uneven batches do no harm (data and evaluation,
docs/evaluation.md).

Shapes: B batch, F forecast steps, N nodes, C channels.
"""

from typing import Any

import torch
from torch import Tensor


class Scores:
    """Running error sums of one system on one task, per horizon and node, in float64.

    ``plain`` counts every valid target, zeros too, and pools. ``masked`` leaves out targets equal to 0, per horizon,
    then averages over the horizons, as the published code does.
    """

    def __init__(self, horizon: int, nodes: int) -> None:
        def zeros() -> Tensor:
            return torch.zeros(horizon, nodes, dtype=torch.float64)

        self._count, self._absolute, self._squared, self._size = zeros(), zeros(), zeros(), zeros()
        self._masked_count, self._masked_absolute, self._masked_squared, self._percentage = (
            zeros(),
            zeros(),
            zeros(),
            zeros(),
        )

    def add(self, forecast: Tensor, truth: Tensor, valid: Tensor) -> None:
        """Add a batch, each ``(B, F, N, C)`` in original units."""
        error = torch.where(valid, forecast - truth, 0).double()
        truth = torch.where(valid, truth, 0).double()
        absolute, squared, size = error.abs(), error.square(), truth.abs()
        nonzero = truth != 0
        for total, terms in (
            (self._count, valid.double()),
            (self._absolute, absolute),
            (self._squared, squared),
            (self._size, size),
            (self._masked_count, nonzero.double()),
            (self._masked_absolute, absolute * nonzero),
            (self._masked_squared, squared * nonzero),
            (self._percentage, torch.where(nonzero, absolute / torch.where(nonzero, size, 1), 0)),
        ):
            total += terms.sum((0, 3)).cpu()

    def result(self) -> dict[str, Any]:
        """Plain and masked scores, per horizon and per node; ``None`` where nothing was counted."""
        count, masked_count = self._count.sum(1), self._masked_count.sum(1)
        horizon_masked = self._masked_absolute.sum(1) / masked_count
        seen = masked_count > 0  # a horizon without targets is left out; one without a number is not
        return {
            "plain": {
                "mae": _number(self._absolute.sum() / count.sum()),
                "rmse": _number((self._squared.sum() / count.sum()).sqrt()),
                "wape": _number(self._absolute.sum() / self._size.sum()),
            },
            "masked": {
                "mae": _number(horizon_masked[seen].mean()),
                "rmse": _number((self._masked_squared.sum(1) / masked_count).sqrt()[seen].mean()),
                "mape": _number((self._percentage.sum(1) / masked_count)[seen].mean()),
            },
            "per_horizon": {
                "plain_mae": [_number(value) for value in self._absolute.sum(1) / count],
                "masked_mae": [_number(value) for value in horizon_masked],
            },
            "per_node": {"plain_mae": [_number(value) for value in self._absolute.sum(0) / self._count.sum(0)]},
        }


def _number(value: Tensor) -> float | None:
    number = value.item()
    return number if torch.isfinite(value) else None
