"""A run keeps up with data that has arrived since: it rolls on from ``W*``, and keeps per task what is better."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from cmust.assembly import describe, load_trunk, seasonal_tables, window_scores, with_task
from cmust.city import City, Task, check_is_city
from cmust.city.task import to_labels
from cmust.clock import calendar
from cmust.continual.splits import update_split
from cmust.continual.versions import changing, check_one_process
from cmust.errors import CityError, CmustError, ConfigError, RunError
from cmust.forecaster import Forecaster
from cmust.identity import data_fingerprint, describe_city
from cmust.model import Head, Trunk, channel_counts
from cmust.model.losses import counted
from cmust.profile import Shape, shaped
from cmust.rolling import Star, TrainingConfig, changed_training, check_used, update_plan
from cmust.run import Run
from cmust.task_model import TaskModel
from cmust.training import Outcome, Watcher, carry_out, make_fabric, trained_with
from cmust.windows import Scaler, Windows, spread, task_windows

SCHEMA = 1
BEFORE, PROFILE, UPDATED = "before", "new_profile", "updated"


@dataclass(frozen=True)
class Update:
    """What came out.

    Attributes:
        forecaster: the one in force now.
        record: per task the scores before and after on fresh data, and what was kept; what ``update.json`` holds.
        version: of the run; None where nothing was better than what is in force, which stays.
    """

    forecaster: Forecaster
    record: dict[str, Any]
    version: int | None


def update(
    run: Path | str,
    city: City,
    *,
    tasks: Sequence[str] | None = None,
    accelerator: str = "auto",
    watcher: Watcher | None = None,
    command: str | None = None,
    **training: Any,
) -> Update:
    """Bring a finished run up to date with data that has arrived since, as a new version of it.

    Rolls over the tasks from ``W*`` by the same stability rule (what is frozen stays so), refines each, and compares on
    the last days, which neither the old model nor the new one has seen: the model before, the same weights with a new
    weekly profile, and the new weights with it. Per task the lowest plain MAE is kept; equal ones keep the earlier.
    Interrupted and started again with the same arguments, it resumes.

    Args:
        run: a finished run folder, trained with scheme ``rolling``.
        city: the run's tasks at the same places, old data and new.
        tasks: which, one at least; those with new data when not given.
        accelerator: Fabric's.
        watcher: hears of progress.
        command: how it was started, for the records; the program's arguments when not given.
        training: fields of :class:`cmust.rolling.TrainingConfig` other than the run's.

    Raises:
        CityError: a task has other places, interval or channels, is too short, or has no observation where it would be
            judged.
        ConfigError: no task is named; a setting does not fit, or means nothing for an update; or this is one of several
            processes.
        RunError: there is no new data; or the run is not finished, has no ``W*``, is being written by another process,
            or is damaged.
    """
    check_is_city(city)
    check_one_process("updating")
    tasks = None if tasks is None else to_labels("update", "tasks", tasks)
    if tasks is not None and not tasks:
        raise ConfigError("tasks is empty; name at least one task, or leave it out for all with new data")
    with changing(run) as change:
        before = Forecaster.load(run, change.parent)
        settings = changed_training(before.training, **training)
        check_used(settings, training, "update")
        grown, left_out = _grown(before, city, tasks, settings)
        work = change.work(
            {
                "update": {name: data_fingerprint(each.task) for name, each in grown.items()},
                "training": settings.model_dump(mode="json"),
            }
        )
        fabric = make_fabric(settings.precision, accelerator, 1)
        made = trained_with(fabric, command)
        after, record = _updated(before, grown, settings, work, fabric, watcher)
        record = {
            "schema": SCHEMA,
            "city": describe_city(city),
            **record,
            "left_out": left_out,
            "training": settings.model_dump(mode="json"),
            "made": made,
        }
        changed = [name for name, each in record["tasks"].items() if each["kept"] != BEFORE]
        if not changed:
            change.drop(work)
            return Update(before, record, None)
        about = {"made_by": "update", "made": made, "city": record["city"], "tasks": changed}
        renewed = [*changed, *(["*"] if after.star is not before.star else [])]
        version = change.publish(work, after, renewed, about, {"update.json": record})
    return Update(after, record, version)


@dataclass(frozen=True)
class Grown:
    """A task whose data has grown.

    Attributes:
        task: all its data.
        windows: split for an update, with the new seasonal expectation.
        shape: of the new profile; None without one.
        head: a copy of its own, to be trained on.
        revised: whether the data that the run has seen has other values here.
    """

    task: Task
    windows: Windows
    shape: Shape | None
    head: Head
    revised: bool


def _grown(
    before: Forecaster, city: City, tasks: Sequence[str] | None, training: TrainingConfig
) -> tuple[dict[str, Grown], dict[str, str]]:
    """The tasks to update, and why others are left out."""
    if before.star is None:
        raise RunError("the run has no common weights W* to go on from; only runs trained with scheme rolling update")
    grown, left_out = {}, {}
    for name in before.tasks if tasks is None else tasks:
        try:
            grown[name] = _grow(before, city, name, training)
        except CmustError as error:
            if tasks is not None:
                raise
            left_out[name] = str(error)
    if not grown:
        raise RunError(next(iter(left_out.values())))
    return grown, left_out


def _grow(before: Forecaster, city: City, name: str, training: TrainingConfig) -> Grown:
    model, config, task = before.model(name), before.config, before.task_of(city, name)
    before.windows(task)  # refuses data of another form
    if "seen" not in model.about:
        raise RunError(
            f"the run does not say what data task {name!r} has seen, since an earlier cmust trained it; train it again"
        )
    split = update_split(task, np.datetime64(model.about["seen"]["until"]), config.input_steps, config.horizon)
    clock = calendar(task.time, before.slots_per_day, before.reference)
    windows = task_windows(task, clock, before.frame, split, config.input_steps, config.horizon)
    windows = replace(windows, scaler=Scaler(model.head.mean, model.head.std))
    _check_judged(task, windows, config.loss, training.validation_windows)
    head, shape = copy.deepcopy(model.head), None
    if config.seasonal:
        shape, windows = shaped(windows, task.time, task.interval, leveled=head.level is not None)
        head.power.fill_(shape.power or 0.0)
    return Grown(task, windows, shape, head, _revised(task, model.about["seen"]))


def _check_judged(task: Task, windows: Windows, loss: str, wanted: int | None) -> None:
    """Refuse a task without a target in the windows that choose when to stop, or on the fresh days.

    Args:
        task: all its data.
        windows: split for an update.
        loss: what the choice goes by; the fresh days are compared by plain MAE.
        wanted: so many windows choose (``training.validation_windows``); all when None.

    Raises:
        CityError: it names the days.
    """
    parts = windows.split.starts
    choosing = parts["validation"] if wanted is None else spread(parts["validation"], wanted)
    some_only = "" if len(choosing) == len(parts["validation"]) else f"in the {len(choosing)} windows looked at "
    for starts, kind, among, use in (
        (choosing, loss, some_only, "choose when to stop"),
        (parts["test"], "mae", "", "compare the old model with the new one"),
    ):
        if any(bool(counted(kind, *windows.targets(some)).any()) for some in starts.split(64)):
            continue
        first, last = int(starts[0]) + windows.input_steps, int(starts[-1]) + windows.input_steps + windows.horizon - 1
        what = "only zeros, which its loss leaves out, or gaps" if kind == "masked_mae" else "no observation"
        raise CityError(
            f"task {task.name!r} has {what} {among}from {task.time[first]} to {task.time[last]}, the days that {use}; "
            f"give data that ends before them, or update when more has arrived"
        )


def _revised(task: Task, seen: dict[str, Any]) -> bool:
    """Whether what the run has seen of a task has other values now: late arrivals and corrections, or another city.
    Where its beginning has been left out there is nothing to compare.
    """
    begin, end = np.datetime64(seen["from"]), np.datetime64(seen["until"]) + np.timedelta64(task.interval, "s")
    whole = bool(task.time[0] <= begin)
    return whole and data_fingerprint(task.select(time=slice(begin, end))) != seen["fingerprint"]


def _updated(
    before: Forecaster,
    grown: dict[str, Grown],
    training: TrainingConfig,
    work: Run,
    fabric: Fabric,
    watcher: Watcher | None,
) -> tuple[Forecaster, dict[str, Any]]:
    star = _complete(before, list(grown))
    trunk = Trunk(before.config, before.slots_per_day, channel_counts(star.weights))
    outcome = carry_out(
        update_plan(list(grown), training),
        work,
        fabric,
        trunk,
        {name: copy.deepcopy(each.head) for name, each in grown.items()},
        {name: each.windows for name, each in grown.items()},
        training,
        star=star,
        watcher=watcher,
    )
    after, tasks = before, {}
    for name, each in grown.items():
        chosen, tasks[name] = _choose(before, each, outcome, fabric.device)
        after = with_task(after, name, chosen)
    if any(each["kept"] == UPDATED for each in tasks.values()):
        after = replace(after, star=outcome.star)
    ends = [event for event in work.history() if event["event"] == "phase"]
    costs = {key: sum(end[key] for end in ends) for key in ("updates", "seconds")}
    return after, {"tasks": tasks, "costs": costs, "frozen_share": ends[-1]["frozen_share"]}


def _complete(before: Forecaster, names: list[str]) -> Star:
    """``W*`` with the layers of tasks that came later with another number of channels: their own."""
    assert before.star is not None
    weights = dict(before.star.weights)
    for name in names:
        for layer, weight in before.tasks[name].trunk.state_dict().items():
            weights.setdefault(layer, weight)
    return Star(weights, before.star.frozen)


def _choose(
    before: Forecaster, grown: Grown, outcome: Outcome, device: torch.device
) -> tuple[TaskModel, dict[str, Any]]:
    """The best of three on fresh data, its seasonal tables then made from all data; and the scores of all, computed on
    ``device``.
    """
    task, name, split = grown.task, grown.task.name, grown.windows.split
    model, fresh = before.tasks[name], split.starts["test"]
    fresh_begins = int(fresh[0]) + grown.windows.input_steps
    tables = seasonal_tables(task, grown.windows, grown.shape, fresh_begins)
    profile = replace(model, head=grown.head, average=tables.average, profile=tables.profile)
    weights, head = outcome.weights[name], copy.deepcopy(grown.head)
    head.load_state_dict(weights["head"])
    trunk = load_trunk(before.config, before.slots_per_day, weights["trunk"])
    candidates = {BEFORE: model, PROFILE: profile, UPDATED: replace(profile, trunk=trunk, head=head.eval())}
    scores = {
        kind: window_scores(candidate, task, with_task(before, name, candidate).windows(task), fresh, device)
        for kind, candidate in candidates.items()
    }
    kept = min(scores, key=lambda kind: scores[kind]["plain_mae"])
    record = {"kept": kept, "fresh": scores, "new_from": model.about["seen"]["until"], "revised": grown.revised}
    if kept == BEFORE:
        return model, record
    final = seasonal_tables(task, grown.windows, grown.shape, task.n_steps)
    keep = ("like", "reads", "autoencoder", *(("trained_until",) if kept == PROFILE else ()))
    carried = {key: model.about[key] for key in keep if key in model.about}
    about = describe(task, grown.shape, split.train_steps, task.n_steps, validation=scores[kept], **carried)
    return replace(candidates[kept], average=final.average, profile=final.profile, about=about), record
