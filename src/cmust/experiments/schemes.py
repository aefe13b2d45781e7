"""CMuST against the same network trained otherwise, a small MLP and the naive forecasts, at equal numbers of updates.

Cells: ``cmust`` (rolling), ``alone`` (each task by itself, as many updates as the rolling scheme gives that task),
``joint`` (all tasks mixed, as many updates in all), ``no_freezing`` (rolling without the consistency maintainer),
``residual_mlp``. Every cell is resumable and may run in its own process; ``collect`` renders what is there.
"""

import json
import math
from pathlib import Path
from typing import Any

from cmust.baselines.train import train
from cmust.city import City
from cmust.errors import ConfigError, RunError
from cmust.evaluation import SYSTEM, evaluate
from cmust.experiments.markdown import score_rows
from cmust.files import write_text
from cmust.fitting import fit
from cmust.naive import LABELS
from cmust.rolling import TrainingConfig, epochs_by_task, rolling_plan
from cmust.run import Run, read_json
from cmust.settings import Settings, make_settings
from cmust.training import Watcher

RUNS = ("cmust", "alone", "joint", "no_freezing")
CELLS = (*RUNS, "residual_mlp")


def run_cell(
    cell: str, city: City, folder: Path, settings: dict[str, Any], watcher: Watcher | None = None
) -> dict[str, Any]:
    """Train and score one cell; what is finished is not repeated.

    Args:
        cell: one of ``CELLS``.
        city: the data.
        folder: of the experiment; the cell's run stands below it.
        settings: of the rolling run (the fields of ``Settings``); the other cells derive theirs.
        watcher: hears of progress.

    Returns:
        The cell's ``evaluation.json``, or of the MLP the same shape.

    Raises:
        ConfigError: the cell is unknown, or early stopping could end phases early so that updates would not be equal.
    """
    if cell not in CELLS:
        raise ConfigError(f"unknown cell {cell!r}; choose among {', '.join(CELLS)}")
    base = make_settings(**settings)
    _check_budget(base.trainer)
    target = folder / cell
    scores = target / "evaluation.json"
    if scores.exists():
        return read_json(scores, "")
    if cell == "residual_mlp":
        return _run_mlp(city, target, base, watcher)
    fit(city, target, watcher=watcher, **cell_settings(cell, city, base))
    return evaluate(target, city)


def cell_settings(cell: str, city: City, base: Settings) -> dict[str, Any]:
    """The settings of a cell, with as many updates as the rolling scheme of ``base``."""
    values = base.model_dump()
    tasks = base.tasks or tuple(city.tasks)
    plan = rolling_plan(tasks, base.trainer)
    training = dict(values["training"])
    if cell == "no_freezing":
        training["freezing"] = False
    elif cell == "alone":
        training["epochs_by_task"] = epochs_by_task(plan)
    elif cell == "joint":
        training["start_epochs"] = math.ceil(sum(phase.epochs for phase in plan) / len(tasks))
    scheme = {"alone": "alone", "joint": "joint"}.get(cell, "rolling")
    return {**values, "scheme": scheme, "training": training}


def _check_budget(training: TrainingConfig) -> None:
    longest = max(training.start_epochs, training.rolling_epochs, training.refine_epochs)
    if training.patience < longest:
        raise ConfigError(
            f"training.patience={training.patience} may end phases of up to {longest} epochs early, and the cells "
            f"would not get equal "
            f"numbers of updates; set training.patience={longest} (the best epoch on validation is restored all "
            f"the same)"
        )


def _run_mlp(city: City, folder: Path, settings: Settings, watcher: Watcher | None) -> dict[str, Any]:
    """The MLP alone on each task, trained to convergence on validation (its updates are a hundredth of the network's
    cost).
    """
    city, config = city.select(tasks=settings.tasks), settings.network
    trained = {
        name: train(
            "residual_mlp",
            city,
            folder / name,
            [name],
            protocol=settings.protocol,
            input_steps=config.input_steps,
            horizon=config.horizon,
            watcher=watcher,
            seed=settings.trainer.seed,
        )
        for name in city.tasks
    }
    result = {"tasks": {name: {**each["tasks"][name], **each["cost"]} for name, each in trained.items()}}
    write_text(folder / "evaluation.json", json.dumps(result, indent=1) + "\n")
    return result


def collect(folder: Path) -> dict[str, Any]:
    """Scores, updates, seconds and frozen shares of the finished cells below ``folder``, by task and system.

    Raises:
        RunError: no cell is finished.
    """
    table: dict[str, Any] = {"tasks": {}, "cells": {}}
    for cell in CELLS:
        file = folder / cell / "evaluation.json"
        if not file.exists():
            continue
        evaluation = read_json(file, "")
        if cell in RUNS:
            table["cells"][cell] = _cost(Run(folder / cell))
            table.update({key: evaluation[key] for key in ("made", "city", "protocol", "part")})
        for task, entry in evaluation["tasks"].items():
            systems = table["tasks"].setdefault(task, {})
            for system, scores in entry["systems"].items():
                name = cell if system == SYSTEM else system
                systems[name] = {"plain": scores["plain"], "masked": scores["masked"]}
    if not table["tasks"]:
        raise RunError(f"no finished cell below {folder}; run `cmust experiment schemes` first")
    return table


def _cost(run: Run) -> dict[str, Any]:
    """What a run cost and how it went: updates and seconds per task, and its phases."""
    phases = [event for event in run.history() if event["event"] == "phase"]
    keys = (
        "phase",
        "kind",
        "tasks",
        "epochs",
        "best_epoch",
        "best_validation_loss",
        "updates",
        "frozen_share",
        "seconds",
    )
    config = run.config()
    return {
        "made": config["made"],
        "settings": config["settings"],
        "updates": sum(phase["updates"] for phase in phases),
        "seconds": sum(phase["seconds"] for phase in phases),
        "phases": [{key: phase[key] for key in keys} for phase in phases],
    }


ROWS = {
    **LABELS,
    "residual_mlp": "small MLP over the weekly average",
    "alone": "the network alone on each task",
    "joint": "the network trained jointly",
    "no_freezing": "CMuST without freezing",
    "cmust": "CMuST",
}


def render(table: dict[str, Any]) -> str:
    """The table in Markdown: masked MAE (plain MAE), best in bold; then cost and frozen shares of every run."""
    lines = score_rows("masked MAE (plain MAE)", table["tasks"], ROWS)
    lines += ["", "| run | updates | minutes of training | frozen at the end |", "|---|---|---|---|"]
    for name, cost in table["cells"].items():
        frozen = cost["phases"][-1]["frozen_share"]
        lines.append(f"| {ROWS[name]} | {cost['updates']} | {cost['seconds'] / 60:.1f} | {frozen:.1%} |")
    rolled = [phase for phase in table["cells"].get("cmust", {}).get("phases", []) if phase["kind"] != "refine"]
    if rolled:
        lines += ["", "| phase of CMuST | updates | best epoch | frozen after it |", "|---|---|---|---|"]
        lines += [
            f"| {p['phase']} | {p['updates']} | {p['best_epoch']} of {p['epochs']} | {p['frozen_share']:.1%} |"
            for p in rolled
        ]
    return "\n".join(lines) + "\n"
