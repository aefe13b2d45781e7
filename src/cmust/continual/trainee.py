"""A newcomer in training: from ``W*`` and, to compare, from fresh weights, by the one epoch loop."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from lightning_fabric import Fabric

from cmust.assembly import Tables, load_trunk
from cmust.continual.newcomer import Newcomer
from cmust.errors import ConfigError
from cmust.forecaster import Forecaster
from cmust.heads import HeadParts, make_head
from cmust.model import Trunk, channel_counts
from cmust.rolling import Phase, Star, TrainingConfig, adapt_plan, single_plan
from cmust.rolling.lesson import Lesson, lesson_of
from cmust.run import Run
from cmust.task_model import TaskModel
from cmust.training import Watcher, carry_out
from cmust.windows import Scaler

Trained = tuple[TaskModel, dict[str, Any]]


@dataclass(frozen=True)
class Trainee:
    """What both trainings share.

    Attributes:
        before: the forecaster that gets the task.
        newcomer: the task.
        tables: seasonal expectations of its whole history, for the finished model: what is kept back to stop in time
            has done its work then.
        training: settings.
        fabric: launched.
        watcher: hears of progress.
    """

    before: Forecaster
    newcomer: Newcomer
    tables: Tables
    training: TrainingConfig
    fabric: Fabric
    watcher: Watcher | None

    def model(self) -> TaskModel:
        """The newcomer before any training."""
        return self._model(self.newcomer.parts, self.newcomer.star.weights)

    def from_star(self, work: Run) -> Trained:
        """Train what is not fixed, from ``W*``: the model and what it cost.

        Raises:
            ConfigError: everything is fixed.
        """
        newcomer = self.newcomer
        if not newcomer.trainable():
            raise ConfigError(
                "nothing is left to train in the head of this network; take --train unfrozen (in Python train=)"
            )
        head_first = newcomer.head_size() > 0 and newcomer.shares() and self.training.head_epochs > 0
        plan = adapt_plan(newcomer.task.name, self.training, head_first=head_first)
        return self._train(plan, newcomer.parts, newcomer.trainable(), work, newcomer.star)

    def from_scratch(self, work: Run) -> Trained:
        """The same network on the same history from fresh weights, at the settings of a task alone."""
        newcomer, task = self.newcomer, self.newcomer.task
        steps = newcomer.windows.split.train_steps
        windows = replace(newcomer.windows, scaler=Scaler.fit(task.values[:steps]))
        power = newcomer.shape.power if newcomer.shape else 0.0
        parts = make_head(self.before.config, task, windows, self.training.seed, power)
        plan = single_plan([task.name], self.training)
        size = sum(tensor.numel() for tensor in (*newcomer.star.weights.values(), *parts.head.parameters()))
        trainee = replace(self, newcomer=replace(newcomer, windows=windows))
        return trainee._train(plan, parts, size, work, None)

    def _train(self, plan: list[Phase], parts: HeadParts, trainable: int, work: Run, star: Star | None) -> Trained:
        newcomer, name = self.newcomer, self.newcomer.task.name
        torch.manual_seed(self.training.seed)
        trunk = self._trunk()
        heads, windows = {name: parts.head}, {name: newcomer.windows}
        outcome = carry_out(
            plan,
            work,
            self.fabric,
            trunk,
            heads,
            windows,
            self.training,
            star=star,
            lesson=partial(self._lesson, trunk),
            watcher=self.watcher,
        )
        weights = outcome.weights[name]
        parts.head.cpu().load_state_dict(weights["head"])
        ends = [event for event in work.history() if event["event"] == "phase"]
        cost = {key: sum(end[key] for end in ends) for key in ("updates", "epochs", "seconds")}
        # counted over all phases: the last one's best follows the phases before it
        cost["best_epoch"] = sum(end["epochs"] for end in ends[:-1]) + ends[-1]["best_epoch"]
        cost |= {"most_epochs": sum(phase.epochs for phase in plan), "trained_weights": trainable}
        return self._model(parts, weights["trunk"]), cost

    def _lesson(self, trunk: Trunk, phase: Phase) -> Lesson:
        """Our network's; with the head alone the layers learn that came with it, which start at nothing."""
        lesson = lesson_of(self.before.config, self.training, phase)
        if phase.kind != "head":
            return lesson
        fresh = [parameter for name, parameter in trunk.named_parameters() if name in self.newcomer.fresh]
        return replace(lesson, parameters=fresh)

    def _trunk(self) -> Trunk:
        counts = channel_counts(self.newcomer.star.weights)
        return Trunk(self.before.config, self.before.slots_per_day, counts)

    def _model(self, parts: HeadParts, weights: dict[str, torch.Tensor]) -> TaskModel:
        trunk = load_trunk(self.before.config, self.before.slots_per_day, weights)
        return TaskModel(trunk, parts.head.eval(), parts.encoder, self.tables.average, self.tables.profile, {})
