"""LibCity atomic files: ``.geo`` (places) with ``.dyna`` (readings by entity) or ``.grid`` (by row and column),
``config.json``.

LibCity relies on the order of rows; here every row is put where its own entity and time say. Origin-destination files
(``.od``, ``.gridod``) are refused: a city has values at nodes, not between them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cmust.errors import IngestError
from cmust.ingest.formats.assemble import Imported, ImportSettings, Readings, assemble, task_names
from cmust.ingest.formats.places import Places
from cmust.ingest.formats.steps import Times, wall_clock
from cmust.ingest.names import renamed

_ROWS_AT_A_TIME = 500_000
_MISSING = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "None"]
_KEYS = {".dyna": ("entity_id",), ".grid": ("row_id", "column_id")}


@dataclass(frozen=True)
class _Files:
    """The files of a data set, their common suffix, and what ``config.json`` says."""

    geo: Path
    data: list[Path]
    keys: tuple[str, ...]
    columns: list[str]
    interval: int | None
    own: dict[str, Any]


def import_libcity(source: Path, settings: ImportSettings) -> Imported:
    """A city with a task per data column; nodes are named by ``geo_id``.

    Args:
        source: the folder of one data set.
        settings: see :class:`ImportSettings`; coordinates are those of the ``.geo``, unless a file is given.

    Raises:
        IngestError: a file or column is missing, a row cannot be read or stands there twice.
        CityError: the values are not a valid city.
    """
    files = _find_files(source)
    geo = _read_csv(files.geo, ["geo_id", "type", "coordinates", *(key for key in files.keys if key != "entity_id")])
    nodes = tuple(geo["geo_id"])
    if len(set(nodes)) != len(nodes):
        raise IngestError(f"{files.geo}: geo_id '{geo['geo_id'][geo['geo_id'].duplicated()].iloc[0]}' is there twice")
    at = _entities(geo, files)
    time = _all_times(files)
    values, unknown = _read_values(files, at, time)
    notes = []
    if unknown:
        notes.append(f"{unknown} rows of cells or entities that {files.geo.name} does not list were left out")
    kept: npt.NDArray[np.bool_] = np.asarray(~np.isnan(values).all(axis=(0, 2)))
    if not kept.any():
        raise IngestError(f"{files.data[0]} has no value of any entity of {files.geo.name}: do their ids agree?")
    if not kept.all():
        values = values[:, kept]
        notes.append(f"{int((~kept).sum())} of {len(nodes)} entities have no value at all and were left out")
    places = _places(files.geo, geo[kept])
    names = task_names(files.columns, str(source))
    notes += renamed(files.columns)
    own = files.own.get("tasks", {})
    columns = list(zip(names, files.columns, strict=True))
    readings = Readings(
        source=f"LibCity data set {source.resolve().name}",
        time=time,
        interval=files.interval,
        nodes=tuple(np.array(nodes, dtype=object)[kept]),
        values={name: values[:, :, column].copy() for column, name in enumerate(names)},
        places=places,
        notes=tuple(notes),
        kinds={name: own[column]["kind"] for name, column in columns if column in own},
        units={name: own[column]["unit"] for name, column in columns if column in own},
        synthetic=files.own.get("synthetic", False),
    )
    return assemble(readings, settings)


def _find_files(source: Path) -> _Files:
    config = _config(source)
    info = config.get("info", {})
    names = info.get("data_files") or [
        path.stem for path in sorted(source.glob("*.dyna")) or sorted(source.glob("*.grid"))
    ]
    names = [names] if isinstance(names, str) else names
    for suffix, keys in _KEYS.items():
        data = [source / f"{name}{suffix}" for name in names]
        if names and all(path.exists() for path in data):
            columns = info.get("data_col") or _data_columns(data[0], keys)
            return _Files(
                _find_geo(source, info),
                data,
                keys,
                [columns] if isinstance(columns, str) else list(columns),
                _interval(source, info),
                _own(config),
            )
    if any(source.glob("*.od")) or any(source.glob("*.gridod")):
        raise IngestError(
            f"{source} holds flows between places (.od, .gridod): a city has values at nodes; use .dyna or .grid files"
        )
    listed = ", ".join(names) or "none"
    raise IngestError(
        f"{source}: no .dyna or .grid file for the data files of config.json ({listed}): is it the folder of "
        "one data set?"
    )


def _config(source: Path) -> dict[str, Any]:
    path = source / "config.json"
    if not path.exists():
        return {}
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise IngestError(f"cannot read {path}: {error}") from error
    if not isinstance(config, dict) or not isinstance(config.get("info", {}), dict):
        raise IngestError(f"{path} is not a LibCity configuration: a JSON object with a part 'info' is needed")
    return config


def _interval(source: Path, info: dict[str, Any]) -> int | None:
    """Seconds, when ``config.json`` says so; the times tell otherwise."""
    seconds = info.get("time_intervals")
    if seconds is not None and not (isinstance(seconds, int) and seconds > 0):
        raise IngestError(f"{source / 'config.json'}: time_intervals is {seconds!r}, it has to be a number of seconds")
    return seconds


def _own(config: dict[str, Any]) -> dict[str, Any]:
    """The labels that our own export leaves in ``config.json``, where they have the expected form."""
    own = config.get("cmust", {})
    tasks = own.get("tasks", {}) if isinstance(own, dict) else {}
    if not isinstance(tasks, dict) or not all(
        isinstance(task, dict) and {"kind", "unit"} <= set(task) for task in tasks.values()
    ):
        return {}
    return {"synthetic": own.get("synthetic") is True, "tasks": tasks}


def _find_geo(source: Path, info: dict[str, Any]) -> Path:
    found = [source / f"{info['geo_file']}.geo"] if "geo_file" in info else sorted(source.glob("*.geo"))
    if len(found) != 1 or not found[0].exists():
        raise IngestError(f"{source}: one .geo file is needed, found {[path.name for path in found if path.exists()]}")
    return found[0]


def _data_columns(path: Path, keys: tuple[str, ...]) -> list[str]:
    """Every column that is not one of LibCity's own, for a data set without ``data_col``."""
    header = list(_read_csv(path, ["time", *keys], nrows=0).columns)
    return [name for name in header if name not in ("dyna_id", "type", "time", *keys)]


