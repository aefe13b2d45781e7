"""The network's mathematics as one would first write it: every slice at full size, nothing folded, joined or skipped.

It takes the weights of a trunk and a head, so that the same forecast and the same gradients are expected of both. It
stands here to be compared with, for numbers (tests) and for time (``benchmarks.network``).

Shapes: B batch, T steps, F forecast steps, N nodes, C channels, D width.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmust.model import Head, Inputs, Trunk

SPACE, TIME = 2, 1
"""The axes of ``(B, T, N, D)`` to attend along."""


def plain_forecast(trunk: Trunk, head: Head, inputs: Inputs) -> Tensor:
    """The forecast ``(B, F, N, C)`` in original units."""
    if not trunk.config.seasonal:
        return _network(trunk, head, inputs, (inputs.values - head.mean) / head.std) * head.std + head.mean
    level, base = head.seasonal(inputs)
    values = inputs.values / level
    features = torch.cat(
        ((values - head.mean) / head.std, (values - inputs.average) / head.unit(inputs.average)), dim=-1
    )
    return base + level * head.unit(inputs.average_ahead) * _network(trunk, head, inputs, features)


def _network(trunk: Trunk, head: Head, inputs: Inputs, features: Tensor) -> Tensor:
    config = trunk.config
    h = _embed(trunk, head, inputs, features)
    for block in trunk.blocks:
        axes = [("scci", SPACE), ("tcci", TIME)]
        for name, axis in axes if config.order == "space_first" else reversed(axes):
            if axis == TIME and config.positional_encoding:
                h = h + block.encoding[None, :, None]
            if config.cross_interactions:
                h = _cross(getattr(block, name), h, axis, trunk)
        for axis, interactions in ((TIME, block.tsi), (SPACE, block.ssi)):
            for interaction in interactions:
                h = _interact(interaction, h, h, axis, config.heads, trunk.training)
    return _fuse(trunk, h, inputs.values.shape[-1])


def _embed(trunk: Trunk, head: Head, inputs: Inputs, features: Tensor) -> Tensor:
    """``H`` (Eq. 1), with the calendar repeated at every node and the places at every step."""
    embedding, config = trunk.embedding, trunk.config
    b, t, n, k = features.shape
    slot, dow = (x[:, :, None].expand(b, t, n).contiguous() for x in (inputs.slot, inputs.dow))
    stamp = inputs.stamp if config.dates else inputs.stamp * inputs.stamp.new_tensor([0, 0, 1, 1, 1, 0])
    stamp = stamp[:, :, None].expand(b, t, n, 6).contiguous()
    clock = torch.stack((slot / embedding.time_of_day.num_embeddings, dow.to(features.dtype)), dim=-1)
    o = embedding.observation[str(k)](torch.cat((features, clock.to(features.dtype)), dim=-1))
    s = embedding.space(inputs.place.expand(b, t, n, 2).contiguous())
    parts = (embedding.timestamp(stamp), embedding.time_of_day(slot), embedding.day_of_week(dow))
    p = head.prompt().expand(t, n, config.d_p).expand(b, t, n, config.d_p)
    return torch.cat((o, s, embedding.time(torch.cat(parts, dim=-1)), p), dim=-1)


def _cross(interaction: nn.Module, h: Tensor, axis: int, trunk: Trunk) -> Tensor:
    """One cross-interaction, both directions, written back into ``H`` (Eq. 2-6)."""
    config = trunk.config
    widths = [config.d_obs, config.d_s, config.d_t, config.d_p]
    slices = list(h.split(widths, dim=-1))
    which = 1 if axis == SPACE else 2
    o, context = slices[0], slices[which]
    more = (axis, config.heads, trunk.training)
    slices[0] = _interact(interaction.to_observation, context, o, *more)
    query = slices[0] if config.cross == "sequential" else o
    slices[which] = _interact(interaction.to_context, query, context, *more)
    return torch.cat(slices, dim=-1)


def _interact(interaction: nn.Module, query: Tensor, target: Tensor, axis: int, heads: int, training: bool) -> Tensor:
    p = interaction.dropout.p
    attended = _attend(interaction.attention, query, target, axis, heads)
    u = interaction.norm_attention(F.dropout(attended, p, training) + target)
    hidden = F.dropout(F.relu(interaction.expand(u)), p, training)
    return interaction.norm_ffn(interaction.contract(hidden) + u)


def _attend(attention: nn.Module, query: Tensor, target: Tensor, axis: int, heads: int) -> Tensor:
    """Multi-head attention with the axis moved next to the width and back again."""
    q, k, v = attention.query(query), attention.key(target), attention.value(target)
    if axis == TIME:
        q, k, v = (x.transpose(1, 2).contiguous() for x in (q, k, v))
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(-3, -2).contiguous() for x in (q, k, v))
    weights = torch.softmax(q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1]), dim=-1)
    mixed = (weights @ v).transpose(-3, -2).flatten(-2)
    return attention.output(mixed.transpose(1, 2) if axis == TIME else mixed)


def _fuse(trunk: Trunk, h: Tensor, channels: int) -> Tensor:
    """Fusion and regression over all steps of a node (Eq. 15)."""
    config, fusion = trunk.config, trunk.fusion[str(channels)]
    if config.fusion == "sum":
        o, s, t, p = h.split([config.d_obs, config.d_s, config.d_t, config.d_p], dim=-1)
        z = fusion.observation(o) + fusion.space(s) + fusion.time(t)
        h = fusion.z(z) + fusion.prompt(p)
    y = fusion.output(h.transpose(1, 2).flatten(-2))
    return y.unflatten(-1, (config.horizon, channels)).transpose(1, 2)
