"""A city on disk: one file, a zipped Zarr 3 store with a group per task and per covariate.

Layout, schema version 2::

    zarr.json                      attributes: format, schema_version, name, timezone, synthetic, source, description,
                                   tasks and covariates (names, in order), fingerprint
    tasks/NAME/                    attributes: interval, unit, kind, description, geometry (GeoJSON per node, or absent)
        values                     float32 (time, node, channel), NaN where missing
        time                       int64, seconds since 1970-01-01 on the city's wall clock
        node, channel              text
        lon, lat                   float64 (node,)
    covariates/NAME/               attributes: interval, unit, known_ahead
        values, time, node         as above; no node for values of the whole city

Older versions are read through :mod:`cmust.city.migrate`. The file is read as data only: before Zarr sees it, every
member has to be a known kind of array with a known compression, so nothing in it can be unpickled or run.
"""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore, ZipStore

from cmust.city.city import City
from cmust.city.migrate import SCHEMA_VERSION, Document, migrate
from cmust.city.ownership import hand_over
from cmust.city.task import Covariate, Task
from cmust.errors import CityError
from cmust.files import atomic_path

FORMAT = "cmust.city"
TIME_UNITS = "seconds since 1970-01-01"
_MEMBER = re.compile(r"([a-z0-9_]+/)*(zarr\.json|c(/\d+)+|c)")
_CODECS = {"bytes", "zstd", "vlen-utf8", "transpose", "crc32c"}
_DATA_TYPES = {"float32", "float64", "int64", "string"}
_CHUNK_VALUES = 2**20
_OLDEST_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # a fixed time of the members, so that equal cities are equal files


def save_city(city: City, path: Path | str) -> Path:
    """Write ``city`` to ``path`` atomically: a reader, or a kill, sees the old file or the new one.

    Raises:
        CmustError: the disk is full or the place cannot be reached or written to; what stood there before is untouched.
    """
    path = Path(path)
    if _looked_at(path).is_dir():
        raise CityError(f"{path} is a folder: a city is one file, give a name such as {path / 'city.zarr.zip'}")
    members = _encode(city)
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(members):
            archive.writestr(zipfile.ZipInfo(name, _OLDEST_ZIP_TIME), members[name])
    return path


def open_city(path: Path | str) -> City:
    """Read a city that :meth:`City.save` wrote, whole and checked.

    Raises:
        CityError: the file is missing, not a city, truncated, altered, or of a newer schema version.
    """
    path = Path(path)
    if not _looked_at(path).exists():
        raise CityError(f"there is no city at {path}: check the path, or make one (see 'cmust demo')")
    if not path.is_file():
        raise CityError(f"{path} is not a file: a city is one file, NAME.zarr.zip")
    try:
        _check_members(path)
        document = migrate(_read(path))
        city = _decode(document)
    except CityError as error:
        raise CityError(f"cannot open {path}: {error}") from error
    except zipfile.BadZipFile as error:
        raise CityError(
            f"{path} is not a city, or it is truncated or damaged ({error}): get or make it again"
        ) from error
    except PermissionError as error:
        raise CityError(f"cannot read {path}: {error.strerror}; ask for the right to read it") from error
    except Exception as error:  # damage inside an archive surfaces as whatever the decoder stumbled over
        raise CityError(f"{path} is damaged ({type(error).__name__}: {error}): get or make it again") from error
    _check_fingerprint(path, document, city)
    return city


def _looked_at(path: Path) -> Path:
    """The path, where the system can tell whether there is something: its name may be too long, or a folder closed."""
    try:
        path.exists()
    except OSError as error:
        raise CityError(f"cannot reach {path}: {error.strerror}; give another path") from error
    return path


