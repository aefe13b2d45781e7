"""Reads ``history.jsonl``: a line per epoch and per phase."""

import json
from dataclasses import dataclass
from pathlib import Path

from cmust.errors import RunError
from cmust.report.checking import checked
from cmust.report.layout import Epoch, PhaseEnd


@dataclass(frozen=True)
class History:
    """``history.jsonl`` in file order; an epoch trained again after a resume stands once, as last written."""

    epochs: tuple[Epoch, ...] = ()
    phases: tuple[PhaseEnd, ...] = ()


def read_history(path: Path) -> History:
    """The history; an empty one where there is no file.

    Raises:
        RunError: a line is damaged.
    """
    if not path.is_file():
        return History()
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RunError(f"{path} cannot be read: {error}; restore it or make the run again") from error
    epochs: dict[tuple[str, int], Epoch] = {}
    phases: dict[str, PhaseEnd] = {}
    # What follows the last line end is a line still being written (or cut by a kill): it is not a record yet.
    for number, line in enumerate(text.split("\n")[:-1], start=1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise RunError(
                f"{where} is damaged, column {error.colno}: {error.msg}; remove the line or train again"
            ) from error
        if not isinstance(record, dict):
            raise RunError(f"{where} holds a {type(record).__name__}, not an object; remove the line or train again")
        if record.get("event") == "epoch":
            epoch = checked(Epoch, record, where)
            epochs[epoch.phase, epoch.epoch] = epoch
        elif record.get("event") == "phase":
            phase = checked(PhaseEnd, record, where)
            phases[phase.phase] = phase
    return History(tuple(epochs.values()), tuple(phases.values()))
