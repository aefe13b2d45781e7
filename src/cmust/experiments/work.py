"""What a cell does: naive forecasts, another system, or CMuST in one of its presets, within a budget."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from cmust.baselines.registry import check_name, find_system
from cmust.baselines.train import recipe, train
from cmust.city import City
from cmust.errors import ConfigError
from cmust.evaluation import SYSTEM, evaluate, score_systems
from cmust.experiments.budget import PROBE, Budget, Pace, Part, Stopwatch
from cmust.experiments.engine import Cell, Record
from cmust.experiments.given import table_of
from cmust.fitting import fit
from cmust.forecaster import Forecaster
from cmust.machine import provenance
from cmust.naive import NAIVE, PROFILE
from cmust.profile import profile_alone
from cmust.rolling import PLANS, TrainingConfig
from cmust.run import Run
from cmust.settings import Scheme, Settings, derived_settings
from cmust.training import Watcher
from cmust.windows import common_cuts, make_windows

NAIVE_CELL = "naive"
CMUST = {"cmust_paper": "paper", "cmust_reference": "reference", "cmust_tuned": "tuned"}
ALONE = "cmust_alone"
"""The network of the tuned preset on one task by itself: what CMuST gains from the others is its distance to this."""
PRESET_OF = {**CMUST, ALONE: "tuned"}
EPOCHS_OF = {
    **dict.fromkeys(("start", "single", "joint"), "start_epochs"),
    "roll": "rolling_epochs",
    "refine": "refine_epochs",
}
"""By kind of phase: the setting that says how many epochs."""


@dataclass(frozen=True)
class Terms:
    """What all cells of an experiment have in common.

    Attributes:
        city: the tasks of the comparison.
        budget: of every cell.
        settings: as of ``Settings``: ``protocol`` and the windows of ``model`` for all systems, the rest of ``model``
            and ``training`` for CMuST; ``systems`` has for others, by name, ``training`` and ``network``.
        accelerator: Fabric's.
        scheme: of CMuST's cells; each task alone where the system says so.
    """

    city: City
    budget: Budget
    settings: dict[str, Any] = field(default_factory=dict)
    accelerator: str = "auto"
    scheme: Scheme = "rolling"

    def __post_init__(self) -> None:
        """Refuse settings that the cells themselves decide, and what is no table where one is wanted."""
        for key in ("preset", "scheme", "tasks"):
            if key in self.settings:
                raise ConfigError(f"{key} is not for the settings of an experiment: its cells have their own")
        trained = [table_of(self.settings, "training")]
        for name in table_of(self.settings, "systems"):
            check_name(name)
            own = {table: table_of(self.settings, "systems", name, table) for table in ("training", "network")}
            unknown = [key for key in table_of(self.settings, "systems", name) if key not in own]
            if unknown:
                raise ConfigError(f"systems.{name} has {unknown[0]!r}; it takes the tables training and network")
            trained.append(own["training"])
        if any("seed" in training for training in trained):
            raise ConfigError("training.seed is not for the settings of an experiment: --seeds says which")

    def of(self, cell: Cell) -> Settings:
        """The settings of a cell's run: those given that mean something in it. Of another system only ``protocol`` and
        the windows do.
        """
        training = {"precision": "32-true", **self.settings.get("training", {}), "seed": cell.seed}
        own = {key: value for key, value in self.settings.items() if key != "systems"}
        cells = {
            "preset": PRESET_OF.get(cell.system, "tuned"),
            "scheme": "alone" if cell.system == ALONE else self.scheme,
            "tasks": cell.tasks,
            "training": training,
        }
        return derived_settings(**{**own, **cells})


def changed(settings: dict[str, Any], changes: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Settings with some of their tables changed."""
    return {**settings, **{table: {**settings.get(table, {}), **values} for table, values in changes.items()}}


