"""Small parts that more than one system has."""

import torch
from torch import Tensor, nn
from torch.nn import functional


class Fit(nn.Module):
    """To ``width`` channels: by a linear map from more, with empty ones behind from fewer."""

    def __init__(self, width_in: int, width: int) -> None:
        super().__init__()
        self.missing = width - width_in
        self.narrow = nn.Linear(width_in, width, bias=False) if width_in > width else None

    def forward(self, x: Tensor) -> Tensor:
        """``(..., width_in)`` to ``(..., width)``."""
        fitted: Tensor = functional.pad(x, (0, self.missing)) if self.narrow is None else self.narrow(x)
        return fitted


def waves(position: Tensor, width: int) -> Tensor:
    """``(positions, width)``: sines of ever longer waves, then cosines of the same (Vaswani et al., NeurIPS 2017)."""
    angle = position[:, None] / 10000 ** (torch.arange(width // 2) / (width / 2))
    return torch.cat((angle.sin(), angle.cos()), dim=1)


def draw(network: nn.Module) -> None:
    """Starting weights: matrices by Glorot and Bengio (AISTATS 2010), vectors uniform in 0 to 1."""
    for parameter in network.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
        else:
            nn.init.uniform_(parameter)
