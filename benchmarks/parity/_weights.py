"""What every comparison does: the same random weights in both networks, then outputs and gradients side by side.

All in double precision, where two ways to the same number part in the last digits only: what is left is a difference.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cmust.baselines.scene import Glimpse

SLOTS = 48
FELT = 1e-9  # of the largest gradient; below it is noise

Weights = dict[str, Tensor]
Outputs = dict[str, tuple[Tensor, Tensor]]
"""By name, ours and the published one."""


def state(module: nn.Module) -> Weights:
    """Parameters and running statistics by name; not what is given, such as graphs."""
    running = {name: b for name, b in module.named_buffers() if name.endswith(("running_mean", "running_var"))}
    return dict(module.named_parameters()) | running


def redraw(weights: Weights) -> None:
    """Normal numbers, matrices by the root of what they sum over, so that nothing is silent and nothing saturates."""
    for name, weight in weights.items():
        if name.endswith("running_var"):
            weight.uniform_(0.5, 1.5)
        elif weight.dim() == 1:
            weight.normal_(0, 0.5)
        else:
            weight.normal_(0, (weight.shape[0] / weight.numel()) ** 0.5)


def joined(weights: Weights, parts: tuple[str, ...], whole: str) -> Weights:
    """The weights with those of ``parts`` one above the other under ``whole``; queries, keys and values of PyTorch's.

    ``parts`` and ``whole`` are pieces of names; what comes before and behind them stays.
    """
    found = dict(weights)
    for name in [name for name in weights if parts[0] in name]:
        pieces = [found.pop(name.replace(parts[0], part)) for part in parts]
        found[name.replace(parts[0], whole)] = torch.cat(pieces)
    return found


def renamed(weights: Weights, names: dict[str, str], unread: tuple[str, ...] = ()) -> Weights:
    """The published weights by our names, each used once.

    Args:
        names: of theirs, whole or the beginning, to the same of ours; the longest that fits counts.
        unread: beginnings of names that the published forward pass does not read.
    """
    found: Weights = {}
    for name, weight in weights.items():
        if name.startswith(unread):
            continue
        fits = [start for start in names if name.startswith(start)]
        assert fits, f"no place for {name} {tuple(weight.shape)}"
        start = max(fits, key=len)
        own = names[start] + name[len(start) :]
        assert own not in found, f"{own} would be set twice"
        found[own] = weight
    return found


def carry(theirs: Weights, ours: nn.Module) -> None:
    """Copy the published weights, by our names and in our shapes up to lengths of 1; all of ours are set."""
    own = state(ours)
    assert set(own) == set(theirs), f"on one side alone: {sorted(set(own) ^ set(theirs))}"
    for name, weight in theirs.items():
        own[name].copy_(fitted(weight, own[name]))


def fitted(weight: Tensor, to: Tensor) -> Tensor:
    lengths = [[n for n in one.shape if n > 1] for one in (weight, to)]
    assert lengths[0] == lengths[1], f"{tuple(weight.shape)} does not fit {tuple(to.shape)}"
    return weight.reshape(to.shape)


def compared(
    case: str,
    theirs: Weights,
    ours: nn.Module,
    in_our_terms: Callable[[Weights], Weights],
    outputs: Callable[[], Outputs],
    unread: tuple[str, ...] = (),
    faint: tuple[str, ...] = (),
) -> dict[str, float]:
    """Largest differences of outputs and gradients, after the published weights are put into ours.

    The gradients are of a random sum of all outputs, each relative to the largest of its weight. Every weight must have
    one: without it equal outputs say nothing of it. (Running statistics matter where the shift beside them does.)

    Args:
        case: beginning of the names of the results.
        theirs: published weights, redrawn.
        ours: gets them.
        in_our_terms: the published weights by our names and in our shapes; each once, only turned and joined.
        outputs: of both networks for the same inputs.
        unread: beginnings of names of published weights that have no effect, which is checked.
        faint: ends of our names whose gradients may be lost in rounding; they are not compared.
    """
    carry(in_our_terms(theirs), ours)
    with torch.enable_grad():
        found = outputs()
        told = {f"{case}: {name}": difference(*pair) for name, pair in found.items()}
        smooth = [pair for pair in found.values() if pair[0].requires_grad]
        sum(((mine + published) * torch.randn_like(mine)).sum() for mine, published in smooth).backward()
    silent = {name for name, w in theirs.items() if w.requires_grad and (w.grad is None or not w.grad.any())}
    idle = {name for name, w in theirs.items() if w.requires_grad and name.startswith(unread)}
    assert silent == idle, f"without effect, or with one against what is said: {sorted(silent ^ idle)}"
    slopes = in_our_terms({name: w if w.grad is None else w.grad for name, w in theirs.items()})
    pairs = {
        name: (slope(p), fitted(slopes[name], p)) for name, p in ours.named_parameters() if not name.endswith(faint)
    }
    steep = {name: float(published.abs().max()) for name, (_, published) in pairs.items()}
    flat = [name for name, largest in steep.items() if largest < FELT * max(steep.values())]
    assert not flat, f"next to no effect: {flat}"
    told[f"{case}: gradients"] = max(difference(*pair) for pair in pairs.values())
    return told


def slope(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad


def difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest, relative to the largest value."""
    assert ours.shape == theirs.shape, f"{tuple(ours.shape)} and {tuple(theirs.shape)}"
    return float((ours - theirs).detach().abs().max() / theirs.detach().abs().max())


def batch(size: int, steps: int, horizon: int, nodes: int, channels: int = 1) -> Glimpse:
    """Random values from random slots of the week on."""
    time = torch.randint(0, 7 * SLOTS, (size, 1)) + torch.arange(steps + horizon)
    slot, dow = time % SLOTS, time // SLOTS % 7
    values = torch.randn(size, steps, nodes, channels)
    return Glimpse(values, slot[:, :steps], dow[:, :steps], slot[:, steps:], dow[:, steps:])


def adjacency(nodes: int) -> Tensor:
    """A directed graph: about half of the edges, self-loops of weight 1."""
    graph = torch.rand(nodes, nodes) * (torch.rand(nodes, nodes) < 0.5)
    return graph.fill_diagonal_(1.0)
