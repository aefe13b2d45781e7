"""Tables as lists of independent cells: each is computed once and kept as one record, in any order, by any process.

Below the folder of an experiment: ``config.json``, what makes it this experiment; ``cells/NAME.json``, a line for each
finished cell; ``runs/NAME``, where a cell is at work and can resume.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from cmust.errors import BusyError, RunError
from cmust.files import write_text
from cmust.machine import provenance
from cmust.run import Run, read_json

Record = dict[str, Any]
Work = Callable[["Cell", Path], Record]
"""Computes a cell in a folder of its own; killed and called again, it goes on there."""


@dataclass(frozen=True)
class Cell:
    """One result of a table.

    Attributes:
        system: what is trained.
        tasks: on which tasks, in order.
        seed: of its weights and batches.
        variation: what is otherwise than in the plain table; empty where nothing is.
    """

    system: str
    tasks: tuple[str, ...]
    seed: int
    variation: str = ""

    @property
    def name(self) -> str:
        """For files: short, and different for different cells."""
        whole = json.dumps(asdict(self))
        parts = (self.system, self.variation, "+".join(self.tasks), str(self.seed))
        readable = "-".join(part for part in parts if part)
        safe = "".join(letter if letter.isalnum() or letter in "+-_." else "_" for letter in readable)
        return f"{safe[:100]}-{hashlib.sha256(whole.encode()).hexdigest()[:6]}"


def carry_out(
    folder: Path,
    identity: dict[str, Any],
    cells: Sequence[Cell],
    work: Work,
    *,
    tell: Callable[[str], None] = lambda line: None,
) -> None:
    """Compute what is not finished yet. Killed, it loses at most the cells at work; other processes may share the list.

    Args:
        folder: of the experiment.
        identity: what makes it this experiment, as plain JSON values; its ``experiment`` says which.
        cells: in order.
        work: computes one.
        tell: hears a line for each cell.

    Raises:
        RunError: the folder holds an experiment with another identity.
    """
    Run(folder).claim(identity, provenance(None, torch.device("cpu")))
    for number, cell in enumerate(cells, start=1):
        file = folder / "cells" / f"{cell.name}.json"
        place = Run(folder / "runs" / cell.name)
        where = f"cell {number} of {len(cells)}, {cell.name}"
        try:
            with place.locked():
                if file.exists():
                    tell(f"{where}: finished before")
                    continue
                tell(f"{where}: begins")
                write_text(file, json.dumps({"cell": asdict(cell), **work(cell, place.folder)}) + "\n")
        except BusyError:
            tell(f"{where}: another process is at it")


def records(folder: Path) -> list[Record]:
    """The finished cells of an experiment; from ``results.jsonl`` where the cells themselves are not kept.

    Raises:
        RunError: there is none, or one is damaged.
    """
    found = [read_json(file, "") for file in sorted((folder / "cells").glob("*.json"))]
    lines = folder / "results.jsonl"
    if not found and lines.exists():
        found = list(_lines(lines))
    if not found:
        raise RunError(f"no finished cell below {folder}; run the experiment first")
    return found


def _lines(file: Path) -> Iterable[Record]:
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise RunError(f"{file} is damaged in line {number}: {error}; restore it from a copy") from error
