"""What moves the whole demo city from outside: calendar, rain, levels and events."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

INTERVAL = 1800
SLOTS = 86400 // INTERVAL
FIRST_DAY = np.datetime64("2024-03-25T00:00:00", "s")  # a Monday
SUNDAY = 6
HOLIDAY_WEEKDAY = 3  # a Thursday, in the last week but one: a trained model meets it unprepared


@dataclass(frozen=True)
class Clock:
    """Half hours of the simulation, `T` of them.

    Attributes:
        slot: Half hour of the day, 0 to 47, `(T,)`.
        weekday: 0 (Monday) to 6, `(T,)`.
        holiday: 1 on the public holiday, else 0, `(T,)`.
        day_type: The weekday whose pattern holds: Sunday's on the holiday, `(T,)`.
    """

    slot: NDArray[np.int64]
    weekday: NDArray[np.int64]
    holiday: NDArray[np.int64]
    day_type: NDArray[np.int64]


def make_clock(weeks: int, warm_up_days: int) -> Clock:
    """The clock of `weeks` weeks from a Monday, after `warm_up_days` days."""
    steps = np.arange(-warm_up_days * SLOTS, weeks * 7 * SLOTS)
    day = steps // SLOTS
    weekday = day % 7
    holiday = (day == max(0, weeks - 2) * 7 + HOLIDAY_WEEKDAY).astype(np.int64)
    return Clock(steps % SLOTS, weekday, holiday, np.where(holiday == 1, SUNDAY, weekday))


def autoregression(steps: int, width: int, hours: float, spread: float, rng: np.random.Generator) -> Floats:
    """Multiplicative levels `exp(z)` with median 1, `z` an AR(1) per column, `(steps, width)`.

    Args:
        steps: Half hours.
        width: Independent columns.
        hours: Time after which the correlation has fallen to 1/e.
        spread: Standard deviation of `z`.
        rng: Source of the innovations.
    """
    keep = np.exp(-INTERVAL / 3600 / hours)
    noise = rng.standard_normal((steps, width)) * spread
    noise[1:] *= np.sqrt(1 - keep**2)
    level = np.empty_like(noise)
    level[0] = noise[0]
    for step in range(1, steps):
        level[step] = keep * level[step - 1] + noise[step]
    return np.exp(level)


def make_rain(steps: int, rng: np.random.Generator) -> Floats:
    """Rain in mm per half hour, `(steps,)`: dry and wet spells (a Markov chain), strength autocorrelated."""
    start_chance, stop_chance = 1 / 60, 1 / 9  # dry for 30 hours, wet for 4.5 hours on average
    strength = autoregression(steps, 1, hours=2.0, spread=0.8, rng=rng)[:, 0]
    change = rng.random(steps)
    rain = np.zeros(steps)
    wet = False
    for step in range(steps):
        wet = change[step] >= stop_chance if wet else change[step] < start_chance
        rain[step] = strength[step] if wet else 0.0
    return np.round(rain, 2)


def wetness(rain: Floats) -> Floats:
    """How much rain people feel, 0 (dry) to 1 (pouring), `(T,)`: it saturates and dries off within an hour or so."""
    felt = np.convolve(rain, [0.6, 0.3, 0.1])[: len(rain)]
    return 1 - np.exp(-felt / 0.7)


@dataclass(frozen=True)
class Event:
    """A match or a concert.

    Attributes:
        venue: `stadium` or `hall`.
        start: Half hour of its beginning, counted from the first step.
        attendance: People who come.
    """

    venue: str
    start: int
    attendance: int


# Per venue: the chance of an event per weekday, first slot it may start in, how many such slots, mean attendance for
# a city of 60 places.
EVENT_PLAN: dict[str, tuple[tuple[float, ...], int, int, float]] = {
    "stadium": ((0.0, 0.1, 0.35, 0.0, 0.2, 0.5, 0.3), 30, 10, 1500.0),
    "hall": ((0.05, 0.1, 0.15, 0.3, 0.4, 0.5, 0.15), 38, 4, 700.0),
}


def make_events(days: int, places: int, rng: np.random.Generator) -> tuple[Event, ...]:
    """The events of `days` days from a Monday."""
    events = []
    for venue, (chances, first_slot, slots, attendance) in EVENT_PLAN.items():
        happens = rng.random(days) < np.resize(chances, days)
        starts = first_slot + rng.integers(0, slots, days)
        sizes = rng.gamma(10.0, attendance / 10.0 * places / 60, days)
        events += [
            Event(venue, int(day * SLOTS + starts[day]), int(np.rint(sizes[day]))) for day in np.flatnonzero(happens)
        ]
    return tuple(sorted(events, key=lambda event: (event.start, event.venue)))
