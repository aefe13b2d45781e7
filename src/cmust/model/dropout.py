"""Dropout that is cheap on a CPU: its random bits, its masks, what it keeps for the gradient."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class Dropout(nn.Module):
    """Zero each element with probability ``p`` and scale the rest so that the mean stays.

    On a CPU the usual Bernoulli sampler draws one number per element on one core and takes a fifth of a training
    step. Here one 64-bit draw serves four elements (16 bits each), so that the kept share is a multiple of 1/65536:
    for ``p = 0.1`` it is 0.90000916, and the scale is one over that. The draws are those of a generator that torch's
    default one seeds at each call, so that seeds and saved generator states reproduce them.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        # 16 random bits are uniform on [-32768, 32767]; elements below the threshold are dropped, some are kept.
        self._threshold = min(max(round(p * 65536) - 32768, -32767), 32767)
        self._scale = 65536 / (32768 - self._threshold)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape in, the same shape out; the identity in evaluation mode."""
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        return x * self._mask(x)

    def after_relu(self, x: Tensor) -> Tensor:
        """``self(relu(x))``."""
        if not self.training or self.p == 0 or x.device.type != "cpu":
            return self.forward(torch.relu(x))
        y: Tensor = _DroppedRelu.apply(x, self._mask(x), self._scale)  # type: ignore[no-untyped-call]
        return y

    def _mask(self, like: Tensor) -> Tensor:
        """0 for dropped, the scale for kept elements."""
        seed = int(torch.empty((), dtype=torch.int64).random_())
        words = np.random.SFC64(seed).random_raw((like.numel() + 3) // 4)
        bits = torch.from_numpy(words.view(np.int16))[: like.numel()].view(like.shape)
        # 0 and 1 by arithmetic: PyTorch has vector instructions for it, but none for comparisons to bool.
        keep = bits.clamp_(self._threshold - 1, self._threshold).sub_(self._threshold - 1)
        return keep.to(like.dtype).mul_(self._scale)


class _DroppedRelu(torch.autograd.Function):
    """The product of ReLU and a mask. What is above zero in the result tells both: only the result is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor, scale: float) -> Tensor:
        result = x.clamp_min(0).mul_(mask)
        ctx.save_for_backward(result)
        ctx.scale = torch.tensor(scale, dtype=x.dtype)  # rounded as in the mask
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        (result,) = ctx.saved_tensors
        return torch.ops.aten.threshold_backward(upstream, result, 0).mul_(ctx.scale), None, None
