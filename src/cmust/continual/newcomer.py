"""A task that comes later, made ready for training: its history, its head, and the weights it starts from."""

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import torch

from cmust.assembly import shape_of
from cmust.city import City, Task
from cmust.city.clock import iso_time
from cmust.clock import calendar
from cmust.continual.splits import history_split
from cmust.errors import CityError, ConfigError, RunError
from cmust.forecaster import Forecaster
from cmust.heads import HeadParts, make_head, moved_head
from cmust.model import ModelConfig, Trunk, channel_counts
from cmust.profile import Shape, shaped
from cmust.rolling import Star
from cmust.task_model import TaskModel
from cmust.windows import Scaler, Split, Windows, task_windows

Train = Literal["unfrozen", "prompt", "nothing"]
AUTO = "auto"
"""What is not frozen, or the head alone: by the length of the history."""


@dataclass(frozen=True)
class Wish:
    """What is to be adapted, and how.

    Attributes:
        task: of the city.
        name: in the run.
        like: a task of the run whose prompt encoder and weights are taken over: new places of a known task.
        train: what is not frozen, the head alone (its prompt and how it follows the recent level), or nothing.
        until: history ends before this local time (ISO 8601); what follows is for scoring. None: all is history.
    """

    task: str
    name: str
    like: str | None
    train: Train
    until: str | None


@dataclass(frozen=True)
class Newcomer:
    """A task that comes later, ready for training.

    Attributes:
        task: its history, under its name in the run.
        windows: of the history, split to train and to stop (neither where nothing is trained).
        shape: of its profile; None without one.
        parts: its head.
        star: weights it starts from, complete for its number of channels, and what stays fixed of them.
        fresh: names of those weights that no task had before, layers for another number of channels: they belong to the
            task as its head does, and are trained wherever that is.
    """

    task: Task
    windows: Windows
    shape: Shape | None
    parts: HeadParts
    star: Star
    fresh: frozenset[str]

    def trainable(self) -> int:
        """How many weights training may change."""
        fixed = sum(int(mask.sum()) for mask in self.star.frozen.values())
        return self.head_size() + sum(weight.numel() for weight in self.star.weights.values()) - fixed

    def head_size(self) -> int:
        """How many weights the head has."""
        return sum(parameter.numel() for parameter in self.parts.head.parameters())

    def shares(self) -> bool:
        """Whether training may change weights that other tasks brought."""
        own = self.head_size() + sum(self.star.weights[name].numel() for name in self.fresh)
        return self.trainable() > own


def make_wish(
    forecaster: Forecaster,
    data: Task,
    *,
    name: str | None,
    like: str | None,
    train: str,
    until: str | np.datetime64 | None,
) -> Wish:
    """Check what is asked for. A known task under another name, in the form that the run knows, is like itself.

    Raises:
        ConfigError: ``train`` is none of the four, or something else is missing for it.
        RunError: the run has the task already, has none that is named in ``like``, or nothing to start from.
        CityError: the history is too short, or ``until`` is no time or lies outside of the data.
    """
    if train not in (AUTO, *get_args(Train)):
        raise ConfigError(f"train is {train!r}; choose {', '.join((AUTO, *get_args(Train)))}")
    name = name or data.name
    if like is None and name != data.name and data.name in forecaster.tasks:
        like = None if _misfit(forecaster.tasks[data.name], data) else data.name
    if name in forecaster.tasks:
        raise RunError(
            f"the run has task {name!r} already; for new data of its places use update, for other places of it give "
            f"them a name of their own (--as NAME; in Python name=)"
        )
    if like is not None:
        if misfit := _misfit(forecaster.model(like), data):
            raise ConfigError(
                f"task {data.name!r} has {misfit} and cannot be like {like!r}; leave out --like (in Python like=)"
            )
    elif train == "nothing":
        raise ConfigError(
            "without training, a task needs one of the run that it is like (--like TASK; in Python like=)"
        )
    elif forecaster.star is None:
        raise RunError(
            "the run has no common weights W* to start from, since it was not trained with scheme rolling; train it "
            "so, or say which of its tasks the new one is like (--like TASK; in Python like=)"
        )
    end = None if until is None else iso_time(until)
    history = history_of(data, end)
    if train == AUTO:
        train = what_can_be_judged(forecaster.config, history)
    return Wish(data.name, name, like, train, end)  # type: ignore[arg-type]


