"""The projection and the paths, against values worked by hand."""

import math
import re

import pytest

from cmust.report.citymap import draw_map
from cmust.report.layout import ModelTask


def corners_of(path: str) -> list[tuple[int, int]]:
    """Follow an SVG path of one absolute start and relative lines."""
    numbers = [int(number) for number in re.findall(r"-?\d+", path)]
    x, y = numbers[:2]
    corners = [(x, y)]
    for dx, dy in zip(numbers[2::2], numbers[3::2], strict=True):
        x, y = x + dx, y + dy
        corners.append((x, y))
    return corners


def test_a_degree_of_longitude_shrinks_with_the_cosine_of_latitude() -> None:
    lat = [59.5, 59.5, 60.5, 60.5]
    drawn = draw_map(ModelTask(nodes=list("abcd"), lon=[10.0, 11.0, 10.0, 11.0], lat=lat), "model.json")
    assert drawn is not None
    (ax, ay), (bx, by), (cx, cy), _ = [point for point in drawn.points if point]
    assert ay == by and ax == cx
    assert cy < ay  # north is up
    assert (bx - ax) / (ay - cy) == pytest.approx(math.cos(math.radians(60)), abs=1e-3)
    assert drawn.paths == [None] * 4 and drawn.lines == [False] * 4


def test_polygons_lines_and_holes_become_paths() -> None:
    square = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]]
    hole = [[0.4, 0.4], [0.6, 0.4], [0.6, 0.6], [0.4, 0.4]]
    task = ModelTask(
        nodes=["holed", "two", "road", "bare", "dot"],
        lon=[0.5, 0.5, 0.5, 0.5, 0.5],
        lat=[0.5, 0.5, 0.5, 0.5, 0.5],
        geometry=[
            {"type": "Polygon", "coordinates": [square, hole]},
            {"type": "MultiPolygon", "coordinates": [[square], [hole]]},
            {"type": "LineString", "coordinates": [[0.0, 0.0], [0.0, 1.0]]},
            None,
            {"type": "Point", "coordinates": [0.5, 0.5]},
        ],
    )
    drawn = draw_map(task, "model.json")
    assert drawn is not None
    holed, two, road, bare, dot = drawn.paths
    assert holed is not None and holed.count("M") == 2 and holed.count("z") == 2
    assert two == holed
    assert road is not None and "z" not in road and drawn.lines == [False, False, True, False, False]
    assert bare is None and dot is None
    outer = corners_of(holed.split("z")[0])
    assert len(outer) == 4  # the closing corner is the z
    # the square is as tall as the map's 2000 units, and its centre is the places' point
    assert max(y for _, y in outer) - min(y for _, y in outer) == 2000
    centre = [(min(c[i] for c in outer) + max(c[i] for c in outer)) / 2 for i in (0, 1)]
    assert drawn.points[0] == pytest.approx(centre, abs=1)


def test_corners_closer_than_a_unit_are_dropped() -> None:
    ring = [[0.0, 0.0], [1e-6, 1e-6], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]
    tiny = [[0.5, 0.5], [0.5 + 1e-6, 0.5], [0.5, 0.5 + 1e-6], [0.5, 0.5]]
    shapes = [{"type": "Polygon", "coordinates": [ring]}, {"type": "Polygon", "coordinates": [tiny]}]
    drawn = draw_map(ModelTask(nodes=["a", "b"], lon=[0.5, 0.5], lat=[0.5, 0.5], geometry=shapes), "model.json")
    assert drawn is not None and drawn.paths[0] is not None
    assert len(corners_of(drawn.paths[0])) == 3
    assert drawn.paths[1] is None  # too small for a shape: drawn as a circle


def test_places_without_positions() -> None:
    some = draw_map(ModelTask(nodes=["a", "b"], lon=[1.0, None], lat=[2.0, float("nan")]), "model.json")
    assert some is not None and some.points[0] is not None and some.points[1] is None
    assert draw_map(ModelTask(nodes=["a"], lon=[None], lat=[None]), "model.json") is None
