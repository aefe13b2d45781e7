"""One epoch loop for everything: the rolling scheme, one task alone, all tasks jointly.

Runs on Lightning Fabric: CPU or GPU, fp32 or bf16, one process or several. Every epoch draws its randomness from (seed,
phase, epoch, rank), so that a run resumed at any epoch repeats the uninterrupted one bit for bit on one machine's CPU.
"""

import copy
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule
from torch import Tensor, nn

from cmust.errors import RunError
from cmust.rolling.batches import Batches, derive_seed
from cmust.rolling.config import TrainingConfig
from cmust.rolling.lesson import Lesson, lesson_of
from cmust.rolling.losses import Ensemble, Losses
from cmust.rolling.optimizer import (
    Trained,
    make_optimizer,
    moments,
    own_weights,
    restore_moments,
    set_rates,
    shared_weights,
)
from cmust.rolling.plan import Phase, rate_factor
from cmust.rolling.stability import Hold, Stability, Star
from cmust.rolling.state import Saved
from cmust.windows import Windows

Weights = dict[str, Tensor]


@dataclass
class PhaseState:
    """Where a phase stands, all of it in a checkpoint."""

    epoch: int = 0
    updates: int = 0
    seconds: float = 0.0
    best_epoch: int = 0
    best_loss: float = math.inf
    best: dict[str, Weights] = field(default_factory=dict)


