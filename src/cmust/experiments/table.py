"""Tables of scores over seeds: which is best, and as Markdown, LaTeX and a picture."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cmust.errors import RunError
from cmust.experiments.engine import Record
from cmust.files import atomic_path

Scores = Mapping[str, Mapping[str, float | None]]
"""``plain`` and ``masked``, as of ``evaluation.json``."""


@dataclass(frozen=True)
class Measure:
    """What a column shows: a masked score, its plain counterpart in brackets.

    Attributes:
        label: of the column.
        masked, plain: keys of the scores.
        percent: shown as a percentage.
    """

    label: str
    masked: str
    plain: str
    percent: bool = False

    def values(self, scores: Sequence[Scores], kind: str) -> list[float]:
        """One per seed, those that exist."""
        key = self.masked if kind == "masked" else self.plain
        found = (each[kind][key] for each in scores)
        return [value for value in found if value is not None]

    def show(self, value: float) -> str:
        """Four digits or so."""
        return f"{100 * value:.1f} %" if self.percent else f"{value:.2f}" if value < 100 else f"{value:.1f}"


MEASURES = (Measure("MAE", "mae", "mae"), Measure("MAPE", "mape", "wape", percent=True))


@dataclass(frozen=True)
class Row:
    """A system: its scores by task, one per seed; nothing where it is not finished."""

    label: str
    scores: Mapping[str, Sequence[Scores]]


@dataclass(frozen=True)
class Table:
    """What is rendered.

    Attributes:
        title: in a few words.
        tasks: in order, two columns each.
        rows: in order.
        notes: below the table, what it took and what it means.
    """

    title: str
    tasks: tuple[str, ...]
    rows: Sequence[Row]
    notes: Sequence[str] = ()

    @property
    def seeds(self) -> int:
        """The most that any row has."""
        return max((len(scores) for row in self.rows for scores in row.scores.values()), default=0)


def rows_of(
    records: Sequence[Record],
    labels: Mapping[str, str],
    key: Callable[[Mapping[str, Any], str], str] = lambda cell, system: system,
) -> list[Row]:
    """Rows that have any scores, in the order of ``labels``.

    Args:
        records: of finished cells.
        labels: of rows, by their keys; what has none is left out.
        key: of the row that scores belong to, by the cell and the system that was scored.

    Raises:
        RunError: records of a task were scored on different windows; they do not compare.
    """
    counted: dict[str, int] = {}
    found: dict[str, dict[str, list[Scores]]] = {row: {} for row in labels}
    for record in sorted(records, key=lambda record: int(record["cell"]["seed"])):
        for task, entry in record["tasks"].items():
            if counted.setdefault(task, entry["windows"]) != entry["windows"]:
                raise RunError(
                    f"{record['cell']['system']} was scored on {entry['windows']} windows of {task}, others on "
                    f"{counted[task]}; their scores do not compare"
                )
            for system, scores in entry["systems"].items():
                row = key(record["cell"], system)
                if row in found:
                    found[row].setdefault(task, []).append(scores)
    return [Row(labels[row], scores) for row, scores in found.items() if scores]


def marks(values: Sequence[Sequence[float]]) -> list[str]:
    """``best``, ``second`` or nothing for each row of a column, given its values over seeds; lower is better.

    With several seeds a mark is given only where the distance of the means to the next row is more than either's spread
    (standard deviation over seeds). With one seed the best is marked, and nothing else.
    """
    marked = [""] * len(values)
    order = sorted((index for index, each in enumerate(values) if each), key=lambda index: mean(values[index]))
    several = any(len(each) > 1 for each in values)
    for place, name in enumerate(("best", "second") if several else ("best",)):
        if place >= len(order) or (several and not _apart(values, order, place)):
            break
        marked[order[place]] = name
    return marked


def spread(values: Sequence[float]) -> float:
    """Standard deviation over seeds; 0 of what has none."""
    return stdev(values) if len(values) > 1 else 0.0


def _apart(values: Sequence[Sequence[float]], order: Sequence[int], place: int) -> bool:
    if place + 1 >= len(order):
        return True
    here, there = values[order[place]], values[order[place + 1]]
    return mean(there) - mean(here) > max(spread(here), spread(there))


def _cells(table: Table) -> list[list[tuple[str, str, str]]]:
    """Per row and column: masked, plain, and the mark of the masked one."""
    columns = []
    for task in table.tasks:
        for measure in MEASURES:
            masked = [measure.values(row.scores.get(task, ()), "masked") for row in table.rows]
            plain = [measure.values(row.scores.get(task, ()), "plain") for row in table.rows]
            shown = [_shown(measure, each) for each in masked]
            beside = [measure.show(mean(each)) if each else "" for each in plain]
            columns.append(list(zip(shown, beside, marks(masked), strict=True)))
    return [list(row) for row in zip(*columns, strict=True)]


def _shown(measure: Measure, values: Sequence[float]) -> str:
    if len(values) > 1:
        return f"{measure.show(mean(values))} ± {measure.show(spread(values))}"
    return measure.show(values[0]) if values else ""


def _heads(table: Table) -> list[str]:
    return [f"{task} {measure.label}" for task in table.tasks for measure in MEASURES]


def legend(table: Table) -> str:
    """How the numbers are to be read."""
    seeds = "one seed, best of a column in bold: differences may be chance"
    if table.seeds > 1:
        seeds = (
            f"mean ± standard deviation over up to {table.seeds} seeds; bold: best, underlined: second, only where the "
            f"distance to the next is more than the spread"
        )
    return f"Masked (plain) scores of the test part, lower is better; the plain share beside MAPE is WAPE; {seeds}."


def markdown(table: Table) -> str:
    """The table, its legend and its notes."""
    styles = {"best": "**{}**", "second": "<u>{}</u>", "": "{}"}
    lines = [f"| {table.title} | {' | '.join(_heads(table))} |", f"|---|{'---|' * len(_heads(table))}"]
    for row, cells in zip(table.rows, _cells(table), strict=True):
        shown = [f"{styles[mark].format(masked)} ({plain})" if masked else "" for masked, plain, mark in cells]
        lines.append(f"| {row.label} | {' | '.join(shown)} |")
    return "\n".join([*lines, "", legend(table), "", *table.notes]).rstrip() + "\n"


def latex(table: Table) -> str:
    """A ``tabular`` with ``booktabs`` rules."""
    styles = {"best": r"\textbf{{{}}}", "second": r"\underline{{{}}}", "": "{}"}
    lines = [
        f"% {table.title}; {legend(table)}",
        rf"\begin{{tabular}}{{l{'r' * len(_heads(table))}}}",
        r"\toprule",
        " & ".join(["", *map(_escaped, _heads(table))]) + r" \\",
        r"\midrule",
    ]
    for row, cells in zip(table.rows, _cells(table), strict=True):
        shown = [
            f"{styles[mark].format(_escaped(masked))} ({_escaped(plain)})" if masked else ""
            for masked, plain, mark in cells
        ]
        lines.append(" & ".join([_escaped(row.label), *shown]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _escaped(text: str) -> str:
    for plain, written in (("_", r"\_"), ("%", r"\%"), ("&", r"\&"), ("±", r"$\pm$")):
        text = text.replace(plain, written)
    return text


def picture(table: Table, path: Path) -> None:
    """Masked MAE of every row, a panel per task, its spread as a bar; PNG."""
    figure = Figure(figsize=(1.8 + 2.6 * len(table.tasks), 1.2 + 0.26 * len(table.rows)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(table.tasks), sharey=True, squeeze=False)[0]
    for panel, task in zip(panels, table.tasks, strict=True):
        values = [MEASURES[0].values(row.scores.get(task, ()), "masked") for row in table.rows]
        there = [(place, each) for place, each in enumerate(values) if each]
        middle, height = [mean(each) for _, each in there], [place for place, _ in there]
        panel.errorbar(middle, height, xerr=[spread(each) for _, each in there], fmt="o", ms=4, color="#1f4e79")
        panel.set_title(task, fontsize=9)
        panel.grid(axis="x", alpha=0.3)
        panel.tick_params(labelsize=8)
        panel.set_xlabel("masked MAE", fontsize=8)
    panels[0].set_yticks(range(len(table.rows)), [row.label for row in table.rows])
    panels[0].invert_yaxis()
    figure.suptitle(table.title, fontsize=10)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)


COSTS = (
    ("parameters", "{:,.0f}", 1),
    ("updates", "{:,.0f}", 1),
    ("seconds", "{:.1f}", 60),
    ("frozen_share", "{:.1%}", 1),
)
"""Of the cost of a cell: its key, how it is shown, in which unit."""


def costs(records: Sequence[Record], labels: Mapping[str, str], key: str = "system") -> list[str]:
    """A table in Markdown of what each row took: weights, updates and minutes, the mean over its cells.

    Args:
        records: of finished cells.
        labels: of rows.
        key: the entry of a cell that says which row it belongs to.
    """
    lines = ["| | weights | updates of a cell | minutes of a cell | frozen |", "|---|---|---|---|---|"]
    for row, label in labels.items():
        found: list[dict[str, Any]] = [
            record["cost"] for record in records if record["cell"][key] == row and "cost" in record
        ]
        if found:
            shown = [
                form.format(mean(cost[each] for cost in found) / unit) if each in found[0] else ""
                for each, form, unit in COSTS
            ]
            lines.append(f"| {label} | {' | '.join(shown)} |")
    return lines
