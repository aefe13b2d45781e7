"""What a phase teaches: which loss, which forecast, which weights. Other systems have lessons of their own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from cmust.model import Inputs, ModelConfig, forecast
from cmust.rolling.config import TrainingConfig
from cmust.rolling.plan import Phase

Forecast = Callable[..., Tensor]
"""Trunk, head and inputs to ``(B, F, N, C)`` in original units; of ``nodes=`` ``(K,)`` where the lesson draws some."""
Score = Callable[[Tensor], Tensor]
"""The lesson's loss of a forecast ``(B, F, N, C)`` in original units for the batch at hand."""
Objective = Callable[[Any, Any, Inputs, Tensor, int, Score], Tensor]
"""Trunk, head, inputs, truth ``(B, F, N, C)`` with missing values filled, epoch of the phase from 0, score: a mean."""


@dataclass(frozen=True)
class Lesson:
    """How the network is trained in a phase.

    Attributes:
        loss: of forecasts (``huber``, ``mae``, ``masked_mae``); validation goes by it.
        forecast: how this phase forecasts; None where it does not, and validation goes by the objective.
        objective: what is made smaller instead of the loss of the forecast.
        parameters: of the trunk, which are trained; all that are not frozen when not given.
        own_rate: learning rate of the heads; the phase's when not given.
        nodes: an update is of at most so many nodes, drawn at random; all when not given.
    """

    loss: str
    forecast: Forecast | None = forecast
    objective: Objective | None = None
    parameters: Sequence[nn.Parameter] | None = None
    own_rate: float | None = None
    nodes: int | None = None

    def __post_init__(self) -> None:
        """Refuse a lesson that nothing can be learnt from."""
        if self.forecast is None and self.objective is None:
            raise ValueError("a lesson has neither a forecast nor an objective")
        if self.nodes is not None and self.objective is not None:
            raise ValueError("a lesson with an objective of its own sees all nodes")


def lesson_of(network: ModelConfig, training: TrainingConfig, phase: Phase) -> Lesson:
    """Our network's: ``FC_p`` learns at gamma in every phase; a free prompt at the phase's rate (docs/method.md)."""
    own_rate = None if network.prompts and network.prompt == "free" else training.rate
    parameters = () if phase.kind == "head" else None
    return Lesson(network.loss, parameters=parameters, own_rate=own_rate, nodes=training.nodes_per_update)
