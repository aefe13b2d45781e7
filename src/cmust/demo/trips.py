"""Individual trips of the demo city, sampled from rates of departure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cmust.demo.drivers import INTERVAL

Floats = NDArray[np.float64]

# Real durations spread around the usual travel time, evenly between these factors (mean 1).
FASTEST, SLOWEST = 0.7, 1.3
PARTY_SIZES = np.cumsum([0.72, 0.15, 0.05, 0.04, 0.025, 0.015])  # of taxi rides: one to six people


@dataclass(frozen=True)
class Trips:
    """A batch of trips, `M` of them.

    Attributes:
        origin: Index of the place of departure, int64 `(M,)`.
        destination: Index of the place of arrival, int64 `(M,)`.
        pickup: Departure, seconds from the start of the process, int64 `(M,)`.
        dropoff: Arrival, likewise; may lie after the end of the process.
    """

    origin: NDArray[np.int64]
    destination: NDArray[np.int64]
    pickup: NDArray[np.int64]
    dropoff: NDArray[np.int64]

    def __len__(self) -> int:
        """Number of trips."""
        return len(self.origin)

    def passengers(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """People per taxi ride, 1 to 6, `(M,)`."""
        return 1 + np.searchsorted(PARTY_SIZES[:-1], rng.random(len(self)), side="right")


def sample_trips(
    rates: Floats, destination: Floats, minutes: Floats, rng: np.random.Generator, *, first_step: int = 0
) -> Trips:
    """Sample trips: Poisson departures, a destination each, a moment in the half hour, a duration.

    Args:
        rates: Expected departures per half hour and place, `(T, N)`.
        destination: Distribution over destinations per origin, `(N, N)`.
        minutes: Usual travel time, `(N, N)`.
        rng: Source of the lots.
        first_step: Half hour of the first row of `rates`.
    """
    steps, places = rates.shape
    counts = rng.poisson(np.ascontiguousarray(rates.T))
    origin = np.repeat(np.arange(places), counts.sum(axis=1))
    step = np.repeat(np.tile(np.arange(first_step, first_step + steps), places), counts.ravel())
    # All rows of the distribution in one ascending list, row i between i and i + 1: one search for all origins.
    ladder = np.cumsum(destination, axis=1)
    ladder = np.arange(places)[:, None] + ladder / ladder[:, -1:]
    found = np.searchsorted(ladder.ravel(), origin + rng.random(len(origin)), side="right") - origin * places
    reached = np.minimum(found, places - 1)
    pickup = step * INTERVAL + rng.integers(0, INTERVAL, len(origin))
    factor = FASTEST + (SLOWEST - FASTEST) * rng.random(len(origin))
    seconds = (minutes * 60)[origin, reached] * factor
    return Trips(origin, reached, pickup, pickup + seconds.astype(np.int64))
