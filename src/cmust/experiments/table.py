"""Tables of scores over seeds: which is best, which loses to a naive forecast, and a picture."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cmust.errors import RunError
from cmust.experiments.engine import Record
from cmust.experiments.sheet import Sheet, Shown
from cmust.files import atomic_path
from cmust.naive import LABELS

Scores = Mapping[str, Mapping[str, float | None]]
"""``plain`` and ``masked``, as of ``evaluation.json``."""


@dataclass(frozen=True)
class Measure:
    """What a column shows: a masked score, its plain counterpart in brackets.

    Attributes:
        label: of the column.
        masked, plain: keys of the scores; without ``plain`` nothing stands in brackets.
        percent: shown as a percentage.
        drawn: has a panel of the picture for each task.
    """

    label: str
    masked: str
    plain: str = ""
    percent: bool = False
    drawn: bool = False

    def values(self, scores: Sequence[Scores], kind: str) -> list[float]:
        """One per seed, those that exist."""
        key = self.masked if kind == "masked" else self.plain
        found = (each[kind].get(key) for each in scores)
        return [value for value in found if value is not None]

    def show(self, value: float) -> str:
        """Four digits or so."""
        return f"{100 * value:.1f} %" if self.percent else f"{value:.2f}" if value < 100 else f"{value:.1f}"


MEASURES = (Measure("MAE", "mae", "mae", drawn=True), Measure("MAPE", "mape", "wape", percent=True))


@dataclass(frozen=True)
class Row:
    """A system: its scores by task, one per seed; nothing where it is not finished."""

    label: str
    scores: Mapping[str, Sequence[Scores]]
    naive: bool = False


@dataclass(frozen=True)
class Table:
    """Scores of systems on tasks.

    Attributes:
        title: in a few words.
        tasks: in order, a column for each measure.
        rows: in order.
        notes: below the table, what it took and what it means.
        measures: lower is better in all of them.
    """

    title: str
    tasks: tuple[str, ...]
    rows: Sequence[Row]
    notes: Sequence[str] = ()
    measures: tuple[Measure, ...] = MEASURES

    @property
    def seeds(self) -> int:
        """The most that any row has."""
        return max((len(scores) for row in self.rows for scores in row.scores.values()), default=0)

    def sheet(self) -> Sheet:
        """The numbers, marked."""
        columns = [self._column(task, measure) for task in self.tasks for measure in self.measures]
        heads = [f"{task} {measure.label}" for task in self.tasks for measure in self.measures]
        rows = [(row.label, [column[place] for column in columns]) for place, row in enumerate(self.rows)]
        return Sheet(self.title, heads, rows, self._legend(), [*losing(self), *self.notes])

    def _column(self, task: str, measure: Measure) -> list[Shown]:
        masked = [measure.values(row.scores.get(task, ()), "masked") for row in self.rows]
        plain = [measure.values(row.scores.get(task, ()), "plain") for row in self.rows]
        beside = [measure.show(mean(each)) if each else "" for each in plain]
        shown = [_shown(measure, each) for each in masked]
        return [Shown(*each) for each in zip(shown, beside, marks(masked), strict=True)]

    def _legend(self) -> str:
        seeds = "one seed, nothing is marked: differences may be chance"
        if self.seeds > 1:
            seeds = (
                f"mean ± standard deviation over up to {self.seeds} seeds; bold: best, underlined: second, only where "
                f"the distance to the next is more than the spread"
            )
        return f"Masked (plain) scores of the test part, lower is better; the plain share beside MAPE is WAPE; {seeds}."

    def picture(self, path: Path) -> None:
        """Drawn measures of every trained row, a panel per task, the spread as a bar; of the naive forecasts the best
        one as a line; PNG.
        """
        drawn = [measure for measure in self.measures if measure.drawn]
        trained, naive = ([row for row in self.rows if row.naive == kind] for kind in (False, True))
        shown = trained or naive
        size = (1.8 + 2.6 * len(self.tasks), (1.2 + 0.26 * len(shown)) * len(drawn))
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(len(drawn), len(self.tasks), sharey=True, squeeze=False)
        for measure, line in zip(drawn, panels, strict=True):
            for panel, task in zip(line, self.tasks, strict=True):
                values = [measure.values(row.scores.get(task, ()), "masked") for row in shown]
                there = [(place, each) for place, each in enumerate(values) if each]
                middle, height = [mean(each) for _, each in there], [place for place, _ in there]
                panel.errorbar(middle, height, xerr=[spread(each) for _, each in there], fmt="o", ms=4, color="#1f4e79")
                if simple := [value for row in naive for value in measure.values(row.scores.get(task, ()), "masked")]:
                    panel.axvline(min(simple), ls="--", lw=1, color="#c0504d", label="best naive forecast")
                panel.set_title(task, fontsize=9)
                panel.grid(axis="x", alpha=0.3)
                panel.tick_params(labelsize=8)
                panel.set_xlabel(f"masked {measure.label}" if measure.plain else measure.label, fontsize=8)
        panels[0][0].set_yticks(range(len(shown)), [row.label for row in shown])
        panels[0][0].invert_yaxis()
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower right", fontsize=8, frameon=False)
        figure.suptitle(self.title, fontsize=10)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format="png", dpi=150)


def rows_of(
    records: Sequence[Record],
    labels: Mapping[str, str],
    key: Callable[[Mapping[str, Any], str], str] = lambda cell, system: system,
) -> list[Row]:
    """Rows that have any scores, in the order of ``labels``.

    Args:
        records: of finished cells.
        labels: of rows, by their keys; what has none is left out.
        key: of the row that scores belong to, by the cell and the system that was scored; naive forecasts have a row
            of their own.

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
                row = system if system in LABELS else key(record["cell"], system)
                if row in found and not (row in LABELS and task in found[row]):  # another seed changes nothing there
                    found[row].setdefault(task, []).append(scores)
    return [Row(labels[row], scores, row in LABELS) for row, scores in found.items() if scores]


