"""What the comparisons share: random weights that let every branch matter, carrying them over, the difference."""

import torch
from torch import Tensor, nn

from cmust.baselines.scene import Glimpse

SLOTS = 48
FELT = 1e6


def state(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and running statistics by name; not what is given, such as graphs."""
    running = {name: b for name, b in module.named_buffers() if name.endswith(("running_mean", "running_var"))}
    return dict(module.named_parameters()) | running


def randomise(tensors: dict[str, Tensor]) -> None:
    """Normal numbers, matrices by the root of what they sum over, so that nothing saturates; variances are positive."""
    for name, tensor in tensors.items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif tensor.dim() == 1:
            tensor.normal_(0, 0.5)
        else:
            tensor.normal_(0, (tensor.shape[0] / tensor.numel()) ** 0.5)


def carry(theirs: dict[str, Tensor], ours: nn.Module, names: dict[str, str], unread: set[str] | None = None) -> None:
    """Copy the published weights into ``ours``; every one is used exactly once.

    Args:
        theirs: by name.
        ours: all of its weights are set.
        names: of ours to theirs.
        unread: published weights that the published forward pass doesn't read.
    """
    mine, used = state(ours), list(names.values())
    assert set(names) == set(mine), f"not set: {set(mine) ^ set(names)}"
    assert len(used) == len(set(used)), "a published weight would be used twice"
    left = set(theirs) - set(used) - (unread or set())
    assert not left and not set(used) - set(theirs), f"left over: {left}; unknown: {set(used) - set(theirs)}"
    for name, published in names.items():
        assert mine[name].shape == theirs[published].shape, f"{name} {tuple(mine[name].shape)}: {published}"
        mine[name].copy_(theirs[published])


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest, relative to the largest value."""
    assert ours.shape == theirs.shape, f"{tuple(ours.shape)} and {tuple(theirs.shape)}"
    return float((ours - theirs).abs().max() / theirs.abs().max())


def all_matter(ours: nn.Module, seen: Glimpse, found: float) -> None:
    """Every weight matters: another value for it changes the forecast a million times more than the difference found.

    Otherwise equal outputs would say little about it.
    """
    before = ours(seen)
    for name, weight in state(ours).items():
        kept = weight.clone()
        weight.mul_(1 + 0.5 * torch.rand_like(weight)).add_(0.1)
        change = difference(ours(seen), before)
        assert change > FELT * max(found, 1e-16), f"{name} changes the forecast by {change:.1g} only"
        weight.copy_(kept)


def batch(batch: int, steps: int, horizon: int, nodes: int, channels: int = 1) -> Glimpse:
    """Random values from a random slot of the week on."""
    start = torch.randint(0, 7 * SLOTS, (batch, 1))
    clock = start + torch.arange(steps + horizon)
    slot, dow = clock % SLOTS, clock // SLOTS % 7
    values = torch.randn(batch, steps, nodes, channels)
    return Glimpse(values, slot[:, :steps], dow[:, :steps], slot[:, steps:], dow[:, steps:])


def adjacency(nodes: int) -> Tensor:
    """A directed graph: about half of the edges, self-loops of weight 1."""
    graph = torch.rand(nodes, nodes) * (torch.rand(nodes, nodes) < 0.5)
    return graph.fill_diagonal_(1.0)