def _encode(city: City) -> dict[str, bytes]:
    """The members of the file: path inside the store to bytes."""
    members: dict[str, Buffer] = {}
    store = MemoryStore(members)
    root = xr.Dataset(
        attrs={
            "format": FORMAT,
            "schema_version": SCHEMA_VERSION,
            "name": city.name,
            "timezone": city.timezone,
            "synthetic": city.synthetic,
            "source": city.source,
            "description": city.description,
            "tasks": list(city.tasks),
            "covariates": list(city.covariates),
            "fingerprint": city.fingerprint(),
        }
    )
    root.to_zarr(store, mode="w", consolidated=False, zarr_format=3)
    for name, task in city.tasks.items():
        _write(store, f"tasks/{name}", _task_dataset(task))
    for name, covariate in city.covariates.items():
        _write(store, f"covariates/{name}", _covariate_dataset(covariate))
    return {name: buffer.to_bytes() for name, buffer in members.items()}


def _write(store: MemoryStore, group: str, dataset: xr.Dataset) -> None:
    values = dataset["values"]
    per_step = int(np.prod(values.shape[1:]))
    chunks = (min(len(values), max(1, _CHUNK_VALUES // per_step)), *values.shape[1:])
    encoding: dict[str, dict[str, Any]] = {"values": {"chunks": chunks}}
    dataset.to_zarr(store, group=group, mode="w", consolidated=False, zarr_format=3, encoding=encoding)


def _task_dataset(task: Task) -> xr.Dataset:
    attributes: dict[str, Any] = {
        "interval": task.interval,
        "unit": task.unit,
        "kind": task.kind,
        "description": task.description,
    }
    if task.geometry is not None:
        attributes["geometry"] = list(task.geometry)
    return xr.Dataset(
        {"values": (("time", "node", "channel"), task.values)},
        coords={
            "time": _time_variable(task.time),
            "node": np.array(task.nodes, dtype=object),
            "channel": np.array(task.channels, dtype=object),
            "lon": ("node", task.lon),
            "lat": ("node", task.lat),
        },
        attrs=attributes,
    )


def _covariate_dataset(covariate: Covariate) -> xr.Dataset:
    dataset = xr.Dataset(
        {"values": (("time", "node")[: covariate.values.ndim], covariate.values)},
        coords={"time": _time_variable(covariate.time)},
        attrs={"interval": covariate.interval, "unit": covariate.unit, "known_ahead": covariate.known_ahead},
    )
    return dataset.assign_coords(node=np.array(covariate.nodes, dtype=object)) if covariate.nodes else dataset


def _time_variable(time: Any) -> xr.Variable:
    # Whole seconds as integers: xarray's own choice of "hours since" loses half hours on a later append.
    return xr.Variable("time", time.astype(np.int64), {"units": TIME_UNITS, "calendar": "proleptic_gregorian"})


def _check_members(path: Path) -> None:
    """Refuse anything but plain arrays and groups, before Zarr looks at the file."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if "zarr.json" not in names:
            raise CityError("it is a zip archive, but not a city: it has no 'zarr.json'")
        if broken := archive.testzip():
            raise CityError(f"its member '{broken}' is damaged: get or make the file again")
        for name in names:
            if not _MEMBER.fullmatch(name):
                raise CityError(f"its member '{name}' does not belong in a city: the file was not written by cmust")
            if name.endswith("zarr.json"):
                _check_node(name, json.loads(archive.read(name)))


def _check_node(name: str, node: Any) -> None:
    if node["zarr_format"] != 3 or node["node_type"] not in ("group", "array"):
        raise CityError(f"its member '{name}' is not Zarr 3: the file was not written by cmust")
    if node["node_type"] == "group":
        return
    codecs = {codec["name"] for codec in node["codecs"]}
    if not codecs <= _CODECS or node["data_type"] not in _DATA_TYPES or node.get("storage_transformers"):
        raise CityError(
            f"its array '{name}' has type {node['data_type']} and codecs {', '.join(sorted(codecs))}; "
            f"only {', '.join(sorted(_DATA_TYPES))} and {', '.join(sorted(_CODECS))} are read"
        )


def _read(path: Path) -> Document:
    with ZipStore(path, mode="r") as store:
        attributes = _load(store, None).attrs
        if attributes.get("format") != FORMAT:
            raise CityError(
                f"it is a Zarr store, but not a city: its format is {attributes.get('format')!r}, not '{FORMAT}'"
            )
        version = attributes.get("schema_version")
        if not isinstance(version, int) or not 1 <= version <= SCHEMA_VERSION:
            raise CityError(
                f"its schema version is {version!r}, this program reads 1 to {SCHEMA_VERSION}: "
                "a newer cmust may have written it"
            )
        return Document(
            attributes=attributes,
            tasks={name: _load(store, f"tasks/{name}") for name in attributes["tasks"]},
            covariates={name: _load(store, f"covariates/{name}") for name in attributes.get("covariates", [])},
        )


def _load(store: ZipStore, group: str | None) -> xr.Dataset:
    with xr.open_zarr(store, group=group, consolidated=False, decode_cf=False, chunks=None) as dataset:
        loaded: xr.Dataset = dataset.load()
    return loaded


def _decode(document: Document) -> City:
    attributes = document.attributes
    return City(
        name=attributes["name"],
        tasks={name: _decode_task(name, dataset) for name, dataset in document.tasks.items()},
        timezone=attributes["timezone"],
        synthetic=bool(attributes["synthetic"]),
        source=_text(attributes, "source"),
        description=_text(attributes, "description"),
        covariates={name: _decode_covariate(name, dataset) for name, dataset in document.covariates.items()},
    )


def _decode_task(name: str, dataset: xr.Dataset) -> Task:
    attributes = dataset.attrs
    return Task(
        name=name,
        values=_array(dataset, "values", ("time", "node", "channel")),
        time=_decode_time(name, dataset),
        nodes=tuple(_array(dataset, "node", ("node",))),
        lon=_array(dataset, "lon", ("node",)),
        lat=_array(dataset, "lat", ("node",)),
        interval=attributes["interval"],
        unit=_text(attributes, "unit"),
        kind=attributes["kind"],
        channels=tuple(_array(dataset, "channel", ("channel",))),
        geometry=tuple(attributes["geometry"]) if "geometry" in attributes else None,
        description=_text(attributes, "description"),
    )


def _decode_covariate(name: str, dataset: xr.Dataset) -> Covariate:
    attributes = dataset.attrs
    nodes = tuple(_array(dataset, "node", ("node",))) if "node" in dataset.variables else ()
    return Covariate(
        name=name,
        values=_array(dataset, "values", ("time", "node") if nodes else ("time",)),
        time=_decode_time(name, dataset),
        interval=attributes["interval"],
        known_ahead=bool(attributes["known_ahead"]),
        unit=_text(attributes, "unit"),
        nodes=nodes,
    )


def _text(attributes: dict[str, Any], field: str) -> Any:
    """A text of a file; none where ``None`` was given for it, before that was refused."""
    return "" if attributes[field] is None else attributes[field]


def _decode_time(name: str, dataset: xr.Dataset) -> Any:
    units = dataset["time"].attrs.get("units")
    if units != TIME_UNITS:
        raise CityError(f"the times of '{name}' are in {units!r}, they have to be in '{TIME_UNITS}'")
    return _array(dataset, "time", ("time",)).astype("datetime64[s]")


def _array(dataset: xr.Dataset, name: str, dims: tuple[str, ...]) -> Any:
    if name not in dataset.variables:
        raise CityError(f"the array '{name}' is missing: the file was not written by cmust, or it was altered")
    if dataset[name].dims != dims:
        raise CityError(f"the array '{name}' lies along {dataset[name].dims}, it has to lie along {dims}")
    return hand_over(dataset[name].values)


def _check_fingerprint(path: Path, document: Document, city: City) -> None:
    # A chunk that was removed reads as missing values, which only this comparison notices.
    stored = document.attributes.get("fingerprint")
    if stored is not None and stored != city.fingerprint():
        raise CityError(
            f"{path} was altered after it was saved: its content does not give its fingerprint {stored[:12]}..."
        )
