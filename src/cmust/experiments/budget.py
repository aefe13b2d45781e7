"""How long a cell may train: a few updates (``smoke``), equal wall time (``minutes N``), or as published (``full``)."""

import json
import math
import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import torch

from cmust.errors import ConfigError
from cmust.files import write_text
from cmust.rolling import Phase
from cmust.run import read_json

SMOKE_UPDATES = 3
PROBED_UPDATES = 5
VALIDATION_SHARE = 0.25
PROBE = {"start_epochs": 1, "updates_per_epoch": PROBED_UPDATES}
"""Training settings of the run that is timed."""
ENOUGH_UPDATES = 500
SMALLEST_BATCH = 4
"""Few updates teach nothing, however many windows each has seen: batches are halved until these many fit in."""


class Pace(NamedTuple):
    """Seconds of an update and of a pass over the validation part, in one phase."""

    update: float
    validation: float


class Stopwatch:
    """A watcher that times phases of one epoch each.

    Of several updates the first, which warms up, does not count; of the others the median does, so that a moment in
    which the machine was busy elsewhere does not settle a cell.
    """

    def __init__(self) -> None:
        self.paces: list[Pace] = []
        self._began = 0.0
        self._updates: list[float] = []

    def plan(self, phases: list[Phase], updates: list[int]) -> None:
        """Training begins."""
        self._began = time.perf_counter()

    def update(self, phase: Phase, epoch: int) -> None:
        """Note the time, when what was asked of a GPU is done."""
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        self._updates.append(time.perf_counter())

    def event(self, event: dict[str, Any]) -> None:
        """The end of an epoch: what came after the last update was validation."""
        if event["event"] == "epoch":
            times = self._updates if len(self._updates) > 1 else [self._began, *self._updates]
            now = time.perf_counter()
            self.paces.append(Pace(median(after - before for before, after in pairwise(times)), now - times[-1]))
            self._began, self._updates = now, []


class Part(NamedTuple):
    """A phase of the training to be planned: the setting that says how many epochs, and its pace."""

    setting: str
    pace: Pace


@dataclass(frozen=True)
class Budget:
    """What every cell gets.

    Attributes:
        kind: ``smoke``, ``minutes`` or ``full``.
        minutes: of training, for each task that a cell serves.
    """

    kind: str
    minutes: float = 0.0

    @classmethod
    def parse(cls, text: str) -> "Budget":
        """From ``smoke``, ``full`` or ``minutes N``.

        Raises:
            ConfigError: it is none of them.
        """
        if text in ("smoke", "full"):
            return cls(text)
        found = re.fullmatch(r"minutes[ =:]([0-9]+(?:\.[0-9]+)?)", text)
        if not found or not float(found[1]):
            raise ConfigError(f"budget {text!r} is not known; give smoke, full, or 'minutes N' with N above 0")
        return cls("minutes", float(found[1]))

    def __str__(self) -> str:
        """As it is given."""
        return f"minutes {self.minutes:g}" if self.kind == "minutes" else self.kind

    @property
    def fixes(self) -> dict[str, str]:
        """Training settings that it decides itself, each with what of them. ``smoke`` cuts short whatever is given, so
        that a file of settings can be tried.
        """
        if self.kind != "minutes":
            return {}
        return {"updates_per_epoch": "the updates of an epoch fill the time", "patience": "no phase ends early"}

    def settle(
        self,
        folder: Path,
        tasks: int,
        training: dict[str, Any],
        windows: Callable[[], int],
        probe: Callable[[Path, int], Sequence[Part]],
        *,
        halves: bool = True,
    ) -> dict[str, Any]:
        """What of its training settings a cell changes to keep within the budget, and why; settled once and kept.

        Args:
            folder: of the cell; a cell that resumes finds there what was settled.
            tasks: how many tasks the cell serves.
            training: its settings by their names, as published: those that end in ``_epochs``, ``milestones`` and
                ``batch_size``.
            windows: counts those of the training part.
            probe: times a few updates of every phase with batches of a size, in a folder that is removed afterwards.
            halves: the batch where time is short; not where the user has chosen it.

        Returns:
            ``{"training": changes, ...}``: what the record of the cell says of its budget.
        """
        epochs = {key: value for key, value in training.items() if key.endswith("_epochs")}
        if self.kind == "full":
            return {"budget": str(self), "training": {}}
        if self.kind == "smoke":
            few = dict.fromkeys(epochs, 1)
            return {"budget": str(self), "training": {**few, "updates_per_epoch": SMOKE_UPDATES}}
        file = folder / "budget.json"
        if not file.exists():
            seconds = 60 * self.minutes * tasks

            def fitting(batch: int) -> tuple[Sequence[Part], dict[str, Any]]:
                timed = folder / "timed"
                shutil.rmtree(timed, ignore_errors=True)
                parts = probe(timed, batch)
                shutil.rmtree(timed, ignore_errors=True)
                return parts, fit_into(seconds, parts, training, math.ceil(windows() / batch))

            published: int = training["batch_size"]
            parts, changes = fitting(published)
            counted = [changes[part.setting] for part in parts if part.pace.update]
            batch = batch_for(published, sum(counted) * changes["updates_per_epoch"])
            if halves and batch < published:
                parts, changes = fitting(batch)
                changes["batch_size"] = batch
            settled = {
                "budget": str(self),
                "seconds": seconds,
                "paces": [{"setting": part.setting, **part.pace._asdict()} for part in parts],
                "training": changes,
            }
            write_text(file, json.dumps(settled) + "\n")
        return read_json(file, "")


