"""BasicTS data folders: ``desc.json`` with ``data.dat`` (0.4 and later), ``meta.json`` with three ``.npy`` parts (1.0
and later).

Both store numbers and clock fractions, no dates: the user gives the start, and the stored clock is checked against
it. Before 0.4 the data was a pickle; those folders are refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cmust.errors import IngestError
from cmust.ingest.formats.assemble import Imported, ImportSettings, Readings, assemble, task_names
from cmust.ingest.formats.steps import Times, counted_steps
from cmust.ingest.names import renamed

Floats = npt.NDArray[np.float32]
_CLOCK = ("time of day", "day of week", "day of month", "day of year")
_PARTS = ("train", "val", "test")  # in the order of time


@dataclass(frozen=True)
class _Folder:
    """Values ``(T, N, C)``, what each channel is, and the clock columns ``(T,)`` by name."""

    values: Floats
    labels: list[str]
    clock: dict[str, Floats]
    minutes: Any
    zero_is_null: bool


def import_basicts(
    source: Path, settings: ImportSettings, *, start: str, interval: int | None = None, tasks: Sequence[str] = ()
) -> Imported:
    """A city with a task per value channel; nodes are named by their column, ``0`` to ``N-1``.

    Args:
        source: the folder.
        settings: see :class:`ImportSettings`; the folder has no coordinates.
        start: ISO wall-clock time of the first step.
        interval: seconds; from the folder's ``frequency (minutes)`` when not given.
        tasks: a name per value channel; from the folder's own description when not given.

    Raises:
        IngestError: the folder is of the pickle era, incomplete, or contradicts itself or ``start``.
        CityError: the values are not a valid city.
    """
    folder = _open(source)
    seconds = _interval(source, folder.minutes, interval)
    time = counted_steps(start, seconds, len(folder.values))
    labels = list(tasks) or folder.labels
    if len(labels) != folder.values.shape[2]:
        raise IngestError(
            f"{source} has {folder.values.shape[2]} value channels but {len(labels)} task names: name each channel"
        )
    notes = ["adj_mx.pkl, the sensor graph, is a pickle and not read"] if (source / "adj_mx.pkl").exists() else []
    notes += _check_clock(source, folder.clock, time)
    if folder.zero_is_null and not settings.zero_is_missing:
        notes.append("the folder's null value is 0, but zeros are kept as data: ask for zero_is_missing to change that")
    names = task_names(labels, str(source))
    notes += renamed(labels)
    readings = Readings(
        source=f"BasicTS folder {source.name}",
        time=time,
        interval=seconds,
        nodes=tuple(str(at) for at in range(folder.values.shape[1])),
        values={name: folder.values[:, :, at].copy() for at, name in enumerate(names)},
        notes=tuple(notes),
    )
    return assemble(readings, settings)


def _open(source: Path) -> _Folder:
    if (source / "desc.json").exists():
        return _open_memmap(source, _description(source / "desc.json"))
    if (source / "meta.json").exists():
        return _open_parts(source, _description(source / "meta.json"))
    if source.is_dir() and any(source.glob("data_in_*.pkl")):
        raise IngestError(
            f"{source} holds data_in_*.pkl, the pickle files of BasicTS before 0.4, and a pickle can run code "
            "when it is opened: "
            "take the data set in today's form (desc.json or meta.json), or import the raw .h5 or .npz it was made from"
        )
    raise IngestError(
        f"{source} is not a BasicTS folder: it has neither desc.json (with data.dat) nor meta.json (with .npy files)"
    )


def _open_memmap(source: Path, description: dict[str, Any]) -> _Folder:
    """``data.dat``: float32 ``(T, N, values and clock)``, the clock repeated for every node."""
    shape = description.get("shape")
    labels = description.get("feature_description")
    if not (isinstance(shape, list) and len(shape) == 3 and all(isinstance(size, int) and size > 0 for size in shape)):
        raise IngestError(f"{source / 'desc.json'}: 'shape' is {shape}, it has to be [time, node, channel]")
    if not (isinstance(labels, list) and len(labels) == shape[2]):
        raise IngestError(
            f"{source / 'desc.json'}: 'feature_description' is {labels}, it has to name the {shape[2]} channels"
        )
    path = source / "data.dat"
    expected = int(np.prod(shape, dtype=np.int64)) * 4
    found = path.stat().st_size if path.exists() else None
    if found != expected:
        raise IngestError(f"{path} has {found} bytes, shape {shape} of float32 needs {expected}: the file is not whole")
    data = np.memmap(path, dtype="<f4", mode="r", shape=tuple(shape))
    own = [at for at, label in enumerate(labels) if label not in _CLOCK]
    clock = {label: np.array(data[:, 0, at]) for at, label in enumerate(labels) if label in _CLOCK}
    return _folder(description, np.asarray(data[:, :, own]), [str(labels[at]) for at in own], clock)


def _open_parts(source: Path, description: dict[str, Any]) -> _Folder:
    """``train_data.npy``, ``val_data.npy``, ``test_data.npy`` ``(T, N[, C])`` one after the other,
    ``*_timestamps.npy`` beside them."""
    values = _together(source, "data")
    if values.ndim == 2:
        values = values[:, :, None]
    shape = description.get("shape")
    if values.ndim != 3 or (isinstance(shape, list) and list(values.shape[: len(shape)]) != shape):
        raise IngestError(
            f"{source}: the parts have shape {values.shape} together, meta.json says {shape}: they do not "
            "belong together"
        )
    named = description.get("timestamps_description")
    clock = {}
    if isinstance(named, list) and (source / "train_timestamps.npy").exists():
        stamps = _together(source, "timestamps")
        if stamps.shape != (len(values), len(named)):
            raise IngestError(
                f"{source}: timestamps have shape {stamps.shape}, {(len(values), len(named))} expected from meta.json"
            )
        clock = {label: stamps[:, at] for at, label in enumerate(named) if label in _CLOCK}
    domain = str(description.get("domain") or "value")
    channels = values.shape[2]
    return _folder(
        description, values, [domain] if channels == 1 else [f"{domain} {at}" for at in range(channels)], clock
    )


def _folder(description: dict[str, Any], values: Floats, labels: list[str], clock: dict[str, Floats]) -> _Folder:
    regular = description.get("regular_settings")
    null = {key.lower(): value for key, value in regular.items()}.get("null_val") if isinstance(regular, dict) else None
    return _Folder(values, labels, clock, description.get("frequency (minutes)"), null == 0)


def _description(path: Path) -> dict[str, Any]:
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise IngestError(f"cannot read {path}: {error}") from error
    if not isinstance(description, dict):
        raise IngestError(f"{path} is not a JSON object")
    return description


def _together(source: Path, what: str) -> Floats:
    """The three parts of one array, one after the other."""
    arrays = [_array(source / f"{part}_{what}.npy") for part in _PARTS]
    if len({array.shape[1:] for array in arrays}) > 1:
        shapes = ", ".join(f"{part} {array.shape}" for part, array in zip(_PARTS, arrays, strict=True))
        raise IngestError(f"{source}: the {what} of the parts differ in more than their length ({shapes})")
    return np.concatenate(arrays)


def _array(path: Path) -> Floats:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise IngestError(
            f"cannot read {path}: {error}; a plain .npy array is needed (pickled arrays are refused)"
        ) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
        raise IngestError(f"{path} does not hold an array of numbers")
    return array.astype(np.float32, copy=False)


def _interval(source: Path, minutes: Any, given: int | None) -> int:
    stored = round(float(minutes) * 60) if isinstance(minutes, int | float) and minutes > 0 else None
    if given is None and stored is None:
        raise IngestError(f"{source} has no usable 'frequency (minutes)' ({minutes}): give the interval in seconds")
    if given is not None and stored is not None and given != stored:
        raise IngestError(f"the interval given is {given} seconds, {source} says {stored}: leave it out")
    return given if given is not None else int(stored or 0)


def _check_clock(source: Path, clock: dict[str, Floats], time: Times) -> list[str]:
    """Compare the stored clock with the times that follow from the start.

    Raises:
        IngestError: they contradict each other.
    """
    days = time.astype("datetime64[D]")
    fraction = (time - days).astype(np.int64) / 86_400
    weekday = (days.astype(np.int64) + 3) % 7
    if (found := clock.get("time of day")) is not None:
        _compare(source, "time of day", found, fraction, time)
    if (found := clock.get("day of week")) is not None:
        # Where the raw data has no dates, BasicTS counts weekdays from 0 at the first step: such a column says
        # nothing about dates.
        counted = (days - days[0]).astype(np.int64) % 7 / 7
        if np.allclose(found, counted, atol=1e-4) and weekday[0] != 0:
            return [f"the stored day of week counts from the first step and is not compared with the start {time[0]}"]
        _compare(source, "day of week", found, weekday / 7, time)
    return []


def _compare(source: Path, label: str, found: Floats, expected: npt.NDArray[np.float64], time: Times) -> None:
    wrong = ~(np.abs(found - expected) < 1e-4)
    if wrong.any():
        at = int(wrong.argmax())
        raise IngestError(
            f"{source}: step {at} has {label} {found[at]:.4f} of its cycle stored, but the start given makes it "
            f"{time[at]} "
            f"({expected[at]:.4f}): give the right start (or interval)"
        )
