"""Attention between its projections: by parts, with gradients of its own, against the formula."""

import pytest
import torch

from cmust.model import mixing
from cmust.model.mixing import mix

B, T, N, H, E = 3, 4, 5, 2, 3


def formula(axis: str, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """One window, one step or node and one head at a time."""
    q, k, v = (x.expand(B, T, N, H, E) for x in (q, k, v))
    mixed = torch.zeros(B, T, N, H, E, dtype=q.dtype)
    for b in range(B):
        for other in range(T if axis == "space" else N):
            for h in range(H):
                of = (b, other, slice(None), h) if axis == "space" else (b, slice(None), other, h)
                mixed[of] = torch.softmax(q[of] @ k[of].T, dim=-1) @ v[of]
    return mixed


@pytest.mark.parametrize("at_once", [1, 40, 150, 10**6])  # a slice, some of a window, windows, all at once
@pytest.mark.parametrize("axis", ["space", "time"])
def test_by_parts_with_gradients(axis: str, at_once: int, monkeypatch) -> None:
    monkeypatch.setattr(mixing, "AT_ONCE", at_once)
    torch.manual_seed(0)
    qkv = torch.randn(B, T, N, 3, H, E, dtype=torch.float64, requires_grad=True)
    check(axis, (qkv,), qkv.unbind(3))


@pytest.mark.parametrize("at_once", [1, 10**6])
@pytest.mark.parametrize(
    ("axis", "query_shape", "target_shape"),
    [
        ("space", (1, 1, N), (B, T, N)),
        ("space", (B, T, N), (1, 1, N)),
        ("time", (B, T, 1), (B, T, N)),
        ("time", (B, T, N), (B, T, 1)),
    ],
)
def test_what_does_not_vary_is_repeated(axis: str, query_shape, target_shape, at_once: int, monkeypatch) -> None:
    monkeypatch.setattr(mixing, "AT_ONCE", at_once)
    torch.manual_seed(0)
    q = torch.randn(*query_shape, 1, H, E, dtype=torch.float64, requires_grad=True)
    kv = torch.randn(*target_shape, 2, H, E, dtype=torch.float64, requires_grad=True)
    check(axis, (q, kv), (*q.unbind(3), *kv.unbind(3)))


def check(axis: str, packed: tuple[torch.Tensor, ...], apart: tuple[torch.Tensor, ...]) -> None:
    """Values and gradients, kept weights and tiles, against the formula."""
    direction = torch.randn(B, T, N, H, E, dtype=torch.float64)
    expected = formula(axis, *apart)
    torch.testing.assert_close(mix(axis, *packed), expected)  # type: ignore[arg-type]
    expanded = tuple(x.expand(B, T, N, *x.shape[3:]) for x in packed)
    for otherwise in (mixing._by_tiles, mixing._at_once):
        torch.testing.assert_close(otherwise(axis, *expanded), expected)  # type: ignore[arg-type]
    ours, slow = (torch.autograd.grad((y * direction).sum(), packed) for y in (mix(axis, *packed), expected))  # type: ignore[arg-type]
    for one, two in zip(ours, slow, strict=True):
        torch.testing.assert_close(one, two)
