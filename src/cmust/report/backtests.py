"""The page's section about the backtest: words, a table, and where the script draws its curves and maps."""

from html import escape
from pathlib import Path

from cmust.report.layout import Backtest, BacktestRow, Forgotten, TaskBacktest
from cmust.report.scores import NAIVE, OURS, in_order, label, show_number
from cmust.report.words import heading, items, not_yet, outdated, percent, region

COMMAND = "cmust evaluate RUN CITY --rolling-origin"
FINER = ("week", "weekday", "hour", "horizon")


def backtest_section(run: Path, backtest: Backtest | None, stale: tuple[str, ...]) -> str:
    """What the section shows; with the command that makes it where there is no backtest of the weights in force."""
    old = outdated(run, "backtest", stale, COMMAND)
    if backtest is None:
        return old or not_yet(
            run, "Not backtested yet: errors over time, by hour, weekday, holiday and place.", COMMAND
        )
    systems = in_order(dict.fromkeys(name for task in backtest.tasks.values() for name in task.whole.mae))
    head = heading("task", "by", "", "targets", "mean", "bias", *(f"MAE {label(name)}" for name in systems))
    whole = "".join(_rows(name, task, ("whole", "holiday"), systems) for name, task in backtest.tasks.items())
    finer = "".join(_rows(name, task, FINER, systems) for name, task in backtest.tasks.items())
    return (
        f"{old}{_verdicts(backtest)}"
        + region("Backtest", f'<table class="numbers">{head}{whole}</table>')
        + '<p class="key">Bias: forecast less truth, of CMuST. A week is named by its Monday.</p>'
        + '<div id="backtest"></div>'
        + "<details><summary>The numbers by week, weekday, hour and time ahead</summary>"
        + region("Backtest in full", f'<table class="numbers">{head}{finer}</table>')
        + f"</details>{_forgetting(backtest.forgetting)}"
    )


def _verdicts(backtest: Backtest) -> str:
    told = {name: _verdict(task) for name, task in backtest.tasks.items()}
    return items((tone, name, text) for name, (tone, text) in told.items())


def _verdict(task: TaskBacktest) -> tuple[str, str]:
    """Tone and words."""
    what = f"{task.origins} forecasts, from {task.begins} on, targets to {task.until}."
    ours = task.whole.mae.get(OURS)
    naive = {name: mae for name in NAIVE if (mae := task.whole.mae.get(name)) is not None}
    if OURS not in task.whole.mae or not naive:
        return "", what
    best = min(naive, key=lambda name: naive[name])
    if ours is None:
        return "loses", (
            f"{what} The MAE of CMuST is no number, that of the best naive forecast, {label(best)}, is "
            f"{show_number(naive[best])}."
        )
    against = f"MAE {show_number(ours)} against {show_number(naive[best])} of the best naive forecast, {label(best)}"
    return ("wins" if ours < naive[best] else "loses"), f"{what} {against}.{_drift(task, best)}"


def _drift(task: TaskBacktest, best: str) -> str:
    """How the error beside that of the best naive forecast changed from the first week to the last."""
    shares = [
        (row.name, ours / other)
        for row in task.by.get("week", [])
        if (ours := row.mae.get(OURS)) is not None and (other := row.mae.get(best))
    ]
    if len(shares) < 2:
        return ""
    (first, before), (last, after) = shares[0], shares[-1]
    then, now = percent(before, 0), percent(after, 0)
    return f" Of its error, CMuST makes {then} in the week of {first}, {now} in that of {last}."


def _rows(name: str, task: TaskBacktest, tables: tuple[str, ...], systems: list[str]) -> str:
    """The rows of some of a task's tables; none of holidays where all days are of one kind."""
    rows: list[str] = []
    for by in tables:
        found = task.by.get(by, [])
        for at, row in enumerate(found if by != "holiday" or len(found) > 1 else []):
            title = f'<th scope="rowgroup">{escape(name)}</th>' if not rows else "<th></th>"
            rows.append(f"<tr>{title}{_row(by if at == 0 else '', row, systems)}</tr>")
    return f"<tbody>{''.join(rows)}</tbody>" if rows else ""


def _row(by: str, row: BacktestRow, systems: list[str]) -> str:
    lowest = min((value for value in row.mae.values() if value is not None), default=None)
    cells = "".join(
        f'<td class="n{" best" if lowest is not None and row.mae.get(name) == lowest else ""}">'
        f"{show_number(row.mae.get(name))}</td>"
        for name in systems
    )
    return (
        f"<td>{escape({'whole': '', 'horizon': 'steps ahead'}.get(by, by))}</td><td>{escape(row.name)}</td>"
        f"<td class='n'>{row.targets}</td><td class='n'>{show_number(row.mean)}</td>"
        f"<td class='n'>{show_number(row.bias.get(OURS))}</td>{cells}"
    )


def _forgetting(rows: list[Forgotten]) -> str:
    """Validation losses after each rolling phase, and their change since the task was last trained itself."""
    if not rows:
        return ""
    tasks = list(dict.fromkeys(task for row in rows for task in row.losses))
    body = "".join(
        f'<tr><th scope="row">{escape(row.phase)}</th>'
        + "".join(_loss(row.losses.get(task), row.change.get(task)) for task in tasks)
        + "</tr>"
        for row in rows
    )
    return (
        "<h3>Forgetting</h3><p>Validation loss of every task so far after each rolling phase, with its own prompt; in "
        "brackets its change since the task was last trained itself. What is delivered is each task's refinement, "
        "which comes after.</p>"
        + region("Forgetting", f'<table class="numbers">{heading("after phase", *tasks)}<tbody>{body}</tbody></table>')
    )


def _loss(loss: float | None, change: float | None) -> str:
    if loss is None:
        return "<td></td>"
    tone = "" if not change else " worse" if change > 0 else " better"
    return f'<td class="n{tone}">{loss:.4g}{f" ({100 * change:+.1f} %)" if change else ""}</td>'
