"""Places to shapes: degrees projected once, here, to the whole-number units of an SVG."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from cmust.errors import RunError
from cmust.report.layout import ModelTask

SIDE = 2000
"""Units of the map's longer side: half a pixel of a large screen, and few digits in the page."""

Ring = list[tuple[float, float]]


@dataclass(frozen=True)
class CityMap:
    """A city drawn in units of about 1/2000 of its longer side, y downwards.

    Attributes:
        width: units.
        height: units.
        radius: of the circles of places without a shape, units.
        points: ``[x, y]`` of each place, ``None`` where its position is unknown.
        paths: SVG path of each place, ``None`` where it is a circle.
        lines: whether the path of each place is a line (a road), to be stroked and not filled.
    """

    width: int
    height: int
    radius: int
    points: list[list[int] | None]
    paths: list[str | None]
    lines: list[bool]


def draw_map(task: ModelTask, where: str) -> CityMap | None:
    """Project the places of a task: x is longitude times the cosine of the middle latitude, y is latitude.

    Returns:
        The map, or ``None`` when no place has a position or a shape.

    Raises:
        RunError: a geometry that is not GeoJSON; ``where`` names the file.
    """
    shapes = task.geometry or [None] * len(task.nodes)
    parts: list[list[tuple[Ring, bool]]] = []
    for node, shape in zip(task.nodes, shapes, strict=True):
        try:
            parts.append(list(_rings(shape)) if shape else [])
        except (KeyError, TypeError, ValueError, IndexError) as error:
            raise RunError(
                f"{where}: the geometry of place {node!r} is not GeoJSON ({error}); save the city again"
            ) from error
    centres = [
        (lon, lat) if lon is not None and lat is not None else None for lon, lat in zip(task.lon, task.lat, strict=True)
    ]
    corners = [c for c in centres if c] + [corner for rings in parts for ring, _ in rings for corner in ring]
    if not corners:
        return None
    return _project(centres, parts, corners)


def _project(centres: list[tuple[float, float] | None], parts: list[list[tuple[Ring, bool]]], corners: Ring) -> CityMap:
    lons, lats = zip(*corners, strict=True)
    west, east, south, north = min(lons), max(lons), min(lats), max(lats)
    squeeze = max(math.cos(math.radians((south + north) / 2)), 1e-3)
    wide, tall = (east - west) * squeeze, north - south
    scale = SIDE / max(wide, tall, 1e-9)

    def place(lon: float, lat: float) -> tuple[float, float]:
        return (lon - west) * squeeze * scale, (north - lat) * scale

    flat = [place(*centre) for centre in centres if centre]
    radius = _radius(np.array(flat)) if flat else 20
    margin = radius + 20

    def unit(lon: float, lat: float) -> tuple[int, int]:
        x, y = place(lon, lat)
        return round(x) + margin, round(y) + margin

    return CityMap(
        width=round(wide * scale) + 2 * margin,
        height=round(tall * scale) + 2 * margin,
        radius=radius,
        points=[list(unit(*centre)) if centre else None for centre in centres],
        paths=["".join(_path([unit(*c) for c in ring], closed) for ring, closed in rings) or None for rings in parts],
        lines=[bool(rings) and not any(closed for _, closed in rings) for rings in parts],
    )


def _radius(points: np.ndarray[Any, np.dtype[np.float64]]) -> int:
    """Circles that nearly touch: half the median distance to the nearest other place."""
    if len(points) < 2:
        return 60
    apart = np.hypot(*(points[:, None, :] - points[None, :, :]).transpose(2, 0, 1))
    np.fill_diagonal(apart, np.inf)
    return int(np.clip(0.48 * np.median(apart.min(axis=1)), 14, 90))


def _rings(shape: dict[str, Any]) -> Iterator[tuple[Ring, bool]]:
    """The rings and lines of a GeoJSON geometry, each with whether it is closed. Points have none: they are circles."""
    kind = shape["type"]
    if kind == "GeometryCollection":
        for member in shape["geometries"]:
            yield from _rings(member)
    elif kind in ("Polygon", "MultiPolygon"):
        for polygon in [shape["coordinates"]] if kind == "Polygon" else shape["coordinates"]:
            for ring in polygon:
                yield _corners(ring), True
    elif kind in ("LineString", "MultiLineString"):
        for line in [shape["coordinates"]] if kind == "LineString" else shape["coordinates"]:
            yield _corners(line), False
    elif kind not in ("Point", "MultiPoint"):
        raise ValueError(f"type {kind!r}")


def _corners(ring: list[list[float]]) -> Ring:
    corners = [(float(corner[0]), float(corner[1])) for corner in ring]
    if not all(math.isfinite(value) for corner in corners for value in corner):
        raise ValueError("a coordinate is not finite")
    return corners


def _path(corners: list[tuple[int, int]], closed: bool) -> str:
    """Relative moves between corners that differ; nothing for a ring that has shrunk to a point or a line."""
    kept = [corner for before, corner in zip([None, *corners], corners, strict=False) if corner != before]
    if closed and len(kept) > 1 and kept[0] == kept[-1]:
        kept.pop()
    if len(kept) < (3 if closed else 2):
        return ""
    moves = [f"{x - a} {y - b}" for (a, b), (x, y) in pairwise(kept)]
    return f"M{kept[0][0]} {kept[0][1]}l{' '.join(moves)}{'z' if closed else ''}"
