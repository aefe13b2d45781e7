"""The map of the demo city: its places, what they are used for, and their cells.

The city is fictional and lies in the open Atlantic, so that nobody takes it for a real one: a coast to the south, a
river through the middle, a centre, a business quarter, stations, a night quarter, homes around them. The map depends on
the number of places only, never on the seed: another seed is other weeks of the same city.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ORIGIN_LON, ORIGIN_LAT = -24.5, 43.2
KM_PER_DEGREE_LAT = 111.13
CELL_KM = 0.62  # from the middle of a cell to its corners
RIVER_KM = 0.45
RIVER_ROW = 2  # the river runs below this row of the hexagonal grid

USES = ("homes", "jobs", "shops", "night", "shore", "gates")

# What draws people to a place of each role, relative to the other roles, in the order of USES. "gates" are the doors of
# the city: visitors from elsewhere enter and leave there.
USE_BY_ROLE: dict[str, tuple[float, ...]] = {
    "centre": (0.6, 3.5, 5.0, 2.5, 0.3, 0.0),
    "business": (0.3, 6.0, 1.2, 0.4, 0.1, 0.0),
    "nightlife": (0.9, 1.0, 2.0, 8.0, 0.6, 0.0),
    "station": (0.7, 1.5, 2.0, 0.8, 0.0, 5.0),
    "stadium": (0.4, 0.6, 0.5, 0.2, 0.3, 0.0),
    "hall": (0.7, 0.8, 0.8, 0.8, 0.2, 0.0),
    "waterfront": (0.8, 0.7, 0.8, 0.9, 5.0, 0.0),
    "residential": (1.6, 0.5, 0.35, 0.15, 0.05, 0.0),
}

# (role, share of all places, where it is looked for, in km from the centre), settled in this order.
SETTLING: tuple[tuple[str, float, tuple[float, float]], ...] = (
    ("centre", 0.08, (0.0, 0.0)),
    ("stadium", 0.0, (3.0, -1.6)),
    ("hall", 0.0, (-1.9, 1.4)),
    ("station", 0.0, (0.6, 2.6)),
    ("station", 0.0, (-3.1, -0.4)),
    ("business", 0.10, (1.9, 0.5)),
    ("nightlife", 0.05, (-1.2, -1.4)),
    ("waterfront", 0.10, (0.6, -9.0)),
)


@dataclass(frozen=True)
class Places:
    """The places of the city, `N` of them.

    Attributes:
        names: `N` unique names, role and number (`centre-01`).
        roles: `N` roles, keys of `USE_BY_ROLE`.
        lon: Longitude of the middle of each cell, degrees WGS84, `(N,)`.
        lat: Latitude, likewise.
        geometry: `N` GeoJSON polygons; neighbours share their corners.
        uses: Attraction per use (`USES`), each `(N,)` with sum 1.
        distance: Kilometres between the middles, `(N, N)`; `CELL_KM` within a place.
        across_river: Whether a way crosses the river, bool `(N, N)`.
    """

    names: tuple[str, ...]
    roles: tuple[str, ...]
    lon: Floats
    lat: Floats
    geometry: tuple[dict[str, Any], ...]
    uses: dict[str, Floats]
    distance: Floats
    across_river: NDArray[np.bool_]

    def with_role(self, role: str) -> list[int]:
        """Indices of the places with this role."""
        return [index for index, found in enumerate(self.roles) if found == role]


def make_places(count: int) -> Places:
    """Lay out a city of `count` places (at least 16: every role needs one)."""
    middles, rows = _cells(count)
    roles = _roles(middles)
    corner_angles = np.deg2rad(np.arange(30, 390, 60))
    corners = middles[:, None, :] + CELL_KM * np.stack([np.cos(corner_angles), np.sin(corner_angles)], axis=-1)
    middles, corners = _warp(middles), _warp(corners)
    north_bank = rows >= RIVER_ROW
    apart = middles[:, None, :] - middles[None, :, :]
    distance: Floats = np.hypot(apart[..., 0], apart[..., 1])
    np.fill_diagonal(distance, CELL_KM)
    degrees = _degrees(middles)
    return Places(
        names=_names(roles),
        roles=roles,
        lon=degrees[:, 0],
        lat=degrees[:, 1],
        geometry=tuple(_polygon(ring) for ring in _degrees(corners)),
        uses=_uses(roles),
        distance=np.round(distance, 6),
        across_river=north_bank[:, None] != north_bank[None, :],
    )


def _cells(count: int) -> tuple[Floats, NDArray[np.int64]]:
    """The `count` hexagons nearest the centre, on land: middles in km `(count, 2)` and grid rows `(count,)`."""
    reach = int(np.ceil(np.sqrt(count))) + 3
    row, column = (axis.ravel() for axis in np.mgrid[-reach : reach + 1, -reach : reach + 1])
    x = np.sqrt(3.0) * CELL_KM * (column + 0.5 * (row % 2))
    y = 1.5 * CELL_KM * row + np.where(row >= RIVER_ROW, RIVER_KM, 0.0)
    # The coast lies where a city of this size would still reach if it could, and a third nearer.
    coast = -0.55 * CELL_KM * np.sqrt(count) + 0.25 * np.sin(0.8 * x)
    remoteness = np.where(y > coast, np.round(np.hypot(x / 1.25, y), 9), np.inf)
    nearest = np.lexsort((column, row, remoteness))[:count]
    nearest = nearest[np.lexsort((column[nearest], -row[nearest]))]
    return np.stack([x[nearest], y[nearest]], axis=-1), row[nearest]


def _roles(middles: Floats) -> tuple[str, ...]:
    roles = ["residential"] * len(middles)
    size = np.sqrt(len(middles) / 60)  # a smaller city has its quarters nearer together
    for role, share, (x, y) in SETTLING:
        away = np.round(np.hypot(middles[:, 0] - x * size, middles[:, 1] - y * size), 9)
        free = np.array([found == "residential" for found in roles])
        for index in np.argsort(np.where(free, away, np.inf), kind="stable")[: max(1, round(share * len(roles)))]:
            roles[index] = role
    return tuple(roles)


def _names(roles: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{role}-{roles[: index + 1].count(role):02d}" for index, role in enumerate(roles))


def _uses(roles: tuple[str, ...]) -> dict[str, Floats]:
    """Attraction per use: that of the role, with differences between places of one role that are part of the map."""
    individual = np.random.Generator(np.random.PCG64(len(roles))).gamma(12.0, 1 / 12.0, (len(roles), len(USES)))
    weights = np.array([USE_BY_ROLE[role] for role in roles]) * individual
    weights = np.round(weights / weights.sum(axis=0), 9)
    return {use: weights[:, index] for index, use in enumerate(USES)}


def _warp(points: Floats) -> Floats:
    """Bend the plane smoothly, so that the hexagons look grown and still share their corners."""
    x, y = points[..., 0], points[..., 1]
    return np.stack(
        [
            x + 0.22 * np.sin(1.3 * y + 0.4) + 0.10 * np.sin(2.9 * x + 1.7 * y),
            y + 0.25 * np.sin(0.9 * x + 1.1) + 0.09 * np.sin(3.1 * x - 1.2 * y),
        ],
        axis=-1,
    )


def _degrees(points: Floats) -> Floats:
    km_per_degree_lon = KM_PER_DEGREE_LAT * np.cos(np.deg2rad(ORIGIN_LAT))
    lon = ORIGIN_LON + points[..., 0] / km_per_degree_lon
    lat = ORIGIN_LAT + points[..., 1] / KM_PER_DEGREE_LAT
    return np.round(np.stack([lon, lat], axis=-1), 6)


def _polygon(ring: Floats) -> dict[str, Any]:
    corners = ring.tolist()
    return {"type": "Polygon", "coordinates": [[*corners, corners[0]]]}
