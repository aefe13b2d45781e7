"""Layers whose biases are columns of their weights, against PyTorch's own."""

import pytest
import torch
from torch.nn import functional as F

from cmust.model.linear import linear


@pytest.mark.parametrize("shape", [(5, 7, 24), (3, 2, 4, 12), (40, 1), (0, 3, 8), (4,)])
def test_in_bf16(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    width, made = shape[-1], 10
    x, weight, bias = (torch.randn(*sizes, requires_grad=True) for sizes in (shape, (made, width), (made,)))
    upstream = torch.randn(*shape[:-1], made)
    found, expected, exact = [], [], []
    for outcome, layer, reduced in ((found, linear, True), (expected, F.linear, True), (exact, F.linear, False)):
        with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
            y = layer(x, weight, bias)
        assert y.dtype == (torch.bfloat16 if reduced else torch.float32)
        outcome += [y, *torch.autograd.grad(y, (x, weight, bias), upstream.to(y.dtype))]
    for ours, theirs, true in zip(found, expected, exact, strict=True):
        assert ours.shape == true.shape
        assert (ours - true).norm() <= 1.5 * (theirs - true).norm() + 1e-6
        assert (ours - true).norm() <= 1e-2 * true.norm()


def test_what_needs_no_gradient_gets_none() -> None:
    x, weight, bias = torch.randn(6, 4), torch.randn(3, 4, requires_grad=True), torch.randn(3)
    with torch.autocast("cpu", torch.bfloat16):
        linear(x, weight, bias).sum().backward()
        assert x.grad is None
        assert bias.grad is None
        assert weight.grad is not None
        torch.testing.assert_close(weight.grad, x.sum(0).expand(3, 4), atol=0.02, rtol=0.02)
        with torch.no_grad():
            assert not linear(x, weight, bias).requires_grad


def test_elsewhere_it_is_that_of_pytorch() -> None:
    x, weight, bias = torch.randn(6, 4), torch.randn(3, 4), torch.randn(3)
    assert torch.equal(linear(x, weight, bias), F.linear(x, weight, bias))
    with torch.autocast("cpu", torch.bfloat16):
        short = x.bfloat16()  # nothing is copied
        assert torch.equal(linear(short, weight, bias), F.linear(short, weight, bias))
