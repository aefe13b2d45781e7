"""Weight behaviour: which elements of the shared weights are stable, and keeping them so (4.4, Eq. 10-12).

The variance over a history of weights is kept running (Welford), so that memory does not depend on the number of
epochs.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Rule = Literal["element", "tensor"]


@dataclass(frozen=True)
class Star:
    """What rolling leaves: the shared weights from which every task is refined, and those to come.

    Attributes:
        weights: ``W*``, the trunk's state.
        frozen: per parameter a bool mask of the elements that never change again; one that is not named is free.
    """

    weights: dict[str, Tensor]
    frozen: dict[str, Tensor]

    def cpu(self) -> "Star":
        """The same on the CPU."""
        weights, frozen = ({name: each.cpu() for name, each in part.items()} for part in (self.weights, self.frozen))
        return Star(weights, frozen)


class Stability:
    """Running variance and frozen masks of the named shared parameters.

    Attributes:
        frozen: per parameter a bool mask; freezing only ever grows.
        anchor: per parameter its values at the time its elements froze (meaningful where frozen).
        count: how many weights the current history holds.
        mean, spread: per parameter, float64, the running mean and sum of squared deviations of the current history.
        reached: per parameter its largest absolute gradient since the history was opened, a scalar; of a table per
            row, ``(rows, 1)``. It is 0 for the layers of another number of channels, and for times of day that the
            task does not know: that these stand still says nothing about them.

    Args:
        parameters: the shared ones, by name.
        tables: names of those whose rows are looked up one by one.
    """

    def __init__(self, parameters: Iterable[tuple[str, nn.Parameter]], tables: Collection[str] = ()) -> None:
        self._parameters, self._tables = dict(parameters), tables
        self.frozen = {name: torch.zeros_like(p, dtype=torch.bool) for name, p in self._parameters.items()}
        self.anchor = {name: p.detach().clone() for name, p in self._parameters.items()}
        self.count = 0
        self.mean: dict[str, Tensor] = {}
        self.spread: dict[str, Tensor] = {}
        self.reached: dict[str, Tensor] = {}

    def open_history(self) -> None:
        """Begin a new history with the present weights: the converged ones of the phase before."""
        self.count = 0
        self.mean = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in self._parameters.items()}
        self.spread = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in self._parameters.items()}
        self.reached = {name: self._largest(name, torch.zeros_like(p)) for name, p in self._parameters.items()}
        self.record()

    @torch.no_grad()
    def record_gradients(self) -> None:
        """Note what the present gradients reach (at every update)."""
        gradients = {name: p.grad for name, p in self._parameters.items() if p.grad is not None}
        largest = {name: self._largest(name, gradients.pop(name)) for name in self._tables if name in gradients}
        if gradients:  # all in one call: on a GPU one after the other would take as long as the network
            norms = torch._foreach_norm(list(gradients.values()), torch.inf)
            largest.update(zip(gradients, norms, strict=True))
        if largest:
            torch._foreach_maximum_([self.reached[name] for name in largest], list(largest.values()))

    def _largest(self, name: str, gradient: Tensor) -> Tensor:
        magnitude = gradient.abs()
        return magnitude.amax(-1, keepdim=True) if name in self._tables else magnitude.amax()

    @torch.no_grad()
    def record(self) -> None:
        """Add the present weights to the history (after every epoch)."""
        self.count += 1
        for name, parameter in self._parameters.items():
            step = parameter.double() - self.mean[name]
            self.mean[name] += step / self.count
            self.spread[name] += step * (parameter.double() - self.mean[name])

    def variance(self, name: str) -> Tensor:
        """Population variance per element over the current history."""
        return self.spread[name] / max(self.count, 1)

    def freeze(self, delta: float, rule: Rule) -> None:
        """Freeze at their present values what was reached and varied less than ``delta``: elements (Eq. 11), or whole
        tensors (Algorithm 1 as coded).
        """
        for name, parameter in self._parameters.items():
            stable = self.variance(name) < delta
            if rule == "tensor":
                stable = stable.all().expand_as(stable)
            fresh = stable & (self.reached[name] != 0) & ~self.frozen[name]
            self.anchor[name] = torch.where(fresh, parameter.detach(), self.anchor[name])
            self.frozen[name] = self.frozen[name] | fresh

    def hold(self, frozen: Mapping[str, Tensor]) -> None:
        """Freeze, at the present values, what ``frozen`` marks."""
        for name, mask in frozen.items():
            parameter = self._parameters[name]
            self.frozen[name] = self.frozen[name] | mask.to(parameter.device)
            self.anchor[name] = parameter.detach().clone()

    def trainable(self) -> list[nn.Parameter]:
        """Parameters with an element left to train; the others stop asking for gradients."""
        for name, parameter in self._parameters.items():
            parameter.requires_grad_(not bool(self.frozen[name].all()))
        return [parameter for parameter in self._parameters.values() if parameter.requires_grad]

    def partly_frozen(self) -> "Hold":
        """A hold on the parameters that are frozen in part; used around every optimiser step."""
        names = [name for name, mask in self.frozen.items() if mask.any() and not mask.all()]
        return Hold([(self._parameters[name], self.frozen[name], self.anchor[name]) for name in names])

    def share(self) -> float:
        """Share of all shared elements that are frozen."""
        return self._share(self.frozen.values())

    def share_by_layer(self) -> dict[str, float]:
        """The same by layer (the parameter's name without its last part)."""
        layers: dict[str, list[Tensor]] = {}
        for name, mask in self.frozen.items():
            layers.setdefault(name.rpartition(".")[0], []).append(mask)
        return {layer: self._share(masks) for layer, masks in layers.items()}

    @staticmethod
    def _share(masks: Iterable[Tensor]) -> float:
        masks = list(masks)
        total = sum(mask.numel() for mask in masks)
        frozen = sum((mask.sum() for mask in masks), start=torch.tensor(0))
        return int(frozen) / total if total else 0.0

    def state(self) -> dict[str, Tensor]:
        """Everything as flat tensors, for a checkpoint."""
        parts: dict[str, Mapping[str, Tensor]] = {
            "frozen": self.frozen,
            "anchor": self.anchor,
            "mean": self.mean,
            "spread": self.spread,
            "reached": self.reached,
        }
        flat = {f"{part}/{name}": tensor for part, tensors in parts.items() for name, tensor in tensors.items()}
        return {**flat, "count": torch.tensor(self.count)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what ``state`` gave.

        Raises:
            KeyError: something is missing.
        """
        self.count = int(state["count"])
        of_history = ("mean", "spread", "reached") if self.count else ()
        for part in ("frozen", "anchor", *of_history):
            found = {name: state[f"{part}/{name}"].to(p.device) for name, p in self._parameters.items()}
            setattr(self, part, found)
        # whether, not how large, in runs that were begun before
        self.reached = {name: each.to(self._parameters[name].dtype) for name, each in self.reached.items()}


class Hold:
    """Keeps frozen elements at exactly their bits, whatever the optimiser does (weight decay and momentum included)."""

    def __init__(self, held: list[tuple[nn.Parameter, Tensor, Tensor]]) -> None:
        self._held = held

    def clear_gradients(self) -> None:
        """No gradient on frozen elements: they would count in a clipping norm."""
        for parameter, mask, _ in self._held:
            if parameter.grad is not None:
                parameter.grad.masked_fill_(mask, 0)

    @torch.no_grad()
    def restore(self) -> None:
        """After a step: frozen elements back to their anchor."""
        for parameter, mask, anchor in self._held:
            torch.where(mask, anchor, parameter, out=parameter)
