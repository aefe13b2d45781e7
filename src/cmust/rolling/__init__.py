"""Rolling adaptation (RoAda): phases as data, stability of weights, one epoch loop, resume."""

from cmust.rolling.config import TrainingConfig, training_config
from cmust.rolling.plan import PLANS, Phase, epochs_by_task, joint_plan, rolling_plan, single_plan
from cmust.rolling.stability import Stability
from cmust.rolling.trainer import Trainer

__all__ = [
    "PLANS",
    "Phase",
    "Stability",
    "Trainer",
    "TrainingConfig",
    "epochs_by_task",
    "joint_plan",
    "rolling_plan",
    "single_plan",
    "training_config",
]
