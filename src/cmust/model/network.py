"""The shared trunk and a task's own head: together one forecaster of one task (Figure 2).

Shapes: B batch, T input steps, F = T' forecast steps, N nodes, C channels, K input features of a node and step.
"""

import re
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cmust.model.config import ModelConfig
from cmust.model.embedding import Embedding
from cmust.model.fusion import Flatten, Sum
from cmust.model.msti import MSTI, Slices

_FUSION = re.compile(r"fusion\.([0-9]{1,4})\.")


class Inputs(NamedTuple):
    """What the network sees of a batch of windows. Values are in original units.

    Attributes:
        values: ``(B, T, N, C)``, missing ones filled.
        slot: ``(B, T)`` int64, row of the city's time-of-day table.
        dow: ``(B, T)`` int64, 0 is Monday.
        stamp: ``(B, T, 6)``, timestamp numbers.
        place: ``(N, 2)``, coordinates standardised over the city.
        average: ``(B, T, N, C)``, the seasonal expectation (a weekly average or profile) at the input steps.
        average_ahead: ``(B, F, N, C)``, the same at the forecast steps.
    """

    values: Tensor
    slot: Tensor
    dow: Tensor
    stamp: Tensor
    place: Tensor
    average: Tensor
    average_ahead: Tensor


class Trunk(nn.Module):
    """Everything that is shared by the tasks. No weight depends on the number of nodes."""

    def __init__(self, config: ModelConfig, slots_per_day: int, channel_counts: tuple[int, ...]) -> None:
        super().__init__()
        self.config = config
        per_channel = 2 if config.seasonal else 1
        self.embedding = Embedding(config, slots_per_day, tuple(per_channel * c for c in channel_counts))
        self.blocks = nn.ModuleList(MSTI(config) for _ in range(config.blocks))
        fusion = Sum if config.fusion == "sum" else Flatten
        self.fusion = nn.ModuleDict({str(c): fusion(config, c) for c in sorted(set(channel_counts))})
        if config.seasonal:
            # The first forecast is the seasonal one; what is learned is what is left.
            for head in self.fusion.values():
                nn.init.zeros_(head.output.weight)  # type: ignore[union-attr, arg-type]
                nn.init.zeros_(head.output.bias)  # type: ignore[union-attr, arg-type]

    def recompute(self, on: bool) -> None:
        """Activation checkpointing on or off (``training.recompute``)."""
        for block in self.blocks:
            block.recompute = on  # type: ignore[assignment]  # nn.Module knows of tensors and modules only

    def forward(
        self, features: Tensor, slot: Tensor, dow: Tensor, stamp: Tensor, place: Tensor, prompt: Tensor, channels: int
    ) -> Tensor:
        """Standardised features ``(B, T, N, K)``, clock, place and prompt ``(T or 1, N, d_p)`` to ``(B, F, N, C)``,
        standardised.

        Raises:
            ValueError: steps, features, channels or prompt are not those the trunk was made for.
        """
        self._check(features, prompt, channels)
        embedding = self.embedding
        slices = Slices(
            o=embedding.observe(features, slot, dow),
            s=embedding.place(place),
            t=embedding.clock(slot, dow, stamp),
            p=prompt[None],
        )
        widths = tuple(part.shape[-1] for part in slices)
        for index, block in enumerate(self.blocks):
            h = block(slices)
            if index + 1 < len(self.blocks):
                slices = Slices(*h.split(widths, dim=-1))
        return self.fusion[str(channels)](h)  # type: ignore[no-any-return]

    def _check(self, features: Tensor, prompt: Tensor, channels: int) -> None:
        """Name what does not fit, which otherwise fails deep inside. Sizes of the free axes are compared with each
        other before they are with 1, so that ``torch.export`` leaves them free.
        """
        config, (_, steps, nodes, width) = self.config, features.shape
        if steps != config.input_steps:
            raise ValueError(f"the trunk was made for windows of T = {config.input_steps} input steps, not {steps}")
        if str(channels) not in self.fusion:
            raise ValueError(f"the trunk was made for tasks of C = {_listed(self.fusion)} channels, not {channels}")
        if str(width) not in self.embedding.observation:
            known, per_channel = _listed(self.embedding.observation), 2 if config.seasonal else 1
            raise ValueError(
                f"the trunk was made for K = {known} features of a node and step ({per_channel} per channel), "
                f"not {width}"
            )
        if prompt.shape[-1] != config.d_p:
            raise ValueError(f"the trunk was made for prompts of width d_p = {config.d_p}, not {prompt.shape[-1]}")
        if prompt.shape[-2] != nodes and prompt.shape[-2] != 1:
            raise ValueError(f"the prompt is of {prompt.shape[-2]} nodes, the windows are of {nodes}")


def _listed(counts: nn.Module) -> str:
    """``1 or 2``: what a trunk has layers for."""
    return " or ".join(name for name, _ in counts.named_children())


