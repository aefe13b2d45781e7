"""What the network is: its sizes and the readings of the paper, as named presets.

The text of the paper and the published code differ; both are kept (``paper``, ``reference``), and ``tuned`` is what
won on validation data. Every field is a setting; unknown fields are errors.
"""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from cmust.errors import ConfigError

PresetName = Literal["paper", "reference", "tuned"]


class ModelConfig(BaseModel):
    """Sizes and readings of the network (defaults: the ``paper`` preset with the published sizes)."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())

    preset: PresetName = "paper"
    input_steps: int = Field(12, ge=1, description="T, observed steps of a window")
    horizon: int = Field(12, ge=1, description="T', forecast steps of a window")

    d_obs: int = Field(24, ge=1, description="width of the observation slice")
    d_s: int = Field(12, ge=1, description="width of the spatial slice")
    d_t: int = Field(60, ge=1, description="width of the temporal slice")
    d_p: int = Field(72, ge=1, description="width of the prompt slice")
    d_ts: int = Field(12, ge=1, description="width of the timestamp embedding")
    d_tod: int = Field(24, ge=1, description="width of a time-of-day row")
    d_dow: int = Field(24, ge=1, description="width of a day-of-week row")
    cross_width: int = Field(24, ge=1, description="attention width of the cross-interactions")
    self_width: int = Field(168, ge=1, description="attention width of the self-interactions")
    ffn_width: int = Field(256, ge=1)
    heads: int = Field(4, ge=1)
    blocks: int = Field(1, ge=1, description="how many MSTI blocks follow one another")
    dropout: float = Field(0.1, ge=0, lt=1)

    order: Literal["space_first", "time_first"] = Field("space_first", description="SCCI then TCCI, or TCCI then SCCI")
    cross: Literal["parallel", "sequential"] = Field(
        "parallel", description="both directions from the same H (Eq. 6), or the observations first"
    )
    positional_encoding: bool = Field(True, description="sinusoidal, before TCCI (Eq. 14)")
    self_repeats: int = Field(
        1, ge=1, description="TSI so many times, then SSI so many times, each with its own weights"
    )
    fusion: Literal["sum", "flatten"] = Field("sum", description="Eq. 15, or one linear layer over (T, d_h)")
    prompt: Literal["summary", "free"] = Field("summary", description="FC_p(S), or a free (T, N, d_p) parameter")
    loss: Literal["huber", "masked_mae", "mae"] = "huber"
    seasonal: bool = Field(
        False, description="observe deviations from the weekly average too, and forecast what is left over it"
    )

    spread: Literal["task", "expected"] = Field(
        "task",
        description="seasonal: deviations are measured in the task's standard deviation, or in what they usually come "
        "to, which grows with the square root of what is expected",
    )

    dates: bool = Field(
        True, description="timestamp numbers hold month, day and years; False: only hour, minute and second are seen"
    )
    cross_interactions: bool = Field(True, description="False: the ablation without context-data interaction")
    prompts: bool = Field(True, description="False: the ablation without task-specific preserver")

    @property
    def d_h(self) -> int:
        """Width of the representation ``H`` (Eq. 1)."""
        return self.d_obs + self.d_s + self.d_t + self.d_p

    @model_validator(mode="after")
    def _heads_divide(self) -> Self:
        for field in ("self_width", *(["cross_width"] if self.cross_interactions else [])):
            if getattr(self, field) % self.heads:
                raise ValueError(f"{field}={getattr(self, field)} is not a multiple of heads={self.heads}")
        return self


PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "reference": {
        "order": "time_first",
        "cross": "sequential",
        "positional_encoding": False,
        "self_repeats": 2,
        "fusion": "flatten",
        "prompt": "free",
        "loss": "masked_mae",
    },
    "tuned": {"fusion": "flatten", "loss": "mae", "seasonal": True, "spread": "expected", "dropout": 0.0},
}


def model_config(preset: str = "tuned", **overrides: Any) -> ModelConfig:
    """The configuration of a preset with single fields overridden.

    Raises:
        ConfigError: the preset or a field is unknown, or a value does not fit.
    """
    if preset not in PRESETS:
        raise ConfigError(f"unknown preset {preset!r}; choose one of {', '.join(PRESETS)}")
    try:
        return ModelConfig(**{"preset": preset, **PRESETS[preset], **overrides})
    except ValidationError as error:
        raise ConfigError(describe_validation(error, "model", ModelConfig.model_fields)) from error


def describe_validation(error: ValidationError, where: str, known: Iterable[str]) -> str:
    """One line per problem of a pydantic error: which setting, what is wrong, what was given; the ``known`` ones for
    an unknown.
    """
    problems = []
    for item in error.errors():
        name = ".".join(str(part) for part in (where, *item["loc"]))
        shows = item["loc"] and item["type"] not in {"missing", "extra_forbidden"}
        found = f" (found {item['input']!r})" if shows else ""
        # Words of settings files instead of Python's.
        message = (
            item["msg"].removeprefix("Value error, ").replace("valid tuple", "list").replace("dictionary", "table")
        )
        if item["type"] == "extra_forbidden":
            near = get_close_matches(str(item["loc"][-1]), known, n=1)
            message = (
                f"unknown setting; did you mean {near[0]}?"
                if near
                else f"unknown setting; there are {', '.join(known)}"
            )
        problems.append(f"{name}: {message}{found}")
    return "; ".join(problems)
