"""Updating stretch by stretch (months, say) against not updating.

Trained on what lies before the first cut; at every later cut the run is updated with the data until there, and the
version in force and the one of training are scored on the stretch that follows. Resumable.
"""

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmust.assembly import span_of
from cmust.city import City, Task
from cmust.city.clock import iso_time, local_time
from cmust.continual.update import update
from cmust.errors import ConfigError, RunError
from cmust.evaluation import score_systems
from cmust.experiments.later import split_settings
from cmust.experiments.markdown import better
from cmust.files import write_text
from cmust.fitting import fit
from cmust.forecaster import Forecaster
from cmust.identity import describe_city, field_defaults
from cmust.machine import provenance
from cmust.naive import PROFILE
from cmust.rolling import TrainingConfig, changed_training
from cmust.run import FIRST, Run, read_json
from cmust.settings import Settings, make_settings
from cmust.training import Watcher, device_of
from cmust.windows import city_splits, windows_between

OLD, NEW = "not_updated", "updated"


def run_study(
    city: City,
    folder: Path,
    settings: dict[str, Any],
    *,
    cuts: Sequence[str],
    accelerator: str = "auto",
    watcher: Watcher | None = None,
) -> None:
    """Train, then update and score at every cut; what is finished is not repeated.

    Args:
        city: all data.
        folder: of the experiment; its run is ``folder/run``.
        settings: of the run (fields of ``Settings``); its table ``update`` holds training settings of the updates.
        cuts: local times, each after the one before it, the end of training first.
        accelerator: Fabric's.
        watcher: hears of progress.

    Raises:
        ConfigError: fewer than two cuts, or not in order; no forecast fits between two of them; or a setting does not
            fit or would be ignored.
        CityError: a cut is no time, or there is too little to train on before the first one.
        RunError: the folder was begun with other cuts, settings or data, or holds a run that was updated otherwise.
    """
    run_settings, training = split_settings(settings, "update", "update")
    chosen, cuts = make_settings(**run_settings), _in_order(cuts)
    _check_stretches(city, cuts, chosen)
    _claim(folder, city, changed_training(chosen.trainer, **training), cuts)
    run = folder / "run"
    fit(city.select(time=slice(None, cuts[0])), run, accelerator=accelerator, watcher=watcher, **run_settings)
    for cut, until in zip(cuts[1:], [*cuts[2:], None], strict=True):
        result = folder / f"after-{cut}.json"
        if result.exists():
            continue
        record = _updated(Run(run), city.select(time=slice(None, cut)), training, accelerator, watcher)
        kept = {name: task["kept"] for name, task in record["tasks"].items()}
        scores = _score(run, city, cut, until, device_of(accelerator))
        told = {"cut": cut, **scores, "costs": record["costs"], "kept": kept}
        write_text(result, json.dumps(told, indent=1) + "\n")


def _in_order(cuts: Sequence[str]) -> list[str]:
    """The cuts as everything here writes them (ISO 8601): each after the one before it."""
    times = [local_time(cut) for cut in cuts]
    if len(times) < 2 or any(later <= earlier for earlier, later in pairwise(times)):
        raise ConfigError(
            f"cuts are {', '.join(map(str, cuts)) or 'none'}; give two or more in order, each after the one before it, "
            f"the end of training first"
        )
    return [iso_time(time) for time in times]


def _check_stretches(city: City, cuts: Sequence[str], settings: Settings) -> None:
    """Refuse cuts that leave too little to train on, or a stretch that no forecast fits into."""
    steps = settings.network.input_steps, settings.network.horizon
    tasks = settings.tasks or tuple(city.tasks)
    city_splits(city.select(tasks=tasks, time=slice(None, cuts[0])), settings.protocol, *steps)
    for cut, until in zip(cuts[1:], [*cuts[2:], None], strict=True):
        for name in tasks:
            if not len(_stretch(city.task(name), cut, until, *steps)):
                raise ConfigError(f"task {name!r} has no window from {cut} to {until or 'its end'}; give other cuts")


def _stretch(task: Task, cut: str, until: str | None, input_steps: int, horizon: int) -> Tensor:
    """Starts of the windows whose targets lie from ``cut`` to before ``until``, or the end of the data."""
    begin = int(np.searchsorted(task.time, np.datetime64(cut)))
    end = task.n_steps if until is None else int(np.searchsorted(task.time, np.datetime64(until)))
    return windows_between(begin, end, input_steps, horizon)


def _claim(folder: Path, city: City, training: TrainingConfig, cuts: Sequence[str]) -> None:
    """Begin the study, or check that it is the one that was begun there. Further cuts make another one: the stretch
    after the last cut goes to the end of the data.
    """
    identity = {
        "experiment": "updating",
        "cuts": list(cuts),
        "update": training.model_dump(mode="json"),
        "city": describe_city(city),
    }
    Run(folder).claim(identity, provenance(None, torch.device("cpu")), {"update": field_defaults(TrainingConfig)})


