"""The history of a run for TensorBoard."""

from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter


class TensorBoard:
    """Writes epochs as scalars; the step is the number of epochs since the run began."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._step = 0
        self._writer: SummaryWriter | None = None

    def start_after(self, history: list[dict[str, Any]]) -> None:
        """Go on after a resume point; later steps of an earlier attempt are hidden."""
        self._step = sum(event["event"] == "epoch" for event in history)

    def write(self, event: dict[str, Any]) -> None:
        """Write an event of ``history.jsonl``."""
        if self._writer is None:
            self._writer = SummaryWriter(str(self._folder), purge_step=self._step)
        if event["event"] == "epoch":
            for key in ("train_loss", "validation_loss", "rate", "frozen_share", "seconds"):
                if event[key] is not None:
                    self._writer.add_scalar(f"{event['kind']} {'+'.join(event['tasks'])}/{key}", event[key], self._step)
            self._step += 1
        self._writer.flush()

    def close(self) -> None:
        """Finish the files."""
        if self._writer is not None:
            self._writer.close()
