"""Data representation: observations, places and clock become slices of ``H`` (4.2, Eq. 1; C.1)."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmust.model.config import ModelConfig


class Embedding(nn.Module):
    """The shared embeddings. Tasks with the same number of input features share an observation layer.

    Shapes: B batch, T steps, N nodes, C channels, K features of one node and step besides the clock.
    """

    def __init__(self, config: ModelConfig, slots_per_day: int, feature_counts: tuple[int, ...]) -> None:
        super().__init__()
        self.observation = nn.ModuleDict({str(k): nn.Linear(k + 2, config.d_obs) for k in sorted(set(feature_counts))})
        self.space = nn.Linear(2, config.d_s)
        self.dates = config.dates
        self.timestamp = nn.Linear(6, config.d_ts)
        self.time_of_day = nn.Embedding(slots_per_day, config.d_tod)
        self.day_of_week = nn.Embedding(7, config.d_dow)
        self.time = nn.Linear(config.d_ts + config.d_tod + config.d_dow, config.d_t)

    def observe(self, features: Tensor, slot: Tensor, dow: Tensor) -> Tensor:
        """``[features, time of day, day of week]`` to ``(B, T, N, d_obs)``.

        Args:
            features: ``(B, T, N, K)``, standardised.
            slot: ``(B, T)``, row of the time-of-day table; its fraction of the day is the feature.
            dow: ``(B, T)``, 0 is Monday; the number itself is the feature.
        """
        layer = self.observation[str(features.shape[-1])]
        clock = torch.stack((slot / self.time_of_day.num_embeddings, dow.to(features.dtype)), dim=-1)
        # The clock is the same at all nodes: its part of the product is computed once per step.
        split = features.shape[-1]
        by_node = F.linear(features, layer.weight[:, :split])  # type: ignore[index]
        by_step = F.linear(clock.to(features.dtype), layer.weight[:, split:], layer.bias)  # type: ignore[arg-type, index]
        return by_node + by_step.unsqueeze(2)

    def place(self, coordinates: Tensor) -> Tensor:
        """Coordinates ``(N, 2)`` to ``(1, 1, N, d_s)``."""
        return self.space(coordinates)[None, None]  # type: ignore[no-any-return]

    def clock(self, slot: Tensor, dow: Tensor, stamp: Tensor) -> Tensor:
        """Slots ``(B, T)``, days ``(B, T)`` and timestamp numbers ``(B, T, 6)`` to ``(B, T, 1, d_t)``."""
        if not self.dates:
            # month, day and years tell single days apart
            stamp = torch.cat((torch.zeros_like(stamp[..., :2]), stamp[..., 2:5], torch.zeros_like(stamp[..., 5:])), -1)
        parts = (self.timestamp(stamp), self.time_of_day(slot), self.day_of_week(dow))
        return self.time(torch.cat(parts, dim=-1)).unsqueeze(2)  # type: ignore[no-any-return]


def positional_encoding(steps: int, width: int) -> Tensor:
    """Sines and cosines of the step within the window, ``(steps, width)`` (Eq. 14).

    Computed even where weights are only laid out (``meta``).
    """
    position = torch.arange(steps, dtype=torch.float32, device="cpu").unsqueeze(1)
    rank = torch.arange(0, width, 2, dtype=torch.float32, device="cpu")
    angle = position * torch.exp(rank * (-math.log(10000.0) / width))
    encoding = torch.zeros(steps, width, device="cpu")
    encoding[:, 0::2] = torch.sin(angle)
    encoding[:, 1::2] = torch.cos(angle)[:, : width // 2]
    return encoding
