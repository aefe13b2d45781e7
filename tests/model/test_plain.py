"""The network as it is computed against the plain formulation that the benchmark measures it by."""

from collections.abc import Sequence

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
    """Of five draws the middle one: in so small a network a single ReLU that rounding turns on or off is seen."""
    forecasts, gradients = [], []
    for seed in range(5):
        trunk, head, inputs = parts(model_config(preset, **SIZES, **{"dropout": 0.0}), seed=seed)
        weights = [weight for module in (trunk, head) for weight in module.parameters()]
        exact = forecast(trunk, head, inputs)
        with torch.autocast("cpu", torch.bfloat16):
            rough = forecast(trunk, head, inputs)
            with torch.no_grad():
                alone = forecast(trunk, head, inputs)
        assert not torch.equal(rough.float(), exact)
        forecasts += [apart([one], [exact]) for one in (rough, alone)]
        direction = torch.randn_like(exact)
        gradients.append(apart(*(torch.autograd.grad((y * direction).sum(), weights) for y in (rough, exact))))
    assert max(forecasts) <= 2e-2
    assert sorted(gradients)[2] <= 2e-2


def apart(found: Sequence[torch.Tensor], expected: Sequence[torch.Tensor]) -> float:
    """The norm of the difference as a share of that of what is expected."""
    one, two = (torch.cat([x.flatten() for x in of]) for of in (found, expected))
    return ((one - two).norm() / two.norm()).item()
