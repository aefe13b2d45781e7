"""Scenes and batches for the tests of other systems, and what is checked of all of them."""

import torch
from torch import nn

from cmust.baselines.graphs import gaussian_kernel
from cmust.baselines.scene import Glimpse, Scene


def scene(nodes: int = 5, channels: int = 1, steps: int = 4, horizon: int = 3, slots: int = 8) -> Scene:
    """Nodes at random places of a line; edges between those that are near."""
    x = torch.rand(nodes, 1, generator=torch.Generator().manual_seed(5))
    return Scene(nodes, channels, steps, horizon, slots, gaussian_kernel((x - x.T).abs()))


def manhattan() -> Scene:
    """The sizes of the data set that docs/baselines.md counts parameters for."""
    return scene(69, 1, 12, 12, 48)


def batch(of: Scene, size: int = 2) -> Glimpse:
    """Random values; windows that start at random times of the week."""
    steps = of.input_steps + of.horizon
    time = torch.randint(7 * of.slots_per_day, (size, 1)) + torch.arange(steps)
    (slot, slot_ahead), (dow, dow_ahead) = (
        part.split((of.input_steps, of.horizon), dim=1)
        for part in (time % of.slots_per_day, time // of.slots_per_day % 7)
    )
    values = torch.randn(size, of.input_steps, of.nodes, of.channels)
    return Glimpse(values, slot, dow, slot_ahead, dow_ahead)


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def check_shape_and_gradients(network: nn.Module, of: Scene) -> None:
    """The forecast has its shape, and a loss on it moves every parameter."""
    forecast = network(batch(of))
    assert forecast.shape == (2, of.horizon, of.nodes, of.channels)
    (forecast * torch.randn_like(forecast)).sum().backward()
    still = [name for name, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert not still


def permuted(seen: Glimpse, order: torch.Tensor) -> Glimpse:
    """The same batch with the nodes in another order."""
    return seen._replace(values=seen.values[:, :, order])
