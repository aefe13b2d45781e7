"""How far training and scoring are: bars in a terminal, plain lines elsewhere. Both go to standard error."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn

if TYPE_CHECKING:
    from cmust.rolling import Phase
    from cmust.training import Watcher

T = TypeVar("T")
Opening = Callable[[Console], None]


class Course:
    """Where a plan stands, in updates: also after a resume, and when phases stop early.

    Attributes:
        total: updates of the whole plan, at most.
        done: updates that are behind, those that early stopping saved included.
    """

    def __init__(self, phases: list[Phase], updates: list[int], clock: Callable[[], float] = time.monotonic) -> None:
        self._updates = {phase.name: count for phase, count in zip(phases, updates, strict=True)}
        self._epochs = {phase.name: phase.epochs for phase in phases}
        self._before = {phase.name: sum(updates[:index]) for index, phase in enumerate(phases)}
        self._clock, self._started = clock, clock()
        self._made = 0
        self._epoch: tuple[str, int] | None = None
        self._within = 0
        self.total, self.done = sum(updates), 0

    def update(self, phase: str, epoch: int) -> None:
        """An update of ``epoch`` (from 1) of ``phase`` was made."""
        if self._epoch != (phase, epoch):
            self._epoch, self._within = (phase, epoch), 0
        self._within += 1
        self._made += 1
        self.done = self._before[phase] + (epoch - 1) * self._updates[phase] // self._epochs[phase] + self._within

    def leave(self, phase: str) -> None:
        """``phase`` has ended, perhaps early."""
        self.done = self._before[phase] + self._updates[phase]

    def seconds_left(self) -> float | None:
        """At the mean pace of the updates made by this process; None before the first."""
        if not self._made:
            return None
        return (self._clock() - self._started) / self._made * (self.total - self.done)


class BarWatcher:
    """A bar over all updates, and a line for every phase that ended."""

    def __init__(self, progress: Progress, opening: Opening) -> None:
        self._progress, self._opening = progress, opening
        self._bar: TaskID | None = None
        self._course: Course | None = None

    def plan(self, phases: list[Phase], updates: list[int]) -> None:
        """Show the bar."""
        self._opening(self._progress.console)
        self._course = Course(phases, updates)
        self._bar = self._progress.add_task("training", total=self._course.total, left="", losses="")

    def update(self, phase: Phase, epoch: int) -> None:
        """Move the bar."""
        course, bar = _begun(self._course), _begun(self._bar)
        course.update(phase.name, epoch)
        self._progress.update(
            bar,
            completed=course.done,
            description=f"{escape(phase.name)}, epoch {epoch} of {phase.epochs}",
            left=_left(course),
        )

    def event(self, event: dict[str, Any]) -> None:
        """Show an epoch's losses; print a phase's end."""
        course, bar = _begun(self._course), _begun(self._bar)
        if event["event"] == "epoch":
            self._progress.update(bar, losses=_losses(event))
        else:
            course.leave(event["phase"])
            self._progress.update(bar, completed=course.done, left=_left(course), losses="")
            self._progress.console.print(_phase_line(event), markup=False, highlight=False)


class LineWatcher:
    """A plain line for every epoch and every phase that ended."""

    def __init__(self, console: Console, opening: Opening) -> None:
        self._console, self._opening = console, opening
        self._course: Course | None = None
        self._epochs: dict[str, int] = {}

    def plan(self, phases: list[Phase], updates: list[int]) -> None:
        """Say what is to be done."""
        self._opening(self._console)
        self._course = Course(phases, updates)
        self._epochs = {phase.name: phase.epochs for phase in phases}
        self._say(f"{_counted(len(phases), 'phase')}, at most {_counted(self._course.total, 'update')}")

    def update(self, phase: Phase, epoch: int) -> None:
        """Count."""
        _begun(self._course).update(phase.name, epoch)

    def event(self, event: dict[str, Any]) -> None:
        """Print a line."""
        course = _begun(self._course)
        if event["event"] == "epoch":
            name = event["phase"]
            share = 100 * course.done / course.total
            self._say(
                f"{name}, epoch {event['epoch']} of {self._epochs[name]}: {_losses(event)}; "
                f"{share:.0f} % done, {_left(course)}"
            )
        else:
            course.leave(event["phase"])
            self._say(_phase_line(event))

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def training_watcher(opening: Opening = lambda console: None) -> Iterator[Watcher]:
    """What shows the progress of training; ``opening`` prints what it begins with."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield LineWatcher(console, opening)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn("{task.percentage:>3.0f} %  {task.fields[left]}\n{task.fields[losses]}"),
    )
    with Progress(*columns, console=console, expand=True) as progress:
        yield BarWatcher(progress, opening)


@contextmanager
def scoring_progress() -> Iterator[Callable[[str, int, int], None]]:
    """What shows the progress of :func:`cmust.evaluate`."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield (
            lambda task, done, windows: (
                console.print(f"scored {task}: {windows} windows", highlight=False) if done == windows else None
            )
        )
        return
    with Progress(console=console, transient=True) as progress:
        bars: dict[str, TaskID] = {}

        def show(task: str, done: int, windows: int) -> None:
            if task not in bars:
                bars[task] = progress.add_task(f"scoring {escape(task)}", total=windows)
            progress.update(bars[task], completed=done)

        yield show


def duration(seconds: float) -> str:
    """A stretch of time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _begun(value: T | None) -> T:
    assert value is not None, "training tells its plan before anything else"
    return value


def _left(course: Course) -> str:
    seconds = course.seconds_left()
    return "" if seconds is None else f"{duration(seconds)} left"


def _losses(event: dict[str, Any]) -> str:
    train, validation = (_loss(event[key]) for key in ("train_loss", "validation_loss"))
    best = " (best)" if event["best"] else ""
    return f"train {train}, validation {validation}{best}, frozen {100 * event['frozen_share']:.1f} %"


def _loss(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.4g}"


def _phase_line(event: dict[str, Any]) -> str:
    epochs, updates = _counted(event["epochs"], "epoch"), _counted(event["updates"], "update")
    return (
        f"done: {event['phase']}: {epochs} (best {event['best_epoch']}), {updates}, "
        f"frozen {100 * event['frozen_share']:.1f} %, {duration(event['seconds'])}"
    )