def _entities(geo: pd.DataFrame, files: _Files) -> pd.Index[Any]:
    """How the data files name the rows of the ``.geo``, in their order: by id, or by (row, column)."""
    if files.keys == ("entity_id",):
        ids: pd.Index[Any] = pd.Index(geo["geo_id"])
        return ids
    index = pd.MultiIndex.from_arrays([geo[key] for key in files.keys])
    if index.has_duplicates:
        raise IngestError(f"{files.geo}: row and column {index[index.duplicated()][0]} are there twice")
    return index


def _all_times(files: _Files) -> Times:
    """Every time of the data files, sorted and unique."""
    texts: set[str] = set()
    for path in files.data:
        for chunk in _chunks(path, ["time"], []):
            texts.update(chunk["time"].cat.categories)
    if not texts or "" in texts:
        raise IngestError(f"{files.data[0]} has rows without a time (or no rows): times are needed")
    return np.unique(wall_clock(sorted(texts), str(files.data[0])))


def _read_values(files: _Files, at: pd.Index[Any], time: Times) -> tuple[npt.NDArray[np.float32], int]:
    """Values (T, N, column), NaN where there is no row; and how many rows name an entity the ``.geo`` does not have."""
    values = np.full((len(time), len(at), len(files.columns)), np.nan, dtype=np.float32)
    seen = np.zeros(values.shape[:2], dtype=bool)
    rows = unknown = 0
    for path in files.data:
        for chunk in _chunks(path, ["time", *files.keys], files.columns):
            labels = chunk["time"].cat
            step = np.searchsorted(time, wall_clock(labels.categories, str(path)))[labels.codes]
            node = _positions(chunk[list(files.keys)], at)
            known = node >= 0
            unknown += int((~known).sum())
            place = (step[known], node[known])
            seen[place] = True
            rows += len(place[0])
            if np.count_nonzero(seen) != rows:
                raise IngestError(
                    f"{path}: an entity has two rows of one time, the second at line {int(chunk.index[0]) + 2} or "
                    "after: keep one of each"
                )
            for column, name in enumerate(files.columns):
                values[(*place, column)] = chunk[name].to_numpy()[known]
    return values, unknown


def _positions(keys: pd.DataFrame, at: pd.Index[Any]) -> npt.NDArray[np.int64]:
    """Where each row's entity stands in ``at``, -1 where it does not; each distinct entity is looked up once."""
    codes = np.zeros(len(keys), dtype=np.int64)
    for name in keys:
        codes = codes * len(keys[name].cat.categories) + keys[name].cat.codes.to_numpy()
    inverse, distinct_codes = pd.factorize(codes)
    first = np.empty(len(distinct_codes), dtype=np.int64)
    first[inverse[::-1]] = np.arange(len(codes))[::-1]  # the last one written is the first row of its kind
    distinct = keys.iloc[first].astype(str)
    labels = pd.MultiIndex.from_frame(distinct) if keys.shape[1] > 1 else pd.Index(distinct.iloc[:, 0])
    return np.asarray(at.get_indexer(labels))[inverse]


