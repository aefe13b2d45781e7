"""The layouts of a run's records, as far as a report needs them."""

import math
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, model_validator

from cmust.run import FIRST


def _finite_or_none(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


Number = Annotated[float | None, AfterValidator(_finite_or_none)]
"""A number that may be missing; NaN and infinite count as missing, since neither can be drawn."""


class Plain(BaseModel):
    """Scores over all targets, pooled."""

    mae: Number = None
    rmse: Number = None
    wape: Number = None


class Masked(BaseModel):
    """Scores without the targets that are zero, averaged over horizons."""

    mae: Number = None
    rmse: Number = None
    mape: Number = None


class PerHorizon(BaseModel):
    """Mean absolute error per forecast step, first to last."""

    plain_mae: list[Number] = []
    masked_mae: list[Number] = []


class PerNode(BaseModel):
    """Mean absolute error per place, in the order of the task's nodes."""

    plain_mae: list[Number] = []


class Scores(BaseModel):
    """What one system reached on one task."""

    plain: Plain = Plain()
    masked: Masked = Masked()
    per_horizon: PerHorizon = PerHorizon()
    per_node: PerNode = PerNode()


class TaskEvaluation(BaseModel):
    """All systems on one task."""

    unit: str = ""
    kind: str = "other"
    interval: int
    model: str = ""
    nodes: list[str]
    windows: int | None = None
    systems: dict[str, Scores]


class Made(BaseModel):
    """Who made the evaluation, when and on what."""

    when: str | None = None
    command: str | None = None
    versions: dict[str, str] = {}
    machine: str | None = None


class CityName(BaseModel):
    """The city that was evaluated."""

    name: str
    fingerprint: str = ""
    synthetic: bool = False


class Evaluation(BaseModel):
    """``evaluation.json``."""

    made: Made = Made()
    city: CityName
    version: int = FIRST
    protocol: str
    part: str
    tasks: dict[str, TaskEvaluation]


class ModelTask(BaseModel):
    """What ``model/model.json`` says about the places of one task."""

    nodes: list[str]
    lon: list[Number]
    lat: list[Number]
    geometry: list[dict[str, Any] | None] | None = None
    unit: str = ""
    kind: str = "other"
    interval: int | None = None


class ModelFile(BaseModel):
    """``model/model.json``, as far as a report needs it."""

    tasks: dict[str, ModelTask]
    city: CityName | None = None
    checksums: dict[str, str] = {}


class Epoch(BaseModel):
    """One ``epoch`` line of ``history.jsonl``."""

    phase: str
    kind: str
    tasks: list[str] = []
    epoch: int
    train_loss: Number = None
    validation_loss: Number = None
    frozen_share: Number = None
    updates: int | None = None
    seconds: Number = None
    best: bool = False


class PhaseEnd(BaseModel):
    """One ``phase`` line of ``history.jsonl``."""

    phase: str
    kind: str
    tasks: list[str] = []
    epochs: int | None = None
    best_epoch: int | None = None
    updates: int | None = None
    frozen_share: Number = None
    frozen_by_layer: dict[str, Number] = {}
    seconds: Number = None


class BacktestRow(BaseModel):
    """Errors over the targets of one name: an hour, a weekday, a week, a place."""

    name: str
    targets: int
    mean: Number = None
    mae: dict[str, Number]
    bias: dict[str, Number] = {}


class TaskBacktest(BaseModel):
    """All systems on one task, forecast from every step that was new to the model."""

    unit: str = ""
    interval: int
    begins: str = Field(alias="from")
    until: str
    origins: int
    by: dict[str, list[BacktestRow]]

    @model_validator(mode="after")
    def _has_a_whole(self) -> "TaskBacktest":
        if len(self.by.get("whole", [])) != 1:
            raise ValueError("by.whole has to be one row")
        return self

    @property
    def whole(self) -> BacktestRow:
        """Over all targets."""
        return self.by["whole"][0]


class Forgotten(BaseModel):
    """Validation losses of the tasks so far after a phase, and their change since each was last trained itself."""

    phase: str
    losses: dict[str, Number]
    change: dict[str, Number] = {}


class Backtest(BaseModel):
    """``backtest.json``."""

    made: Made = Made()
    version: int | None = None
    tasks: dict[str, TaskBacktest]
    forgetting: list[Forgotten] = []


class IntervalMeans(BaseModel):
    """Coverage, width and interval score, per forecast step or per node group."""

    coverage: list[Number]
    width: list[Number]
    interval_score: list[Number]


class IntervalScores(BaseModel):
    """How good the intervals of one system at one level were."""

    coverage: Number = None
    width: Number = None
    interval_score: Number = None
    count: int = 0
    per_horizon: IntervalMeans
    per_group: IntervalMeans


class NodeGroup(BaseModel):
    """Nodes whose intervals have common quantiles."""

    channel: str
    nodes: list[str]


class TaskIntervals(BaseModel):
    """The intervals of one task; ``systems`` by name and level."""

    unit: str = ""
    begins: str = Field(alias="from")
    until: str
    origins: int
    groups: list[NodeGroup]
    systems: dict[str, dict[str, IntervalScores]]


class Intervals(BaseModel):
    """``intervals.json`` without the states that forecasts use."""

    made: Made = Made()
    version: int | None = None
    tasks: dict[str, TaskIntervals]


class VersionFile(BaseModel):
    """``versions/NNNN/version.json``."""

    number: int
    parent: int
    made_by: str
    made: Made = Made()
    city: CityName
    tasks: list[str]


class Cost(BaseModel):
    """What training one system took."""

    epochs: int
    most_epochs: int
    best_epoch: int | None = None
    updates: int
    trained_weights: int
    seconds: Number = None


class Adapted(BaseModel):
    """What was asked of an adaptation."""

    task: str
    name: str
    like: str | None = None
    train: str


class Stretch(BaseModel):
    """The history of an adapted task."""

    begins: str = Field(alias="from")
    until: str


class AdaptFile(BaseModel):
    """``adapt.json``, which is an evaluation besides."""

    adapted: Adapted
    history: Stretch
    costs: dict[str, Cost] = {}


class FreshScore(BaseModel):
    """A model's score on days that neither it nor its rivals had seen."""

    plain_mae: Number = None
    begins: str = Field(alias="from")
    until: str


class TaskUpdate(BaseModel):
    """The candidates of one task, and which was kept."""

    kept: str
    fresh: dict[str, FreshScore]


class UpdateCosts(BaseModel):
    """What an update took in all."""

    updates: int
    seconds: Number = None


class UpdateFile(BaseModel):
    """``update.json``."""

    tasks: dict[str, TaskUpdate]
    costs: UpdateCosts
    frozen_share: Number = None
    left_out: dict[str, str] = {}
