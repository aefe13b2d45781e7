"""Which windows the updates of an epoch learn from, and where an epoch's randomness comes from."""

import hashlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from cmust.rolling.config import TrainingConfig
from cmust.rolling.plan import Phase
from cmust.windows import Windows


def derive_seed(seed: int, phase: Phase, epoch: int, rank: int | None) -> int:
    """Of one epoch in one process (None: the same in all), so that it does not matter what ran before it."""
    text = f"{seed}|{phase.name}|{epoch}|{rank}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")


class Batches:
    """The training batches of every epoch.

    Args:
        windows: per task.
        config: settings.
    """

    def __init__(self, windows: dict[str, Windows], config: TrainingConfig) -> None:
        self._windows, self._config = windows, config

    def per_epoch(self, phase: Phase) -> int:
        """So many updates has an epoch of a phase."""
        return sum(self._of_task(task) for task in phase.tasks)

    def of_epoch(self, phase: Phase, epoch: int) -> Iterator[tuple[str, Tensor]]:
        """Task and window starts of each update, in an order all processes share; the tasks of joint training mixed,
        each in the order of time where nothing is shuffled.
        """
        generator = torch.Generator().manual_seed(derive_seed(self._config.seed, phase, epoch, rank=None))
        batches = []
        for task in phase.tasks:
            starts = self._windows[task].split.starts["train"]
            if self._config.shuffle:
                starts = starts[torch.randperm(len(starts), generator=generator).to(starts.device)]
            batches += [(task, batch) for batch in starts.split(self._config.batch_size)[: self._of_task(task)]]
        if len(phase.tasks) > 1:
            mixed = [batches[index] for index in torch.randperm(len(batches), generator=generator).tolist()]
            batches = mixed if self._config.shuffle else _in_time(mixed, batches)
        return iter(batches)

    def _of_task(self, task: str) -> int:
        batches = math.ceil(len(self._windows[task].split.starts["train"]) / self._config.batch_size)
        return min(batches, self._config.updates_per_epoch or batches)


def _in_time(mixed: list[tuple[str, Tensor]], batches: list[tuple[str, Tensor]]) -> list[tuple[str, Tensor]]:
    """The tasks in turn as ``mixed`` has them, each with the next of its batches."""
    left = {task: iter([batch for other, batch in batches if other == task]) for task, _ in batches}
    return [(task, next(left[task])) for task, _ in mixed]
