"""The outlines of nodes as plain JSON values, which every file that holds them can store."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from cmust.city.checks import check_geometry
from cmust.errors import CityError, reason

Geometry = dict[str, Any]


class Geometries(tuple[Geometry | None, ...]):
    """A geometry (or None) per node, plain and checked: not looked at again where a task is made from another."""

    __slots__ = ()


def to_geometries(what: str, geometry: Iterable[Any], nodes: Sequence[str]) -> Geometries:
    """Copies of plain lists and numbers: arrays and tuples become lists.

    Raises:
        CityError: they are not one per node, or one is not GeoJSON or cannot be stored.
    """
    if isinstance(geometry, Geometries):
        return geometry
    if isinstance(geometry, str | dict) or not isinstance(geometry, Iterable):
        raise CityError(f"{what}: geometry is a {type(geometry).__name__}, it has to be a list, one entry per node")
    shapes = list(geometry)
    if len(shapes) != len(nodes):
        raise CityError(
            f"{what}: geometry has {len(shapes)} entries for {len(nodes)} nodes: give one (or None) per node"
        )
    return Geometries(_to_geometry(what, node, shape) for node, shape in zip(nodes, shapes, strict=True))


def _to_geometry(what: str, node: str, shape: Any) -> Geometry | None:
    if shape is None:
        return None
    try:
        plain: Geometry = json.loads(json.dumps(shape, default=_plain, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise CityError(
            f"{what}: geometry of node '{node}' cannot be stored ({reason(error)}): give finite numbers in lists"
        ) from error
    check_geometry(what, node, plain)
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise TypeError(f"it holds a {type(value).__name__}")