def marks(values: Sequence[Sequence[float]]) -> list[str]:
    """``best``, ``second`` or nothing for each row of a column, given its values over seeds; lower is better.

    A mark is given only where the distance of the means to the next row is more than either's spread (standard
    deviation over seeds). What has a single value may spread as much as any other; where all have, nothing is marked.
    """
    marked = [""] * len(values)
    order = sorted((index for index, each in enumerate(values) if each), key=lambda index: mean(values[index]))
    known = [spread(each) for each in values if len(each) > 1]
    if not known:
        return marked
    spreads = [spread(each) if len(each) > 1 else max(known) for each in values]
    for place, name in enumerate(("best", "second")):
        here, *later = order[place:]
        if later and mean(values[later[0]]) - mean(values[here]) <= max(spreads[here], spreads[later[0]]):
            break
        marked[here] = name
        if not later:
            break
    return marked


def spread(values: Sequence[float]) -> float:
    """Standard deviation over seeds; 0 of what has none."""
    return stdev(values) if len(values) > 1 else 0.0


def _shown(measure: Measure, values: Sequence[float]) -> str:
    if len(values) > 1:
        return f"{measure.show(mean(values))} ± {measure.show(spread(values))}"
    return measure.show(values[0]) if values else ""


def losing(table: Table) -> list[str]:
    """Which learned rows are worse than the best naive forecast, in the first measure; nothing without naive rows."""
    measure, lost, told = table.measures[0], dict[str, list[str]](), dict[str, list[str]]()
    for task in table.tasks:
        means = [
            (row, mean(values)) for row in table.rows if (values := measure.values(row.scores.get(task, ()), "masked"))
        ]
        naive = [value for row, value in means if row.naive]
        for row, value in means:
            if naive and not row.naive and value > min(naive):
                lost.setdefault(row.label, []).append(task)
    if not any(row.naive for row in table.rows):
        return []
    for label, tasks in lost.items():
        told.setdefault("every task" if tasks == list(table.tasks) else ", ".join(tasks), []).append(label)
    worse = f"Worse than the best naive forecast in masked {measure.label}:"
    if not told:
        return [f"{worse} none.", ""]
    return [worse, "", *(f"- on {where}: {'; '.join(labels)}" for where, labels in told.items()), ""]


COSTS = (
    ("parameters", "weights", "{:,.0f}", 1),
    ("updates", "updates of a cell", "{:,.0f}", 1),
    ("seconds", "minutes of a cell", "{:.1f}", 60),
    ("frozen_share", "frozen", "{:.1%}", 1),
    ("fallen_to", "validation error fell to", "{:.0%}", 1),
)
"""Of the cost of a cell: its key, what it is called and how it is shown, in which unit."""


def costs(records: Sequence[Record], labels: Mapping[str, str], key: str = "system") -> list[str]:
    """A table in Markdown of what each row took, the mean over its cells: weights, updates, minutes, and whether it has
    learned. Columns that no cell has are left out.

    Args:
        records: of finished cells.
        labels: of rows.
        key: the entry of a cell that says which row it belongs to.
    """
    costs_of = {
        row: [record["cost"] for record in records if record["cell"][key] == row and "cost" in record] for row in labels
    }
    shown = [column for column in COSTS if any(column[0] in cost for found in costs_of.values() for cost in found)]
    lines = [f"| | {' | '.join(name for _, name, _, _ in shown)} |", "|---" * (1 + len(shown)) + "|"]
    for row, label in labels.items():
        cells = []
        for each, _, form, unit in shown:
            values = [cost[each] for cost in costs_of[row] if each in cost]
            cells.append(form.format(mean(values) / unit) if values else "")
        if costs_of[row]:
            lines.append(f"| {label} | {' | '.join(cells)} |")
    return lines
