"""The authors' window format: a folder per task with ``train.npz``, ``val.npz``, ``test.npz``.

``x`` is float32 (S, 12, N, 11), ``y`` float32 (S, 12, N, 1). The channels of ``x``: value; time of day as a fraction;
day of week, 0 is Monday; longitude and latitude in degrees; six timestamp numbers (:class:`Timestamps`). Windows move
by one step and are split 7:1:2 in order, so that neighbouring parts share target steps at the border, as in the
published evaluation. The arrays are streamed into the npz: memory does not grow with the number of windows.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from cmust.city import City, Task
from cmust.errors import IngestError
from cmust.files import atomic_folder
from cmust.ingest.formats.missing import Missing, check_missing, fill

Floats = npt.NDArray[np.float32]
_PARTS = ("train", "val", "test")
_CHANNELS = 11
_CHUNK_BYTES = 32 * 1024 * 1024
_DAY = 86_400
_YEAR = 365.25 * _DAY


class Timestamps(StrEnum):
    """The six timestamp numbers of a step; the authors' text and code do not say how theirs are scaled.

    Attributes:
        SCALED: month/12, day/31, hour/24, minute/60, second/60, years since the city's first step: fit for a linear
            layer, but the year is lost and ``City.from_published`` has to be given the start.
        PLAIN: year, month, day, hour, minute, second: the start is kept, but a linear layer sees numbers around 2000.
    """

    SCALED = "scaled"
    PLAIN = "plain"


@dataclass(frozen=True)
class _Layout:
    """How windows are written: lengths in steps, the rule for missing values, timestamp numbers and their reference."""

    input_steps: int
    horizon: int
    missing: Missing
    timestamps: Timestamps
    reference: np.datetime64


def export_published(
    city: City,
    target: Path,
    *,
    missing: Missing = Missing.REFUSE,
    timestamps: Timestamps = Timestamps.SCALED,
    input_steps: int = 12,
    horizon: int = 12,
    progress: Callable[[str], None] | None = None,
) -> tuple[str, ...]:
    """Write every task of ``city`` below ``target``; each channel of a task with several to a folder ``TASK_CHANNEL``.

    Args:
        city: what is written.
        target: a folder that does not exist yet (or is empty); it appears when all is written.
        missing: what becomes of missing values.
        timestamps: the last six channels of ``x``.
        input_steps: length of ``x``.
        horizon: length of ``y``.
        progress: called with a sentence before each file.

    Returns:
        What a reader of the folder should know, a sentence each.

    Raises:
        IngestError: the target exists, a task is too short, or values are missing and the rule is to refuse.
    """
    if input_steps < 1 or horizon < 1:
        raise IngestError(f"windows of {input_steps} + {horizon} steps: both have to be at least 1")
    notes = list(check_missing(city, missing))
    for task in city.tasks.values():
        _parts(task, input_steps, horizon)
    if city.synthetic:
        notes.append("the data is synthetic, and the files cannot say so: say it wherever they go")
    names = _folder_names(city)
    nodes = {task.n_nodes for task in city.tasks.values()}
    if len(nodes) > 1:
        notes.append(
            "tasks differ in their number of nodes, the authors' program takes one number for all: give it one "
            "task at a time"
        )
    reference = min(task.time[0] for task in city.tasks.values())
    layout = _Layout(input_steps, horizon, missing, timestamps, reference)
    if timestamps is Timestamps.SCALED:
        starts = ", ".join(f"{name} {task.time[0]}" for name, task in city.tasks.items())
        notes.append(f"the files do not hold the year; to read them back, give the start ({starts})")
    with atomic_folder(target) as folder:
        for (task_name, channel), name in names.items():
            task = city.tasks[task_name]
            (folder / name).mkdir()
            for part, windows in zip(_PARTS, _parts(task, input_steps, horizon), strict=True):
                if progress:
                    progress(f"{name}: {part}, {len(windows)} windows")
                _write_part(folder / name / f"{part}.npz", task, channel, windows, layout)
    return tuple(notes)


def _folder_names(city: City) -> dict[tuple[str, int], str]:
    names: dict[tuple[str, int], str] = {}
    for name, task in city.tasks.items():
        for at, channel in enumerate(task.channels):
            folder = name if task.n_channels == 1 else f"{name}_{channel}"
            if folder in names.values():
                raise IngestError(
                    f"city '{city.name}': two tasks or channels would be written to '{folder}': rename one"
                )
            names[name, at] = folder
    return names


def _parts(task: Task, input_steps: int, horizon: int) -> tuple[range, range, range]:
    """Window starts of the three parts, 7:1:2 of the list of windows."""
    count = task.n_steps - input_steps - horizon + 1
    first, second = round(0.7 * max(count, 0)), round(0.7 * max(count, 0)) + round(0.1 * max(count, 0))
    parts = range(first), range(first, second), range(second, max(count, 0))
    if any(len(part) == 0 for part in parts):
        raise IngestError(
            f"task '{task.name}' has {task.n_steps} steps, too few for windows of {input_steps} + {horizon} "
            "steps in three parts"
        )
    return parts


def _write_part(path: Path, task: Task, channel: int, windows: range, layout: _Layout) -> None:
    """One npz, its arrays streamed some windows at a time."""
    values = task.values[:, :, channel]
    length = layout.input_steps + layout.horizon
    chunk = max(1, _CHUNK_BYTES // (4 * task.n_nodes * _CHANNELS * length))

    def inputs() -> Iterator[Floats]:
        for start in range(windows.start, windows.stop, chunk):
            steps = slice(start, min(start + chunk, windows.stop) + layout.input_steps - 1)
            yield _slide(_features(task, fill(values[steps], layout.missing), steps, layout), layout.input_steps)

    def targets() -> Iterator[Floats]:
        for start in range(windows.start, windows.stop, chunk):
            steps = slice(start + layout.input_steps, min(start + chunk, windows.stop) + length - 1)
            yield _slide(fill(values[steps], layout.missing)[:, :, None], layout.horizon)

    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        arrays = ("x", layout.input_steps, _CHANNELS, inputs), ("y", layout.horizon, 1, targets)
        for name, steps, channels, chunks in arrays:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                _stream(file, (len(windows), steps, task.n_nodes, channels), chunks())


def _stream(file: IO[bytes], shape: tuple[int, ...], chunks: Iterator[Floats]) -> None:
    """A ``.npy`` of known shape, written chunk by chunk along its first axis."""
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
    for chunk in chunks:
        file.write(np.ascontiguousarray(chunk, dtype="<f4").tobytes())


def _slide(steps: Floats, length: int) -> Floats:
    """Steps ``(T, N, C)`` to all their windows ``(T - length + 1, length, N, C)``, a view."""
    return np.moveaxis(np.lib.stride_tricks.sliding_window_view(steps, length, axis=0), -1, 1)


def _features(task: Task, values: Floats, steps: slice, layout: _Layout) -> Floats:
    """The eleven channels of some steps, ``(T, N, 11)``."""
    features = np.empty((*values.shape, _CHANNELS), dtype=np.float32)
    features[:, :, 0] = values
    features[:, :, 1:3] = _clock(task.time[steps], task.steps_per_day)[:, None, :]
    features[:, :, 3] = task.lon
    features[:, :, 4] = task.lat
    features[:, :, 5:] = _timestamp(task.time[steps], layout)[:, None, :]
    return features


def _clock(time: npt.NDArray[np.datetime64], slots: int) -> Floats:
    """Time of day as a fraction and day of week, ``(T, 2)``.

    The authors' program recovers the slot by ``int(fraction * slots)`` in float32, so the fraction is never below its
    slot's.
    """
    seconds = time.astype("datetime64[s]").astype(np.int64) % _DAY
    fraction = (seconds / _DAY).astype(np.float32)
    short = (fraction * np.float32(slots)).astype(np.int64) < seconds * slots // _DAY
    fraction[short] = np.nextafter(fraction[short], np.float32(1))
    weekday = (time.astype("datetime64[D]").astype(np.int64) + 3) % 7  # 1970-01-01 was a Thursday
    return np.stack([fraction, weekday.astype(np.float32)], axis=1)


def _timestamp(time: npt.NDArray[np.datetime64], layout: _Layout) -> Floats:
    """The six timestamp numbers, ``(T, 6)``."""
    seconds = time.astype("datetime64[s]").astype(np.int64) % _DAY
    months = time.astype("datetime64[M]")
    month = months.astype(np.int64) % 12 + 1
    day = (time.astype("datetime64[D]") - months.astype("datetime64[D]")).astype(np.int64) + 1
    hour, minute, second = seconds // 3600, seconds // 60 % 60, seconds % 60
    if layout.timestamps is Timestamps.PLAIN:
        year = time.astype("datetime64[Y]").astype(np.int64) + 1970
        return np.stack([year, month, day, hour, minute, second], axis=1).astype(np.float32)
    years = (time - layout.reference).astype("timedelta64[s]").astype(np.int64) / _YEAR
    return np.stack([month / 12, day / 31, hour / 24, minute / 60, second / 60, years], axis=1).astype(np.float32)
