"""The demo city as a data set: counts, a risk and sensor gaps, sampled from the latent process."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cmust.city import City, Covariate, Task
from cmust.city.ownership import hand_over
from cmust.demo.drivers import INTERVAL, wetness
from cmust.demo.process import DemoProcess, Mode, demo_process

Floats = NDArray[np.float64]

# Injury classes of accidents: score, share.
SEVERITIES: tuple[tuple[float, float], ...] = ((1.0, 0.72), (2.0, 0.22), (5.0, 0.06))
ACCIDENTS_PER_STEP = 0.04  # and place, on average over places in dry weather
RAIN_ON_RISK, NIGHT_ON_RISK = 3.0, 0.6

GAP_SHARE, LOOSE_GAP_SHARE = 0.2, 0.002  # of the places with long gaps; of all readings
GAPS_PER_PLACE, GAP_HOURS = 3, (3.0, 60.0)

SOURCE = "synthetic: simulated by cmust.demo, no real city, no real people"


def demo_city(*, seed: int = 7, weeks: int = 8, places: int = 60) -> City:
    """Simulate the demo city: five coupled tasks on the same places in half hours, labelled synthetic.

    Tasks, each `(time, place, 1)`: `crowd_in`, `crowd_out`, `taxi_pickup`, `taxi_dropoff` (counts) and `risk` (sparse
    scores of accidents). Covariates, each `(time,)`: `rain` in mm per half hour, not known ahead; `holiday` 0 or 1,
    known ahead. The same arguments give the same city; `docs/demo.md` states the model.

    Args:
        seed: Of everything drawn by lot; the map depends on `places` alone.
        weeks: Whole weeks from Monday, 25 March 2024.
        places: Number of places, at least 16.

    Raises:
        ConfigError: `seed` is negative, `weeks` is below 1 or `places` below 16.
    """
    process = demo_process(seed=seed, weeks=weeks, places=places)
    streams = np.random.SeedSequence([seed, 1]).spawn(4)
    crowd_rng, taxi_rng, risk_rng, sensor_rng = (np.random.Generator(np.random.PCG64(stream)) for stream in streams)

    crowd_out, crowd_in = _count(process, "crowd", crowd_rng)
    taxi_pickup, taxi_dropoff = _count(process, "taxi", taxi_rng)
    risk = _risk(process, crowd_in + crowd_out + 4.0 * (taxi_pickup + taxi_dropoff), risk_rng)
    gaps = _gaps(crowd_in.shape, sensor_rng)
    crowd_in[gaps] = crowd_out[gaps] = np.nan

    people, rides = "people / 30 min", "trips / 30 min"
    tasks = (
        _task(process, "crowd_in", crowd_in, people, "count", "People who arrive on foot or by public transport"),
        _task(process, "crowd_out", crowd_out, people, "count", "People who leave on foot or by public transport"),
        _task(process, "taxi_pickup", taxi_pickup, rides, "count", "Taxi rides that begin"),
        _task(process, "taxi_dropoff", taxi_dropoff, rides, "count", "Taxi rides that end"),
        _task(process, "risk", risk, "score / 30 min", "risk", "Accidents, weighted 1, 2 or 5 by injury class"),
    )
    return City(
        name="demo",
        tasks={task.name: task for task in tasks},
        timezone="UTC",
        synthetic=True,
        source=f"{SOURCE} (seed {seed}, {weeks} weeks, {places} places)",
        description="A fictional city by the sea: trips by purpose, seen as crowds, taxis and accidents. Synthetic.",
        covariates={
            "rain": Covariate(
                name="rain",
                values=process.rain.astype(np.float32),
                time=process.time,
                interval=INTERVAL,
                known_ahead=False,
                unit="mm / 30 min",
            ),
            "holiday": Covariate(
                name="holiday",
                values=process.holiday.astype(np.float32),
                time=process.time,
                interval=INTERVAL,
                known_ahead=True,
                unit="0 or 1",
            ),
        },
    )


def _task(process: DemoProcess, name: str, values: Floats, unit: str, kind: str, description: str) -> Task:
    return Task(
        name=name,
        values=hand_over(values.astype(np.float32)[:, :, None]),
        time=process.time,
        nodes=process.places.names,
        lon=process.places.lon,
        lat=process.places.lat,
        interval=INTERVAL,
        unit=unit,
        kind=kind,
        geometry=process.places.geometry,
        description=f"{description}; synthetic",
    )


def _count(process: DemoProcess, mode: Mode, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Departures and arrivals of sampled trips per half hour and place, both `(T, N)`."""
    steps, places = len(process.time), len(process.places.names)
    departed, arrived = np.zeros(steps * places), np.zeros(steps * places)
    for trips in process.trips(mode, rng):
        departed += np.bincount(trips.pickup // INTERVAL * places + trips.origin, minlength=steps * places)
        # Who is still on the way at the end arrives after it, in no half hour of ours.
        arrival = trips.dropoff // INTERVAL * places + trips.destination
        arrived += np.bincount(arrival, minlength=steps * places)[: steps * places]
    return departed.reshape(steps, places), arrived.reshape(steps, places)


def _risk(process: DemoProcess, traffic: Floats, rng: np.random.Generator) -> Floats:
    """Scores of accidents, `(T, N)`: Poisson accidents by traffic, rain, night and the danger of the place."""
    steps, places = traffic.shape
    danger = np.random.Generator(np.random.PCG64(places)).gamma(2.0, 0.5, places)  # part of the map, not of the lots
    hour = (process.time - process.time[0]).astype(np.int64) % 86400 // 3600
    night = (hour >= 22) | (hour < 5)
    by_time = (1 + RAIN_ON_RISK * wetness(process.rain)) * (1 + NIGHT_ON_RISK * night)
    accidents = ACCIDENTS_PER_STEP * danger * by_time[:, None] * traffic / traffic.mean()
    risk = np.zeros((steps, places))
    for score, share in SEVERITIES:
        risk += score * rng.poisson(np.round(share * accidents, 6))
    return risk


def _gaps(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Where crowd sensors are silent, `(T, N)`: a fifth of the places for hours to days, single readings anywhere."""
    steps, places = shape
    missing = rng.random(shape) < LOOSE_GAP_SHARE
    per_hour = 3600 / INTERVAL
    for place in rng.permutation(places)[: max(1, round(GAP_SHARE * places))]:
        for start in rng.integers(0, steps, GAPS_PER_PLACE):
            length = int(rng.uniform(*GAP_HOURS) * per_hour)
            missing[start : start + length, place] = True
    return missing
