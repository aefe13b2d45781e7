"""The score table for the terminal and, as Markdown, for documents."""

import re
from collections.abc import Sequence
from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from cmust.report.checking import check_evaluation
from cmust.report.layout import Evaluation, TaskEvaluation
from cmust.report.scores import METRICS, NAIVE, Metric, beats_ours, headline, is_best, judge, label, ordered_systems


def score_table(evaluation: dict[str, Any], metrics: Sequence[Metric] = METRICS) -> Table:
    """The scores of an ``evaluation.json`` as a table for the terminal; all ``metrics`` take some 100 columns.

    Bold green is the best of its task and column; red with ``<`` is a naive forecast that beats CMuST there.
    The caption says in words on which tasks CMuST loses.

    Raises:
        RunError: ``evaluation`` is not of the schema this version reads.
    """
    checked = check_evaluation(evaluation)
    table = Table(title=escape(_title(checked)), caption=Text(_caption(checked)), caption_justify="left")
    table.add_column("task", no_wrap=True)
    table.add_column("system", no_wrap=True)
    for metric in metrics:
        table.add_column(f"{metric.family}\n{metric.name.upper()}", justify="right", no_wrap=True)
    for name, task in checked.tasks.items():
        for row, system in enumerate(ordered_systems(task)):
            cells = [_cell(task, system, metric) for metric in metrics]
            table.add_row(Text(name if row == 0 else ""), Text(label(system)), *cells)
        table.add_section()
    return table


def score_markdown(evaluation: dict[str, Any]) -> str:
    """The same table as Markdown, with the verdict of every task in words below it.

    Bold is the best of its task and column; ``(!)`` marks a naive forecast that beats CMuST there.

    Raises:
        RunError: ``evaluation`` is not of the schema this version reads.
    """
    checked = check_evaluation(evaluation)
    lines = [
        f"{markdown_text(_title(checked))}.",
        "",
        "| task | system | " + " | ".join(metric.title for metric in METRICS) + " |",
        "|---|---|" + "--:|" * len(METRICS),
    ]
    for name, task in checked.tasks.items():
        for row, system in enumerate(ordered_systems(task)):
            cells = " | ".join(_markdown_cell(task, system, metric) for metric in METRICS)
            lines.append(f"| {markdown_text(name) if row == 0 else ''} | {markdown_text(label(system))} | {cells} |")
    lines += ["", headline(checked), ""]
    lines += [
        f"- {markdown_text(name)}: {markdown_text(' '.join(judge(task).sentences))}"
        for name, task in checked.tasks.items()
    ]
    return "\n".join(lines) + "\n"


def markdown_text(text: str) -> str:
    """Text that Markdown takes as it is, on one line of a table."""
    # An underscore inside a word is no emphasis.
    return re.sub(r"([\\|*`<\[]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(text.split()))


def _title(evaluation: Evaluation) -> str:
    city = evaluation.city.name + (" (SYNTHETIC)" if evaluation.city.synthetic else "")
    return f"{city}, {evaluation.part} part, protocol {evaluation.protocol}"


def _caption(evaluation: Evaluation) -> str:
    losing = [f"{name}: {judge(task).sentences[0]}" for name, task in evaluation.tasks.items() if judge(task).loses]
    return "\n".join([headline(evaluation), *losing])


def _cell(task: TaskEvaluation, system: str, metric: Metric) -> Text:
    shown = metric.show(metric.of(task.systems[system]))
    naive_wins = system in NAIVE and beats_ours(task, system, metric)
    style = "bold green" if is_best(task, system, metric) else ""
    if naive_wins:
        style = "bold red" if style else "red"
    return Text(f"< {shown}" if naive_wins else shown, style=style)


def _markdown_cell(task: TaskEvaluation, system: str, metric: Metric) -> str:
    shown = metric.show(metric.of(task.systems[system]))
    shown = f"**{shown}**" if is_best(task, system, metric) else shown
    return f"{shown} (!)" if system in NAIVE and beats_ours(task, system, metric) else shown