class Trainer:
    """Carries out a plan.

    Attributes:
        star: ``W*``, once rolling has ended.

    Args:
        fabric: launched.
        trunk: freshly initialised shared weights, updated in place.
        heads: one per task, updated in place.
        windows: per task, on Fabric's device.
        plan: the phases.
        config: settings.
        star: ``W*`` and its frozen part, where rolling has ended before; a plan may then begin there.
        lesson: what a phase teaches; as the trunk's ``config`` says when not given.
        on_event: called with every event (a dictionary: an epoch, or the end of a phase) on rank 0.
        on_update: called after every optimiser step with the phase and its epoch (for progress bars).
        on_checkpoint: called on rank 0 when the state is complete and may be saved.
        on_delivery: called on rank 0 with a task and its final weights, before the checkpoint that says so.
    """

    def __init__(
        self,
        fabric: Fabric,
        trunk: nn.Module,
        heads: Mapping[str, nn.Module],
        windows: dict[str, Windows],
        plan: list[Phase],
        config: TrainingConfig,
        *,
        star: Star | None = None,
        lesson: Callable[[Phase], Lesson] | None = None,
        on_event: Callable[[dict[str, Any]], None] = lambda event: None,
        on_update: Callable[[Phase, int], None] = lambda phase, epoch: None,
        on_checkpoint: Callable[["Trainer"], None] = lambda trainer: None,
        on_delivery: Callable[[str, dict[str, Weights]], None] = lambda task, weights: None,
    ) -> None:
        self.fabric, self.trunk, self.heads, self.windows = fabric, trunk, heads, windows
        self.plan, self.config = plan, config
        self._on_event, self._on_update = on_event, on_update
        self._on_checkpoint, self._on_delivery = on_checkpoint, on_delivery
        self._lessons = {
            phase.name: lesson(phase) if lesson else lesson_of(trunk.config, config, phase)  # type: ignore[arg-type]
            for phase in plan
        }
        self._batches = Batches(windows, config)
        self._losses = Losses(fabric, windows, config, self._lessons)
        self._initial = copy.deepcopy(trunk.state_dict())
        self.star: Weights | None = None
        tables = [f"{name}.weight" for name, module in trunk.named_modules() if isinstance(module, nn.Embedding)]
        self.stability = Stability(trunk.named_parameters(), tables)
        if star is not None:
            trunk.load_state_dict(star.weights)
            self.star = copy.deepcopy(trunk.state_dict())
            self.stability.hold(star.frozen)
        self.phase_index = 0
        self.state = PhaseState()
        self._optimizer: torch.optim.Optimizer | None = None
        self._trained: Trained = []
        self._resumed_moments: Weights = {}

    def common(self) -> Star | None:
        """``W*`` and what is frozen in it, once rolling has ended."""
        return None if self.star is None else Star(self.star, dict(self.stability.frozen))

    # ---------------------------------------------------------------- phases

    def run(self) -> None:
        """Carry out what is left of the plan.

        Raises:
            CityError: a task has nothing to learn from, or nothing to tell the best epoch by.
            RunError: a phase never reached a finite validation loss, or has nothing left to train.
        """
        self._losses.check_targets(self.plan)
        while self.phase_index < len(self.plan):
            self._run_phase(self.plan[self.phase_index])

    def _run_phase(self, phase: Phase) -> None:
        resumed = self.state.epoch > 0
        if not resumed:
            self._enter(phase)
        network, optimizer, hold = self._prepare(phase)
        if phase.keeps and not resumed:
            started = time.perf_counter()
            self._note(phase, self._validate(phase, network))
            self.state.seconds += time.perf_counter() - started
        while not self._finished(phase):
            self._run_epoch(phase, network, optimizer, hold)
        self._leave(phase)

    def _enter(self, phase: Phase) -> None:
        """Put the shared weights where the phase starts, and open its history."""
        if phase.origin == "initial":
            self.trunk.load_state_dict(self._initial)
        elif phase.origin == "star":
            assert self.star is not None
            self.trunk.load_state_dict(self.star)
        if phase.rolls:
            self.stability.open_history()

    def _prepare(self, phase: Phase) -> tuple[_FabricModule, Any, Hold]:
        """A new optimiser over what is not frozen."""
        lesson, heads = self._lessons[phase.name], {task: self.heads[task] for task in phase.tasks}
        shared, own = shared_weights(self.trunk, self.stability.trainable(), lesson), own_weights(heads)
        optimizer = make_optimizer(shared, own, phase, lesson, self.config)
        restore_moments(optimizer, shared + own, self._resumed_moments)
        self._optimizer, self._trained, self._resumed_moments = optimizer, shared + own, {}
        network, wrapped = self.fabric.setup(Ensemble(self.trunk, heads), optimizer)
        return network, wrapped, self.stability.partly_frozen()

    def _finished(self, phase: Phase) -> bool:
        state = self.state
        return state.epoch >= phase.epochs or (
            state.epoch > 0 and state.epoch - state.best_epoch >= self.config.patience
        )

    def _leave(self, phase: Phase) -> None:
        """Restore the best weights, freeze what was stable, hand over what is final, and say so."""
        state = self.state
        if not math.isfinite(state.best_loss):
            raise RunError(
                f"phase {phase.name!r} never reached a finite validation loss in {state.epoch} epochs; "
                f"lower training.rate (now {self.config.rate:g}) or set training.clip"
            )
        self.trunk.load_state_dict(state.best["trunk"])
        for task in phase.tasks:
            self.heads[task].load_state_dict(state.best[f"head/{task}"])
        if phase.rolls and self.config.freezing:
            self.stability.freeze(self._threshold(phase), self.config.stability)
        if phase.ends_rolling:
            self.star = copy.deepcopy(self.trunk.state_dict())
        if phase.delivers and self.fabric.is_global_zero:
            for task in phase.tasks:
                self._on_delivery(task, {"trunk": state.best["trunk"], "head": state.best[f"head/{task}"]})
        self._emit(
            {
                "event": "phase",
                "phase": phase.name,
                "kind": phase.kind,
                "tasks": list(phase.tasks),
                "epochs": state.epoch,
                "best_epoch": state.best_epoch,
                "best_validation_loss": state.best_loss,
                "updates": state.updates,
                "frozen_share": self.stability.share(),
                "frozen_by_layer": self.stability.share_by_layer(),
                "seconds": state.seconds,
                **({"losses_of_seen": self._losses_of_seen(phase)} if phase.kind in ("start", "roll") else {}),
            }
        )
        self.phase_index += 1
        self.state = PhaseState()
        self._optimizer = None
        self._checkpoint()

    def _threshold(self, phase: Phase) -> float:
        if self.config.delta_unit == "absolute":
            return self.config.delta
        steps = self._batches.per_epoch(phase)
        travel = (
            sum(rate_factor(phase, self.config, update, steps) for update in range(self.state.updates)) * phase.rate
        )
        return self.config.delta * travel**2

    # ---------------------------------------------------------------- epochs

    def _run_epoch(self, phase: Phase, network: _FabricModule, optimizer: Any, hold: Hold) -> None:
        started = time.perf_counter()
        state = self.state
        train_loss = self._train_epoch(phase, network, optimizer, hold)
        if phase.rolls:
            self.stability.record()
        loss = self._validate(phase, network)
        state.epoch += 1
        best = self._note(phase, loss)
        seconds = time.perf_counter() - started
        state.seconds += seconds
        self._emit(
            {
                "event": "epoch",
                "phase": phase.name,
                "kind": phase.kind,
                "tasks": list(phase.tasks),
                "epoch": state.epoch,
                "train_loss": _number(train_loss),
                "validation_loss": _number(loss),
                "rate": optimizer.param_groups[0]["lr"],
                "updates": state.updates,
                "frozen_share": self.stability.share(),
                "seconds": seconds,
                "best": best,
            }
        )
        self._checkpoint()

    def _note(self, phase: Phase, loss: float) -> bool:
        """Keep the weights as they are where their validation loss is the best so far; whether it is."""
        state = self.state
        best = loss < state.best_loss
        if best or not state.best:
            state.best_loss, state.best_epoch = loss, state.epoch
            state.best = {"trunk": copy.deepcopy(self.trunk.state_dict())}
            state.best.update({f"head/{task}": copy.deepcopy(self.heads[task].state_dict()) for task in phase.tasks})
        return best

    def _train_epoch(self, phase: Phase, network: _FabricModule, optimizer: Any, hold: Hold) -> float:
        """One pass; the mean loss over its updates."""
        network.train()
        losses = torch.zeros((), device=self.fabric.device)
        steps = self._batches.per_epoch(phase)
        epoch = self.state.epoch
        torch.manual_seed(derive_seed(self.config.seed, phase, epoch, self.fabric.global_rank))  # of dropout
        for task, starts in self._batches.of_epoch(phase, epoch):
            set_rates(optimizer, rate_factor(phase, self.config, self.state.updates, steps))
            optimizer.zero_grad()
            loss = self._losses.backward(phase, network, task, starts, epoch)
            if phase.rolls:
                self.stability.record_gradients()
            if self.config.clip is not None:
                hold.clear_gradients()
                torch.nn.utils.clip_grad_norm_([parameter for _, parameter in self._trained], self.config.clip)
            optimizer.step()
            hold.restore()
            losses += loss
            self.state.updates += 1
            self._on_update(phase, epoch + 1)
        return losses.item() / steps

    @torch.no_grad()
    def _validate(self, phase: Phase, network: _FabricModule) -> float:
        """The criterion: the loss over the validation part, averaged over the phase's tasks; infinite where it is not
        a number.
        """
        network.eval()
        losses = [self._losses.of_validation(phase, network, task, self.state.epoch) for task in phase.tasks]
        loss = sum(losses) / len(losses)
        return loss if math.isfinite(loss) else math.inf

    @torch.no_grad()
    def _losses_of_seen(self, phase: Phase) -> dict[str, float | None]:
        """How the shared weights now serve every task rolled over so far, with its own prompt as it stands: what
        earlier tasks have lost to later ones (C.3).
        """
        tasks = dict.fromkeys(task for each in self.plan[: self.phase_index + 1] for task in each.tasks)
        network = Ensemble(self.trunk, {task: self.heads[task] for task in tasks}).eval()
        epoch, losses = self.state.epoch, dict.fromkeys(phase.tasks, self.state.best_loss)
        with self.fabric.autocast():
            for task in tasks:
                if task not in losses:
                    losses[task] = self._losses.of_validation(phase, network, task, epoch)
        return {task: _number(losses[task]) for task in tasks}

    def updates_of(self, phase: Phase) -> int:
        """At most so many updates in a phase."""
        return phase.epochs * self._batches.per_epoch(phase)

    # ---------------------------------------------------------------- events and checkpoints

    def _emit(self, event: dict[str, Any]) -> None:
        if self.fabric.is_global_zero:
            self._on_event(event)

    def _checkpoint(self) -> None:
        if self.fabric.is_global_zero:
            self._on_checkpoint(self)

    def checkpoint(self) -> tuple[dict[str, dict[str, Tensor]], dict[str, Any]]:
        """All state between two epochs, as groups of tensors and plain values."""
        state = self.state
        tensors: dict[str, dict[str, Tensor]] = {"trunk": self.trunk.state_dict(), "initial": self._initial}
        tensors.update({f"head/{task}": head.state_dict() for task, head in self.heads.items()})
        tensors.update({f"best/{name}": weights for name, weights in state.best.items()})
        tensors["stability"] = self.stability.state()
        if self.star is not None:
            tensors["star"] = self.star
        tensors["optimizer"] = moments(self._optimizer, self._trained) if self._optimizer is not None else {}
        values = {
            "phase_index": self.phase_index,
            "epoch": state.epoch,
            "updates": state.updates,
            "seconds": state.seconds,
            "best_epoch": state.best_epoch,
            "best_loss": None if math.isinf(state.best_loss) else state.best_loss,
        }
        return tensors, values

    def resume(self, saved: Saved) -> None:
        """Put back what ``checkpoint`` gave; ``run`` goes on from there.

        Raises:
            KeyError: something is missing, or the best weights are under other names.
        """
        tensors, values = saved.tensors, saved.values
        self.trunk.load_state_dict(tensors["trunk"])
        self._initial = tensors["initial"]
        self.star = tensors.get("star")
        for task, head in self.heads.items():
            head.load_state_dict(tensors[f"head/{task}"])
        self.stability.load_state(tensors["stability"])
        self.phase_index = values["phase_index"]
        best_loss = math.inf if values["best_loss"] is None else values["best_loss"]
        best = {name.removeprefix("best/"): weights for name, weights in tensors.items() if name.startswith("best/")}
        for name in best.keys() - {"trunk", *(f"head/{task}" for task in self.heads)}:
            raise KeyError(f"best/{name}")
        self.state = PhaseState(
            values["epoch"], values["updates"], values["seconds"], values["best_epoch"], best_loss, best
        )
        self._resumed_moments = tensors.get("optimizer", {}) if self.state.epoch else {}


def _number(loss: float) -> float | None:
    """A loss for an event: None where it is not finite, which JSON does not have."""
    return loss if math.isfinite(loss) else None
