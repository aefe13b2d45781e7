"""Which windows a model may be scored on: the parts of the data it was trained on, or what came after that data."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from cmust.city import City, Task
from cmust.errors import RunError
from cmust.forecaster import Forecaster
from cmust.identity import data_fingerprint
from cmust.windows import Part, Split, Windows, make_windows, split_windows, windows_between

LATER = "later"


@dataclass(frozen=True)
class ToScore:
    """What a model may be scored on.

    Attributes:
        windows: by task.
        splits: by task which split they are of: the protocol's name or ``later``.
        left_out: why other tasks of the city have none.
    """

    windows: dict[str, Windows]
    splits: dict[str, str]
    left_out: dict[str, str]


def windows_to_score(forecaster: Forecaster, city: City, part: Part) -> ToScore:
    """Windows of every task of a city that has a model, with the starts of ``part``.

    A task over the data it was trained on is split by the protocol, as in training. Over other data, and for a task
    that was adapted or updated, the test part is every window whose targets all lie after the last step the model has
    seen.

    Raises:
        CityError: nodes, interval or channels of a task are not the model's.
        RunError: the city has none of the run's tasks, holds what the model has seen with other values, or nothing to
            score.
    """
    tasks = {name: forecaster.task_of(city, name) for name in forecaster.tasks_in(city)}
    if not tasks:
        raise RunError(f"city {city.name!r} has none of the run's tasks {', '.join(forecaster.tasks)}")
    windows = {name: forecaster.windows(task) for name, task in tasks.items()}
    if any("seen" not in forecaster.tasks[name].about for name in tasks):
        return _all_as_trained(forecaster, city, windows)
    found, splits, left_out = {}, {}, {}
    for name, task in tasks.items():
        split, kind = _as_trained(forecaster, task), forecaster.protocol
        if split is None:
            split, kind = Split({"test": _later(forecaster, task)}, 0), LATER
        starts = split.starts.get(part, torch.empty(0))
        if len(starts) and not _observed(windows[name], starts):
            left_out[name] = (
                f"every target of task {name!r} in the {part} part is missing, up to {task.time[-1]}; give data with "
                f"observations there"
            )
        elif len(starts):
            found[name], splits[name] = replace(windows[name], split=split), kind
        else:
            remedy = "give later data" if part == "test" else "give later data, or take the test part"
            left_out[name] = (
                f"the model of task {name!r} has seen data until {forecaster.tasks[name].about['seen']['until']}, and "
                f"the data ends at {task.time[-1]}; {remedy}"
            )
    if not found:
        first = next(iter(left_out.values()))
        raise RunError(f"city {city.name!r} has no window to score in its {part} part: {first}")
    return ToScore(found, splits, left_out)


def _observed(windows: Windows, starts: torch.Tensor) -> bool:
    """Whether a target of the windows that start at ``starts``, ascending and in a row, is there."""
    first, last = int(starts[0]) + windows.input_steps, int(starts[-1]) + windows.input_steps + windows.horizon
    return bool(windows.valid[first:last].any())


def _all_as_trained(forecaster: Forecaster, city: City, windows: dict[str, Windows]) -> ToScore:
    """For models from before they remembered what they have seen: the very city, or nothing."""
    city = city.select(tasks=list(windows))
    if city.fingerprint() != forecaster.city["fingerprint"]:
        raise _other_data(forecaster, city.name)
    splits = make_windows(city, forecaster.protocol, forecaster.config.input_steps, forecaster.config.horizon)  # type: ignore[arg-type]
    found = {name: replace(each, split=splits[name].split) for name, each in windows.items()}
    return ToScore(found, dict.fromkeys(found, forecaster.protocol), {})


def _as_trained(forecaster: Forecaster, task: Task) -> Split | None:
    """The split of training, where the model was trained by the protocol on these very steps."""
    about = forecaster.tasks[task.name].about
    if about.get("fingerprint") != data_fingerprint(task):
        return None
    cuts = None if about["cuts"] is None else tuple(np.array(about["cuts"], dtype="datetime64[s]"))
    return split_windows(task, cuts, forecaster.config.input_steps, forecaster.config.horizon)


def _later(forecaster: Forecaster, task: Task) -> torch.Tensor:
    """Starts of the windows after everything the model has seen."""
    config = forecaster.config
    begin = int(np.searchsorted(task.time, end_of_seen(forecaster, task)))
    return windows_between(begin, task.n_steps, config.input_steps, config.horizon)


def end_of_seen(forecaster: Forecaster, task: Task) -> np.datetime64:
    """When the last step that the model of a task has seen ends.

    Raises:
        RunError: the task holds what the model has seen with other values.
    """
    seen = forecaster.tasks[task.name].about["seen"]
    step = np.timedelta64(task.interval, "s")
    first, end = np.datetime64(seen["from"]), np.datetime64(seen["until"]) + step
    whole = task.time[0] <= first and task.time[-1] + step >= end
    if whole and data_fingerprint(task.select(time=slice(first, end))) != seen["fingerprint"]:
        raise _other_data(forecaster, task.name)
    return end


def _other_data(forecaster: Forecaster, other: str) -> RunError:
    return RunError(
        f"the run was trained on city {forecaster.city['name']!r} with other data than {other!r} holds; "
        f"give the city it was trained on, or later data of it"
    )
