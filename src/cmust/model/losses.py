"""Training losses. All leave out missing targets; only the published one leaves out zeros."""

import torch
from torch import Tensor
from torch.nn import functional as F


def counted(kind: str, truth: Tensor, valid: Tensor) -> Tensor:
    """Which targets a loss counts, bool like ``truth``: those that are there, and not 0 for ``masked_mae``."""
    return valid & (truth != 0) if kind == "masked_mae" else valid


def loss_terms(kind: str, forecast: Tensor, truth: Tensor, valid: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Sum and count of a loss over a batch; their quotient is the loss.

    Args:
        kind: ``huber`` (Eq. 16, threshold 1) or ``mae`` on standardised values, or ``masked_mae`` on original units
            without zero targets (the published code).
        forecast: ``(B, F, N, C)`` in original units.
        truth: the same; anything where not valid.
        valid: the same, bool.
        std: ``(C,)``, the task's standard deviation.
    """
    error = forecast - truth
    if kind != "masked_mae":
        error = error / std
    error = F.huber_loss(error, torch.zeros_like(error), reduction="none") if kind == "huber" else error.abs()
    which = counted(kind, truth, valid)
    return torch.where(which, error, 0).sum(), which.sum()
