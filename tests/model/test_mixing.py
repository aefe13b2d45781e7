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


@pytest.mark.parametrize("weights_of_a_part", [1, 40, 150, 10**6])  # a slice, some of a window, windows, all at once
@pytest.mark.parametrize("axis", ["space", "time"])
def test_by_parts_with_gradients(axis: str, weights_of_a_part: int, monkeypatch) -> None:
    monkeypatch.setattr(mixing, "PART", weights_of_a_part)
    torch.manual_seed(0)
    qkv = torch.randn(B, T, N, 3, H, E, dtype=torch.float64, requires_grad=True)
    check(axis, (qkv,), qkv.unbind(3))


@pytest.mark.parametrize("weights_of_a_part", [1, 10**6])
@pytest.mark.parametrize(
    ("axis", "query_shape", "target_shape"),
    [
        ("space", (1, 1, N), (B, T, N)),
        ("space", (B, T, N), (1, 1, N)),
        ("time", (B, T, 1), (B, T, N)),
        ("time", (B, T, N), (B, T, 1)),
    ],
)
def test_what_does_not_vary_is_repeated(
    axis: str, query_shape, target_shape, weights_of_a_part: int, monkeypatch
) -> None:
    monkeypatch.setattr(mixing, "PART", weights_of_a_part)
    torch.manual_seed(0)
    q = torch.randn(*query_shape, 1, H, E, dtype=torch.float64, requires_grad=True)
    kv = torch.randn(*target_shape, 2, H, E, dtype=torch.float64, requires_grad=True)
    check(axis, (q, kv), (*q.unbind(3), *kv.unbind(3)))


def check(axis: str, packed: tuple[torch.Tensor, ...], apart: tuple[torch.Tensor, ...]) -> None:
    """Values and gradients against the formula: weights kept, softmax of rows, by tiles (in space), and without
    gradients.
    """
    direction = torch.randn(B, T, H, N, E, dtype=torch.float64).transpose(2, 3)  # not contiguous, as upstream may be
    expected = formula(axis, *apart)
    slow = torch.autograd.grad((expected * direction).sum(), packed)
    for most_kept, vector in ((mixing.KEPT_WEIGHTS, mixing.VECTOR_BYTES), (mixing.KEPT_WEIGHTS, 0), (0, 0)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mixing, "KEPT_WEIGHTS", most_kept)
            patch.setattr(mixing, "VECTOR_BYTES", vector)
            ours = mix(axis, *packed)  # type: ignore[arg-type]
        torch.testing.assert_close(ours, expected)
        for one, two in zip(torch.autograd.grad((ours * direction).sum(), packed), slow, strict=True):
            torch.testing.assert_close(one, two)
    with torch.no_grad():
        torch.testing.assert_close(mix(axis, *packed), expected)  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [(0, T, N), (B, T, 0)])
@pytest.mark.parametrize("axis", ["space", "time"])
def test_nothing_in_nothing_out(axis: str, shape) -> None:
    qkv = torch.randn(*shape, 3, H, E, requires_grad=True)
    mixed = mix(axis, qkv)  # type: ignore[arg-type]
    assert mixed.shape == (*shape, H, E)
    assert torch.autograd.grad(mixed.sum(), qkv)[0].shape == qkv.shape
    with torch.no_grad():
        assert mix(axis, qkv).shape == mixed.shape  # type: ignore[arg-type]


@pytest.mark.parametrize("largest", [1.0, 300.0, 1e4])  # exp(100) is beyond fp32 and bf16
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("axis", ["space", "time"])
def test_any_size_of_scores_without_gradients(axis: str, dtype: torch.dtype, largest: float) -> None:
    torch.manual_seed(0)
    qkv = torch.randn(B, T, N, 3, H, E)
    q, k, _ = qkv.unbind(3)
    q *= largest / torch.einsum("btnhe,bsmhe->btnhsm", q, k).abs().max()
    for shifted in (qkv, qkv.clone()):
        if shifted is not qkv:  # all scores of a row far below zero
            shifted[..., 0, :, 0], shifted[..., 1, :, 0] = -(largest**0.5), largest**0.5
        packed = shifted.to(dtype)
        expected = formula(axis, *packed.double().unbind(3))
        with torch.no_grad():
            mixed = mix(axis, packed)  # type: ignore[arg-type]
        # what bf16 rounds of a score, 1/256 of it, is a factor of its weight: only small ones are compared closely
        close = 1e-4 if dtype == torch.float32 else 2e-2 if largest == 1 else float("inf")
        assert mixed.isfinite().all()
        assert (mixed.double() - expected).norm() <= close * expected.norm()


def test_no_number_stays_no_number() -> None:
    qkv = torch.ones(1, T, N, 3, H, E)
    qkv[0, 1, 2, 0, 0] = torch.nan
    with torch.no_grad():
        mixed = mix("time", qkv)
    assert mixed[0, 1, 2, 0].isnan().all()
    assert mixed.isnan().sum() == E


def test_few_weights_over_space_are_kept() -> None:
    def kept(windows: int, steps: int, nodes: int, dtype: torch.dtype) -> bool:
        return mixing._may_keep(torch.empty(windows, steps, nodes, 3, 4, 42, dtype=dtype, device="meta"))

    assert kept(4, 12, 256, torch.float32)
    assert not kept(1, 12, 257, torch.float32)
    assert kept(1, 12, 1024, torch.bfloat16)
    assert not kept(1, 12, 1025, torch.bfloat16)
    assert not kept(1, 96, 1024, torch.bfloat16)  # few nodes, many steps


def test_on_a_gpu_fp32_goes_by_tiles_of_whole_16_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors without data stand for a GPU's."""
    widths = []

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float) -> torch.Tensor:
        widths.append([x.shape[-1] for x in (q, k, v)])
        return q @ k.mT @ v

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", attend)
    for dtype in (torch.float32, torch.bfloat16):
        assert mix("space", torch.empty(B, T, N, 3, H, E, dtype=dtype, device="meta")).shape == (B, T, N, H, E)
    assert widths == [[4, 4, 4], [E, E, E]]


def test_an_empty_batch_is_kept_from_fused_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's refuses one on some GPUs; a process has one where a last batch has fewer windows than processes."""
    monkeypatch.setattr(mixing, "_by_tiles", None)
    packed = torch.empty(0, T, N, 3, H, E, device="meta", requires_grad=True)
    mixed = mix("space", packed)
    assert mixed.shape == (0, T, N, H, E)
    mixed.sum().backward()
    assert packed.grad is not None and packed.grad.shape == packed.shape
    with pytest.raises(TypeError):  # any other batch goes there
        mix("space", torch.empty(1, T, N, 3, H, E, device="meta"))
