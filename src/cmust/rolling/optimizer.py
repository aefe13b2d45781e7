"""The optimiser of a phase: which weights it trains, at what rates, and its moments, which a checkpoint keeps."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from cmust.errors import RunError
from cmust.rolling.config import TrainingConfig
from cmust.rolling.lesson import Lesson
from cmust.rolling.plan import Phase

Trained = list[tuple[str, nn.Parameter]]
"""Weights that learn, each under the name that its moments have in a checkpoint."""


def shared_weights(trunk: nn.Module, free: Sequence[nn.Parameter], lesson: Lesson) -> Trained:
    """Those of the trunk's ``free`` parameters that a lesson teaches; the others stop asking for gradients."""
    taught = {id(parameter) for parameter in (free if lesson.parameters is None else lesson.parameters)}
    for parameter in free:
        parameter.requires_grad_(id(parameter) in taught)
    names = {id(parameter): f"trunk.{name}" for name, parameter in trunk.named_parameters()}
    return [(names[id(parameter)], parameter) for parameter in free if parameter.requires_grad]


def own_weights(heads: Mapping[str, nn.Module]) -> Trained:
    """All parameters of the tasks' heads."""
    return [
        (f"head/{task}.{name}", parameter)
        for task, head in heads.items()
        for name, parameter in head.named_parameters()
    ]


def make_optimizer(
    shared: Trained, own: Trained, phase: Phase, lesson: Lesson, config: TrainingConfig
) -> torch.optim.Optimizer:
    """A new one: the shared weights at the phase's rate, the tasks' own at the lesson's where it has one.

    Raises:
        RunError: there is nothing to train.
    """
    groups = [
        {"params": [parameter for _, parameter in weights], "lr": rate, "base": rate}
        for weights, rate in ((shared, phase.rate), (own, lesson.own_rate or phase.rate))
        if weights
    ]
    if not groups:
        raise RunError(
            f"phase {phase.name!r} has nothing left to train: all shared weights are frozen, and the head has "
            f"no weights of its own; lower training.delta (now {config.delta:g}), or keep model.prompts"
        )
    kind = torch.optim.AdamW if config.decoupled_decay else torch.optim.Adam
    return kind(groups, eps=config.eps, weight_decay=config.weight_decay)


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Every rate as a share of the one that the phase began with."""
    for group in optimizer.param_groups:
        group["lr"] = group["base"] * factor


def moments(optimizer: torch.optim.Optimizer, trained: Trained) -> dict[str, Tensor]:
    """What the optimiser has gathered so far, flat."""
    return {
        f"{name}|{key}": value
        for name, parameter in trained
        for key, value in optimizer.state.get(parameter, {}).items()
    }


def restore_moments(optimizer: torch.optim.Optimizer, trained: Trained, saved: Mapping[str, Tensor]) -> None:
    """Put back what ``moments`` gave: each lives where its parameter does, a step count on the CPU."""
    for name, parameter in trained:
        for key in ("step", "exp_avg", "exp_avg_sq"):
            value = saved.get(f"{name}|{key}")
            if value is not None:
                optimizer.state[parameter][key] = value if key == "step" else value.to(parameter.device)
