"""Node coordinates from a CSV file."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cmust.errors import IngestError

# The spellings of DCRNN's sensor locations and LargeST's meta files are accepted beside our own.
_COLUMNS = {
    "node": ("node", "sensor_id", "geo_id", "id", "station"),
    "lon": ("lon", "lng", "longitude"),
    "lat": ("lat", "latitude"),
}


@dataclass(frozen=True)
class Places:
    """Where nodes are: degrees (N,) each, WGS84, and a GeoJSON geometry per node if there is one."""

    lon: npt.NDArray[np.float64]
    lat: npt.NDArray[np.float64]
    geometry: tuple[dict[str, Any] | None, ...] | None = None


def read_places(path: Path, nodes: tuple[str, ...]) -> Places:
    """Coordinates of ``nodes`` from a CSV with a header; nodes it has beside them are of no matter.

    Raises:
        IngestError: the file or a column is missing, a node lacks or stands there twice, a number cannot be read.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [(number, row) for number, row in enumerate(csv.reader(file), start=1) if "".join(row).strip()]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise IngestError(
            f"cannot read coordinates from {path}: {error}; give a CSV file with columns node, lon, lat"
        ) from error
    header = [name.strip().lower() for name in rows[0][1]] if rows else []
    at = {wanted: _column(path, header, wanted) for wanted in _COLUMNS}
    found: dict[str, tuple[float, float]] = {}
    for number, row in rows[1:]:
        if len(row) != len(header):
            raise IngestError(f"{path}, line {number}: {len(row)} fields, the header has {len(header)}")
        node = row[at["node"]].strip()
        if node in found:
            raise IngestError(f"{path}, line {number}: node '{node}' is there twice: keep one")
        found[node] = (_degrees(path, number, row[at["lon"]]), _degrees(path, number, row[at["lat"]]))
    lacking = [node for node in nodes if node not in found]
    if lacking:
        raise IngestError(
            f"{path} lacks the coordinates of {len(lacking)} of {len(nodes)} nodes: {', '.join(lacking[:5])}"
            f"{', ...' if len(lacking) > 5 else ''}; nodes are compared as text"
        )
    return Places(np.array([found[node][0] for node in nodes]), np.array([found[node][1] for node in nodes]))


def _column(path: Path, header: list[str], wanted: str) -> int:
    for name in _COLUMNS[wanted]:
        if name in header:
            return header.index(name)
    raise IngestError(
        f"{path}: no column '{wanted}' (or {', '.join(_COLUMNS[wanted][1:])}) in the first line '{','.join(header)}'; "
        "a file without a header needs one, for example 'node,lat,lon'"
    )


def _degrees(path: Path, number: int, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise IngestError(f"{path}, line {number}: '{text}' is not a number of degrees") from None