def work(cell: Cell, folder: Path, terms: Terms, watcher: Watcher | None = None) -> Record:
    """Compute a cell: what it cost, and its scores on the test part by task.

    Args:
        cell: which.
        folder: its own; interrupted, it goes on there.
        terms: of the experiment.
        watcher: hears of progress.

    Raises:
        CityError: there is no such task, or too little of it.
        ConfigError: there is no such system, or a setting does not fit.
    """
    for name in cell.tasks:
        terms.city.task(name)
    if cell.system == NAIVE_CELL:
        return _naive(cell, terms)
    if cell.system in (ALONE, *CMUST):
        return _cmust(cell, folder, terms, watcher)
    return _other(cell, folder, terms, watcher)


def _naive(cell: Cell, terms: Terms) -> Record:
    settings = terms.of(cell)
    windows = make_windows(terms.city, settings.protocol, settings.network.input_steps, settings.network.horizon)
    tasks = {}
    for name in cell.tasks:
        starts = windows[name].split.starts["test"]
        task = terms.city.task(name)
        systems = {**NAIVE, PROFILE: profile_alone(windows[name], task.time, task.interval)}
        tasks[name] = {"windows": len(starts), "systems": score_systems(windows[name], starts, systems)}
    return {"made": provenance(None, torch.device("cpu")), "tasks": _brief(tasks)}


def _other(cell: Cell, folder: Path, terms: Terms, watcher: Watcher | None) -> Record:
    settings, system = terms.of(cell), find_system(cell.system)
    own = terms.settings.get("systems", {}).get(cell.system, {})
    _, published = recipe(system, **own.get("training", {}))
    shape: dict[str, Any] = {
        **own.get("training", {}),
        "network": own.get("network", {}),
        "protocol": settings.protocol,
        "input_steps": settings.network.input_steps,
        "horizon": settings.network.horizon,
        "accelerator": terms.accelerator,
        "seed": cell.seed,
    }

    def probe(place: Path, batch: int) -> Sequence[Part]:
        watch, changes = Stopwatch(), {**PROBE, "batch_size": batch}
        train(cell.system, terms.city, place, cell.tasks, watcher=watch, scored=False, **{**shape, **changes})
        return [Part("start_epochs", pace) for pace in watch.paces]

    chosen = _chosen(published, ["start_epochs"])
    settled: dict[str, Any] = {"budget": "until fitted", "training": {}}
    if not system.classic:
        windows, halves = partial(training_windows, terms, settings), "batch_size" not in shape
        settled = terms.budget.settle(folder, len(cell.tasks), chosen, windows, probe, halves=halves)
    values = {**shape, **settled["training"]}
    done = train(cell.system, terms.city, folder / "run", cell.tasks, watcher=watcher, **values)
    told = {key: done[key] for key in ("made", "language")}
    cost = {**done["cost"], **fallen(Run(folder / "run"))}
    return {**told, "budget": settled, "cost": cost, "tasks": _brief(done["tasks"], cell.system)}


def _cmust(cell: Cell, folder: Path, terms: Terms, watcher: Watcher | None) -> Record:
    forecaster, settled = fitted(cell, folder, terms, watcher)
    run = Run(folder / "run")
    scored = evaluate(run.folder, terms.city.select(tasks=cell.tasks), accelerator=terms.accelerator)
    tasks = {
        name: {**entry, "systems": {cell.system: entry["systems"][SYSTEM]}} for name, entry in scored["tasks"].items()
    }
    made = run.config()["made"]
    return {"made": made, "budget": settled, "cost": _cost(run, forecaster), "tasks": _brief(tasks)}