def batch_for(published: int, updates: int) -> int:
    """The largest batch, halved from the published one, with which there is time for enough updates; at least 4."""
    batch = published
    while updates < ENOUGH_UPDATES and batch // 2 >= SMALLEST_BATCH:
        batch, updates = batch // 2, 2 * updates
    return batch


def fit_into(seconds: float, parts: Sequence[Part], training: dict[str, Any], batches: int) -> dict[str, Any]:
    """Training settings that take about so many seconds.

    All epoch counts are scaled alike: down until validation takes at most a quarter of the time, up where whole passes
    over the training part leave time over. The updates of an epoch fill the time; no phase ends early. Milestones stay
    where they were published, after so many passes over the training part, of which an epoch may now be a fraction: a
    rate that fell with the epochs would have fallen before anything was learned.

    Args:
        seconds: to be spent.
        parts: the phases.
        training: the settings as published.
        batches: of a whole pass.
    """
    keys = {part.setting for part in parts}

    def total(cost: Callable[[Pace], float], epochs: dict[str, int]) -> float:
        return sum(epochs[part.setting] * cost(part.pace) for part in parts)

    def scaled(factor: float) -> dict[str, int]:
        return {key: max(1, round(factor * training[key])) for key in sorted(keys)}

    def updates(epochs: dict[str, int]) -> int:
        left = seconds - total(lambda pace: pace.validation, epochs)
        return max(1, int(left / max(total(lambda pace: pace.update, epochs), 1e-9)))

    published = {key: training[key] for key in keys}
    factor = min(1.0, VALIDATION_SHARE * seconds / max(total(lambda pace: pace.validation, published), 1e-9))
    epochs = scaled(factor)
    if updates(epochs) > batches:
        factor = seconds / total(lambda pace: batches * pace.update + pace.validation, published)
        epochs = scaled(factor)
    changes: dict[str, Any] = {**epochs, "updates_per_epoch": min(updates(epochs), batches)}
    if training.get("milestones"):
        epochs_of_a_pass = batches / changes["updates_per_epoch"]
        changes["milestones"] = [round(epoch * epochs_of_a_pass) for epoch in training["milestones"]]
    return {**changes, "patience": max(epochs.values())}
