"""Linear layers whose biases cost nothing in bf16 on a CPU.

There PyTorch writes the bias into every row of the result before the product is added to it, and sums every row's
gradient for that of the bias: up to half of the time of a layer. But the input is copied anyway, from fp32 to bf16.
Here the copy gets a column of ones and the weights a column with the bias, so that the products do both.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

COLUMNS = 8
"""Rows of the copy end on a multiple of so many numbers, 16 bytes."""


def linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """``x W^T + b``, as ``torch.nn.functional.linear``, in the precision of autocast where that is on.

    Args:
        x: ``(..., D)``.
        weight: ``(M, D)``.
        bias: ``(M,)``.

    Returns:
        ``(..., M)``.
    """
    if x.device.type == "cpu" and _is_cast_to_bf16(x):
        y: Tensor = _Linear.apply(x, weight, bias)  # type: ignore[no-untyped-call]
        return y
    return F.linear(x, weight, bias)


def _is_cast_to_bf16(x: Tensor) -> bool:
    autocast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return autocast and x.dtype == torch.float32 and not torch.compiler.is_compiling()


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        rows, width = x.shape[:-1], x.shape[-1]
        padded = (width // COLUMNS + 1) * COLUMNS
        ones = x.new_empty(*rows, padded, dtype=torch.bfloat16)
        ones[..., :width] = x
        ones[..., width:] = 1
        columns = weight.new_zeros(len(weight), padded, dtype=torch.bfloat16)
        columns[:, :width] = weight
        columns[:, width] = bias
        ctx.save_for_backward(ones, columns)
        ctx.width = width
        return F.linear(ones, columns)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        ones, columns = ctx.saved_tensors
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = (upstream @ columns)[..., : ctx.width].float()
        if any(ctx.needs_input_grad[1:]):
            of_columns = (_rows(upstream).t() @ _rows(ones)).float()
            of_weight, of_bias = of_columns[:, : ctx.width], of_columns[:, ctx.width]
        return of_x, of_weight, of_bias


def _rows(x: Tensor) -> Tensor:
    return x.reshape(-1, x.shape[-1])
