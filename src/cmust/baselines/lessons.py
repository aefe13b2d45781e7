"""A system under the one epoch loop: its head is the scale of the data, its stages are phases."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from cmust.baselines.scene import Glimpse, Scene, glimpse
from cmust.baselines.stages import Batch, Stage
from cmust.errors import ConfigError
from cmust.model import Inputs
from cmust.rolling import Lesson, Objective, Phase, TrainingConfig
from cmust.rolling.lesson import Forecast, Score


class Scale(nn.Module):
    """Mean and standard deviation of the training part, each ``(C,)``; nothing is learned."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.clone())
        self.register_buffer("std", std.clone())

    def see(self, inputs: Inputs, scene: Scene) -> Glimpse:
        """What the system sees of ``inputs``."""
        return glimpse(inputs, self.mean, self.std, scene.horizon, scene.slots_per_day)

    def restore(self, forecast: Tensor) -> Tensor:
        """Standardised to the units of the data."""
        return forecast * self.std + self.mean


def forecaster(system: Callable[[Glimpse], Tensor], scene: Scene) -> Forecast:
    """``system`` as the epoch loop and the scores take it. Another shape than ``(B, F, N, C)`` is a ConfigError."""

    def forecast(trunk: Any, head: Scale, inputs: Inputs) -> Tensor:
        made = system(head.see(inputs, scene))
        if made.shape != inputs.average_ahead.shape:
            found, wanted = tuple(made.shape), tuple(inputs.average_ahead.shape)
            raise ConfigError(f"the system forecasts the shape {found}; it has to be (B, F, N, C) = {wanted}")
        return head.restore(made)

    return forecast


def teach(
    network: nn.Module, scene: Scene, task: str, loss: str, training: TrainingConfig
) -> tuple[list[Phase], dict[str, Lesson]]:
    """The phases of a system, one after another, and what each teaches, by its name."""
    staged: Callable[[], list[Stage]] | None = getattr(network, "stages", None)
    stages = staged() if staged else [Stage("alone", list(network.parameters()), network)]
    names = [f"{stage.name} {task}" for stage in stages]
    phases = [
        Phase(
            name,
            "single",
            (task,),
            "initial" if name == names[0] else "previous",
            training.rate,
            training.start_epochs,
            delivers=name == names[-1],
        )
        for name in names
    ]
    return phases, {name: _lesson(stage, scene, loss) for name, stage in zip(names, stages, strict=True)}


def _lesson(stage: Stage, scene: Scene, loss: str) -> Lesson:
    forecast = forecaster(stage.forecast, scene) if stage.forecast else None
    objective = _objective(stage.loss, scene) if stage.loss else None
    return Lesson(loss, forecast, objective, stage.parameters)


def _objective(loss: Callable[[Batch, Callable[[Tensor], Tensor]], Tensor], scene: Scene) -> Objective:
    def objective(trunk: Any, head: Scale, inputs: Inputs, truth: Tensor, epoch: int, score: Score) -> Tensor:
        batch = Batch(head.see(inputs, scene), (truth - head.mean) / head.std, epoch)
        return loss(batch, lambda forecast: score(head.restore(forecast)))

    return objective