def _chunks(path: Path, keys: list[str], numbers: list[str]) -> Iterator[pd.DataFrame]:
    """Some rows at a time: ``keys`` as categories of text, ``numbers`` as float64."""
    _read_csv(path, [*keys, *numbers], nrows=0)
    types = dict.fromkeys(keys, "str") | dict.fromkeys(numbers, "float64")
    try:
        for chunk in pd.read_csv(
            path,
            usecols=[*keys, *numbers],
            dtype=types,
            keep_default_na=False,
            na_values=dict.fromkeys(numbers, _MISSING),
            chunksize=_ROWS_AT_A_TIME,
        ):
            # read as categories at once, ids such as 007 would be numbers
            yield chunk.astype(dict.fromkeys(keys, "category"))
    except (OSError, ValueError) as error:
        raise IngestError(_bad_number(path, numbers) or f"cannot read {path}: {error}") from error


def _bad_number(path: Path, columns: list[str]) -> str | None:
    """Where the first text is that is not a number; None when the trouble is another."""
    try:
        for chunk in pd.read_csv(path, usecols=columns, dtype=str, keep_default_na=False, chunksize=_ROWS_AT_A_TIME):
            for name in columns:
                wrong = pd.to_numeric(chunk[name], errors="coerce").isna() & ~chunk[name].isin(_MISSING)
                if wrong.any():
                    at = int(np.asarray(wrong).argmax())
                    line = int(chunk.index[at]) + 2
                    return f"{path}, line {line}, column '{name}': '{chunk[name].iloc[at]}' is not a number"
    except (OSError, ValueError):
        pass  # then the first error tells more
    return None


def _read_csv(path: Path, columns: list[str], nrows: int | None = None) -> pd.DataFrame:
    """All columns as text.

    Raises:
        IngestError: the file cannot be read or one of ``columns`` is not there.
    """
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False, nrows=nrows)
    except (OSError, ValueError) as error:
        raise IngestError(f"cannot read {path}: {error}") from error
    lacking = [name for name in columns if name not in frame.columns]
    if lacking:
        raise IngestError(f"{path} has no column '{lacking[0]}'; it has {', '.join(frame.columns)}")
    return frame


def _places(path: Path, geo: pd.DataFrame) -> Places | None:
    """Coordinates of the rows; None when every one is empty, as in many data sets of LibCity (``[]``)."""
    shapes = [_shape(path, node, text) for node, text in zip(geo["geo_id"], geo["coordinates"], strict=True)]
    empty = [node for node, shape in zip(geo["geo_id"], shapes, strict=True) if shape is None]
    if len(empty) == len(shapes):
        return None
    if empty:
        raise IngestError(
            f"{path}: {len(empty)} of {len(shapes)} entities have empty coordinates, the first is '{empty[0]}'"
        )
    found = [shape for shape in shapes if shape is not None]
    lon, lat = np.array([_centre(path, node, shape) for node, shape in zip(geo["geo_id"], found, strict=True)]).T
    areas = tuple(None if shape["type"] == "Point" else shape for shape in found)
    return Places(lon, lat, areas if any(area is not None for area in areas) else None)


def _shape(path: Path, node: str, text: str) -> dict[str, Any] | None:
    """GeoJSON of a ``coordinates`` cell; the kind follows from how deep the lists go, which LibCity's ``type`` often
    gets wrong."""
    try:
        coordinates = json.loads(text or "[]")
    except ValueError as error:
        raise IngestError(f"{path}: coordinates '{text}' of '{node}' cannot be read: {error}") from error
    depth, inner = 0, coordinates
    while isinstance(inner, list) and inner:
        depth, inner = depth + 1, inner[0]
    if depth == 0 or inner == []:
        return None
    kinds = {1: "Point", 2: "LineString", 3: "Polygon", 4: "MultiPolygon"}
    if depth not in kinds:
        raise IngestError(f"{path}: coordinates '{text}' of '{node}' are not those of a point, line or polygon")
    return {"type": kinds[depth], "coordinates": coordinates}


def _centre(path: Path, node: str, shape: dict[str, Any]) -> tuple[float, float]:
    """Longitude and latitude of a point, or of the centroid."""
    try:
        if shape["type"] == "Point":
            lon, lat = shape["coordinates"]
            return float(lon), float(lat)
        try:
            import shapely.geometry
        except ImportError as error:
            raise IngestError("lines and polygons need shapely: pip install 'cmust[ingest]'") from error
        centre = shapely.geometry.shape(shape).centroid
        return float(centre.x), float(centre.y)
    except (ValueError, TypeError) as error:
        raise IngestError(
            f"{path}: coordinates of '{node}' are not [longitude, latitude] ({shape['type']}): {error}"
        ) from error
