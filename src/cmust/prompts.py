"""Task summaries and prompts (4.4, Eq. 8): what is particular about a task, compressed from its own data.

Shapes: L slots a day, N nodes, C channels, ``d_S`` summary width, ``d_p`` prompt width, T input steps.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

D_SUMMARY = 64


def sample_day(values: npt.NDArray[np.float32], slot: npt.NDArray[np.int64], slots: int) -> Tensor:
    """Average standardised training observations over equal times of day: ``X_samp``, as ``(N, L * C)``.

    Args:
        values: ``(S, N, C)``, standardised, NaN where missing.
        slot: ``(S,)``, slot of the day of each step, in ``0 .. slots - 1``.
        slots: L.

    A slot at which a node was never seen gets 0, the mean of the standardised task.
    """
    total = np.zeros((slots, *values.shape[1:]))
    count = np.zeros((slots, *values.shape[1:]))
    valid = ~np.isnan(values)
    np.add.at(total, slot, np.where(valid, values, 0))
    np.add.at(count, slot, valid)
    day = total / np.maximum(count, 1)
    return torch.from_numpy(day.transpose(1, 0, 2).reshape(values.shape[1], -1).astype(np.float32))


class SamplingAutoencoder(nn.Module):
    """One sigmoid layer in, one linear layer out, the same for all nodes (Eq. 8)."""

    def __init__(self, day_width: int, summary_width: int = D_SUMMARY) -> None:
        super().__init__()
        self.encoder = nn.Linear(day_width, summary_width)
        self.decoder = nn.Linear(summary_width, day_width)

    def encode(self, day: Tensor) -> Tensor:
        """``(N, L * C)`` to the summary ``S`` ``(N, d_S)``; also for nodes first seen later."""
        return torch.sigmoid(self.encoder(day))

    def forward(self, day: Tensor) -> Tensor:
        """The reconstruction ``(N, L * C)``."""
        return self.decoder(self.encode(day))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Convergence:
    """How the autoencoder's training ended: mean squared errors of the zero forecast and of the reconstruction, and
    the steps.
    """

    start: float
    end: float
    steps: int


def train_autoencoder(day: Tensor, *, max_steps: int = 3000) -> tuple[SamplingAutoencoder, Convergence]:
    """Fit the autoencoder to ``day`` ``(N, L * C)`` by mean squared error to convergence.

    Converged: over the last 100 full-batch Adam steps the error fell by less than a thousandth of itself. Initial
    weights come from torch's default generator.
    """
    network = SamplingAutoencoder(day.shape[1])
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    start = float(day.square().mean())
    reference = float("inf")
    step, error = 0, start
    for step in range(1, max_steps + 1):
        loss = (network(day) - day).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            error = loss.item()
            if reference - error < 1e-3 * reference:
                break
            reference = error
    return network.requires_grad_(False), Convergence(start, error, step)


class SummaryPrompt(nn.Module):
    """``P = FC_p(S)``, the same for all steps; the task's own ``FC_p`` learns, the summary is fixed.

    Attributes:
        summary: ``(N, d_S)``.
    """

    summary: Tensor

    def __init__(self, summary: Tensor, d_p: int) -> None:
        super().__init__()
        self.register_buffer("summary", summary.clone())  # aligned memory: the same bits however it was read
        self.project = nn.Linear(summary.shape[1], d_p)

    def forward(self) -> Tensor:
        """``(1, N, d_p)``."""
        return self.project(self.summary)[None]  # type: ignore[no-any-return]


class FreePrompt(nn.Module):
    """The published reading: a free ``(T, N, d_p)`` parameter, initialised from a file or from the summary."""

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(start.clone())

    @classmethod
    def from_summary(cls, summary: Tensor, steps: int, d_p: int) -> "FreePrompt":
        """Start from a random projection of the summary ``(N, d_S)``, repeated over ``steps``."""
        start = nn.Linear(summary.shape[1], d_p).requires_grad_(False)(summary)
        return cls(start.expand(steps, -1, -1))

    def forward(self) -> Tensor:
        """``(T, N, d_p)``."""
        return self.weight


class NoPrompt(nn.Module):
    """The ablation without task-specific preserver: the prompt's slice is zero."""

    zeros: Tensor

    def __init__(self, d_p: int) -> None:
        super().__init__()
        self.register_buffer("zeros", torch.zeros(1, 1, d_p), persistent=False)

    def forward(self) -> Tensor:
        """``(1, 1, d_p)``."""
        return self.zeros
