"""The final model of one task: what forecasts it, and the tensors that make it."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cmust.errors import RunError
from cmust.intervals.conformal import Scale
from cmust.model import Head, Inputs, ModelConfig, Trunk, channel_counts, forecast
from cmust.naive import NAIVE, PROFILE, Naive
from cmust.profile import follow
from cmust.prompts import FreePrompt, NoPrompt, SamplingAutoencoder, SummaryPrompt
from cmust.windows import Windows

Tensors = dict[str, dict[str, Tensor]]


@dataclass
class TaskModel:
    """The final model of one task.

    Shapes: F forecast steps, N nodes, C channels, L slots a day.

    Attributes:
        trunk, head: its weights.
        encoder: summarises the days of its nodes, also of nodes first seen later; None without summaries.
        average: ``(7 * L, N, C)``, the weekly average of the training part.
        profile: the same shape, what the network sees as the seasonal expectation.
        about: node names, coordinates, geometry, interval, unit, kind, channels; what data it has seen (plain values).
    """

    trunk: Trunk
    head: Head
    encoder: SamplingAutoencoder | None
    average: npt.NDArray[np.float32]
    profile: npt.NDArray[np.float32]
    about: dict[str, Any]

    def to(self, device: torch.device | str) -> Self:
        """Move the weights, in place: forecasts are computed there, and come back to where their windows are."""
        self.trunk.to(device)
        self.head.to(device)
        return self

    @torch.no_grad()
    def forecast(self, windows: Windows, starts: Tensor) -> Tensor:
        """Forecasts ``(B, F, N, C)`` in original units of the windows that start at ``starts`` ``(B,)``.

        Raises:
            RunError: one of them is no number: no score or interval could be made of it.
        """
        device = self.head.mean.device
        made = []
        for part in starts.split(windows.pass_size(device=device)):
            inputs = Inputs(*(each.to(device) for each in windows.inputs(part)))
            made.append(forecast(self.trunk, self.head, inputs).to(starts.device))
        forecasts = torch.cat(made)
        if not bool(forecasts.isfinite().all()):
            raise RunError(
                f"the model of task {windows.name!r} gives forecasts that are not numbers (NaN or infinite); look for "
                "values far out of range in the data, or train it again"
            )
        return forecasts

    @property
    def scale(self) -> Scale:
        """The size of its errors, and whether values below 0 exist: of the kind ``other`` alone."""
        return Scale.of(self.about["kind"], float(self.head.std.mean()))

    def without_network(self) -> dict[str, Naive]:
        """What its forecasts are held against: the naive ones and, where it builds on one, its weekly profile alone."""
        if not self.trunk.config.seasonal:
            return dict(NAIVE)
        power = None if self.head.level is None else float(self.head.power)
        return {**NAIVE, PROFILE: lambda windows, starts: follow(windows, starts, power)}

    def identity(self) -> str:
        """SHA-256 (hexadecimal) of all that makes its forecasts."""
        digest = hashlib.sha256()
        for weights in (self.trunk.state_dict(), self.head.state_dict()):
            for name, tensor in weights.items():
                digest.update(name.encode())
                digest.update(np.ascontiguousarray(tensor.cpu().numpy()).tobytes())
        digest.update(self.average.tobytes())
        digest.update(self.profile.tobytes())
        return digest.hexdigest()

    def tensors(self) -> Tensors:
        """All of it but ``about``, in groups."""
        parts = {"trunk": self.trunk, "head": self.head}
        tensors = {name: {key: each.cpu() for key, each in part.state_dict().items()} for name, part in parts.items()}
        if self.encoder is not None:
            tensors["encoder"] = self.encoder.state_dict()
        tensors["season"] = {"average": torch.from_numpy(self.average), "profile": torch.from_numpy(self.profile)}
        return tensors

    @classmethod
    def of(cls, config: ModelConfig, slots_per_day: int, tensors: Tensors, about: dict[str, Any]) -> Self:
        """The model that gave ``tensors``, whose names and shapes fit (:func:`cmust.bundle.check_weights`)."""
        trunk = Trunk(config, slots_per_day, channel_counts(tensors["trunk"]))
        trunk.load_state_dict(tensors["trunk"])
        weights = tensors["head"]
        power = 0.0 if "level" in weights else None  # its value is in the weights
        head = Head(config, _prompt_like(config, weights), weights["mean"], weights["std"], power)
        head.load_state_dict(weights)
        encoder = None
        if "encoder" in tensors:
            width = tensors["encoder"]["encoder.weight"].shape[::-1]
            encoder = SamplingAutoencoder(*width)
            encoder.load_state_dict(tensors["encoder"])
        season = {name: table.numpy() for name, table in tensors["season"].items()}
        return cls(trunk.eval(), head.eval(), encoder, season["average"], season["profile"], about)


@contextmanager
def computed_on(device: torch.device | str, *models: TaskModel) -> Iterator[None]:
    """Forecasts of the models are computed on ``device`` inside the ``with`` block; they are on the CPU after it."""
    try:
        for model in models:
            model.to(device)
        yield
    finally:
        for model in models:
            model.to("cpu")


def _prompt_like(config: ModelConfig, weights: dict[str, Tensor]) -> torch.nn.Module:
    if not config.prompts:
        return NoPrompt(config.d_p)
    if config.prompt == "summary":
        return SummaryPrompt(weights["prompt.summary"], config.d_p)
    return FreePrompt(weights["prompt.weight"])
