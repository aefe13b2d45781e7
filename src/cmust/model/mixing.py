"""What attention does between its projections, sparing with memory.

Written as single operations, each ``(L, L)`` matrix of attention weights is four tensors: scores, weights and the
gradients of both, each as large as all other activations together and new to the processor's caches and page tables.
On a CPU scores become weights where they lie instead, gradients of weights live for a few slices at a time, and results
are written where the next product reads them.

Shapes: B batch, T steps, N nodes, H heads, E = D / H; L the attended axis, N in space, T in time.
"""

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

Axis = Literal["space", "time"]

AT_ONCE = 2**21
"""Attention weights that are computed at a time; their bytes fit the cache of a core."""
FEW_NODES, FEW_NODES_BF16 = 256, 1024
"""Up to here the weights are kept for the gradient. Of more nodes they are computed again, by tiles: in fp32 that takes
less time from there on, in bf16 not yet at 1,024, but then memory is dear (``benchmarks/network.py``)."""


def mix(axis: Axis, *packed: Tensor) -> Tensor:
    """``softmax(q k^T) v`` along an axis (Eq. 2-5, 7; the scale is in q), ``(B, T, N, H, E)``.

    Args:
        axis: of the attention.
        packed: q, k and v as their projections give them, ``(B, T, N, parts, H, E)``: all three in one tensor, or q in
            one, k and v in another. An axis along which one does not vary may have length 1 where another varies.
    """
    shape = torch.broadcast_shapes(*(x.shape[:3] for x in packed))
    packed = tuple(x.expand(*shape, *x.shape[3:]) for x in packed)
    learns = torch.is_grad_enabled()
    few = FEW_NODES_BF16 if packed[0].dtype == torch.bfloat16 else FEW_NODES
    if packed[0].device.type != "cpu" or (axis == "space" and not (learns and shape[2] <= few)):
        return _by_tiles(axis, *packed)
    if not learns:
        return _at_once(axis, *packed)
    mixed: Tensor = Mix.apply(axis, *packed)  # type: ignore[no-untyped-call]
    return mixed


def attention_weights(axis: Axis, *packed: Tensor) -> Tensor:
    """``softmax(q k^T)`` of all slices, ``(B, T, H, N, N)`` in space, ``(B, N, H, T, T)`` in time."""
    q, k, _ = (_heads_first(part, axis) for x in packed for part in x.unbind(3))
    return torch.softmax(q @ k.transpose(-1, -2), dim=-1)


def _heads_first(x: Tensor, axis: Axis) -> Tensor:
    """``(B, T, N, H, E)`` as ``(B, T, H, N, E)`` in space, ``(B, N, H, T, E)`` in time: a view."""
    return x.permute(0, 1, 3, 2, 4) if axis == "space" else x.permute(0, 2, 3, 1, 4)


def _heads_last(x: Tensor, axis: Axis) -> Tensor:
    """The inverse of ``_heads_first``."""
    return x.permute(0, 1, 3, 2, 4) if axis == "space" else x.permute(0, 3, 1, 2, 4)


def _unpack(axis: Axis, packed: tuple[Tensor, ...]) -> list[Tensor]:
    """q, k, v, heads first and contiguous, as products want them."""
    return [_heads_first(part, axis).contiguous() for x in packed for part in x.unbind(3)]


def _by_tiles(axis: Axis, *packed: Tensor) -> Tensor:
    """By PyTorch's fused attention: memory grows with the nodes, not with their square."""
    q, k, v = (_heads_first(part, axis) for x in packed for part in x.unbind(3))
    mixed = F.scaled_dot_product_attention(q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1), scale=1.0)
    return _heads_last(mixed.unflatten(0, q.shape[:2]), axis)


def _at_once(axis: Axis, *packed: Tensor) -> Tensor:
    """The formula: for few weights, and for programs of any number of windows (``torch.export``)."""
    v = packed[-1].select(3, -1)
    return _heads_last(attention_weights(axis, *packed) @ _heads_first(v, axis), axis)


class Mix(torch.autograd.Function):
    """``mix`` with a gradient, on a CPU."""

    @staticmethod
    def forward(ctx: Any, axis: Axis, *packed: Tensor) -> Tensor:
        """The mixed values; the weights are kept for the gradient."""
        q, k, v = _unpack(axis, packed)
        weights = q.new_empty(*q.shape[:-1], k.shape[-2])
        mixed = torch.empty_like(_heads_last(v, axis), memory_format=torch.contiguous_format)
        result = _heads_first(mixed, axis)
        for part in _parts(weights):
            scores = torch.matmul(q[part], k[part].transpose(-1, -2), out=weights[part])
            result[part] = torch.softmax(scores, dim=-1, out=scores) @ v[part]
        ctx.save_for_backward(q, k, v, weights)
        ctx.axis, ctx.shapes = axis, [x.shape for x in packed]
        return mixed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of what was packed."""
        q, k, v, weights = ctx.saved_tensors
        gradients = [q.new_empty(shape) for shape in ctx.shapes]
        of_q, of_k, of_v = (_heads_first(part, ctx.axis) for x in gradients for part in x.unbind(3))
        of_mixed = _heads_first(upstream, ctx.axis)
        for part in _parts(weights):
            of_result, weight = of_mixed[part].contiguous(), weights[part]
            of_v[part] = weight.transpose(-1, -2) @ of_result
            of_scores = of_result @ v[part].transpose(-1, -2)
            torch._softmax_backward_data(of_scores, weight, -1, weight.dtype, grad_input=of_scores)
            of_q[part] = of_scores @ k[part]
            of_k[part] = of_scores.transpose(-1, -2) @ q[part]
        return None, *gradients


def _parts(weights: Tensor) -> Iterator[tuple[slice, slice]]:
    """Parts of the first two axes of attention weights ``(., ., H, L, L)``, each of about ``AT_ONCE`` of them."""
    first, second = weights.shape[:2]
    pairs = max(1, AT_ONCE // weights[0, 0].numel())
    rows, columns = max(1, pairs // second), min(pairs, second)
    for row in range(0, first, rows):
        for column in range(0, second, columns):
            yield slice(row, row + rows), slice(column, column + columns)
