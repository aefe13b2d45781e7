"""The training as phases: epochs joined with what was written at the end of their phase."""

from dataclasses import dataclass

from cmust.report.history import History
from cmust.report.layout import Epoch, PhaseEnd


@dataclass(frozen=True)
class Phase:
    """One phase of the training, finished or not.

    Attributes:
        finished: its end was written.
        frozen_share: fraction of the trunk's elements that are frozen when it ends (or as far as it came).
        frozen_by_layer: the same per layer, empty where it was not written.
        seconds: of its epochs, or as written at its end.
    """

    name: str
    kind: str
    tasks: tuple[str, ...]
    epochs: tuple[Epoch, ...]
    finished: bool
    best_epoch: int | None
    updates: int | None
    frozen_share: float | None
    frozen_by_layer: dict[str, float | None]
    seconds: float | None


def phases_of(history: History) -> list[Phase]:
    """Group the history by phase, in the order in which the phases appear."""
    ends = {end.phase: end for end in history.phases}
    names = list(dict.fromkeys([epoch.phase for epoch in history.epochs] + list(ends)))
    return [_phase(name, [epoch for epoch in history.epochs if epoch.phase == name], ends.get(name)) for name in names]


def _phase(name: str, epochs: list[Epoch], end: PhaseEnd | None) -> Phase:
    if end is not None:
        return Phase(
            name=name,
            kind=end.kind,
            tasks=tuple(end.tasks),
            epochs=tuple(epochs),
            finished=True,
            best_epoch=end.best_epoch,
            updates=end.updates,
            frozen_share=end.frozen_share,
            frozen_by_layer=end.frozen_by_layer,
            seconds=end.seconds,
        )
    best = [epoch.epoch for epoch in epochs if epoch.best]
    return Phase(
        name=name,
        kind=epochs[-1].kind,
        tasks=tuple(epochs[-1].tasks),
        epochs=tuple(epochs),
        finished=False,
        best_epoch=best[-1] if best else None,
        updates=None,
        frozen_share=epochs[-1].frozen_share,
        frozen_by_layer={},
        seconds=sum(epoch.seconds or 0.0 for epoch in epochs),
    )