class Head(nn.Module):
    """What belongs to one task alone and is never frozen: its prompt, its scale, its ways back to the recent level.

    Attributes:
        prompt: gives ``(T or 1, N, d_p)``.
        mean, std: ``(C,)``, of the training part.
        spread: ``(C,)``, what deviations from the weekly average came to in the training part (root mean square). None
            where they are measured in ``std``: without ``seasonal``, or with ``spread`` "task".
        power: scalar in [0, 1], how far the weekly average follows the recent level of the whole city (``seasonal``
            only; chosen on validation data). That level is taken out of what the network sees, so that a drift it
            never saw cannot mislead it.
        level: ``(F, 1, C)``; its sigmoid is how far the average of a node is drawn to the node's own recent level,
            learned. None where there are no levels: without ``seasonal``, or with ``power`` None.
    """

    mean: Tensor
    std: Tensor
    spread: Tensor | None
    power: Tensor

    def __init__(
        self,
        config: ModelConfig,
        prompt: nn.Module,
        mean: Tensor,
        std: Tensor,
        power: float | None = 0.0,
        spread: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.prompt = prompt
        self.register_buffer("mean", mean.clone())
        self.register_buffer("std", std.clone())
        by_expected = config.seasonal and config.spread == "expected"
        self.register_buffer("spread", (std if spread is None else spread).clone() if by_expected else None)
        self.register_buffer("power", torch.tensor(power or 0.0))
        leveled = config.seasonal and power is not None
        self.level = nn.Parameter(torch.zeros(config.horizon, 1, len(mean))) if leveled else None

    def seasonal(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        """The city's level ``(B, 1, 1, C)``, and the weekly average ahead at the recent levels ``(B, F, N, C)``,
        original units.
        """
        if self.level is None:
            return seasonal(inputs, None, 0.0)
        return seasonal(inputs, self.power, torch.sigmoid(self.level))

    def unit(self, expected: Tensor) -> Tensor:
        """What a deviation is measured in where so much is expected, original units; broadcasts with ``expected``
        ``(..., N, C)``.

        Counts scatter about in proportion to the square root of what is expected (Poisson; Taylor's law): measured so,
        a deviation of a quiet place at night is as telling as one of a busy place at noon. Where nothing is expected, a
        tenth of the ``spread`` is left. What has no levels (temperatures) has no such law.
        """
        if self.spread is None:
            return self.std
        if self.level is None:
            return self.spread
        usual = torch.where(self.mean > 0, self.mean, self.std)
        return self.spread * ((expected.clamp(min=0) / usual + 0.01) / 1.01).sqrt()


def seasonal(inputs: Inputs, power: Tensor | float | None, share: Tensor | float) -> tuple[Tensor, Tensor]:
    """The weekly average ahead, following the city's recent level to a power and each node's own by a share.

    A level is a ratio of amounts. Temperatures have none (4 degrees are not twice 2): ``power`` None leaves the average
    as it is.

    Returns:
        The city's level ``(B, 1, 1, C)``, and the seasonal forecast ``(B, F, N, C)`` in original units.
    """
    if power is None:
        return inputs.average_ahead.new_ones(1, 1, 1, 1), inputs.average_ahead
    observed, expected = inputs.values, inputs.average
    city = recent_ratio(observed.sum((1, 2), keepdim=True), expected.sum((1, 2), keepdim=True)) ** power
    node = recent_ratio(observed.sum(1, keepdim=True), city * expected.sum(1, keepdim=True))
    return city, inputs.average_ahead * city * (1 + share * (node - 1))


def recent_ratio(observed: Tensor, expected: Tensor) -> Tensor:
    """``(observed + 5) / (expected + 5)``, within [0.2, 5]: near 1 where next to nothing is expected."""
    return ((observed + 5) / (expected + 5)).nan_to_num(1.0).clamp(0.2, 5)


def channel_counts(weights: Iterable[str]) -> tuple[int, ...]:
    """The numbers of channels that a trunk has layers for, by the names of its weights, ascending."""
    return tuple(sorted({int(found[1]) for found in map(_FUSION.match, weights) if found}))


def forecast(
    trunk: Trunk, head: Head, inputs: Inputs, prompt: Tensor | None = None, nodes: Tensor | None = None
) -> Tensor:
    """The forecast ``(B, F, N, C)`` in original units.

    Args:
        trunk, head: of the task.
        inputs: of the windows.
        prompt: ``(T or 1, N, d_p)``; the head's own when not given.
        nodes: ``(K,)`` indices of the nodes that are forecast, and that see each other, ``(B, F, K, C)``; all when not
            given. The city's level is that of all nodes in any case.

    Raises:
        ValueError: steps, channels or prompt are not those that trunk and head were made for.
    """
    channels = inputs.values.shape[-1]
    if channels != len(head.mean):
        raise ValueError(f"the head was made for a task of C = {len(head.mean)} channels, not {channels}")
    prompt = at_nodes(head.prompt() if prompt is None else prompt, nodes)
    context = (inputs.slot, inputs.dow, inputs.stamp, at_nodes(inputs.place, nodes), prompt, channels)
    values = at_nodes(inputs.values, nodes)
    if not trunk.config.seasonal:
        plain: Tensor = trunk((values - head.mean) / head.std, *context)
        return plain * head.std + head.mean
    level, base = head.seasonal(inputs)
    values, average = values / level, at_nodes(inputs.average, nodes)
    features = torch.cat(((values - head.mean) / head.std, (values - average) / head.unit(average)), dim=-1)
    left: Tensor = trunk(features, *context)
    return at_nodes(base, nodes) + level * head.unit(at_nodes(inputs.average_ahead, nodes)) * left


def at_nodes(of_all: Tensor, nodes: Tensor | None) -> Tensor:
    """``(..., N, C)`` at some of the nodes ``(K,)``; what is the same for all, ``(..., 1, C)``, stays."""
    return of_all if nodes is None or of_all.shape[-2] == 1 else of_all.index_select(-2, nodes)
