"""How the network is trained: every setting of the rolling scheme, as named presets like the network's."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cmust.errors import ConfigError
from cmust.model.config import describe_validation

Use = Literal["rolling", "alone", "joint", "update", "adapt", "compare"]
"""What settings are for: a scheme, or what comes after it; ``compare``: adapting beside training from fresh weights."""


class TrainingConfig(BaseModel):
    """Settings of training (defaults: the published ones, with the paper's element-wise stability)."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    seed: int = Field(0, ge=0)
    batch_size: int = Field(16, ge=1)
    shuffle: bool = Field(True, description="windows in random order; False: in the order of time")
    rate: float = Field(
        1e-3, gt=0, description="gamma, learning rate of a first training; rolling and refinement take shares of it"
    )
    rolling_factor: float = Field(0.01, gt=0, description="rate of the rolling phases, as a share of gamma")
    refine_factor: float = Field(1.0, gt=0, description="rate of refinement, as a share of gamma")
    weight_decay: float = Field(3e-4, ge=0)
    decoupled_decay: bool = Field(False, description="AdamW instead of Adam with L2")
    eps: float = Field(1e-8, gt=0)
    clip: float | None = Field(None, gt=0, description="largest gradient norm")
    start_epochs: int = Field(
        100, ge=1, description="at most so many in the first phase, and of a task trained alone or jointly"
    )
    rolling_epochs: int = Field(100, ge=1, description="at most so many in each rolling phase")
    refine_epochs: int = Field(100, ge=1, description="at most so many in each refinement")
    head_epochs: int = Field(
        3,
        ge=0,
        description="of a task that comes later: at most so many of its head alone, before the rest learns too",
    )
    epochs_by_task: dict[str, Annotated[int, Field(ge=1)]] = Field(
        default_factory=dict, description="scheme alone: of single tasks, instead of start_epochs"
    )
    updates_per_epoch: int | None = Field(
        None,
        ge=1,
        description="an epoch is at most so many batches of each of its tasks, drawn anew from all windows; None: all "
        "windows once",
    )
    windows_per_pass: int | None = Field(
        None,
        ge=1,
        description="a batch goes through the network so many windows at a time, gradients added up: the same "
        "mathematics in less memory; None: what suits the CPU's caches, on a GPU its memory",
    )
    nodes_per_update: int | None = Field(
        None,
        ge=1,
        description="an update sees so many nodes (all where there are no more), drawn at random, and attention is "
        "among these; validation and forecasts are of all nodes; None: all",
    )
    recompute: bool = Field(
        False,
        description="activation checkpointing: the self-interactions are computed again for their gradient",
    )
    validation_windows: int | None = Field(
        None,
        ge=1,
        description="the validation loss of an epoch is that of at most so many windows of a task, evenly spread over "
        "its validation part; None: all",
    )
    patience: int = Field(30, ge=1, description="epochs without a better validation loss before a phase ends")
    keep_start: bool = Field(
        False,
        description="the weights that training of a task's final model starts from (refinement, alone, jointly) count "
        "as its epoch 0: the result where no epoch is better; after a phase of the head alone they always do",
    )
    schedule: Literal["milestones", "cosine"] = Field(
        "milestones",
        description="rate over a phase (rolling phases keep theirs with milestones); cosine: warm-up and cosine decay",
    )
    milestones: tuple[int, ...] = (30, 50)
    milestone_factor: float = Field(0.1, gt=0)
    warmup_updates: int = Field(50, ge=0, description="of the cosine schedule")

    freezing: bool = Field(True, description="False: the ablation without consistency maintainer")
    stability: Literal["element", "tensor"] = Field(
        "element", description="what freezes: elements (Eq. 11) or whole tensors (as coded)"
    )
    delta: float = Field(1e-6, ge=0, description="freezing threshold of the variance")
    delta_unit: Literal["absolute", "travel"] = Field(
        "absolute",
        description="travel: delta times the square of the summed rate of the phase, the farthest a weight can drift",
    )
    precision: Literal["auto", "32-true", "bf16-mixed"] = Field(
        "auto", description="auto: bf16 where the machine computes in it"
    )

    @model_validator(mode="after")
    def _epochs_cover_all_windows(self) -> Self:
        if self.updates_per_epoch is not None and not self.shuffle:
            raise ValueError(
                "updates_per_epoch needs shuffle: in the order of time the later windows would never be seen"
            )
        return self


TRAINING_PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "reference": {"stability": "tensor"},
    "tuned": {
        "schedule": "cosine",
        "decoupled_decay": True,
        "start_epochs": 20,
        "rolling_epochs": 6,
        "refine_epochs": 10,
        "patience": 8,
        "keep_start": True,
        "rolling_factor": 0.3,
        "refine_factor": 0.3,
        "delta_unit": "travel",
        "delta": 3e-5,
    },
}


def training_config(preset: str = "tuned", /, **overrides: Any) -> TrainingConfig:
    """The training settings of a preset with single ones overridden.

    Raises:
        ConfigError: the preset or a setting is unknown, or a value does not fit.
    """
    if preset not in TRAINING_PRESETS:
        raise ConfigError(f"unknown preset {preset!r}; choose one of {', '.join(TRAINING_PRESETS)}")
    return _checked({**TRAINING_PRESETS[preset], **overrides})


def changed_training(config: TrainingConfig, /, **overrides: Any) -> TrainingConfig:
    """Training settings with single ones overridden.

    Raises:
        ConfigError: a setting is unknown, or a value does not fit.
    """
    return _checked({**config.model_dump(), **overrides})


def meaningless(config: TrainingConfig, given: Iterable[str], use: Use) -> dict[str, str]:
    """Those of the settings given that change nothing in a use, each with what it would need."""
    fresh = "training from fresh weights", use not in ("update", "adapt")
    rolling = "rolling phases (scheme = rolling, or an update)", use in ("rolling", "update")
    freezing = ("training.freezing = true", config.freezing) if rolling[1] else rolling
    milestones = "training.schedule = milestones", config.schedule == "milestones"
    needs = {
        "start_epochs": fresh,
        "epochs_by_task": ("scheme = alone", use == "alone"),
        "head_epochs": ("a task that comes later", use != "update"),
        "rolling_epochs": rolling,
        "rolling_factor": rolling,
        "freezing": rolling,
        "stability": freezing,
        "delta": freezing,
        "delta_unit": freezing,
        "milestones": milestones,
        "milestone_factor": milestones,
        "warmup_updates": ("training.schedule = cosine", config.schedule == "cosine"),
    }
    return {name: needs[name][0] for name in given if name in needs and not needs[name][1]}


def check_used(config: TrainingConfig, given: Iterable[str], use: Use) -> None:
    """Refuse settings that the others, or the use, make meaningless, rather than to ignore them.

    Raises:
        ConfigError: it names the first of them, and what it would need.
    """
    for name, needed in meaningless(config, given, use).items():
        raise ConfigError(f"training.{name} means nothing without {needed}; set that too, or leave {name} out")


def _checked(values: dict[str, Any]) -> TrainingConfig:
    try:
        return TrainingConfig(**values)
    except ValidationError as error:
        raise ConfigError(describe_validation(error, "training", TrainingConfig.model_fields)) from error
