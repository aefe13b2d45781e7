"""Fusion and regression: from ``H`` over all steps of a node to its forecast (B.3, Eq. 15).

Both readings are linear in ``H``. ``Sum`` multiplies its small matrices together first, so that one product per step
and node remains instead of five: the same mathematics at a tenth of the cost.
"""

import torch
from torch import Tensor, nn

from cmust.model.config import ModelConfig


def regress(h: Tensor, weight: Tensor, bias: Tensor, horizon: int) -> Tensor:
    """``sum over t, d of weight[f, t, d] * h[b, t, n, d] + bias[f]``, as ``(B, T', N, C)``.

    Args:
        h: ``(B, T, N, D)``.
        weight: ``(T' * C, T, D)``.
        bias: ``(T' * C)``.
        horizon: T'.
    """
    # One small product per step and a sum, instead of transposing the whole representation to (B, N, T * D).
    y: Tensor = (h @ weight.permute(1, 2, 0)).sum(1) + bias
    forecast: Tensor = y.unflatten(-1, (horizon, -1)).permute(0, 2, 1, 3)
    return forecast


class Flatten(nn.Module):
    """The published reading: flatten ``(T, d_h)`` of a node, one linear layer to ``T' * C``."""

    def __init__(self, config: ModelConfig, channels: int) -> None:
        super().__init__()
        self.horizon = config.horizon
        self.shape = (config.input_steps, config.d_h)
        self.output = nn.Linear(config.input_steps * config.d_h, config.horizon * channels)

    def forward(self, h: Tensor) -> Tensor:
        """``(B, T, N, d_h)`` to ``(B, T', N, C)``."""
        return regress(h, self.output.weight.unflatten(1, self.shape), self.output.bias, self.horizon)


class Sum(nn.Module):
    """The text: 1x1 convolutions of three slices, summed to ``Z``; ``Y = FC_y(Z W_z + H_p W_p)`` (Eq. 15)."""

    def __init__(self, config: ModelConfig, channels: int) -> None:
        super().__init__()
        d_h = config.d_h
        self.horizon = config.horizon
        self.shape = (config.input_steps, d_h)
        self.observation = nn.Linear(config.d_obs, d_h)
        self.space = nn.Linear(config.d_s, d_h)
        self.time = nn.Linear(config.d_t, d_h)
        self.z = nn.Linear(d_h, d_h, bias=False)
        self.prompt = nn.Linear(config.d_p, d_h, bias=False)
        self.output = nn.Linear(config.input_steps * d_h, config.horizon * channels)

    def forward(self, h: Tensor) -> Tensor:
        """``(B, T, N, d_h)`` to ``(B, T', N, C)``."""
        slices = torch.cat((self.observation.weight, self.space.weight, self.time.weight), dim=1)
        mixing = torch.cat((self.z.weight @ slices, self.prompt.weight), dim=1)  # (d_h, d_h)
        offset = self.z.weight @ (self.observation.bias + self.space.bias + self.time.bias)
        output = self.output.weight.unflatten(1, self.shape)  # (T' * C, T, d_h)
        bias = self.output.bias + output.sum(1) @ offset
        return regress(h, output @ mixing, bias, self.horizon)
