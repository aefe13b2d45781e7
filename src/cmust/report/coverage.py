"""The page's section about calibrated intervals: words, a table, and where the script draws them."""

from html import escape
from pathlib import Path

from cmust.report.layout import Intervals, IntervalScores, TaskIntervals
from cmust.report.scores import OURS, label, show_number
from cmust.report.words import heading, items, not_yet, outdated, percent, region

COMMAND = "cmust calibrate RUN CITY"
USUAL = 0.9
"""The level that words are about, where it was calibrated."""


def intervals_section(run: Path, intervals: Intervals | None, stale: tuple[str, ...]) -> str:
    """What the section shows; with the command that makes it where the weights in force have no intervals."""
    old = outdated(run, "calibration", stale, COMMAND)
    if intervals is None:
        return old or not_yet(run, "Not calibrated yet: intervals, how much they cover, how wide they are.", COMMAND)
    head = heading("task", "level", "around", "covered", "least and most of a group", "width", "interval score")
    body = "".join(_task_rows(name, task) for name, task in intervals.tasks.items())
    return (
        old
        + items(_verdict(name, task) for name, task in intervals.tasks.items())
        + region("Intervals", f'<table class="numbers">{head}{body}</table>')
        + '<p class="key">Every interval is judged by truth it could not know. Interval score (Winkler): the width, '
        "and 2 / (1 - level) times what lies outside; lower is better. The same method around the weekly average "
        'stands beside.</p><div id="intervals"></div>'
    )


def levels_of(task: TaskIntervals) -> list[str]:
    """The levels, as the file names them."""
    return list(next(iter(task.systems.values()), {}))


def usual_level(levels: list[str]) -> str:
    """The level that comes first to mind: 90 %, or the nearest one."""
    return min(levels, key=lambda level: abs(float(level) - USUAL))


def _verdict(name: str, task: TaskIntervals) -> tuple[str, str, str]:
    levels = levels_of(task)
    ours = task.systems.get(OURS, {}).get(usual_level(levels)) if levels else None
    if ours is None:
        return "", name, "No intervals of CMuST."
    level = usual_level(levels)
    text = f"{100 * float(level):g} % intervals cover {percent(ours.coverage)} of {ours.count} values to {task.until}"
    rivals = {system: each[level] for system, each in task.systems.items() if system != OURS and level in each}
    told = [
        f"interval score {show_number(ours.interval_score)} against {show_number(each.interval_score)} around the "
        f"{label(system)}"
        for system, each in rivals.items()
    ]
    better = [
        ours.interval_score < each.interval_score
        for each in rivals.values()
        if ours.interval_score is not None and each.interval_score is not None
    ]
    tone = "" if not better else "wins" if all(better) else "loses"
    return tone, name, "; ".join([text, *told]) + "."


def _task_rows(name: str, task: TaskIntervals) -> str:
    rows: list[str] = []
    for level in levels_of(task):
        for at, (system, scores) in enumerate((system, each[level]) for system, each in task.systems.items()):
            title = f'<th scope="rowgroup">{escape(name)}</th>' if not rows else "<th></th>"
            shown = f"{100 * float(level):g} %" if at == 0 else ""
            rows.append(f"<tr>{title}<td class='n'>{shown}</td><td>{escape(label(system))}</td>{_cells(scores)}</tr>")
    return f"<tbody>{''.join(rows)}</tbody>"


def _cells(scores: IntervalScores) -> str:
    groups = [share for share in scores.per_group.coverage if share is not None]
    spread = f"{percent(min(groups))} to {percent(max(groups))}" if groups else ""
    cells = (percent(scores.coverage), spread, show_number(scores.width), show_number(scores.interval_score))
    return "".join(f"<td class='n'>{cell}</td>" for cell in cells)
