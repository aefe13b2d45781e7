"""Tables as lists of independent cells: each is computed once and kept as one record, in any order, by any process.

Below the folder of an experiment: ``config.json``, what makes it this experiment; ``cells/NAME.json``, a line for each
finished cell; ``runs/NAME``, where a cell is at work and can resume; ``results.jsonl``, all finished cells as they were
when the table was last rendered.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from cmust.errors import BusyError, CmustError, ConfigError, RunError
from cmust.files import atomic_folder, write_text
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
        variation: what differs from the plain table; empty where nothing does.
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


class CellsFailedError(RunError):
    """Some cells of an experiment failed; all others are finished.

    Attributes:
        failed: for each its name and what happened.
    """

    def __init__(self, failed: Sequence[str], of: int) -> None:
        self.failed = list(failed)
        super().__init__(
            f"{len(failed)} of {of} cells failed: {'; '.join(failed)}; the others are finished: see to what failed and "
            f"start the same command again"
        )


def begin(folder: Path, identity: dict[str, Any], defaults: dict[str, Any]) -> None:
    """Write what makes the experiment, or check that the folder holds the same one; of one that was kept as
    ``config.json`` and ``results.jsonl`` alone, put the finished cells back in their places.

    Args:
        folder: of the experiment.
        identity: what makes it this experiment, as plain JSON values; its ``experiment`` says which.
        defaults: what stands for parts of it in an experiment that was begun before they were kept.

    Raises:
        RunError: the folder holds an experiment with another identity, or ``results.jsonl`` is damaged.
    """
    Run(folder).claim(identity, provenance(None, torch.device("cpu")), defaults)
    lines = folder / "results.jsonl"
    if lines.exists() and not (folder / "cells").exists():
        with atomic_folder(folder / "cells") as cells:
            for record in _lines(lines):
                write_text(cells / f"{cell_of(record).name}.json", json.dumps(record) + "\n")


def carry_out(
    folder: Path,
    cells: Sequence[Cell],
    work: Work,
    *,
    tell: Callable[[str], None] = lambda line: None,
) -> None:
    """Compute what is not finished yet. Killed, it loses at most the cells at work; other processes may share the list.

    Args:
        folder: of an experiment that has begun.
        cells: in order.
        work: computes one.
        tell: hears a line for each cell.

    Raises:
        CellsFailedError: some failed; the others are finished.
        CmustError: there is one cell only, and it failed.
    """
    failed: list[str] = []
    for number, cell in enumerate(cells, start=1):
        place = Run(folder / "runs" / cell.name)
        where = f"cell {number} of {len(cells)}, {cell.name}"
        try:
            with place.locked():
                if is_finished(folder, cell):
                    tell(f"{where}: finished before")
                    continue
                tell(f"{where}: begins")
                record = {"cell": asdict(cell), **work(cell, place.folder)}
                write_text(cell_file(folder, cell), json.dumps(record) + "\n")
        except BusyError:
            tell(f"{where}: another process is at it")
        except CmustError as error:
            if len(cells) == 1:
                raise
            tell(f"{where}: failed: {error}")
            failed.append(f"{cell.name}: {error}")
    if failed:
        raise CellsFailedError(failed, len(cells))


def cell_file(folder: Path, cell: Cell) -> Path:
    """Where the record of a cell is, once it is finished."""
    return folder / "cells" / f"{cell.name}.json"


def is_finished(folder: Path, cell: Cell) -> bool:
    """Whether a cell is never computed again."""
    return cell_file(folder, cell).exists()


def finished(folder: Path) -> list[Record]:
    """Of the cells that are kept, those that are finished; perhaps none yet."""
    return [read_json(file, "") for file in sorted((folder / "cells").glob("*.json"))]


def cell_of(record: Record) -> Cell:
    """The cell that a record is of."""
    return Cell(**{**record["cell"], "tasks": tuple(record["cell"]["tasks"])})


def read_cell(text: str) -> Cell:
    """A cell from a JSON object, as in its record.

    Raises:
        ConfigError: it is none.
    """
    try:
        return cell_of({"cell": json.loads(text)})
    except (ValueError, TypeError, KeyError) as error:
        raise ConfigError(
            f"{text!r} is no cell ({error}); give a JSON object of system, tasks, seed and variation"
        ) from error


def records(folder: Path) -> list[Record]:
    """The finished cells of an experiment; from ``results.jsonl`` where the cells themselves are not kept.

    Raises:
        RunError: there is none, or one is damaged.
    """
    lines = folder / "results.jsonl"
    kept = (folder / "cells").exists() or not lines.exists()
    found = finished(folder) if kept else list(_lines(lines))
    if not found:
        raise RunError(f"no finished cell below {folder}; run the experiment first")
    return found


def _lines(file: Path) -> Iterable[Record]:
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            yield json.loads(line)
        except ValueError as error:
            raise RunError(f"{file} is damaged in line {number}: {error}; restore it from a copy") from error
