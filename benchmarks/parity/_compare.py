"""What every comparison does: random weights, copied once each; forecasts and gradients side by side."""

from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn

from cmust.baselines.scene import Glimpse


class Once:
    """Tensors of the published network by name, each of which can be taken once."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.left = dict(tensors)

    def take(self, *names: str) -> Tensor:
        """The tensor of that name; several are joined along their first axis."""
        return torch.cat([self.left.pop(name) for name in names])

    def layer(self, ours: str, theirs: str) -> dict[str, Tensor]:
        """Weight and bias of a layer by our name."""
        return {f"{ours}.{kind}": self.take(f"{theirs}.{kind}") for kind in ("weight", "bias")}


def compare(
    theirs: nn.Module,
    ours: nn.Module,
    translate: Callable[[Once], dict[str, Tensor]],
    forecasts: Callable[[], tuple[Tensor, Tensor]],
    idle: Collection[str] = (),
) -> tuple[float, float]:
    """Largest differences of the forecasts and of the gradients, relative to the largest forecast and gradient.

    Args:
        theirs: the published network; all its parameters are drawn anew, so that no part is silent.
        ours: gets the same weights.
        translate: from tensors by the published names to tensors by our names, equal up to the shape.
        forecasts: theirs and ours for the same inputs, in the same layout.
        idle: published parameters that the published network never uses (that it does not is checked).
    """
    for parameter in theirs.parameters():
        parameter.normal_(std=parameter.numel() ** -0.25)
    own = dict(ours.named_parameters())
    source = Once(dict(theirs.named_parameters()))
    copies = translate(source)
    assert set(source.left) == set(idle), f"weights left over: {sorted(source.left)}"
    assert set(copies) == set(own), f"weights that one has: {sorted(set(copies) ^ set(own))}"
    for name, tensor in copies.items():
        own[name].copy_(tensor.reshape(own[name].shape))

    with torch.enable_grad():
        expected, found = forecasts()
        probe = torch.randn_like(expected)
        (expected * probe).sum().backward()
        (found * probe).sum().backward()
    gradients = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None and p.grad.any()}
    unused = {name for name, _ in theirs.named_parameters()} - set(gradients)
    assert unused == set(idle), f"weights without effect: {sorted(unused)}"
    slopes = translate(Once({**dict.fromkeys(idle, torch.zeros(1)), **gradients}))
    off = max((slopes[name].reshape(p.shape) - _slope(p)).abs().max().item() for name, p in own.items())
    return relative(expected, found), off / max(slope.abs().max().item() for slope in slopes.values())


def _slope(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def relative(expected: Tensor, found: Tensor) -> float:
    """Largest difference relative to the largest value."""
    assert expected.shape == found.shape
    return ((expected - found).abs().max() / expected.abs().max()).item()


def some_glimpse(batch: int, steps: int, nodes: int, channels: int, horizon: int, slots_per_day: int) -> Glimpse:
    """Random values; windows start at random slots and days."""
    start = torch.randint(7 * slots_per_day, (batch, 1))
    time = start + torch.arange(steps + horizon)
    slot, dow = time % slots_per_day, time // slots_per_day % 7
    values = torch.randn(batch, steps, nodes, channels)
    return Glimpse(values, slot[:, :steps], dow[:, :steps], slot[:, steps:], dow[:, steps:])
