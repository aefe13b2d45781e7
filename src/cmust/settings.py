"""The settings of a run: what is forecast, by which reading of the method, trained how."""

import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cmust.errors import ConfigError
from cmust.model.config import ModelConfig, PresetName, describe_validation, model_config
from cmust.rolling.config import TrainingConfig, check_used, meaningless, training_config
from cmust.windows import Protocol

Scheme = Literal["rolling", "alone", "joint"]


class Settings(BaseModel):
    """Everything that is set for a run; unknown keys are errors.

    ``model`` and ``training`` hold what differs from the preset.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: PresetName = "tuned"
    scheme: Scheme = Field("rolling", description="Algorithm 1, each task alone, or all tasks jointly")
    protocol: Protocol = Field("purged", description="how windows are split into training, validation and test")
    tasks: tuple[str, ...] | None = Field(
        None, description="task names in the order of rolling; None: all, in the city's order"
    )
    model: dict[str, Any] = Field(default_factory=dict, description="network settings other than the preset's")
    training: dict[str, Any] = Field(default_factory=dict, description="training settings other than the preset's")

    @model_validator(mode="after")
    def _resolves(self) -> Self:
        if self.tasks == ():
            raise ValueError("tasks is empty; name at least one task, or leave it out for all")
        if self.tasks is not None and len(set(self.tasks)) != len(self.tasks):
            raise ValueError(f"a task stands twice in {', '.join(self.tasks)}")
        if "preset" in self.model:
            raise ValueError("the preset is set for network and training together: preset, not model.preset")
        return self

    @property
    def network(self) -> ModelConfig:
        """The network's settings, preset and overrides together."""
        return model_config(self.preset, **self.model)

    @property
    def trainer(self) -> TrainingConfig:
        """The training settings, preset and overrides together."""
        return training_config(self.preset, **self.training)


def make_settings(**values: Any) -> Settings:
    """Settings from keyword values.

    Raises:
        ConfigError: a key is unknown, a value does not fit, or would be ignored, in any section.
    """
    settings = _fitting(values)
    for name, needed in _meaningless_of_network(settings).items():
        raise ConfigError(f"model.{name} means nothing without {needed}; set that too, or leave {name} out")
    check_used(settings.trainer, settings.training, settings.scheme)
    return settings


def derived_settings(**values: Any) -> Settings:
    """Settings that are made from others by changing some of them: what means nothing any more is left out.

    Raises:
        ConfigError: a key is unknown, or a value does not fit, in any section.
    """
    settings = _fitting(values)
    idle = {
        "model": _meaningless_of_network(settings),
        "training": meaningless(settings.trainer, settings.training, settings.scheme),
    }
    kept = {
        table: {name: value for name, value in getattr(settings, table).items() if name not in names}
        for table, names in idle.items()
    }
    return settings.model_copy(update=kept)


def _fitting(values: dict[str, Any]) -> Settings:
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise ConfigError(describe_validation(error, "settings", Settings.model_fields)) from error
    _ = settings.network, settings.trainer
    return settings


def _meaningless_of_network(settings: Settings) -> dict[str, str]:
    """Those of the network's settings given that change nothing, each with what it would need."""
    network = settings.network
    crossing = "model.cross_interactions = true", network.cross_interactions
    needs = {
        "cross": crossing,
        "order": crossing,
        "cross_width": crossing,
        "prompt": ("model.prompts = true", network.prompts),
        "spread": ("model.seasonal = true", network.seasonal),
    }
    return {name: needs[name][0] for name in settings.model if name in needs and not needs[name][1]}


def read_settings(path: Path | str) -> dict[str, Any]:
    """The values of a TOML file with the keys of :class:`Settings` (``[model]`` and ``[training]`` are tables).

    Raises:
        ConfigError: the file is missing, cannot be read or is not TOML.
    """
    try:
        with Path(path).open("rb") as file:
            return tomllib.load(file)
    except FileNotFoundError as error:
        raise ConfigError(f"no settings file at {path}") from error
    except OSError as error:
        raise ConfigError(f"settings file {path} cannot be read: {error.strerror}; give a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
