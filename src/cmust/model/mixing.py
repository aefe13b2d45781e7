"""What attention does between its projections, sparing with memory.

Written as single operations, each matrix of attention weights is four tensors: scores, weights and the gradients of
both, large where there are many nodes and new to the processor's caches and page tables. On a CPU scores become
weights where they lie instead, a few slices at a time; training keeps the weights, but of their gradients a few slices
only; and results are written where the next product reads them.

Shapes: B batch, T steps, N nodes, H heads, E = D / H, L the attended axis, N in space, T in time.
"""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

Axis = Literal["space", "time"]

PART = 2**21
"""Attention weights that are computed at a time: a few megabytes, or one slice where that is more."""
KEPT_NODES = {torch.bfloat16: 1024}
"""Up to so many nodes a slice of the weights over space is held at once, and all of them are kept for the gradient; 256
in other precisions. Of more nodes they are computed by tiles, for the gradient once more, which takes less time from
there on (fp32) or not yet (bf16), but then memory is dear."""
KEPT_WEIGHTS = 2**26
"""At most so many are kept: 128 MiB in bf16."""
VECTOR_BYTES = 64
"""What the widest vector instructions take at once. PyTorch's softmax of rows that are shorter is slow: of 12 numbers,
eight (fp32) or four times (bf16) as slow as that of the columns of a transposed copy, with the copies."""
SUMS = (1e-30, 1e30)
"""Sums of exponentials between these have lost nothing to numbers too large or too small for the format."""


def mix(axis: Axis, *packed: Tensor) -> Tensor:
    """``softmax(q k^T) v`` along an axis (Eq. 2-5, 7; the scale is in q), ``(B, T, N, H, E)``.

    Args:
        axis: of the attention.
        packed: q, k and v as their projections give them, ``(B, T, N, parts, H, E)``: all three in one tensor, or q in
            one, k and v in another. An axis along which one does not vary may have length 1 where another varies.
    """
    shape = torch.broadcast_shapes(*(x.shape[:3] for x in packed))
    packed = tuple(x.expand(*shape, *x.shape[3:]) for x in packed)
    q = packed[0]
    # A program that is compiled or exported is of any number of windows, and parts are of a known one.
    compiling = torch.compiler.is_compiling()
    on_cpu = q.device.type == "cpu" and not compiling
    learns = torch.is_grad_enabled() and any(x.requires_grad for x in packed)
    if on_cpu and learns and (axis == "time" or _may_keep(q)):
        mixed: Tensor = Mix.apply(axis, *packed)  # type: ignore[no-untyped-call]
        return mixed
    # PyTorch's fused attention, the other way in space, is as fast in fp32, and slower in bf16.
    if on_cpu and not learns and (axis == "time" or (q.dtype == torch.bfloat16 and _few_nodes(q))):
        return _by_parts(axis, packed)
    if axis == "space" and (compiling or len(q)):  # PyTorch's refuses an empty batch on some GPUs
        return _by_tiles(axis, packed)
    # Along time a node has few weights; an empty batch has none.
    return _heads_last(attention_weights(axis, *packed) @ _unpacked(axis, packed)[2], axis)


def attention_weights(axis: Axis, *packed: Tensor) -> Tensor:
    """``softmax(q k^T)`` of all slices, ``(B, T, H, N, N)`` in space, ``(B, N, H, T, T)`` in time."""
    q, k, _ = _unpacked(axis, packed)
    return torch.softmax(q @ k.transpose(-1, -2), dim=-1)


def _few_nodes(q: Tensor) -> bool:
    """Whether a slice over space is small enough to be held at once."""
    return q.shape[2] <= KEPT_NODES.get(q.dtype, 256)


def _may_keep(q: Tensor) -> bool:
    """Whether the weights over space are few enough to be kept."""
    windows, steps, nodes, _, heads, _ = q.shape
    return _few_nodes(q) and windows * steps * heads * nodes**2 <= KEPT_WEIGHTS


def _heads_first(x: Tensor, axis: Axis) -> Tensor:
    """``(B, T, N, H, E)`` as ``(B, T, H, N, E)`` in space, ``(B, N, H, T, E)`` in time: a view."""
    return x.transpose(2, 3) if axis == "space" else x.permute(0, 2, 3, 1, 4)


def _heads_last(x: Tensor, axis: Axis) -> Tensor:
    """The inverse of ``_heads_first``."""
    return x.transpose(2, 3) if axis == "space" else x.permute(0, 3, 1, 2, 4)


def _unpacked(axis: Axis, packed: tuple[Tensor, ...]) -> list[Tensor]:
    """q, k, v, heads first: views."""
    return [_heads_first(part, axis) for x in packed for part in x.unbind(3)]


def _by_tiles(axis: Axis, packed: tuple[Tensor, ...]) -> Tensor:
    """By PyTorch's fused attention: memory grows with the nodes, not with their square."""
    q, k, v = _unpacked(axis, packed)
    width = q.shape[-1]
    if q.dtype == torch.float32 and q.device.type != "cpu":
        # On GPUs its tiles take fp32 in whole 16 bytes only; other widths go the way that holds all weights.
        q, k, v = (F.pad(x, (0, -width % 4)) for x in (q, k, v))
    mixed = F.scaled_dot_product_attention(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), scale=1.0)
    return _heads_last(mixed[..., :width].unflatten(0, q.shape[:2]), axis)


