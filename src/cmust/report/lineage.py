"""The page's section about versions: where the one in force comes from, and what adapting and updating reached."""

import shlex
from html import escape
from pathlib import Path

from cmust.report.layout import AdaptFile, Cost, Evaluation, TaskUpdate, UpdateFile
from cmust.report.scores import label, show_number
from cmust.report.tables import scores_table
from cmust.report.versions import VersionRecord, lineage
from cmust.report.words import duration, heading, percent, region

KEPT = {"before": "the model before", "new_profile": "its weights, a new profile", "updated": "new weights"}


def versions_section(run: Path, versions: tuple[VersionRecord, ...]) -> str:
    """A row per version, then for each that led to the one in force what it was and reached, the newest first."""
    if not versions:
        return '<p class="empty">Training has not ended yet; <code>cmust train</code> goes on with it.</p>'
    if len(versions) == 1:
        folder = shlex.quote(str(run))
        adapt, update = f"cmust adapt {folder} --city CITY --task TASK", f"cmust update {folder} --city CITY"
        return (
            f'<p class="empty">Version 1, as training left it. <code>{escape(adapt)}</code> adds a task, '
            f"<code>{escape(update)}</code> goes on with new data; each makes another version.</p>"
        )
    head = heading("version", "made by", "when", "from", "new or changed", "unchanged, byte for byte", "command")
    rows = "".join(_row(version) for version in versions)
    details = "".join(_told(version) for version in lineage(versions) if version.parent is not None)
    return region("Versions", f'<table class="versions">{head}<tbody>{rows}</tbody></table>') + details


def _row(version: VersionRecord) -> str:
    force = ' <b class="best">in force</b>' if version.in_force else ""
    first = version.parent is None
    made = version.made
    return (
        f'<tr><th scope="row">{version.number}{force}</th><td>{escape(version.made_by)}</td>'
        f"<td>{escape((made.when or '')[:16].replace('T', ' '))}</td><td>{'' if first else version.parent}</td>"
        f"<td>{escape(', '.join(version.weights if first else version.changed))}</td>"
        f"<td>{'' if first else escape(', '.join(version.unchanged))}</td>"
        f"<td><code>{escape(made.command or '')}</code></td></tr>"
    )


def _told(version: VersionRecord) -> str:
    if version.adapted is not None and version.scores is not None:
        inside = _adapted(version.adapted, version.scores, f"scores-{version.number}")
    elif version.updated is not None:
        inside = _updated(version.updated)
    else:
        return ""
    title = f"Version {version.number}: {version.made_by} from version {version.parent}"
    opened = " open" if version.in_force else ""
    return f"<details{opened}><summary>{escape(title)}</summary>{inside}</details>"


def _adapted(adapted: AdaptFile, scores: Evaluation, name: str) -> str:
    wish, history = adapted.adapted, adapted.history
    what = {
        "unfrozen": "what is not frozen was trained",
        "prompt": "its head alone was trained",
        "nothing": "nothing was trained",
    }.get(wish.train, wish.train)
    source = f" It takes after task {wish.like}." if wish.like else ""
    scored = (
        f"Scored on the {scores.part} part ({scores.protocol}), beside the naive forecasts of the same history."
        if scores.tasks
        else "There is nothing to score it on yet."
    )
    text = f"Task {wish.name}, history {history.begins} to {history.until}; {what}.{source} {scored}"
    costs = "".join(_cost(system, cost) for system, cost in adapted.costs.items())
    head = heading("what it took", "epochs", "best", "updates", "weights trained", "time")
    return (
        f"<p>{escape(text)}</p>"
        + (scores_table(scores, name) if scores.tasks else "")
        + (region("Costs", f'<table class="numbers">{head}<tbody>{costs}</tbody></table>') if costs else "")
    )


def _cost(system: str, cost: Cost) -> str:
    best = "" if cost.best_epoch is None else cost.best_epoch
    cells = (f"{cost.epochs} of {cost.most_epochs}", best, cost.updates, cost.trained_weights, duration(cost.seconds))
    return (
        f'<tr><th scope="row">{escape(label(system))}</th>'
        + "".join(f"<td class='n'>{x}</td>" for x in cells)
        + "</tr>"
    )


def _updated(update: UpdateFile) -> str:
    head = heading("plain MAE on fresh days", "from", "until", *KEPT.values(), "kept")
    rows = "".join(_candidates(name, task) for name, task in update.tasks.items())
    left = "".join(
        f"<li><b>{escape(name)}</b> left out: {escape(reason)}</li>" for name, reason in update.left_out.items()
    )
    frozen = f"{percent(update.frozen_share)} frozen after"
    took = f"{update.costs.updates} updates, {duration(update.costs.seconds)}; {frozen}."
    return (
        region("Update", f'<table class="numbers">{head}<tbody>{rows}</tbody></table>')
        + (f'<ul class="verdicts">{left}</ul>' if left else "")
        + f'<p class="key">{took}</p>'
    )


def _candidates(name: str, task: TaskUpdate) -> str:
    scores = {kind: fresh.plain_mae for kind, fresh in task.fresh.items()}
    any_fresh = next(iter(task.fresh.values()), None)
    begins, until = ("", "") if any_fresh is None else (any_fresh.begins[:10], any_fresh.until[:10])
    cells = "".join(
        f'<td class="n{" best" if kind == task.kept else ""}">{show_number(scores.get(kind))}</td>' for kind in KEPT
    )
    kept = escape(KEPT.get(task.kept, task.kept))
    days = f"<td>{escape(begins)}</td><td>{escape(until)}</td>"
    return f'<tr><th scope="row">{escape(name)}</th>{days}{cells}<td>{kept}</td></tr>'
