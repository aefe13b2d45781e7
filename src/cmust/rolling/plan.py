"""The phases of training as data: which task, from which weights, at what rate (Algorithm 1)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cmust.rolling.config import TrainingConfig

Kind = Literal["start", "roll", "refine", "single", "joint", "head", "adapt"]
Origin = Literal["initial", "previous", "star"]


@dataclass(frozen=True)
class Phase:
    """One stretch of training with its own optimiser.

    Attributes:
        name: for people and logs, unique in a plan.
        kind: of phase.
        tasks: one, or all for joint training.
        origin: the shared weights it starts from: freshly initialised, those of the phase before, or ``W*``.
        rate: learning rate of the shared weights.
        epochs: at most so many.
        rolls: whether its weight history decides what freezes.
        ends_rolling: its result is ``W*``.
        keeps: the weights it starts from are its result where no epoch is better.
        delivers: its result is a task's final model (for every one of its tasks).
    """

    name: str
    kind: Kind
    tasks: tuple[str, ...]
    origin: Origin
    rate: float
    epochs: int
    rolls: bool = False
    ends_rolling: bool = False
    keeps: bool = False
    delivers: bool = False


def rolling_plan(tasks: Sequence[str], config: TrainingConfig) -> list[Phase]:
    """Algorithm 1: the first task, the others in turn, the first again, then each task's refinement from ``W*``."""
    start = Phase(f"start {tasks[0]}", "start", (tasks[0],), "initial", config.rate, config.start_epochs)
    return [start, *_roll([*tasks[1:], tasks[0]], config, "previous", 2), *_refine(tasks, config)]


def update_plan(tasks: Sequence[str], config: TrainingConfig) -> list[Phase]:
    """The continuation of Algorithm 1 on new data: from ``W*`` over the tasks in turn, then each task's refinement."""
    return [*_roll(tasks, config, "star", 1), *_refine(tasks, config)]


def adapt_plan(task: str, config: TrainingConfig, *, head_first: bool) -> list[Phase]:
    """A task that comes later: its refinement from ``W*``.

    Args:
        task: its name.
        config: settings.
        head_first: its head alone learns for ``config.head_epochs`` epochs, before the shared weights do; what they
            learn counts where it makes the validation loss smaller. A short history spoils shared weights quickly,
            above all while the head pulls at them from a random start.
    """
    rate, keeps = config.rate * config.refine_factor, config.keep_start
    last = Phase(f"adapt {task}", "adapt", (task,), "star", rate, config.refine_epochs, keeps=keeps, delivers=True)
    if not head_first:
        return [last]
    first = Phase(f"head {task}", "head", (task,), "star", rate, config.head_epochs)
    return [first, replace(last, origin="previous", keeps=True)]


def _roll(tasks: Sequence[str], config: TrainingConfig, origin: Origin, first: int) -> list[Phase]:
    """Rolling phases, numbered from ``first``; the last one's result is ``W*``."""
    rate, last = config.rate * config.rolling_factor, first + len(tasks) - 1
    return [
        Phase(
            f"roll {number} {task}",
            "roll",
            (task,),
            origin if number == first else "previous",
            rate,
            config.rolling_epochs,
            rolls=True,
            ends_rolling=number == last,
        )
        for number, task in enumerate(tasks, start=first)
    ]


def _refine(tasks: Sequence[str], config: TrainingConfig) -> list[Phase]:
    rate, epochs, keeps = config.rate * config.refine_factor, config.refine_epochs, config.keep_start
    return [
        Phase(f"refine {task}", "refine", (task,), "star", rate, epochs, keeps=keeps, delivers=True) for task in tasks
    ]


def single_plan(tasks: Sequence[str], config: TrainingConfig) -> list[Phase]:
    """Each task alone, from the same initial weights."""
    return [
        Phase(
            f"alone {task}",
            "single",
            (task,),
            "initial",
            config.rate,
            config.epochs_by_task.get(task, config.start_epochs),
            keeps=config.keep_start,
            delivers=True,
        )
        for task in tasks
    ]


def joint_plan(tasks: Sequence[str], config: TrainingConfig) -> list[Phase]:
    """All tasks together: batches mixed, a prompt per task, one set of shared weights."""
    rate, epochs, keeps = config.rate, config.start_epochs, config.keep_start
    return [Phase("joint", "joint", tuple(tasks), "initial", rate, epochs, keeps=keeps, delivers=True)]


def epochs_by_task(plan: Sequence[Phase]) -> dict[str, int]:
    """Epochs a plan of one-task phases spends on each task: what the task alone gets in a fair comparison."""
    epochs: dict[str, int] = {}
    for phase in plan:
        for task in phase.tasks:
            epochs[task] = epochs.get(task, 0) + phase.epochs
    return epochs


PLANS = {"rolling": rolling_plan, "alone": single_plan, "joint": joint_plan}


def rate_factor(phase: Phase, config: TrainingConfig, update: int, updates_per_epoch: int) -> float:
    """The rate of an update (counted from 0 within the phase) as a share of the phase's rate."""
    if config.schedule == "cosine":
        warm = min(1.0, (update + 1) / (config.warmup_updates + 1))
        done = min(1.0, update / (phase.epochs * updates_per_epoch))
        return warm * 0.5 * (1 + math.cos(math.pi * done))
    if phase.kind == "roll":
        return 1.0
    passed = sum(update // updates_per_epoch >= milestone for milestone in config.milestones)
    return float(config.milestone_factor**passed)
