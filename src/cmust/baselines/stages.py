"""Training in stages: pre-training, then what makes the forecaster.

A system that is trained in more than one way has ``stages()``, in order; one without is trained by its forecasts alone.
The epoch loop lets only a stage's parameters move, takes ``loss`` of every batch, and keeps the epoch with the smallest
validation error: of ``forecast``, or where a stage forecasts nothing, of ``loss``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor, nn

from cmust.baselines.scene import Glimpse


class Batch(NamedTuple):
    """What a stage may learn from.

    Attributes:
        seen: the windows.
        ahead: ``(B, F, N, C)``, what came after, standardised, missing values filled.
        epoch: of this stage, from 0.
    """

    seen: Glimpse
    ahead: Tensor
    epoch: int


Score = Callable[[Tensor], Tensor]
"""The loop's own loss of a forecast ``(B, F, N, C)`` for the batch at hand; it knows which targets count."""


@dataclass(frozen=True)
class Stage:
    """One way to train a system.

    Attributes:
        name: for the log.
        parameters: what is trained; everything else stands still.
        forecast: how this stage forecasts; None where it does not.
        loss: of a batch; None is the loop's own loss of ``forecast``.
    """

    name: str
    parameters: list[nn.Parameter]
    forecast: Callable[[Glimpse], Tensor] | None = None
    loss: Callable[[Batch, Score], Tensor] | None = None

    def __post_init__(self) -> None:
        """Refuse a stage that nothing can be learnt from."""
        if self.forecast is None and self.loss is None:
            raise ValueError(f"stage {self.name!r} has neither a forecast nor a loss")
