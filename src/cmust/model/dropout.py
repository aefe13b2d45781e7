"""Dropout whose random bits are cheap on a CPU."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Dropout(nn.Module):
    """Zero each element with probability ``p`` and scale the rest by ``1 / (1 - p)``.

    On a CPU the usual Bernoulli sampler draws one number per element on one core and takes a fifth of a training
    step. Here one
    64-bit draw serves four elements (16 bits each), so that the kept share is a multiple of 1/65536: for ``p = 0.1``
    it is
    0.90000916. The draws come from torch's default generator, so that seeds and saved generator states reproduce them.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        # int16 draws are uniform on [-32768, 32767]; elements below the threshold are dropped.
        self._threshold = round(p * 65536) - 32768

    def forward(self, x: Tensor) -> Tensor:
        """Any shape in, the same shape out; the identity in evaluation mode."""
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.p)
        words = torch.empty((x.numel() + 3) // 4, dtype=torch.int64)
        words.random_(-(2**63), None)
        keep = words.view(torch.int16)[: x.numel()].view(x.shape) >= self._threshold
        return x * keep.to(x.dtype).mul_(1 / (1 - self.p))
