"""Forecasts from every step of a stretch of time that had no say in the model: what backtests and calibration go by.

Shapes: O origins (the step a forecast begins at), F forecast steps, N nodes, C channels.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cmust.city import City, Task
from cmust.errors import RunError
from cmust.forecaster import Forecaster
from cmust.recent import seconds_after, with_missing
from cmust.unseen import end_of_seen
from cmust.windows import Windows, make_windows

Times = npt.NDArray[np.datetime64]
System = Callable[[Windows, Tensor], Tensor]


@dataclass(frozen=True)
class Batch:
    """Forecasts from some origins, in original units.

    Attributes:
        origins: ``(B,)``, steps of the task.
        forecasts: by system, each ``(B, F, N, C)``.
        truth: ``(B, F, N, C)``, NaN where it is missing or lies after the data.
    """

    origins: npt.NDArray[np.int64]
    forecasts: dict[str, npt.NDArray[np.float32]]
    truth: npt.NDArray[np.float32]


def forecasts_from(
    forecaster: Forecaster, task: Task, origins: range, systems: Mapping[str, System], batch_size: int = 64
) -> Iterator[Batch]:
    """Forecast from each of the ``origins``, which may go up to the last step of the task."""
    windows = forecaster.windows(with_missing(task, forecaster.config.horizon))
    every = torch.arange(origins.start, origins.stop)
    for some in every.split(batch_size):
        starts = some - windows.input_steps
        forecasts = {name: system(windows, starts).float().numpy() for name, system in systems.items()}
        truth, valid = windows.targets(starts)
        yield Batch(some.numpy(), forecasts, torch.where(valid, truth, torch.nan).numpy())


def unseen_origins(
    forecaster: Forecaster,
    city: City,
    since: str | None = None,
    until: str | None = None,
    needs: Callable[[Task], int] = lambda task: 1,
    seen: Mapping[str, np.datetime64] | None = None,
    to_last_truth: bool = False,
) -> tuple[dict[str, tuple[Task, range]], dict[str, str]]:
    """Per task of the run that the city has: its data before ``until``, and the origins from which all that is forecast
    is new to the model.

    A model has seen what it was trained on and what chose it, its validation part. Where ``model.json`` does not say
    how far that goes, the split of the city it was trained on does.

    Args:
        forecaster: of a run.
        city: the one it was trained on, or newer data of the same places.
        since: local time from which on forecasts begin, no earlier than what is new; that when not given.
        until: local time from which on no truth is used: steps that end later are left out.
        needs: how many new steps a task has to have.
        seen: by task the last step that is not new; what the model has seen when not given.
        to_last_truth: leave out the steps after the last one that was observed: a feed that is dead.

    Returns:
        The tasks with enough that is new and a truth among it, and why others are left out.

    Raises:
        CityError: a time cannot be read.
        RunError: the city has none of the run's tasks, it is not known what the model has seen, or no task has enough
            that is new, or any truth in it.
    """
    names = forecaster.tasks_in(city)
    ends = _seen_until(forecaster, city, names) if seen is None else seen
    found, left_out = {}, {}
    for name in names:
        task, inputs = forecaster.task_of(city, name), forecaster.config.input_steps
        new = seconds_after(task, ends[name]) // task.interval + 1
        # The first step that begins at or after since, and the steps that have ended by until.
        begin = max(new, inputs) if since is None else -(-seconds_after(task, since) // task.interval)
        end = task.n_steps if until is None else min(seconds_after(task, until) // task.interval, task.n_steps)
        if begin < max(new, inputs):
            left_out[name] = _too_early(task, f"--since {since}", inputs, None if begin >= new else ends[name])
            continue
        stretch = range(begin, end)
        observed = begin + np.flatnonzero(task.valid[begin:end].any(axis=(1, 2)))
        if to_last_truth and len(observed):
            stretch = range(begin, int(observed[-1]) + 1)
        if len(stretch) < (needed := needs(task)):
            last = until or task.time[-1] if stretch.stop == end else task.time[stretch[-1]]
            left_out[name] = (
                f"task {name!r} has {len(stretch)} steps from {since or ends[name]} to {last} that are new to its "
                f"model, {needed} are needed ({needed / task.steps_per_day:.1f} days): give newer data"
            )
        elif not len(observed):
            left_out[name] = (
                f"task {name!r} has no observation from {task.time[begin]} to {task.time[end - 1]}: give data with "
                f"observations there"
            )
        else:
            found[name] = task.select(time=slice(None, _begin(task, stretch.stop))), stretch
    if not found:
        raise RunError(next(iter(left_out.values())))
    return found, left_out


def _too_early(task: Task, since: str, inputs: int, seen: np.datetime64 | None) -> str:
    """Why forecasts cannot begin at ``since``: the model has seen data up to ``seen``, or its inputs are not there."""
    if seen is not None:
        return f"the model of task {task.name!r} has seen data up to {seen}; {since} is not after it"
    return (
        f"a forecast of task {task.name!r} needs the {inputs} steps before it, and the data begins at {task.time[0]}: "
        f"{since} is too early; take {_begin(task, inputs)} or later, or give the data before it too"
    )


def _begin(task: Task, step: int) -> np.datetime64:
    """When a step begins, which may lie after the data."""
    begin: np.datetime64 = task.time[0] + np.timedelta64(task.interval, "s") * step
    return begin


@dataclass(frozen=True)
class Model:
    """A task's model in one version of a run.

    Attributes:
        version: its number.
        forecaster: of the version.
        seen: the last step that trained or chose the model.
    """

    version: int
    forecaster: Forecaster
    seen: np.datetime64


def succession(versions: Iterable[tuple[int, Forecaster]], city: City) -> dict[str, list[Model]]:
    """Per task of the run that the city has: its models one after another, the first one first.

    That the city is the run's is told from the version in force; what an earlier one has seen may have been corrected
    since.

    Args:
        versions: of the run with their numbers, the one in force first, each followed by the one it was made from.
        city: the one the run was trained on, or newer data of the same places.

    Raises:
        CityError: the data does not fit the version in force.
        RunError: the city has none of the run's tasks, or it is not known what the version in force has seen.
    """
    (version, forecaster), *earlier = versions
    seen = _seen_until(forecaster, city, forecaster.tasks_in(city))
    models = {name: [Model(version, forecaster, until)] for name, until in seen.items()}
    for name, found in models.items():
        for version, forecaster in earlier:
            seen_then = forecaster.tasks[name].about.get("seen") if name in forecaster.tasks else None
            if seen_then is None:
                break
            found.insert(0, Model(version, forecaster, np.datetime64(seen_then["until"])))
    return models


def turns(task: Task, models: Sequence[Model], origins: range) -> list[tuple[Model, range]]:
    """Which of the ``origins`` each model forecasts: from the step after what it has seen, until the next one can."""
    firsts = [max(seconds_after(task, model.seen) // task.interval + 1, origins.start) for model in models]
    ends = [min(first, origins.stop) for first in firsts[1:]] + [origins.stop]
    found = zip(models, firsts, ends, strict=True)
    return [(model, range(first, end)) for model, first, end in found if first < end]


def _seen_until(forecaster: Forecaster, city: City, names: Sequence[str]) -> dict[str, np.datetime64]:
    """The last step, by task, that trained or chose its model."""
    if not names:
        raise RunError(f"city {city.name!r} has none of the run's tasks {', '.join(forecaster.tasks)}")
    seen = {name: forecaster.tasks[name].about.get("seen") for name in names}
    if all(seen.values()):
        tasks = [forecaster.task_of(city, name) for name in names]
        return {task.name: end_of_seen(forecaster, task) - np.timedelta64(task.interval, "s") for task in tasks}
    whole = city.select(tasks=tuple(name for name in forecaster.tasks if name in city.tasks))
    if whole.fingerprint() != forecaster.city["fingerprint"]:
        raise RunError(
            f"the run does not say up to when it has seen data, and city {city.name!r} is not the one it was trained "
            f"on, {forecaster.city['name']!r}; give that one"
        )
    config = forecaster.config
    windows = make_windows(whole, forecaster.protocol, config.input_steps, config.horizon)  # type: ignore[arg-type]
    lasts = {name: each.split.starts["validation"][-1] for name, each in windows.items()}
    reach = config.input_steps + config.horizon - 1
    return {name: whole.task(name).time[int(last) + reach] for name, last in lasts.items()}
