"""Rolling adaptation (RoAda): phases as data, stability of weights, one epoch loop, resume."""

from typing import TYPE_CHECKING, Any

from cmust.rolling.config import (
    TrainingConfig,
    Use,
    changed_training,
    check_used,
    meaningless,
    training_config,
)
from cmust.rolling.lesson import Lesson, Objective
from cmust.rolling.plan import (
    PLANS,
    Phase,
    adapt_plan,
    epochs_by_task,
    joint_plan,
    rolling_plan,
    single_plan,
    update_plan,
)
from cmust.rolling.stability import Stability, Star

# The trainer needs Lightning, half of a forecast's start-up time: it is imported when it is first used.
if TYPE_CHECKING:
    from cmust.rolling.trainer import Trainer

__all__ = [
    "PLANS",
    "Lesson",
    "Objective",
    "Phase",
    "Stability",
    "Star",
    "Trainer",
    "TrainingConfig",
    "Use",
    "adapt_plan",
    "changed_training",
    "check_used",
    "epochs_by_task",
    "joint_plan",
    "meaningless",
    "rolling_plan",
    "single_plan",
    "training_config",
    "update_plan",
]


def __getattr__(name: str) -> Any:
    if name != "Trainer":
        raise AttributeError(f"module 'cmust.rolling' has no attribute {name!r}")
    from cmust.rolling.trainer import Trainer

    return Trainer
