"""A run, or a forecaster, learns one more task: one that it never saw, or new places of one that it knows."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from cmust.assembly import describe, seasonal_tables, window_scores, with_task
from cmust.city import City, check_is_city
from cmust.continual.newcomer import AUTO, Newcomer, Train, Wish, make_wish, prepare
from cmust.continual.record import FROM_SCRATCH, score_adaptation
from cmust.continual.trainee import Trainee
from cmust.continual.versions import changing, check_one_process
from cmust.errors import ConfigError
from cmust.evaluation import SYSTEM
from cmust.forecaster import Forecaster
from cmust.identity import data_fingerprint
from cmust.rolling import TrainingConfig, changed_training, check_used
from cmust.run import Run
from cmust.task_model import TaskModel
from cmust.training import Watcher, make_fabric, trained_with


@dataclass(frozen=True)
class Adaptation:
    """What came out.

    Attributes:
        forecaster: with the new task.
        record: scores and costs, what ``adapt.json`` holds.
        version: of the run; None in memory.
    """

    forecaster: Forecaster
    record: dict[str, Any]
    version: int | None = None


def adapt(
    run: Path | str,
    city: City,
    task: str,
    *,
    name: str | None = None,
    like: str | None = None,
    train: str = AUTO,
    until: str | np.datetime64 | None = None,
    compare: bool = False,
    accelerator: str = "auto",
    watcher: Watcher | None = None,
    command: str | None = None,
    **training: Any,
) -> Adaptation:
    """Add a task to a finished run, as a new version of it. The other tasks keep their weights, and so their forecasts.

    From ``W*``: a prompt from the task's own data, a weekly profile, the frozen part fixed, the rest refined.
    Interrupted and started again with the same arguments, it resumes.

    Args:
        run: a finished run folder.
        city: holds the new task; a few days of it are enough.
        task: of the city.
        name: under which the run knows it, for other places of a task that the run has.
        like: a task of the run whose prompt encoder and weights are taken over, for other places of it.
        train: ``unfrozen``: what is not frozen; ``prompt``: the head alone (its prompt, how it follows the recent
            level); ``auto``: the head alone where there is less than a week to train on, else what is not frozen;
            ``nothing``: only for a task like another.
        until: history ends before this local time, within the data or at its end; scores are of what follows.
        compare: train the same network on the same history from fresh weights too, and tell scores and times of both.
        accelerator: Fabric's.
        watcher: hears of progress.
        command: how it was started, for the records; the program's arguments when not given.
        training: fields of :class:`cmust.rolling.TrainingConfig` other than the run's: ``refine_epochs`` and
            ``refine_factor`` are those of the adaptation, ``start_epochs`` that of the comparison.

    Returns:
        The forecaster of the new version, scores and costs.

    Raises:
        CityError: the city lacks the task, or has too little of it, or ``until`` lies outside of it.
        ConfigError: a setting or an option does not fit, or this is one of several processes.
        RunError: the run is not finished, has the task, is being written by another process, or is damaged.
    """
    check_is_city(city)
    check_one_process("adapting")  # before the run is held, which only one process can
    with changing(run) as change:
        before = Forecaster.load(run, change.parent)
        data = city.task(task)
        wish = make_wish(before, data, name=name, like=like, train=train, until=until)
        settings = training_of(before, wish, training, compare=compare)
        fabric = make_fabric(settings.precision, accelerator, 1)
        work = change.work(
            {
                "adapt": vars(wish),
                "compare": compare,
                "training": settings.model_dump(mode="json"),
                "fingerprint": data_fingerprint(data),
            }
        )
        made = trained_with(fabric, command)
        done = adapted(before, city, wish, settings, work, fabric, compare=compare, watcher=watcher)
        about = {"made_by": "adapt", "made": made, "city": done.record["city"], "tasks": [wish.name]}
        record = {**done.record, "made": made}
        version = change.publish(work, done.forecaster, [wish.name], about, {"adapt.json": record})
    return Adaptation(done.forecaster, record, version)


def adapt_forecaster(
    before: Forecaster,
    city: City,
    task: str,
    *,
    name: str | None = None,
    like: str | None = None,
    train: str = AUTO,
    until: str | np.datetime64 | None = None,
    accelerator: str = "auto",
    watcher: Watcher | None = None,
    **training: Any,
) -> Forecaster:
    """The same to a forecaster in memory; see :func:`adapt`."""
    wish = make_wish(before, city.task(task), name=name, like=like, train=train, until=until)
    settings = training_of(before, wish, training)
    fabric = make_fabric(settings.precision, accelerator, 1)
    with tempfile.TemporaryDirectory() as folder:
        return adapted(before, city, wish, settings, Run(folder), fabric, watcher=watcher).forecaster


def training_of(before: Forecaster, wish: Wish, changes: dict[str, Any], *, compare: bool = False) -> TrainingConfig:
    """The run's training settings with some changed.

    Raises:
        ConfigError: a setting is unknown, does not fit or means nothing here, or nothing is trained that it could be
            for.
    """
    check_trained(wish.train, changes, compare=compare)
    config = changed_training(before.training, **changes)
    check_used(config, changes, "compare" if compare else "adapt")
    return config


def check_trained(train: Train, changes: Mapping[str, Any], *, compare: bool) -> None:
    """Refuse settings of training that are for nothing, by what is trained.

    Raises:
        ConfigError: it names the first of them.
    """
    if train == "nothing" and (changes or compare):
        given = [*(["--compare"] if compare else []), *(f"training.{name}" for name in changes)]
        raise ConfigError(f"with train=nothing nothing is trained, and {given[0]} is for nothing; leave it out")
    if train == "prompt" and "head_epochs" in changes:
        raise ConfigError(
            "the head alone is trained (train=prompt, or less than a week to train on): training.refine_epochs says "
            "how long, leave out training.head_epochs"
        )


def adapted(
    before: Forecaster,
    city: City,
    wish: Wish,
    training: TrainingConfig,
    work: Run,
    fabric: Fabric,
    *,
    compare: bool = False,
    watcher: Watcher | None = None,
) -> Adaptation:
    """Adapt in a folder of its own, and score it.

    Args:
        before: the forecaster; left as it is.
        city: holds the task.
        wish: what is to be adapted.
        training: settings.
        work: keeps history and resume point, of this adaptation only.
        fabric: of one process.
        compare: train from fresh weights too, in ``work/scratch``.
        watcher: hears of progress.

    Raises:
        ConfigError: nothing is left to train, or this is one of several processes.
    """
    check_one_process("adapting")
    newcomer = prepare(before, city, wish, training.seed)
    tables = seasonal_tables(newcomer.task, newcomer.windows, newcomer.shape, newcomer.task.n_steps)
    trainee = Trainee(before, newcomer, tables, training, fabric, watcher)
    models, costs = {SYSTEM: trainee.model()}, {}
    if wish.train != "nothing":
        models[SYSTEM], costs[SYSTEM] = trainee.from_star(work)
        if compare:
            models[FROM_SCRATCH], costs[FROM_SCRATCH] = trainee.from_scratch(Run(work.folder / "scratch"))
    models[SYSTEM].about = _about(wish, newcomer, models[SYSTEM], fabric.device)
    after = with_task(before, wish.name, models[SYSTEM])
    record = score_adaptation(after, city, wish, newcomer, models, fabric.device)
    return Adaptation(after, {**record, "costs": costs, "training": training.model_dump(mode="json")})


def _about(wish: Wish, newcomer: Newcomer, model: TaskModel, device: torch.device) -> dict[str, Any]:
    task, windows, convergence = newcomer.task, newcomer.windows, newcomer.parts.convergence
    more: dict[str, Any] = {"autoencoder": vars(convergence) if convergence else None}
    if wish.like is not None:
        more["like"] = wish.like
    if wish.name != wish.task:
        more["reads"] = wish.task
    if starts := windows.split.starts:
        more["validation"] = window_scores(model, task, windows, starts["validation"], device)
    return describe(task, newcomer.shape, windows.split.train_steps, task.n_steps, **more)
