"""The latent process of the demo city: who leaves where, when, to where, and how.

All tasks derive from it. A *purpose* (work, shopping, a match ...) makes two *flows*: the ways out, which start by the
clock, and the ways back, which start when those who arrived have stayed for their while. A flow is a rate of departures
per half hour and place, and a fixed distribution over destinations per origin; so the whole origin-destination process
of eight weeks takes some 12 MB. `docs/demo.md` states the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cmust.demo.drivers import (
    FIRST_DAY,
    INTERVAL,
    SLOTS,
    Clock,
    Event,
    autoregression,
    make_clock,
    make_events,
    make_rain,
    wetness,
)
from cmust.demo.places import Places, make_places
from cmust.demo.trips import Trips, sample_trips
from cmust.errors import ConfigError

Floats = NDArray[np.float64]
Mode = Literal["crowd", "taxi"]

WARM_UP_DAYS = 1  # simulated and cut off, so that the first night has its ways back
MIN_PLACES = 16


@dataclass(frozen=True)
class Purpose:
    """Why people go somewhere and come back.

    Attributes:
        origin: The use that sends them (key of `Places.uses`).
        destination: The use that draws them, or the role of a venue.
        people: Ways out per day, Monday to Sunday, in a city of 60 places.
        peaks: When they leave on working days: (hour, spread in hours, weight).
        free_peaks: Likewise on Saturdays, Sundays and the holiday.
        reach: Kilometres over which the attraction falls to 1/e.
        stay: Mean and spread, in hours, of the time between arriving and leaving again.
        rain: Share of the ways out that pouring rain takes away.
        taxi_out: Share of the ways out by taxi, before place, hour and weather.
        taxi_back: Likewise for the ways back.
    """

    origin: str
    destination: str
    people: tuple[float, ...]
    peaks: tuple[tuple[float, float, float], ...]
    free_peaks: tuple[tuple[float, float, float], ...]
    reach: float
    stay: tuple[float, float]
    rain: float
    taxi_out: float
    taxi_back: float


def _week(working: float, friday: float, saturday: float, sunday: float) -> tuple[float, ...]:
    return (working,) * 4 + (friday, saturday, sunday)


PURPOSES: dict[str, Purpose] = {
    "work": Purpose(
        "homes", "jobs", _week(23e3, 21e3, 4e3, 2.5e3), ((7.7, 0.8, 0.85), (13.0, 2.5, 0.15)), ((9.0, 2.0, 1.0),),
        3.0, (8.2, 1.1), 0.05, 0.06, 0.07,
    ),
    "errands": Purpose(
        "homes", "homes", _week(9e3, 9e3, 10e3, 8e3), ((9.5, 2.0, 0.4), (16.5, 2.5, 0.6)), ((14.0, 3.5, 1.0),),
        1.2, (1.6, 0.7), 0.25, 0.08, 0.10,
    ),
    "shopping": Purpose(
        "homes", "shops", _week(7e3, 8e3, 14e3, 4e3), ((11.0, 1.6, 0.4), (16.8, 1.6, 0.6)), ((13.5, 2.3, 1.0),),
        2.0, (2.1, 0.8), 0.30, 0.10, 0.18,
    ),
    "shore": Purpose(
        "homes", "shore", _week(2.5e3, 3e3, 8e3, 9e3), ((17.0, 1.8, 1.0),), ((12.5, 2.2, 1.0),),
        3.0, (2.8, 1.0), 0.75, 0.08, 0.12,
    ),
    "night": Purpose(
        "homes", "night", _week(3.5e3, 8e3, 9e3, 3e3), ((20.0, 1.2, 1.0),), ((20.5, 1.5, 1.0),),
        3.0, (4.0, 1.4), 0.20, 0.28, 0.50,
    ),
    "visitors": Purpose(
        "gates", "jobs", _week(6e3, 6e3, 3e3, 2.5e3), ((8.6, 1.1, 0.8), (14.0, 2.5, 0.2)), ((11.0, 2.0, 1.0),),
        4.0, (6.5, 2.0), 0.05, 0.35, 0.35,
    ),
    "tourists": Purpose(
        "gates", "shops", _week(2.5e3, 4e3, 5e3, 3.5e3), ((11.5, 2.5, 1.0),), ((12.0, 2.5, 1.0),),
        4.0, (5.0, 1.8), 0.15, 0.30, 0.35,
    ),
}  # fmt: skip
EVENT_REACH, EVENT_STAY, EVENT_LEAD_HOURS = 6.0, (3.3, 0.35), 0.7
EVENT_TAXI_OUT, EVENT_TAXI_BACK = 0.10, 0.14
MAX_TAXI_SHARE = 0.85
RAIN_ON_TAXIS = 0.7
RIVER_MINUTES = 5.0  # a way over the bridges

# Levels: (hours to 1/e, standard deviation of the logarithm).
CITY_LEVEL, PURPOSE_LEVEL, PLACE_LEVEL, TAXI_LEVEL = (72.0, 0.14), (36.0, 0.22), (40.0, 0.24), (30.0, 0.24)
BURST_SHAPE = 80.0  # of the gamma noise that makes the counts over-dispersed


@dataclass(frozen=True)
class Flow:
    """One way, out or back, of one purpose.

    Attributes:
        name: `work out`, `work back`, `stadium out`, ...
        departures: Expected departures per half hour and place, all modes, float32 `(T, N)`.
        destination: Distribution over destinations per origin, rows sum to 1, `(N, N)`.
        taxi_share: Share of the ways made by taxi, before place, hour and weather.
    """

    name: str
    departures: NDArray[np.float32]
    destination: Floats
    taxi_share: float


@dataclass(frozen=True)
class DemoProcess:
    """Everything the demo city is sampled from, `T` half hours and `N` places.

    Attributes:
        places: The map.
        time: Start of each half hour, datetime64[s] `(T,)`.
        flows: The ways out and back per purpose.
        taxi_use: Factor on every taxi share, by half hour and place, float32 `(T, N)`.
        minutes: Usual travel time per mode, `(N, N)` minutes.
        rain: mm per half hour `(T,)`.
        holiday: 1 on the public holiday, else 0, `(T,)`.
        events: Matches and concerts, `Event.start` counted in steps of `time`.
    """

    places: Places
    time: NDArray[np.datetime64]
    flows: tuple[Flow, ...]
    taxi_use: NDArray[np.float32]
    minutes: dict[Mode, Floats]
    rain: Floats
    holiday: NDArray[np.int64]
    events: tuple[Event, ...]

    def departures(self, flow: Flow, mode: Mode) -> Floats:
        """Expected departures of a flow by one mode, `(T, N)` people per half hour (taxi: rides)."""
        share = np.minimum(flow.taxi_share * self.taxi_use.astype(np.float64), MAX_TAXI_SHARE)
        # Rounded, so that the last bits of exp() and matrix products, which differ between machines, draw no lots.
        return np.round(flow.departures * (share if mode == "taxi" else 1 - share), 4)

    def trips(
        self, mode: Mode, rng: np.random.Generator, *, scale: float = 1.0, start: int = 0, stop: int | None = None
    ) -> Iterator[Trips]:
        """Sample individual trips, one batch per flow, not sorted by time.

        Args:
            mode: `taxi`, or `crowd` for all people who walk or ride public transport.
            rng: Source of the lots; the same state gives the same trips.
            scale: Factor on all rates, for benchmarks of any size.
            start: First half hour of departure.
            stop: Half hour of departure to stop before, by default the end.
        """
        for flow in self.flows:
            rates = self.departures(flow, mode)[start:stop] * scale
            yield sample_trips(rates, flow.destination, self.minutes[mode], rng, first_step=start)


def demo_process(*, seed: int = 7, weeks: int = 8, places: int = 60) -> DemoProcess:
    """Build the latent process of the demo city.

    Args:
        seed: Of weather, levels and events; the map does not depend on it.
        weeks: Whole weeks from Monday, 25 March 2024.
        places: Number of places, at least 16.

    Raises:
        ConfigError: `seed` is negative, `weeks` is below 1 or `places` below 16.
    """
    for name, value, least in (("seed", seed, 0), ("weeks", weeks, 1), ("places", places, MIN_PLACES)):
        if value < least:
            raise ConfigError(f"demo city: {name} is {value}, but has to be at least {least}")
    city = make_places(places)
    clock = make_clock(weeks, WARM_UP_DAYS)
    steps = len(clock.slot)
    warm_up = WARM_UP_DAYS * SLOTS
    # One stream per driver: a change to one leaves the lots of the others alone.
    level_rng, rain_rng, event_rng, burst_rng = (np.random.Generator(np.random.PCG64(s)) for s in _seeds(seed, 4))

    rain = make_rain(steps, rain_rng)
    wet = wetness(rain)
    events = make_events(weeks * 7, places, event_rng)
    minutes: dict[Mode, Floats] = {"crowd": _minutes(city, 7.0, 5.0), "taxi": _minutes(city, 4.0, 2.6)}
    general = autoregression(steps, 1, *CITY_LEVEL, level_rng) * autoregression(steps, places, *PLACE_LEVEL, level_rng)
    taxi_level = autoregression(steps, 1, *TAXI_LEVEL, level_rng) * autoregression(
        steps, places, *TAXI_LEVEL, level_rng
    )
    bursts = burst_rng.gamma(BURST_SHAPE, 1 / BURST_SHAPE, (steps, places))

    flows: list[Flow] = []
    for name, purpose in PURPOSES.items():
        daily = purpose_rate(purpose, clock) * places / 60 * autoregression(steps, 1, *PURPOSE_LEVEL, level_rng)[:, 0]
        out = (daily * (1 - purpose.rain * wet))[:, None] * city.uses[purpose.origin] * general
        ways = _ways(city, city.uses[purpose.origin], city.uses[purpose.destination], purpose.reach)
        flows += _out_and_back(
            name, out, ways, minutes["crowd"], purpose.stay, (purpose.taxi_out, purpose.taxi_back), bursts, warm_up
        )
    for venue in sorted({event.venue for event in events}):
        crowd = _event_rate([event for event in events if event.venue == venue], steps, warm_up)
        at_venue = np.zeros(places)
        at_venue[city.with_role(venue)] = 1.0
        ways = _ways(city, city.uses["homes"], at_venue, EVENT_REACH)
        out = crowd[:, None] * city.uses["homes"]
        flows += _out_and_back(
            venue, out, ways, minutes["crowd"], EVENT_STAY, (EVENT_TAXI_OUT, EVENT_TAXI_BACK), bursts, warm_up
        )

    taxi_use = _taxi_use(city, clock, wet) * taxi_level
    return DemoProcess(
        places=city,
        time=FIRST_DAY + np.arange(steps - warm_up) * np.timedelta64(INTERVAL, "s"),
        flows=tuple(flows),
        taxi_use=np.round(taxi_use[warm_up:], 4).astype(np.float32),
        minutes=minutes,
        rain=rain[warm_up:],
        holiday=clock.holiday[warm_up:],
        events=events,
    )


def purpose_rate(purpose: Purpose, clock: Clock) -> Floats:
    """Ways out per half hour in a city of 60 places, from the calendar alone, `(T,)`."""
    working, free = _profile(purpose.peaks), _profile(purpose.free_peaks)
    by_type: Floats = np.stack([people * (working if day < 5 else free) for day, people in enumerate(purpose.people)])
    return by_type[clock.day_type, clock.slot]


def _seeds(seed: int, count: int) -> list[np.random.SeedSequence]:
    return np.random.SeedSequence(seed).spawn(count)


def _profile(peaks: tuple[tuple[float, float, float], ...]) -> Floats:
    """Distribution of departures over the half hours of a day, `(48,)`; peaks wrap around midnight."""
    hour = (np.arange(SLOTS) + 0.5) * 24 / SLOTS
    profile = np.zeros(SLOTS)
    for peak, spread, weight in peaks:
        away = (hour - peak + 12) % 24 - 12
        bump = np.exp(-0.5 * (away / spread) ** 2)
        profile += weight * bump / bump.sum()
    profile /= profile.sum()
    return profile


def _event_rate(events: list[Event], steps: int, warm_up: int) -> Floats:
    """Departures to one venue per half hour, `(T,)`: before the beginning, most of them shortly before."""
    step = np.arange(steps) + 0.5 - warm_up
    rate = np.zeros(steps)
    for event in events:
        lead = EVENT_LEAD_HOURS * 3600 / INTERVAL
        bump = np.exp(-0.5 * ((step - event.start + lead) / 1.0) ** 2)
        rate += event.attendance * bump / bump.sum()
    return rate


def _minutes(city: Places, fixed: float, per_km: float) -> Floats:
    minutes: Floats = fixed + per_km * city.distance + RIVER_MINUTES * city.across_river
    return minutes.round(3)


def _ways(city: Places, origin: Floats, destination: Floats, reach: float) -> tuple[Floats, Floats]:
    """Gravity model: distribution over destinations per origin for the way out and for the way back, both `(N, N)`."""
    attraction = destination * np.exp(-city.distance / reach)
    out = attraction / attraction.sum(axis=1, keepdims=True)
    joint = (origin[:, None] * out).T  # who is there came from here: Bayes
    # Nobody ever arrives where nothing draws; such rows, never drawn from, get a valid distribution all the same.
    joint[joint.sum(axis=1) == 0] = origin
    return np.round(out, 9), np.round(joint / joint.sum(axis=1, keepdims=True), 9)


def _out_and_back(
    name: str,
    out: Floats,
    ways: tuple[Floats, Floats],
    minutes: Floats,
    stay: tuple[float, float],
    taxi_shares: tuple[float, float],
    bursts: Floats,
    warm_up: int,
) -> list[Flow]:
    """The two flows of a purpose: those who arrive stay for a while and leave again, in rain or not."""
    out = out * bursts
    back = _after_stay(_arrivals(out, ways[0], minutes), *stay) * bursts
    return [
        Flow(f"{name} {way}", np.round(rate[warm_up:], 4).astype(np.float32), destination, taxi_share)
        for way, rate, destination, taxi_share in zip(("out", "back"), (out, back), ways, taxi_shares, strict=True)
    ]


def _arrivals(departures: Floats, destination: Floats, minutes: Floats) -> Floats:
    """Expected arrivals per half hour and place, `(T, N)`, of departures spread evenly over their half hour."""
    lag = minutes * 60 / INTERVAL
    whole = np.floor(lag)
    arrivals = np.zeros_like(departures)
    for steps in range(int(whole.max()) + 2):
        share = np.where(whole == steps, 1 - (lag - whole), np.where(whole + 1 == steps, lag - whole, 0.0))
        arrivals[steps:] += departures[: len(departures) - steps] @ (destination * share)
    return arrivals


def _after_stay(arrivals: Floats, mean_hours: float, spread_hours: float) -> Floats:
    """Expected departures per half hour of those who arrived, after a stay of normally distributed length, `(T, N)`."""
    per_hour = 3600 / INTERVAL
    lags = np.arange(1, int(np.ceil((mean_hours + 3 * spread_hours) * per_hour)) + 1)
    weights = np.exp(-0.5 * ((lags / per_hour - mean_hours) / spread_hours) ** 2)
    weights /= weights.sum()
    departures = np.zeros_like(arrivals)
    for lag, weight in zip(lags, weights, strict=True):
        departures[lag:] += weight * arrivals[:-lag]
    return departures


def _taxi_use(city: Places, clock: Clock, wet: Floats) -> Floats:
    """Factor on the taxi shares: more at night, in the centre and in the rain, `(T, N)`."""
    hour = clock.slot * 24 / SLOTS
    by_hour = 0.8 + 1.0 * ((hour >= 22) | (hour < 5)) + 0.3 * ((hour >= 19) & (hour < 22))
    central = np.exp(-city.distance[city.with_role("centre")].mean(axis=0) / 2.5)
    by_place = 0.5 + 1.6 * central
    use: Floats = by_hour[:, None] * by_place * (1 + RAIN_ON_TAXIS * wet)[:, None]
    return use