def _by_parts(axis: Axis, packed: tuple[Tensor, ...]) -> Tensor:
    """Without gradients. Weights are left as exponentials; it is the result that is divided by their sums, which the
    product gives too, as v has a column of ones.
    """
    q, k, v = _unpacked(axis, packed)
    q, k, width = q.contiguous(), k.contiguous(), v.shape[-1]
    ones = v.new_ones(*v.shape[:-1], width + 1)
    ones[..., :width] = v
    mixed = torch.empty_like(_heads_last(v, axis), memory_format=torch.contiguous_format)
    result = _heads_first(mixed, axis)
    for part in _parts(torch.Size((*q.shape[:-1], k.shape[-2]))):
        sums = (q[part] @ k[part].transpose(-1, -2)).exp_() @ ones[part]
        weighted, total = sums[..., :width], sums[..., width:]
        if ((total > SUMS[0]) & (total < SUMS[1])).all():
            torch.div(weighted, total, out=result[part])
        else:
            result[part] = _to_weights(q[part] @ k[part].transpose(-1, -2)) @ v[part]
    return mixed


class Mix(torch.autograd.Function):
    """``mix`` on a CPU with a first derivative, its weights kept."""

    @staticmethod
    def forward(ctx: Any, axis: Axis, *packed: Tensor) -> Tensor:
        """The mixed values."""
        q, k, v = (x.contiguous() for x in _unpacked(axis, packed))  # as the products of both passes want them
        weights = q.new_empty(*q.shape[:-1], k.shape[-2])
        mixed = torch.empty_like(_heads_last(v, axis), memory_format=torch.contiguous_format)
        result = _heads_first(mixed, axis)
        for part in _parts(weights.shape):
            scores = torch.matmul(q[part], k[part].transpose(-1, -2), out=weights[part])
            result[part] = _to_weights(scores) @ v[part]
        ctx.save_for_backward(q, k, v, weights)
        ctx.axis, ctx.shapes = axis, [x.shape for x in packed]
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of what was packed."""
        q, k, v, weights = ctx.saved_tensors
        gradients = tuple(q.new_empty(shape) for shape in ctx.shapes)
        of_q, of_k, of_v = _unpacked(ctx.axis, gradients)
        of_mixed = _heads_first(upstream, ctx.axis)
        for part in _parts(weights.shape):
            of_result, weight = of_mixed[part].contiguous(), weights[part]
            of_v[part] = weight.transpose(-1, -2) @ of_result
            of_scores = of_result @ v[part].transpose(-1, -2)
            _to_gradient_of_scores(of_scores, weight)
            of_q[part] = of_scores @ k[part]
            of_k[part] = of_scores.transpose(-1, -2) @ q[part]
        return None, *gradients


def _parts(shape: torch.Size) -> Iterator[tuple[slice, slice]]:
    """Parts of the first two axes of attention weights ``(., ., H, L, L)``, each of about ``PART`` of them; none of an
    empty batch (the share of a process that got none of a last batch).
    """
    first, second, *one = shape
    pairs = max(1, PART // max(1, torch.Size(one).numel()))
    rows, columns = max(1, pairs // max(1, second)), max(1, min(pairs, second))
    for row in range(0, first, rows):
        for column in range(0, second, columns):
            yield slice(row, row + rows), slice(column, column + columns)


def _to_weights(scores: Tensor) -> Tensor:
    """The softmax of the last axis of ``(..., L, L)``, in the place of the scores."""
    if _has_long_rows(scores):
        torch.softmax(scores, dim=-1, out=scores)
        return scores
    return scores.copy_(_as_rows(torch.softmax(_as_columns(scores), dim=1), scores.shape))


def _to_gradient_of_scores(of_weights: Tensor, weights: Tensor) -> None:
    """The gradient of the scores in the place of that of the weights."""
    if _has_long_rows(weights):
        torch._softmax_backward_data(of_weights, weights, -1, weights.dtype, grad_input=of_weights)
    else:
        columns = torch._softmax_backward_data(_as_columns(of_weights), _as_columns(weights), 1, weights.dtype)
        of_weights.copy_(_as_rows(columns, weights.shape))


def _has_long_rows(x: Tensor) -> bool:
    return x.shape[-1] * x.element_size() >= VECTOR_BYTES


def _as_columns(x: Tensor) -> Tensor:
    """``(..., L, L)`` as ``(L, L, all the rest)``, where a vector instruction takes numbers of many matrices."""
    columns: Tensor = x.flatten(-2).flatten(0, -2).t().contiguous()
    return columns.unflatten(0, x.shape[-2:])  # type: ignore[no-any-return]


def _as_rows(columns: Tensor, shape: torch.Size) -> Tensor:
    """The inverse of ``_as_columns``: a view."""
    return columns.flatten(0, 1).t().view(shape)
