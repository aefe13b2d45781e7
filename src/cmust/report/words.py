"""Small pieces of the page that several sections share."""

import html
import shlex
from collections.abc import Iterable
from pathlib import Path

from cmust.report.scores import NOTHING


def not_yet(run: Path, what: str, command: str) -> str:
    """What is missing, and the command that makes it; ``RUN`` in it stands for the run folder."""
    folder = shlex.quote(str(run))
    make, again = html.escape(command.replace("RUN", folder)), html.escape(f"cmust report {folder}")
    return (
        f'<p class="empty">{html.escape(what)} Make it with <code>{make}</code>, '
        f"then write this page again with <code>{again}</code>.</p>"
    )


def outdated(run: Path, what: str, stale: tuple[str, ...], command: str) -> str:
    """Tasks whose ``what`` is of other weights than those in force; nothing where there are none."""
    told = f"The {what} of {', '.join(stale)} is of weights that are no longer in force."
    return not_yet(run, told, command) if stale else ""


def region(label: str, table: str) -> str:
    """A table that scrolls by itself where it is too wide."""
    return f'<div class="scroll" tabindex="0" role="region" aria-label="{html.escape(label)}">{table}</div>'


def heading(*titles: str) -> str:
    """The head of a table of one row."""
    return "<thead><tr>" + "".join(f'<th scope="col">{html.escape(title)}</th>' for title in titles) + "</tr></thead>"


def items(sentences: Iterable[tuple[str, str, str]]) -> str:
    """A list of verdicts: tone (``wins``, ``loses`` or nothing), what it is about, the words."""
    rows = (f'<li class="{tone}"><b>{html.escape(name)}</b> {html.escape(text)}</li>' for tone, name, text in sentences)
    return f'<ul class="verdicts">{"".join(rows)}</ul>'


def percent(share: float | None, digits: int = 1) -> str:
    """A share in per cent."""
    return NOTHING if share is None else f"{100 * share:.{digits}f} %"


def duration(seconds: float | None) -> str:
    """Seconds, minutes or hours, whichever reads best."""
    if seconds is None:
        return NOTHING
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"