def history_of(data: Task, until: str | None) -> Task:
    """The steps of a task before a time; all when not given.

    Raises:
        CityError: none is before it, or the data ends before it.
    """
    if until is None:
        return data
    end = data.time[-1] + np.timedelta64(data.interval, "s")
    if np.datetime64(until, "s") > end:
        raise CityError(
            f"the history of task {data.name!r} cannot go on until {until}, since its data ends at {end}; give an "
            f"earlier time, or leave it out where all of the data is history"
        )
    return data.select(time=slice(None, until))


def what_can_be_judged(config: ModelConfig, history: Task) -> Train:
    """The head alone where there is less than a week to train on. The days that choose when to stop are weekdays then
    that training never saw, with an expectation borrowed from other days: they cannot tell what shared weights gain.
    """
    if not (config.prompts or config.seasonal):
        return "unfrozen"  # the head has nothing to learn
    split = history_split(history, config.input_steps, config.horizon)
    return "unfrozen" if split.train_steps >= 7 * history.steps_per_day else "prompt"


def _misfit(model: TaskModel, data: Task) -> str:
    """In what the form of the data differs from a model's; empty where it does not."""
    for label, found, expected in (
        ("interval", data.interval, model.about["interval"]),
        ("channels", list(data.channels), model.about["channels"]),
        ("unit", data.unit, model.about["unit"]),
    ):
        if found != expected:
            return f"{label} {found} instead of {expected}"
    return ""


def prepare(forecaster: Forecaster, city: City, wish: Wish, seed: int) -> Newcomer:
    """Make a task ready for training.

    Raises:
        CityError: its history is too short, or the city keeps the time of another zone.
        ConfigError: the prompts of the task it is to be like cannot be given to other places.
    """
    forecaster.check_zone(city)
    config = forecaster.config
    task = replace(history_of(city.task(wish.task), wish.until), name=wish.name)
    whole = Split({}, task.n_steps)
    split = whole if wish.train == "nothing" else history_split(task, config.input_steps, config.horizon)
    clock = calendar(task.time, forecaster.slots_per_day, forecaster.reference)
    windows = task_windows(task, clock, forecaster.frame, split, config.input_steps, config.horizon)
    shape = None
    if config.seasonal and wish.train == "nothing":
        shape = shape_of(forecaster.model(wish.like or "").about)
    elif config.seasonal:
        # A head that is taken over has levels or none, whatever its new places measure.
        leveled = None if wish.like is None else forecaster.model(wish.like).head.level is not None
        shape, windows = shaped(windows, task.time, task.interval, leveled=leveled)
    known = forecaster.star or Star({}, {})
    if wish.like is None:
        parts, weights = make_head(config, task, windows, seed, shape.power if shape else 0.0), known.weights
    else:
        model = forecaster.model(wish.like)
        parts = HeadParts(moved_head(model.head, model.encoder, task, split.train_steps), model.encoder, None)
        if shape is not None:
            parts.head.power.fill_(shape.power or 0.0)
        windows = replace(windows, scaler=Scaler(parts.head.mean, parts.head.std))
        weights = model.trunk.state_dict()
    star = _complete(forecaster, Star(weights, known.frozen), task.n_channels, seed)
    if wish.train == "prompt":
        star = Star(star.weights, {name: torch.ones_like(weights[name], dtype=torch.bool) for name in weights})
    return Newcomer(task, windows, shape, parts, star, frozenset(star.weights) - frozenset(weights))


def _complete(forecaster: Forecaster, star: Star, channels: int, seed: int) -> Star:
    """Weights with layers for a number of channels that no task had before: new ones, free to train."""
    present = channel_counts(star.weights)
    if channels in present:
        return star
    torch.manual_seed(seed)
    fresh = Trunk(forecaster.config, forecaster.slots_per_day, (*present, channels))
    return Star({**fresh.state_dict(), **star.weights}, star.frozen)
