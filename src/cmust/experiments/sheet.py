"""What an experiment becomes: a sheet of cells that are written out already, as Markdown and LaTeX, and a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class Exhibit(Protocol):
    """A table or a figure."""

    def sheet(self) -> "Sheet":
        """Its numbers."""

    def picture(self, path: Path) -> None:
        """Draw it; PNG."""


@dataclass(frozen=True)
class Shown:
    """One cell.

    Attributes:
        text: empty where there is nothing.
        beside: in brackets.
        mark: ``best``, ``second`` or nothing.
    """

    text: str = ""
    beside: str = ""
    mark: str = ""


@dataclass(frozen=True)
class Sheet:
    """A table as text.

    Attributes:
        title: in a few words.
        heads: of the columns.
        rows: label and cells, in order.
        legend: how the numbers are to be read.
        notes: below the table, what it took and what it means; Markdown.
    """

    title: str
    heads: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Shown]]]
    legend: str
    notes: Sequence[str] = ()


def markdown(sheet: Sheet) -> str:
    """The table, its legend and its notes."""
    styles = {"best": "**{}**", "second": "<u>{}</u>", "": "{}"}
    lines = [f"| {sheet.title} | {' | '.join(sheet.heads)} |", f"|---|{'---|' * len(sheet.heads)}"]
    for label, cells in sheet.rows:
        lines.append(f"| {label} | {' | '.join(_written(cell, styles) for cell in cells)} |")
    return "\n".join([*lines, "", sheet.legend, "", *sheet.notes]).rstrip() + "\n"


def latex(sheet: Sheet) -> str:
    """A ``tabular`` with ``booktabs`` rules."""
    styles = {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", "": "{}"}
    lines = [
        f"% {sheet.title}; {sheet.legend}",
        rf"\begin{{tabular}}{{l{'r' * len(sheet.heads)}}}",
        r"\toprule",
        " & ".join(["", *map(_escaped, sheet.heads)]) + r" \\",
        r"\midrule",
    ]
    for label, cells in sheet.rows:
        escaped = [Shown(_escaped(cell.text), _escaped(cell.beside), cell.mark) for cell in cells]
        lines.append(" & ".join([_escaped(label), *(_written(cell, styles) for cell in escaped)]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _written(cell: Shown, styles: dict[str, str]) -> str:
    if not cell.text:
        return ""
    return styles[cell.mark].format(cell.text) + (f" ({cell.beside})" if cell.beside else "")


def _escaped(text: str) -> str:
    for plain, written in (("_", r"\_"), ("%", r"\%"), ("&", r"\&"), ("±", r"$\pm$"), ("→", r"$\to$")):
        text = text.replace(plain, written)
    return text
