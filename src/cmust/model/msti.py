"""Multi-dimensional spatio-temporal interaction (4.3): cross-interactions with context, self-interactions in time and
space.

Slices of ``H``: o observations, s spatial context, t temporal context, p prompt; each ``(B, T, N, d)``, with length 1
along an axis on which it does not vary yet.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from cmust.model.attention import Interaction
from cmust.model.config import ModelConfig
from cmust.model.embedding import positional_encoding
from cmust.model.mixing import Axis


class Slices(NamedTuple):
    """The four slices of ``H`` (Eq. 1)."""

    o: Tensor
    s: Tensor
    t: Tensor
    p: Tensor

    def join(self) -> Tensor:
        """``H`` itself, ``(B, T, N, d_h)``."""
        shape = torch.broadcast_shapes(*(part.shape[:-1] for part in self))
        return torch.cat([part.expand(*shape, -1) for part in self], dim=-1)


class CrossInteraction(nn.Module):
    """Observations and one context, each updated by queries of the other (Eq. 2-6)."""

    def __init__(self, config: ModelConfig, d_context: int, axis: Axis) -> None:
        super().__init__()
        shared = (config.cross_width, config.heads, config.ffn_width, config.dropout)
        self.axis: Axis = axis
        self.sequential = config.cross == "sequential"
        self.to_observation = Interaction(d_context, config.d_obs, *shared)
        self.to_context = Interaction(config.d_obs, d_context, *shared)

    def forward(self, observation: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """The updated observations and context."""
        updated = self.to_observation(context, observation, self.axis)
        query = updated if self.sequential else observation
        return updated, self.to_context(query, context, self.axis)


class MSTI(nn.Module):
    """One block: SCCI and TCCI in the preset's order, then TSI, then SSI.

    Attributes:
        recompute: activation checkpointing of the self-interactions, which hold nearly all activations.
    """

    encoding: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        if config.cross_interactions:
            self.scci: CrossInteraction | None = CrossInteraction(config, config.d_s, "space")
            self.tcci: CrossInteraction | None = CrossInteraction(config, config.d_t, "time")
        else:
            self.scci = self.tcci = None
        d_h, repeats = config.d_h, range(config.self_repeats)
        shared = (config.self_width, config.heads, config.ffn_width, config.dropout)
        self.tsi = nn.ModuleList(Interaction(d_h, d_h, *shared) for _ in repeats)
        self.ssi = nn.ModuleList(Interaction(d_h, d_h, *shared) for _ in repeats)
        self.space_first = config.order == "space_first"
        self.widths = (config.d_obs, config.d_s, config.d_t, config.d_p)
        self.encodes = config.positional_encoding
        self.register_buffer("encoding", positional_encoding(config.input_steps, d_h), persistent=False)
        self.recompute = False

    def forward(self, slices: Slices) -> Tensor:
        """Slices in, ``H`` ``(B, T, N, d_h)`` out."""
        slices = self._time(self._space(slices)) if self.space_first else self._space(self._time(slices))
        h = slices.join()
        for interaction in self.tsi:
            h = self._interact(interaction, h, "time")
        for interaction in self.ssi:
            h = self._interact(interaction, h, "space")
        return h

    def _interact(self, interaction: nn.Module, h: Tensor, axis: Axis) -> Tensor:
        """A self-interaction; its inner activations are kept for the gradient, or computed again for it."""
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(interaction, h, h, axis, use_reentrant=False)  # type: ignore[no-any-return]
        return interaction(h, h, axis)  # type: ignore[no-any-return]

    def _space(self, slices: Slices) -> Slices:
        if self.scci is None:
            return slices
        o, s = self.scci(slices.o, slices.s)
        return slices._replace(o=o, s=s)

    def _time(self, slices: Slices) -> Slices:
        if self.encodes:
            parts = self.encoding[None, :, None, :].split(self.widths, dim=-1)
            slices = Slices(*(part + encoding for part, encoding in zip(slices, parts, strict=True)))
        if self.tcci is None:
            return slices
        o, t = self.tcci(slices.o, slices.t)
        return slices._replace(o=o, t=t)