def _updated(
    run: Run, city: City, training: dict[str, Any], accelerator: str, watcher: Watcher | None
) -> dict[str, Any]:
    """What the update with this city tells, whether it makes a version or not; made already, what its version tells."""
    if not _has_seen(Forecaster.load(run.folder), city):
        return update(run.folder, city, accelerator=accelerator, watcher=watcher, **training).record
    number, _ = run.pointer()
    return read_json(
        run.version_folder(number) / "update.json",
        f"version {number} of {run.folder} was not made by an update; begin in another folder",
    )


def _has_seen(forecaster: Forecaster, city: City) -> bool:
    """Whether the run was updated with this city already, and killed before it was scored."""
    return any(
        np.datetime64(model.about["seen"]["until"]) >= city.tasks[name].time[-1]
        for name, model in forecaster.tasks.items()
    )


def _score(run: Path, city: City, cut: str, until: str | None, device: torch.device) -> dict[str, Any]:
    """The first version and the one in force on the targets from ``cut`` to ``until``, forecast on ``device``."""
    number, _ = Run(run).pointer()
    versions = {OLD: Forecaster.load(run, FIRST).to(device), NEW: Forecaster.load(run, number).to(device)}
    seen = max(model.about["seen"]["until"] for model in versions[NEW].tasks.values())
    if np.datetime64(seen) >= np.datetime64(cut):
        raise RunError(
            f"version {number} of {run} has seen data until {seen} and cannot be scored from {cut} on; begin in "
            f"another folder"
        )
    tasks = {name: _scores(name, versions, city.task(name), cut, until) for name in versions[OLD].tasks}
    return {"version": number, "tasks": tasks}


def _scores(name: str, versions: dict[str, Forecaster], task: Task, cut: str, until: str | None) -> dict[str, Any]:
    """One task: the versions, and beside them the naive forecasts and the profile that the one in force knows."""
    systems: dict[str, Any] = {}
    for kind, forecaster in versions.items():
        model, windows = forecaster.tasks[name], forecaster.windows(task)
        starts = _stretch(task, cut, until, windows.input_steps, windows.horizon)
        scored = {kind: model.forecast, **(model.without_network() if kind == NEW else {})}
        for system, scores in score_systems(windows, starts, scored).items():
            systems[system] = {"plain": scores["plain"], "masked": scores["masked"]}
    return {**span_of(task, windows, starts), "systems": systems}


def collect(folder: Path) -> dict[str, Any]:
    """What the finished cuts below ``folder`` say, in order.

    Raises:
        RunError: none is finished.
    """
    cuts = [read_json(file, "") for file in sorted(folder.glob("after-*.json"))]
    if not cuts:
        raise RunError(f"no finished cut below {folder}; run `cmust experiment updating` first")
    config = Run(folder / "run").config()
    return {"made": config["made"], "settings": config["settings"], "cuts": cuts}


def render(table: dict[str, Any]) -> str:
    """The table in Markdown: masked MAE (plain MAE) of both and, where there is one, of the new profile without a
    network; and what updating changed.
    """
    columns = {OLD: "not updated", PROFILE: "the new profile alone", NEW: "updated"}
    rows = [(cut["cut"], name, each["systems"]) for cut in table["cuts"] for name, each in cut["tasks"].items()]
    columns = {key: label for key, label in columns.items() if all(key in systems for *_, systems in rows)}
    lines = [f"| from | task | {' | '.join(columns.values())} | change |", "|---|" + "---|" * (len(columns) + 2)]
    changes = []
    for cut, name, systems in rows:
        shown = [f"{systems[key]['masked']['mae']:.3f} ({systems[key]['plain']['mae']:.3f})" for key in columns]
        both = [systems[NEW][kind]["mae"] / systems[OLD][kind]["mae"] - 1 for kind in ("masked", "plain")]
        changes.append(max(both))
        lines.append(f"| {cut} | {name} | {' | '.join(shown)} | {100 * both[0]:+.1f} % ({100 * both[1]:+.1f} %) |")
    seconds = ", ".join(f"{cut['cut']} {cut['costs']['seconds']:.0f} s" for cut in table["cuts"] if cut["costs"])
    lines += [
        "",
        f"Updating is better, plain and masked, in {sum(change < 0 for change in changes)} of {len(rows)} rows; "
        f"the worst change is {100 * max(changes):+.1f} %. Training time of the updates: {seconds or 'none made'}.",
    ]
    if PROFILE in columns:
        ahead = sum(better(systems[NEW], systems[PROFILE]) for *_, systems in rows)
        lines[-1] += f" The updated version is better than its profile alone in {ahead} of {len(rows)} rows."
    return "\n".join(lines) + "\n"
