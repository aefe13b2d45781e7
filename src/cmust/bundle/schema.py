"""What ``model.json`` may hold: every field, its type and its bounds. A field that is not here is refused.

A field that older files lack has a default; any other change of the fields raises :data:`cmust.run.MODEL_SCHEMA` and
adds a step to ``migrate.py``.
"""

import hashlib
import json
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from cmust.errors import RunError
from cmust.model import ModelConfig
from cmust.report.checking import check_evaluation
from cmust.rolling import TrainingConfig
from cmust.run import MODEL_SCHEMA

SCHEMA = MODEL_SCHEMA
FORMAT = "cmust.model"

LARGEST = 65_536
"""No size of a network is larger; bounds what a hostile file can ask for before its weights are compared."""


def _a_time(text: str) -> str:
    if np.isnat(np.datetime64(text, "s")):
        raise ValueError("is not a time")
    return text


TaskName = Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
WeightFile = Annotated[str, Field(pattern=r"^([a-z0-9_]+/)?[a-z0-9_]+\.safetensors$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d$"), AfterValidator(_a_time)]
Pair = Annotated[list[FiniteFloat], Field(min_length=2, max_length=2)]


class Strict(BaseModel):
    """Unknown fields and other types are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, protected_namespaces=())


class CityRecord(Strict):
    """The city it was trained on."""

    name: str
    fingerprint: str
    timezone: str
    synthetic: bool


class FrameRecord(Strict):
    """What standardises coordinates: longitude, latitude."""

    mean: Pair
    std: Annotated[list[Annotated[FiniteFloat, Field(gt=0)]], Field(min_length=2, max_length=2)]


class ProfileRecord(Strict):
    """The shape that was chosen for the task's weekly profile."""

    half_life: str
    smooth: bool
    power: float | None


class AutoencoderRecord(Strict):
    """How the training of the task's summary ended."""

    start: float
    end: float
    steps: int


class SeenRecord(Strict):
    """The data that had a say in the task's model: what follows may be scored."""

    from_: Annotated[Time, Field(alias="from")]
    until: Time
    fingerprint: Sha256


class ValidationRecord(Strict):
    """Scores of the task's model on the windows that chose it."""

    from_: Annotated[Time, Field(alias="from")]
    until: Time
    windows: int
    plain_mae: float | None
    masked_mae: float | None


class TaskRecord(Strict):
    """What a task is: its places, its step, its channels; which data it has seen (absent in older models).

    ``cuts`` are the times between the parts of its city; ``like`` names the task whose prompt encoder it shares,
    ``reads`` the one whose data it has, at places of its own.
    """

    nodes: Annotated[list[str], Field(min_length=1)]
    lon: list[FiniteFloat]
    lat: list[FiniteFloat]
    geometry: list[dict[str, Any] | None] | None
    unit: str
    kind: str
    interval: Annotated[int, Field(ge=1, le=86_400)]
    channels: Annotated[list[str], Field(min_length=1, max_length=1024)]
    trained_until: Time
    profile: ProfileRecord | None
    autoencoder: AutoencoderRecord | None
    seen: SeenRecord | None = None
    fingerprint: Sha256 | None = None
    cuts: Annotated[list[Time], Field(min_length=2, max_length=2)] | None = None
    validation: ValidationRecord | None = None
    like: TaskName | None = None
    reads: TaskName | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if 86_400 % self.interval:
            raise ValueError(f"interval {self.interval} does not divide a day")
        if len(set(self.nodes)) != len(self.nodes):
            raise ValueError("nodes are not unique")
        for field in ("lon", "lat", "geometry"):
            given = getattr(self, field)
            if given is not None and len(given) != len(self.nodes):
                raise ValueError(f"{field} has {len(given)} entries for {len(self.nodes)} nodes")
        return self


class Record(Strict):
    """How the model came to be, for its card; nothing here is needed to forecast.

    ``scores`` is an ``evaluation.json`` without what it says per place and per horizon.
    """

    source: str | None = None
    license: str | None = None
    settings: dict[str, Any] | None = None
    versions: dict[str, str] | None = None
    scores: dict[str, Any] | None = None


class ModelDocument(Strict):
    """``model.json`` without its digest."""

    schema_: Annotated[int, Field(alias="schema", ge=SCHEMA, le=SCHEMA)]
    format: Literal["cmust.model"]
    city: CityRecord
    protocol: Literal["purged", "published"]
    model: ModelConfig
    training: TrainingConfig | None = None
    slots_per_day: Annotated[int, Field(ge=1, le=86_400)]
    reference: Time
    frame: FrameRecord
    tasks: Annotated[dict[TaskName, TaskRecord], Field(min_length=1)]
    record: Record
    checksums: dict[WeightFile, Sha256]

    @model_validator(mode="after")
    def _fits(self) -> Self:
        for field, value in self.model:
            if isinstance(value, int) and value > LARGEST:
                raise ValueError(f"model.{field} is {value}, more than any network has")
        if 86_400 % self.slots_per_day:
            raise ValueError(f"slots_per_day {self.slots_per_day} does not divide a day")
        for name in self.tasks:
            if f"tasks/{name}.safetensors" not in self.checksums:
                raise ValueError(f"there is no checksum of tasks/{name}.safetensors")
        return self


def check_document(document: dict[str, Any]) -> None:
    """Hold a document of the present schema against the fields above.

    Raises:
        RunError: in one line, the first field that does not fit and why.
    """
    try:
        checked = ModelDocument.model_validate(document)
    except ValidationError as error:
        problems = error.errors(include_input=False, include_url=False, include_context=False)
        place = ".".join(str(part) for part in problems[0]["loc"])
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise RunError(f"{place}: {problems[0]['msg']}{more}".removeprefix(": ")) from error
    if (scores := checked.record.scores) is not None:
        check_evaluation(scores, "record.scores")
        if not all("model" in task for task in scores["tasks"].values()):
            raise RunError("record.scores: a task does not say of which model its scores are")


def digest(document: dict[str, Any]) -> str:
    """SHA-256 of a document's content, however it is spaced or ordered in the file; its own ``digest`` left out."""
    content = {key: value for key, value in document.items() if key != "digest"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
