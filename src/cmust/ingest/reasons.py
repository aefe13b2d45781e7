"""Why a record was thrown away, and the account of a whole run: kept plus thrown away equals the records read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from cmust.errors import IngestError
from cmust.files import write_text


class Reason(IntEnum):
    """The fate of a record; the first reason that holds, in this order, is the one that counts."""

    KEPT = 0
    UNREADABLE = 1
    NO_TIME = 2
    BAD_TIME = 3
    OUTSIDE_PERIOD = 4
    NO_PLACE = 5
    BAD_PLACE = 6
    SWAPPED = 7
    OUTSIDE = 8
    UNKNOWN_ZONE = 9
    NO_CATEGORY = 10
    OTHER_CATEGORY = 11
    NO_VALUE = 12
    BAD_VALUE = 13
    NEGATIVE = 14
    END_BEFORE_START = 15
    OTHER_END = 16
    SKIPPED_HOUR = 17
    FEW_IN_CELL = 18


TEXT = {
    Reason.UNREADABLE: "line cannot be read (too few or too many fields, open quote, bad bytes)",
    Reason.NO_TIME: "no time",
    Reason.BAD_TIME: "time cannot be read",
    Reason.OUTSIDE_PERIOD: "outside the period asked for",
    Reason.NO_PLACE: "no place (empty, or longitude and latitude zero)",
    Reason.BAD_PLACE: "place is not a longitude and a latitude",
    Reason.SWAPPED: "longitude and latitude seem exchanged",
    Reason.OUTSIDE: "outside the box or of all zones",
    Reason.UNKNOWN_ZONE: "zone or node that is not in the list",
    Reason.NO_CATEGORY: "no category",
    Reason.OTHER_CATEGORY: "category not asked for",
    Reason.NO_VALUE: "no value",
    Reason.BAD_VALUE: "value is not a number",
    Reason.NEGATIVE: "negative value",
    Reason.END_BEFORE_START: "end before start",
    Reason.OTHER_END: "the other end of the trip has no usable time or place",
    Reason.SKIPPED_HOUR: "in the hour the clocks skip",
    Reason.FEW_IN_CELL: "in a cell that is not kept",
}

CHOSEN = (Reason.OUTSIDE_PERIOD, Reason.OTHER_CATEGORY, Reason.FEW_IN_CELL)
"""What the user asked not to have: does not count towards the bad share."""


@dataclass
class Account:
    """What became of the records, seen by one of their events (a trip has two: its start and its end).

    Attributes:
        name: of the event, or of the readings.
        records: how many were read.
        kept: how many stand in the city.
        thrown: how many did not get there, by reason.
    """

    name: str
    records: int = 0
    kept: int = 0
    thrown: dict[Reason, int] = field(default_factory=dict)

    def throw(self, reason: Reason, count: int) -> None:
        """Add ``count`` records thrown away for ``reason``."""
        if count:
            self.thrown[reason] = self.thrown.get(reason, 0) + count

    @property
    def bad_share(self) -> float:
        """Share of the records thrown away, without what the user chose to leave out."""
        bad = sum(count for reason, count in self.thrown.items() if reason not in CHOSEN)
        chosen = sum(count for reason, count in self.thrown.items() if reason in CHOSEN)
        rest = self.records - chosen + self.thrown.get(Reason.FEW_IN_CELL, 0)
        return bad / rest if rest else 0.0

    def check(self) -> None:
        """Raise unless every record is accounted for: a fault of this program, not of the data."""
        if self.kept + sum(self.thrown.values()) != self.records:
            raise IngestError(
                f"{self.name}: {self.records} records read, but {self.kept} kept and {sum(self.thrown.values())} "
                "thrown away: please report this with the command and a few lines of the file"
            )

    def summary(self) -> str:
        """One line: the reasons, most frequent first."""
        reasons = sorted(self.thrown.items(), key=lambda item: -item[1])
        said = "; ".join(f"{count:,} {TEXT[reason]}" for reason, count in reasons)
        return f"{self.name}: {self.kept:,} of {self.records:,} records kept" + (f" ({said})" if said else "")


@dataclass
class Report:
    """The account of a run: an :class:`Account` per event and remarks for people."""

    accounts: list[Account]
    notes: list[str] = field(default_factory=list)

    def check_bad_share(self, limit: float) -> None:
        """Raise when an event lost more than ``limit`` of its records.

        Raises:
            IngestError: names the event, its share and the reasons.
        """
        for account in self.accounts:
            if account.bad_share > limit:
                kept = (
                    " (readings of sensors that may be below zero: --negative TASK; in Python negative=True)"
                    if Reason.NEGATIVE in account.thrown
                    else ""
                )
                raise IngestError(
                    f"{account.bad_share:.1%} of the records would be thrown away, more than the {limit:.0%} allowed: "
                    f"{account.summary()}. Check what the reasons name{kept}, or allow it (--max-bad-share; in "
                    "Python max_bad_share=)"
                )

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "accounts": [
                {
                    "name": account.name,
                    "records": account.records,
                    "kept": account.kept,
                    "thrown": {reason.name.lower(): count for reason, count in sorted(account.thrown.items())},
                }
                for account in self.accounts
            ],
            "notes": list(self.notes),
        }

    def save(self, path: Path | str) -> None:
        """Write the report as JSON, atomically."""
        write_text(path, json.dumps(self.to_dict(), indent=2) + "\n")


def add_counts(account: Account, counts: Iterable[tuple[int, int]]) -> None:
    """Add records to an account: pairs of a reason's code and how many."""
    for code, count in counts:
        account.records += count
        if code == Reason.KEPT:
            account.kept += count
        else:
            account.throw(Reason(code), count)