def fitted(cell: Cell, folder: Path, terms: Terms, watcher: Watcher | None) -> tuple[Forecaster, dict[str, Any]]:
    """CMuST trained in ``folder/run`` on the tasks of a cell, in their order, within the budget; what was settled.

    Raises:
        ConfigError: a setting does not fit.
        RunError: training diverged, or the folder holds another run.
    """
    settings = terms.of(cell)
    training, plan = settings.trainer, PLANS[settings.scheme](cell.tasks, settings.trainer)

    def probe(place: Path, batch: int) -> Sequence[Part]:
        both = timed(cell, place, terms, "joint", batch)
        return [Part(EPOCHS_OF[phase.kind], Pace(both.update, both.validation / len(cell.tasks))) for phase in plan]

    chosen = _chosen(training, dict.fromkeys(EPOCHS_OF[phase.kind] for phase in plan))
    windows, halves = partial(training_windows, terms, settings), "batch_size" not in settings.training
    settled = terms.budget.settle(folder, len(cell.tasks), chosen, windows, probe, halves=halves)
    values = {**settings.model_dump(), "training": {**settings.training, **settled["training"]}}
    run = folder / "run"
    return _fit(terms, run, watcher, values), settled


def _fit(terms: Terms, run: Path, watcher: Watcher | None, values: dict[str, Any]) -> Forecaster:
    """Tasks are cut where the whole city is, as for all other systems, whichever of them a cell is of."""
    cuts = common_cuts(terms.city) if values["protocol"] == "purged" else None
    return fit(terms.city, run, accelerator=terms.accelerator, devices=1, watcher=watcher, cuts=cuts, **values)


def _chosen(training: TrainingConfig, epochs: Iterable[str]) -> dict[str, Any]:
    """The settings that a budget may change, as published."""
    milestones = ["milestones"] if training.schedule == "milestones" else []
    return {key: getattr(training, key) for key in (*epochs, *milestones, "batch_size")}


def timed(cell: Cell, place: Path, terms: Terms, scheme: str, batch: int) -> Pace:
    """The pace of a few updates of CMuST on the tasks of a cell, with batches of a size."""
    settings, watch = terms.of(cell), Stopwatch()
    training = {**settings.training, **PROBE, "batch_size": batch}
    values = derived_settings(**{**settings.model_dump(), "scheme": scheme, "training": training}).model_dump()
    _fit(terms, place, watch, values)
    (pace,) = watch.paces
    return pace


def _cost(run: Run, forecaster: Forecaster) -> dict[str, Any]:
    """Of all phases; the weights are those of the shared trunk and of all heads."""
    ends = [event for event in run.history() if event["event"] == "phase"]
    parts = [next(iter(forecaster.tasks.values())).trunk, *(model.head for model in forecaster.tasks.values())]
    return {
        **{key: sum(end[key] for end in ends) for key in ("updates", "epochs", "seconds")},
        "parameters": sum(parameter.numel() for part in parts for parameter in part.parameters()),
        "frozen_share": ends[-1]["frozen_share"],
        **fallen(run),
    }


def fallen(run: Run) -> dict[str, float]:
    """``fallen_to``: the best validation error as a share of that after the first epoch, in the phase of most updates
    (the last one, of several); nothing where it has a single epoch.
    """
    phases: dict[str, list[dict[str, Any]]] = {}
    for event in run.history():
        if event["event"] == "epoch":
            phases.setdefault(event["phase"], []).append(event)
    longest = max(reversed(phases.values()), key=lambda epochs: epochs[-1]["updates"], default=[])
    errors = [epoch["validation_loss"] for epoch in longest]
    finite = [error for error in errors if error is not None]
    return {"fallen_to": min(finite) / errors[0]} if len(errors) > 1 and errors[0] else {}


def training_windows(terms: Terms, settings: Settings) -> int:
    """Of that task of a cell that has most."""
    windows = make_windows(terms.city, settings.protocol, settings.network.input_steps, settings.network.horizon)
    return max(len(windows[name].split.starts["train"]) for name in settings.tasks or windows)


def _brief(tasks: dict[str, Any], *systems: str) -> dict[str, Any]:
    """Of scored tasks what tables need: the number of windows, and plain and masked scores."""
    return {
        name: {
            "windows": entry["windows"],
            "systems": {
                system: {kind: scores[kind] for kind in ("plain", "masked")}
                for system, scores in entry["systems"].items()
                if not systems or system in systems
            },
        }
        for name, entry in tasks.items()
    }
