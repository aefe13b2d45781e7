"""Puts the page together: template, style, script, tables and numbers in one file that asks nobody for anything."""

import base64
import hashlib
import html
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from cmust.files import write_text
from cmust.report.backtests import backtest_section
from cmust.report.coverage import intervals_section
from cmust.report.lineage import versions_section
from cmust.report.payload import embed, payload
from cmust.report.phases import Phase, phases_of
from cmust.report.reading import RunFiles, read_run
from cmust.report.tables import frozen_table, phase_table, scores_section
from cmust.report.versions import lineage
from cmust.report.words import not_yet, outdated

SCRIPTS = ("base.js", "chart.js", "city.js", "errors.js", "backtest.js", "intervals.js", "training.js", "main.js")
"""In the order in which they are joined into the page's one script."""


def write_report(run: Path, out: Path | None = None) -> Path:
    """Write the report of a run as one offline HTML page, from the run folder alone.

    Works at any stage: what the run has not come to yet stands on the page as the command that makes it.

    Args:
        run: the run folder.
        out: the file to write, atomically; default ``report.html`` in the run folder.

    Returns:
        The file written.

    Raises:
        RunError: ``run`` is not a run folder, or a file in it is damaged, of an unknown schema, or from another run.
        CmustError: ``out`` cannot be written.
    """
    run = Path(run)
    target = Path(out) if out is not None else run / "report.html"
    write_text(target, render(read_run(run)))
    return target


def render(run: RunFiles) -> str:
    """The page as text."""
    phases = _all_phases(run)
    script = "(() => {\n'use strict';\n" + "\n".join(_asset(name) for name in SCRIPTS) + "})();\n"
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii")
    city, synthetic = _city(run)
    unscored = _unscored(run)
    return Template(_asset("page.html")).substitute(
        script_hash=digest,
        style=_asset("page.css"),
        script=script,
        data=embed(payload(run, phases)),
        title=html.escape(f"{city}: CMuST run report"),
        city=html.escape(city),
        synthetic=_SYNTHETIC if synthetic else "",
        facts=_facts(run),
        scores=_old_scores(run) + scores_section(run.evaluation) if run.evaluation else unscored,
        city_view=_city_view(run),
        errors_view=_ERRORS if run.evaluation and run.evaluation.tasks else unscored,
        backtest=backtest_section(run.folder, run.backtest, run.stale.get("backtest.json", ())),
        intervals=intervals_section(run.folder, run.intervals, run.stale.get("intervals.json", ())),
        versions=versions_section(run.folder, run.versions),
        training_view=_TRAINING if any(phase.epochs for phase in phases) else _UNTRAINED,
        phases=phase_table(phases),
        frozen=frozen_table(phases),
    )


_SYNTHETIC = (
    '<p class="banner" role="note"><strong>SYNTHETIC</strong> This city is simulated. '
    "Nothing on this page was measured in a real place.</p>"
)
_ERRORS = '<div id="errors-controls" class="controls"></div><div id="horizons"></div><div id="places"></div>'
_EVALUATE = "cmust evaluate RUN CITY"
_UNTRAINED = (
    '<p class="empty">No epoch has ended yet (history.jsonl). '
    "<code>cmust train</code> writes a line at the end of each.</p>"
)
_TRAINING = '<div id="training"></div>'


def _all_phases(run: RunFiles) -> list[Phase]:
    """The training's phases, then those of the versions that led to the one in force."""
    phases = phases_of(run.history)
    for version in reversed(list(lineage(run.versions))):
        phases += [
            replace(phase, name=f"{phase.name}, version {version.number}") for phase in phases_of(version.history)
        ]
    return phases


def _asset(name: str) -> str:
    return (files("cmust.report") / "assets" / name).read_text(encoding="utf-8")


def _city(run: RunFiles) -> tuple[str, bool]:
    """The city's name and whether it is synthetic: from the evaluation, else the model, else the settings."""
    known = run.evaluation.city if run.evaluation else run.model.city if run.model else None
    if known is not None:
        return known.name, known.synthetic
    return str(_setting(run, "city", "name") or "unnamed city"), bool(_setting(run, "city", "synthetic"))


def _setting(run: RunFiles, *keys: str) -> Any:
    """What ``config.json`` says there; None where it says nothing."""
    found: Any = run.config
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _facts(run: RunFiles) -> str:
    """The header's list: what was run, how it was scored, when and on what."""
    evaluation = run.evaluation
    made = evaluation.made if evaluation else None
    force = next(lineage(run.versions), None)
    facts = {
        "version": force
        and (f"{force.number}, made by {force.made_by}" + (f" from {force.parent}" if force.parent else "")),
        "preset": _setting(run, "settings", "preset"),
        "scheme": _setting(run, "settings", "scheme"),
        "seed": _setting(run, "settings", "training", "seed"),
        "task order": _setting(run, "settings", "tasks"),
        "protocol": evaluation.protocol if evaluation else _setting(run, "settings", "protocol"),
        "part": evaluation.part if evaluation else None,
        "evaluated": made.when if made else None,
        "machine": made.machine if made else _setting(run, "made", "machine"),
        "command": made.command if made and made.command else _setting(run, "made", "command"),
        "versions": (made.versions if made else None) or _setting(run, "made", "versions"),
        "city fingerprint": (evaluation.city.fingerprint if evaluation else "") or _setting(run, "city", "fingerprint"),
    }
    rows = []
    for name, value in facts.items():
        shown = html.escape(_words(value)) if value not in (None, "", {}, []) else ""
        if shown and name == "command":
            shown = f"<code>{shown}</code>"
        if shown and name == "city fingerprint":
            shown = f'<code title="{shown}">{html.escape(str(value)[:12])}…</code>'
        rows.append(f"<div><dt>{name}</dt><dd>{shown or '<i>not recorded</i>'}</dd></div>")
    return "".join(rows)


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return str(value)


def _unscored(run: RunFiles) -> str:
    return _old_scores(run) or not_yet(run.folder, "Not evaluated yet.", _EVALUATE)


def _old_scores(run: RunFiles) -> str:
    """Which tasks are scored with weights that are no longer in force, and which are not scored beside others."""
    stale = run.stale.get("evaluation.json", ())
    told = outdated(run.folder, "evaluation", stale, _EVALUATE)
    scored = {*stale, *(run.evaluation.tasks if run.evaluation else ())}
    missing = [name for name in run.model.tasks if name not in scored] if run.model and scored else []
    return told + (not_yet(run.folder, f"Not evaluated yet: {', '.join(missing)}.", _EVALUATE) if missing else "")


def _city_view(run: RunFiles) -> str:
    if run.evaluation is None:
        return _unscored(run)
    if not run.samples:
        return not_yet(run.folder, "The evaluation has no sample of forecasts (evaluation_sample.npz).", _EVALUATE)
    return (
        '<div id="city-controls" class="controls"></div><div id="maps"></div>'
        '<div id="time" class="time"></div><div id="series"></div>'
    )
