"""Times as texts: the formats known, finding out which one a file uses, and that format in the words of each engine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from cmust.errors import IngestError

ISO = "iso"
ISO_LOCAL = "iso without offsets"
"""Inside only: ISO times of the wall clock, of which one with an offset is none."""
EPOCH = "epoch"
EPOCH_MS = "epoch-ms"
EPOCHS = (EPOCH, EPOCH_MS)
"""Numbers since 1970 in UTC: instants, which no wall clock changes."""
LEFT_OUT = {"month-first": "%d", "day-first": "%m"}
"""What may be given where the format is to be found out -> how patterns begin that it leaves out."""

CANDIDATES = (
    "%m/%d/%Y %I:%M:%S %p",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %I:%M %p",
    "%m/%d/%Y %H:%M",
    "%m/%d/%Y",
    "%d/%m/%Y %I:%M:%S %p",
    "%d/%m/%Y %H:%M:%S",
    "%d/%m/%Y %I:%M %p",
    "%d/%m/%Y %H:%M",
    "%d/%m/%Y",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%d.%m.%Y",
    "%Y/%m/%d %H:%M:%S",
    "%Y/%m/%d %H:%M",
    "%Y%m%d %H:%M:%S",
)
DIGITS = ("%Y%m%d%H%M%S", "%Y%m%d%H%M", "%Y%m%d%H", "%Y%m%d")
_DATE, _CLOCK = r"[0-9]{4}-[0-9]{2}-[0-9]{2}", r"([01][0-9]|2[0-3]):[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?"
_OFFSET = r"( ?UTC|Z|[+-](0[0-9]|1[0-4])(:[0-5][0-9])?)"
ISO_PATTERNS = {ISO: rf"{_DATE}([ T]{_CLOCK}{_OFFSET}?)?", ISO_LOCAL: rf"{_DATE}([ T]{_CLOCK})?"}
PLAIN = "%Y-%m-%d %H:%M:%S"
"""What every engine takes for an ISO time: this, and what the regular expression says, which all of them read."""

GIVE_FORMAT = (
    "give the time format, such as '%d.%m.%Y %H:%M', day-first or epoch (--time-format, in Python time_format=; not in "
    "a recipe)"
)
"""Advice of several messages. A recipe reads its files as they are published."""

_ISO_TEXT = re.compile(ISO_PATTERNS[ISO])
_SPARK = {"Y": "yyyy", "m": "M", "d": "d", "H": "H", "I": "h", "M": "m", "S": "s", "p": "a", "y": "yy", "b": "MMM"}


def detect(values: Sequence[str], where: str, first: str | None = None) -> str:
    """The format that reads the given texts: ``iso``, ``epoch``, ``epoch-ms`` or a ``strptime`` pattern.

    Args:
        values: the first values of the column, one or more, none blank.
        where: column and file, for messages.
        first: one of :data:`LEFT_OUT`, if it is known which of month and day comes first.

    Raises:
        IngestError: no format reads half of them, or month and day cannot be told apart.
    """
    texts = [value.strip() for value in values]
    enough = 0.5 * len(texts)  # the others are thrown away and counted
    if sum(_ISO_TEXT.fullmatch(text) is not None or reads(text, PLAIN) for text in texts) >= enough:
        return ISO
    # Before the epochs, as both are plain digits: as epochs these would be of 1976, or of 2030 and later.
    for pattern in DIGITS:
        alike = (len(text) == fixed_width(pattern) and text[:2] in ("19", "20") for text in texts)
        if sum(fits and reads(text, pattern) for text, fits in zip(texts, alike, strict=True)) >= enough:
            return pattern
    numbers = [float(text) for text in texts if re.fullmatch(r"\d{9,13}(\.\d+)?", text)]
    if len(numbers) >= enough:
        return EPOCH_MS if min(numbers) > 1e11 else EPOCH
    candidates = [pattern for pattern in CANDIDATES if first is None or not pattern.startswith(LEFT_OUT[first])]
    scores = {pattern: sum(reads(text, pattern) for text in texts) for pattern in candidates}
    best = max(scores.values())
    fitting = [pattern for pattern, score in scores.items() if score == best]
    if best < enough:
        raise IngestError(
            f"{where}: cannot tell how times are written, for example {texts[0][:40]!r} and {texts[-1][:40]!r}: "
            f"write them like 2016-01-31 23:30:00, or {GIVE_FORMAT}"
        )
    if len(fitting) > 1:
        raise IngestError(
            f"{where}: '{texts[0]}' can be read as {' and as '.join(repr(pattern) for pattern in fitting)}: "
            f"write them like 2016-01-31 23:30:00, or {GIVE_FORMAT}"
        )
    return fitting[0]


def has_offset(text: str) -> bool:
    """Whether an ISO time says how far it is from UTC."""
    return re.search(r"(Z|UTC|[+-]\d{2}(:?\d{2})?)$", text.strip()[10:]) is not None


def check_format(pattern: str) -> str:
    """``pattern`` if it is one that all engines read.

    Raises:
        IngestError: it holds a directive that is not supported.
    """
    if pattern not in (ISO, *EPOCHS):
        to_spark(pattern)
    return pattern


def to_spark(pattern: str) -> str:
    """A ``strptime`` pattern in the letters of Spark.

    Raises:
        IngestError: it holds a directive that is not supported.
    """
    parts = re.findall(r"%.|[^%]+|%$", pattern)
    out = []
    for at, part in enumerate(parts):
        if not part.startswith("%"):
            out.append(re.sub(r"[A-Za-z]+", lambda letters: f"'{letters.group()}'", part))
            continue
        if part[1:] not in _SPARK:
            raise IngestError(
                f"the time format '{pattern}' holds '{part}': use {', '.join('%' + key for key in _SPARK)}, or one of "
                f"{', '.join((ISO, *EPOCHS, *LEFT_OUT))}"
            )
        letter = _SPARK[part[1:]]
        beside = (at > 0 and parts[at - 1].startswith("%")) or (at + 1 < len(parts) and parts[at + 1].startswith("%"))
        out.append(letter * 2 if beside and len(letter) == 1 and letter != "a" else letter)
    if not any(part.startswith("%") for part in parts):
        raise IngestError(
            f"the time format '{pattern}' has no directive: write it like '%Y-%m-%d %H:%M:%S', or one "
            f"of {', '.join((ISO, *EPOCHS, *LEFT_OUT))}"
        )
    return "".join(out)


def fixed_width(pattern: str) -> int | None:
    """Length of the texts of a pattern whose fields stand without anything between them; None for others."""
    if not re.search(r"%[YmdHIMSy]%[YmdHIMSy]", pattern):
        return None
    return len(re.sub(r"%[a-zA-Z]", lambda field: {"%Y": "0000", "%b": "000"}.get(field.group(), "00"), pattern))


def reads(text: str, pattern: str) -> bool:
    """Whether a text is a time in a ``strptime`` pattern."""
    try:
        datetime.strptime(text, pattern)
    except ValueError:
        return False
    return True
