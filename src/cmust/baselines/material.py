"""What a system learns from: windows of one task, or of several as channels of one, and the scene it is built for.

Shapes: S steps, N nodes, C channels of all tasks together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cmust.baselines.graphs import distances, gaussian_kernel
from cmust.baselines.registry import System
from cmust.baselines.scene import Scene
from cmust.city import City, Task
from cmust.clock import calendar
from cmust.errors import CityError, ConfigError
from cmust.windows import PARTS, Protocol, Scaler, Split, Windows, make_windows


@dataclass(frozen=True)
class Material:
    """What a system is trained and scored on.

    Attributes:
        windows: what it sees; several tasks are channels, each in units of its standard deviation, so that their
            errors add up and zero stays zero.
        scale: ``(C,)``, the units of the channels.
        tasks: windows of each task by itself, on which it is scored.
        channels: of ``windows``, by task.
        scene: what it is built for.
    """

    windows: Windows
    scale: Tensor
    tasks: dict[str, Windows]
    channels: dict[str, slice]
    scene: Scene


@dataclass(frozen=True)
class Learned:
    """What a system has become.

    Attributes:
        forecast: of the windows of ``Material.tasks`` that start at ``(B,)``, by task ``(B, F, N, C)`` in its units.
        cost: ``seconds``, and what else there is: ``updates``, ``epochs``, ``parameters``.
        language: the language model it reads with, where it has one.
    """

    forecast: Callable[[Tensor], dict[str, Tensor]]
    cost: dict[str, Any]
    language: str | None = None


def gather(
    system: System, city: City, tasks: Sequence[str], protocol: Protocol, input_steps: int, horizon: int
) -> Material:
    """The material of a system.

    Args:
        system: which.
        city: all tasks of the comparison: they share the times at which the parts are cut.
        tasks: what the system forecasts.
        protocol, input_steps, horizon: of the windows; a system that looks back farther has the same targets.

    Raises:
        ConfigError: the system takes one task at a time.
        CityError: the tasks do not share nodes and times, or the city has too little data.
    """
    if len(tasks) > 1 and not system.together:
        raise ConfigError(f"{system.label} takes one task at a time, not {', '.join(tasks)}")
    chosen = [city.task(name) for name in tasks]
    for other in chosen[1:]:
        _check_alike(system, chosen[0], other)
    every = make_windows(city, protocol, input_steps, horizon)
    own = {task.name: _own_clock(every[task.name], task) for task in chosen}
    first = chosen[0]
    joined, scale = (own[first.name], torch.ones(first.n_channels)) if len(chosen) == 1 else join(list(own.values()))
    further = max(system.history_steps, system.history_days * joined.steps_per_day)
    joined = with_history(joined, max(input_steps, further))
    ends = np.cumsum([0, *(task.n_channels for task in chosen)]).tolist()
    channels = {task.name: slice(begin, end) for task, begin, end in zip(chosen, ends, ends[1:], strict=False)}
    return Material(joined, scale, own, channels, _scene(joined, chosen))


def join(parts: Sequence[Windows]) -> tuple[Windows, Tensor]:
    """Several tasks over the same nodes and times as channels of one, and the units of the channels."""

    def scaled(name: str) -> Tensor:
        return torch.cat([getattr(part, name) / part.scaler.std for part in parts], dim=2)

    std = torch.cat([part.scaler.std for part in parts])
    mean = torch.cat([part.scaler.mean for part in parts])
    joined = replace(
        parts[0],
        name="together",
        values=scaled("values"),
        valid=torch.cat([part.valid for part in parts], dim=2),
        average=scaled("average"),
        profile=scaled("profile"),
        scaler=Scaler(mean / std, torch.ones_like(std)),
    )
    return joined, std


def with_history(windows: Windows, steps: int) -> Windows:
    """The windows with the same targets and ``steps`` input steps; training windows without so long a past are left
    out.

    Raises:
        CityError: no training window is left, or one of the other parts would go.
    """
    further = steps - windows.input_steps
    starts = {part: windows.split.starts[part] - further for part in PARTS}
    starts["train"] = starts["train"][starts["train"] >= 0]
    if not len(starts["train"]) or any(bool((index < 0).any()) for index in starts.values()):
        raise CityError(
            f"task {windows.name!r} has too few steps to look {steps} steps back; give more data, or leave out systems "
            f"with a long history"
        )
    return replace(windows, input_steps=steps, split=Split(starts, windows.split.train_steps))


def _check_alike(system: System, one: Task, other: Task) -> None:
    for what, same in (
        ("nodes", one.nodes == other.nodes),
        ("times", one.n_steps == other.n_steps and bool((one.time == other.time).all())),
    ):
        if not same:
            raise CityError(
                f"tasks {one.name!r} and {other.name!r} have different {what}; {system.label} takes several tasks on "
                f"one graph: leave it out, or choose tasks with the same {what}"
            )


def _own_clock(windows: Windows, task: Task) -> Windows:
    """Slots of the task's own interval, whatever the finest of the city."""
    return replace(windows, clock=calendar(task.time, windows.steps_per_day, task.time[0]))


def _scene(windows: Windows, tasks: Sequence[Task]) -> Scene:
    lon, lat = torch.tensor(tasks[0].lon), torch.tensor(tasks[0].lat)
    training = windows.values[: windows.split.train_steps]
    return Scene(
        nodes=windows.n_nodes,
        channels=windows.channels,
        input_steps=windows.input_steps,
        horizon=windows.horizon,
        slots_per_day=windows.steps_per_day,
        adjacency=gaussian_kernel(distances(lon, lat)),
        place=torch.stack((lon, lat), dim=1).float(),
        training=(training - windows.scaler.mean) / windows.scaler.std,
        texts=tuple(_describe(task, channel) for task in tasks for channel in task.channels),
    )


def _describe(task: Task, channel: str) -> str:
    words = task.name.replace("_", " ") if task.n_channels == 1 else f"{task.name.replace('_', ' ')} {channel}"
    return f"{words}, {task.unit}, every {task.interval // 60} minutes"
