"""The network as it is computed against the plain formulation that the benchmark measures it by."""

import pytest
import torch
from benchmarks.plain import plain_forecast

from cmust.model import forecast, model_config
from tests.model.test_network import parts
from tests.rolling.tiny import SIZES

CASES = [
    ("paper", {}),
    ("reference", {}),
    ("tuned", {}),
    ("tuned", {"blocks": 2, "dates": False}),
    ("paper", {"cross_interactions": False}),
    ("reference", {"prompts": False}),
]


@pytest.mark.parametrize(("preset", "more"), CASES)
@pytest.mark.parametrize("channels", [1, 2])
def test_same_mathematics(preset: str, more: dict, channels: int) -> None:
    compare(preset, more, channels, torch.float64, 1e-11)


@pytest.mark.parametrize("preset", ["paper", "reference", "tuned"])
def test_same_numbers(preset: str) -> None:
    compare(preset, {}, 1, torch.float32, 1e-5)


def compare(preset: str, more: dict, channels: int, dtype: torch.dtype, tolerance: float) -> None:
    """Outputs and the gradients of every weight, of both formulations."""
    config = model_config(preset, **{**SIZES, "d_p": 5, "d_s": 3, "self_width": 8}, **{"dropout": 0.0, **more})
    trunk, head, inputs = parts(config, channels=(channels,), of=channels)
    trunk, head = trunk.to(dtype), head.to(dtype)
    inputs = inputs._replace(**{k: v.to(dtype) for k, v in inputs._asdict().items() if v.is_floating_point()})
    weights = {**dict(trunk.named_parameters()), **dict(head.named_parameters())}
    ours, plain = forecast(trunk, head, inputs), plain_forecast(trunk, head, inputs)
    torch.testing.assert_close(ours, plain, atol=tolerance * plain.abs().max().item(), rtol=0)
    direction = torch.randn_like(ours)
    one, two = (torch.autograd.grad((y * direction).sum(), list(weights.values())) for y in (ours, plain))
    for name, a, b in zip(weights, one, two, strict=True):
        assert (a - b).abs().max() <= tolerance * max(1.0, b.abs().max().item()), name


@pytest.mark.parametrize("preset", ["paper", "reference", "tuned"])
def test_in_bf16(preset: str) -> None:
    trunk, head, inputs = parts(model_config(preset, **SIZES, **{"dropout": 0.0}))
    weights = [weight for module in (trunk, head) for weight in module.parameters()]
    exact = forecast(trunk, head, inputs)
    with torch.autocast("cpu", torch.bfloat16):
        rough = forecast(trunk, head, inputs)
    assert (rough - exact).norm() <= 2e-2 * exact.norm()
    assert not torch.equal(rough.float(), exact)
    direction = torch.randn_like(exact)
    one, two = (torch.autograd.grad((y * direction).sum(), weights) for y in (rough, exact))
    apart = torch.cat([(a - b).flatten() for a, b in zip(one, two, strict=True)])
    assert apart.norm() <= 2e-2 * torch.cat([b.flatten() for b in two]).norm()
