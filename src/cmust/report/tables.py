"""The page's tables: readable without the script, every text from the run escaped."""

from html import escape

from cmust.report.layout import Evaluation, TaskEvaluation
from cmust.report.phases import Phase
from cmust.report.scores import (
    METRICS,
    NAIVE,
    NOTHING,
    OURS,
    Metric,
    Verdict,
    beats_ours,
    headline,
    is_best,
    judge,
    label,
    ordered_systems,
)
from cmust.report.words import duration


def scores_section(evaluation: Evaluation) -> str:
    """The verdict in words, then the table: a group of rows for each task, plain and masked scores side by side."""
    verdicts = {name: judge(task) for name, task in evaluation.tasks.items()}
    loses = any(verdict.loses for verdict in verdicts.values())
    items = "".join(
        f'<li class="{_tone(verdict)}"><b>{escape(name)}</b> {escape(" ".join(verdict.sentences))}</li>'
        for name, verdict in verdicts.items()
    )
    return (
        f'<p class="headline {"loses" if loses else ""}">{escape(headline(evaluation))}</p>'
        f'<ul class="verdicts">{items}</ul>'
        f'<div id="scores-controls" class="controls"></div>{scores_table(evaluation, "scores")}'
        '<p class="key"><span class="best">9.02</span> best of its task &nbsp; '
        '<span class="beats">▼ 9.02</span> a naive forecast that beats CMuST &nbsp; '
        '<span class="ahead">◆ 9.02</span> another learned system that beats CMuST. Lower is better everywhere.</p>'
    )


def scores_table(evaluation: Evaluation, name: str) -> str:
    """The scores of all tasks; ``name`` is the table's id."""
    head = "".join(f'<th scope="col" class="{metric.family}">{metric.name.upper()}</th>' for metric in METRICS)
    body = "".join(_task_rows(task, each) for task, each in evaluation.tasks.items())
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Scores"><table id="{name}" class="scores">'
        '<thead><tr><th rowspan="2" scope="col">system</th>'
        '<th colspan="3" scope="colgroup" class="plain">plain: all targets</th>'
        '<th colspan="3" scope="colgroup" class="masked">masked: targets that are zero left out</th></tr>'
        f"<tr>{head}</tr></thead>{body}</table></div>"
    )


def _tone(verdict: Verdict) -> str:
    return "loses" if verdict.loses else "wins" if verdict.compared else ""


def _task_rows(name: str, task: TaskEvaluation) -> str:
    windows = "" if task.windows is None else f", {task.windows} windows"
    about = escape(f"{task.unit or 'no unit'}, {len(task.nodes)} places{windows}")
    rows = "".join(
        f'<tr class="{"ours" if system == OURS else ""}"><th scope="row">{escape(label(system))}</th>'
        + "".join(_score_cell(task, system, metric) for metric in METRICS)
        + "</tr>"
        for system in ordered_systems(task)
    )
    heading = f"<b>{escape(name)}</b> <span>{about}</span>"
    return (
        f'<tbody><tr class="task"><th colspan="{len(METRICS) + 1}" scope="rowgroup">{heading}</th></tr>{rows}</tbody>'
    )


def _score_cell(task: TaskEvaluation, system: str, metric: Metric) -> str:
    classes = [metric.family]
    shown = metric.show(metric.of(task.systems[system]))
    if is_best(task, system, metric):
        classes.append("best")
    if beats_ours(task, system, metric):
        classes.append("beats" if system in NAIVE else "ahead")
        mark, meaning = ("▼", "beats CMuST") if system in NAIVE else ("◆", "learned, better than CMuST")
        shown = f'<span title="{meaning}" aria-label="{meaning}">{mark}</span> {shown}'
    return f'<td class="{" ".join(classes)}">{shown}</td>'


def phase_table(phases: list[Phase]) -> str:
    """One row per phase: epochs, updates, frozen share, time. The numbers in the first column mark the bands above."""
    if not phases:
        return ""
    head = "".join(
        f'<th scope="col">{title}</th>'
        for title in ("", "phase", "kind", "tasks", "epochs", "best", "updates", "frozen at its end", "time")
    )
    rows = "".join(_phase_row(number, phase) for number, phase in enumerate(phases, start=1))
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Phases"><table class="phases">'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _phase_row(number: int, phase: Phase) -> str:
    name = escape(phase.name) + ("" if phase.finished else ' <i class="open">not finished</i>')
    return (
        f'<tr><td class="number">{number}</td><th scope="row">{name}</th>'
        f'<td><span class="kind" data-kind="{escape(phase.kind)}">{escape(phase.kind)}</span></td>'
        f"<td>{escape(', '.join(phase.tasks))}</td><td class='n'>{len(phase.epochs) or NOTHING}</td>"
        f"<td class='n'>{_or_dash(phase.best_epoch)}</td><td class='n'>{_or_dash(phase.updates)}</td>"
        f"<td>{_share_bar(phase.frozen_share)}</td><td class='n'>{duration(phase.seconds)}</td></tr>"
    )


def frozen_table(phases: list[Phase]) -> str:
    """Frozen share of every layer at the end of every phase that wrote it, as a heat table; and what it can mean."""
    told = [phase for phase in phases if phase.frozen_by_layer]
    if not told:
        return (
            '<p class="empty">No phase has written the frozen share of its layers. '
            "<code>cmust train</code> writes it at the end of every phase.</p>"
        )
    layers = list(dict.fromkeys(layer for phase in told for layer in phase.frozen_by_layer))
    numbers = {phase.name: number for number, phase in enumerate(phases, start=1)}
    head = "".join(
        f'<th scope="col" title="{escape(phase.name)}">{numbers[phase.name]}<small>{escape(phase.name)}</small></th>'
        for phase in told
    )
    total = "".join(_heat(phase.frozen_share) for phase in told)
    rows = "".join(
        f'<tr><th scope="row">{escape(layer)}</th>'
        + "".join(_heat(phase.frozen_by_layer.get(layer)) for phase in told)
        + "</tr>"
        for layer in layers
    )
    return (
        f"{_degenerate(told)}"
        '<div class="scroll tall" tabindex="0" role="region" aria-label="Frozen share by layer"><table class="heat">'
        f'<thead><tr><th scope="col">layer</th>{head}</tr></thead>'
        f'<tbody><tr class="total"><th scope="row">whole trunk</th>{total}</tr>{rows}</tbody></table></div>'
    )


def _degenerate(phases: list[Phase]) -> str:
    """A warning where the last share says that nearly all or nearly nothing was frozen; only rolling freezes."""
    share = next((phase.frozen_share for phase in reversed(phases) if phase.frozen_share is not None), None)
    if share is None or not any(phase.kind == "roll" for phase in phases) or 0.05 <= share <= 0.95:
        return ""
    what = "nearly everything" if share > 0.95 else "next to nothing"
    return (
        f'<p class="note">After the last phase {100 * share:.2f} % is frozen, {what}: outside 5 to 95 % this run says '
        "little about which parameters are stable.</p>"
    )


def _share_bar(share: float | None) -> str:
    if share is None:
        return NOTHING
    return f'<span class="bar" style="--share:{_percent(share)}%"></span> {_percent(share)} %'


def _heat(share: float | None) -> str:
    if share is None:
        return f'<td class="none">{NOTHING}</td>'
    return f'<td style="--share:{_percent(share)}%">{_percent(share)}</td>'


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _or_dash(value: int | None) -> str:
    return NOTHING if value is None else str(value)
