"""pandas' "fixed" HDF5 format, read with h5py alone.

``DataFrame.to_hdf`` stores a group with ``axis0`` (columns), ``axis1`` (index) and, per block of columns of one type,
``blockK_items`` and ``blockK_values``, row by row. Names it cannot store plainly and object columns become pickles:
those are variable length or object arrays, are never unpickled here, and are refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cmust.errors import IngestError
from cmust.ingest.formats.steps import Times

_ROWS_AT_A_TIME = 4096
_REWRITE = "write the table again with DataFrame.to_hdf(path, key='df', format='fixed'), or as CSV"


@dataclass(frozen=True)
class WideTable:
    """Times ``datetime64[s]`` (T,), node names (N,), values float32 (T, N), NaN where missing."""

    time: Times
    nodes: tuple[str, ...]
    values: npt.NDArray[np.float32]


def read_pandas_hdf5(path: Path, key: str | None) -> WideTable:
    """The table under ``key``, or the only one.

    Raises:
        IngestError: the file cannot be read, holds no such table, or holds pickles where the table should be.
    """
    try:
        import h5py
    except ImportError as error:
        raise IngestError("HDF5 files need h5py: pip install 'cmust[ingest]'") from error
    try:
        with h5py.File(path, "r") as file:
            return _read_frame(path, _find_frame(path, file, key))
    except OSError as error:
        raise IngestError(f"cannot read {path}: {error}") from error


def _find_frame(path: Path, file: Any, key: str | None) -> Any:
    frames: dict[str, Any] = {}
    others: dict[str, str] = {}

    def look(name: str, item: Any) -> None:
        if kind := _text(item.attrs.get("pandas_type", "")):
            (frames if kind == "frame" else others).update({name: item if kind == "frame" else kind})

    file.visititems(look)
    if key is not None and key.strip("/") in frames:
        return frames[key.strip("/")]
    if key is None and len(frames) == 1:
        return next(iter(frames.values()))
    if frames:
        asked = "several tables" if key is None else f"no table '{key}'"
        raise IngestError(f"{path} has {asked}; give one of the keys {', '.join(frames)}")
    if others:
        listed = ", ".join(f"'{name}' ({kind})" for name, kind in others.items())
        raise IngestError(f"{path} holds {listed}, not a table in pandas' fixed format: {_REWRITE}")
    raise IngestError(f"{path} holds no pandas table: {_REWRITE}")


def _read_frame(path: Path, group: Any) -> WideTable:
    columns = _labels(path, group, "axis0")
    time = _times(path, group)
    position = {name: at for at, name in enumerate(columns)}
    if len(position) != len(columns):
        raise IngestError(f"{path}: a column name is there twice: node names have to be unique")
    values = np.full((len(time), len(columns)), np.nan, dtype=np.float32)
    for block in range(int(group.attrs.get("nblocks", 0))):
        items = _labels(path, group, f"block{block}_items")
        _read_block(path, group, block, [position[name] for name in items if name in position], values)
    return WideTable(time, columns, values)


def _read_block(path: Path, group: Any, block: int, at: list[int], values: npt.NDArray[np.float32]) -> None:
    """Fill the columns ``at`` of ``values`` (T, N) from a block, some rows at a time."""
    stored = _dataset(path, group, f"block{block}_values")
    if stored.dtype.kind not in "fiu":
        raise IngestError(
            f"{path}: the values of '{group.name}' are stored as {stored.dtype}, not as numbers: {_REWRITE}"
        )
    turned = not bool(
        stored.attrs.get("transposed", True)
    )  # pandas stores (row, column) and says so by transposed=True
    shape = stored.shape[::-1] if turned else stored.shape
    if shape != (len(values), len(at)):
        raise IngestError(
            f"{path}: block {block} of '{group.name}' has shape {shape}, {(len(values), len(at))} expected: "
            "damaged file"
        )
    for first in range(0, len(values), _ROWS_AT_A_TIME):
        rows = slice(first, first + _ROWS_AT_A_TIME)
        values[rows, at] = stored[:, rows].T if turned else stored[rows]


def _labels(path: Path, group: Any, name: str) -> tuple[str, ...]:
    stored = _dataset(path, group, name)
    if stored.ndim != 1 or stored.dtype.kind not in "SiuUf":
        raise IngestError(
            f"{path}: '{name}' of '{group.name}' is stored as {stored.dtype} (a pickle, perhaps), not as plain "
            f"names: {_REWRITE}"
        )
    return tuple(_text(label) for label in stored[()])


def _times(path: Path, group: Any) -> Times:
    stored = _dataset(path, group, "axis1")
    kind = _text(stored.attrs.get("kind", ""))
    unit = kind.removeprefix("datetime64").strip("[]") or "ns"  # pandas before 3 always stored nanoseconds
    if not kind.startswith("datetime64") or stored.dtype.kind != "i" or unit not in ("s", "ms", "us", "ns"):
        raise IngestError(
            f"{path}: the rows of '{group.name}' are labelled by {kind or stored.dtype}, not by times: {_REWRITE}"
        )
    if "tz" in stored.attrs:
        zone = _text(stored.attrs["tz"])
        raise IngestError(
            f"{path}: times carry the zone {zone}: take it off with frame.index = frame.index.tz_localize(None) "
            f"and {_REWRITE}"
        )
    exact = stored[()].astype(f"datetime64[{unit}]")
    time: Times = exact.astype("datetime64[s]")
    if (time != exact).any():
        raise IngestError(f"{path}: time {exact[time != exact][0]} is not a whole second (or not a time)")
    return time


def _dataset(path: Path, group: Any, name: str) -> Any:
    if name not in group:
        raise IngestError(f"{path}: '{group.name}' has no '{name}', so it is not pandas' fixed format: {_REWRITE}")
    return group[name]


def _text(value: Any) -> str:
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else str(value)
