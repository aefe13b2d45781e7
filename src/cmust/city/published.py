"""A city from the window files of the method's authors: a folder per task with train.npz, val.npz and test.npz.

Each file holds ``x (S, T, N, 11)`` and ``y (S, T', N, >=1)``. Windows advance by one step and the files follow one
another, so window ``s`` (counted through all three) covers the steps ``s .. s+T-1`` of one series in ``x`` and ``s+T
.. s+T+T'-1`` in ``y``, and the series has ``S + T + T' - 1`` steps. The last axis of ``x``:

====  =====================================================
0     value, original units (``y``'s channel 0 too)
1     time of day as a fraction of the day
2     day of week
3, 4  longitude, latitude
5-10  six timestamp numbers
====  =====================================================

The time of the first step is decoded from the timestamp numbers in one layout: **year, month, day, hour, minute,
second** as plain numbers. Scaled timestamps (for example years since the first, month/12, day/31, ...) do not hold
the year: give ``start``. Longitudes and latitudes are taken as they stand; where the files hold scaled ones, the map
will show the places in scaled form.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import numpy.typing as npt

from cmust.city.checks import DAY
from cmust.city.city import City
from cmust.city.clock import WEEKDAYS, local_time
from cmust.city.labels import PublishedLabels, check_keywords, check_task_names, city_labels, kind_of, unit_of
from cmust.city.ownership import hand_over
from cmust.city.task import Task, to_floats
from cmust.errors import CityError

PARTS = ("train", "val", "test")
CHANNELS = 11
VALUE, TIME_OF_DAY, DAY_OF_WEEK, LON, LAT = range(5)
STAMP = slice(5, 11)
_CLOCK_TOLERANCE = 2.0  # seconds; float32 fractions of a day are good to about 0.005

Numbers = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True)
class _Part:
    """One file: ``x (S, T, N, 11)``, ``y (S, T', N, 1)`` and how many windows lie in the files before it."""

    path: Path
    x: Numbers
    y: Numbers
    before: int


def from_published(folder: Path | str, **labels: Unpack[PublishedLabels]) -> City:
    """A city of continuous series, rebuilt exactly from overlapping windows.

    Args:
        folder: holds a folder per task.
        **labels: ``start`` (local time of the first step; needed unless the timestamps hold it, see the module),
            ``tasks`` (folder names in the wanted order, or task name to folder name; all folders by name when not
            given), ``name`` (of the city; the folder's), ``nodes`` (names; "0", "1", ...), ``monday`` (the number of
            Monday in channel 2; 0) and those of :class:`cmust.city.labels.About`. A task named after its folder is
            written in lower case with ``_`` for other characters.

    Raises:
        CityError: a file is missing, damaged or of another shape; overlapping windows do not agree (the message names
            task, file and window); the clock channels are not regular or contradict ``start``.
    """
    check_keywords("from_published", labels, PublishedLabels)
    folder = Path(folder)
    if not folder.is_dir():
        raise CityError(f"there is no folder {folder}: give the one that holds a folder per task")
    folders = _task_folders(folder, labels)
    check_task_names(labels, folders)
    tasks = {name: _read_task(name, place, labels) for name, place in folders.items()}
    return City(labels.get("name", folder.resolve().name), tasks, **city_labels(labels))


def _task_folders(folder: Path, labels: PublishedLabels) -> dict[str, Path]:
    wanted = labels.get("tasks")
    if isinstance(wanted, Mapping):
        return {name: folder / place for name, place in wanted.items()}
    if wanted is None:
        wanted = sorted(place.name for place in folder.iterdir() if (place / "train.npz").exists())
        if not wanted:
            raise CityError(f"no folder in {folder} holds a train.npz: give the folder that holds a folder per task")
    folders: dict[str, Path] = {}
    for place in wanted:
        name = re.sub(r"[^a-z0-9]+", "_", place.lower()).strip("_")
        if name in folders:
            raise CityError(
                f"the folders '{folders[name].name}' and '{place}' give one task name: give tasks={{NAME: FOLDER}}"
            )
        folders[name] = folder / place
    return folders


def _read_task(name: str, folder: Path, labels: PublishedLabels) -> Task:
    what = f"task '{name}'"
    parts = _read_parts(what, folder)
    series = _rebuild(parts)
    _check_overlaps(what, parts, series)
    # The clock and the places are known for the steps that some x covers; targets only continue them.
    known = series.known
    lon, lat = known[0, :, LON], known[0, :, LAT]
    for channel, label in ((LON, "longitude"), (LAT, "latitude")):
        moving = (known[:, :, channel] != known[0, :, channel]).any(axis=1)
        if moving.any():
            raise CityError(f"{what}: a {label} changes at step {int(moving.argmax())}: nodes have to stay in place")
    interval = _interval(what, known)
    start = _start(what, known, labels)
    _check_clock(what, known, interval, start, labels.get("monday", 0))
    nodes = labels.get("nodes") or [str(at) for at in range(known.shape[1])]
    return Task(
        name=name,
        values=hand_over(to_floats(what, series.values))[:, :, None],
        time=start + np.arange(len(series.values)) * np.timedelta64(interval, "s"),
        nodes=tuple(nodes),
        lon=lon.astype(np.float64),
        lat=lat.astype(np.float64),
        interval=interval,
        unit=unit_of(labels, name),
        kind=kind_of(labels, name),
        description=f"rebuilt from {sum(len(part.x) for part in parts)} published windows",
    )


def _read_parts(what: str, folder: Path) -> list[_Part]:
    parts: list[_Part] = []
    before = 0
    for part_name in PARTS:
        path = folder / f"{part_name}.npz"
        x, y = _read_arrays(what, path)
        if x.ndim != 4 or x.shape[-1] != CHANNELS:
            raise CityError(
                f"{what}: x in {path} has shape {x.shape}, it has to be (windows, steps, nodes, {CHANNELS})"
            )
        if y.ndim != 4 or y.shape[0] != x.shape[0] or y.shape[2] != x.shape[2] or y.shape[3] < 1:
            raise CityError(f"{what}: y in {path} has shape {y.shape}, with x {x.shape} it has to be (S, T', N, >=1)")
        if 0 in x.shape or 0 in y.shape:
            raise CityError(f"{what}: {path} holds no windows: x {x.shape}, y {y.shape}")
        if parts and (x.shape[1:3] != parts[0].x.shape[1:3] or y.shape[1] != parts[0].y.shape[1]):
            raise CityError(
                f"{what}: {path} has windows of other sizes than {parts[0].path.name}: the files do not belong together"
            )
        parts.append(_Part(path, x, y[..., :1], before))
        before += len(x)
    return parts


def _read_arrays(what: str, path: Path) -> tuple[Numbers, Numbers]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            absent = [key for key in ("x", "y") if key not in archive.files]
            if absent:
                raise CityError(
                    f"{what}: {path} has no array '{absent[0]}'; it has {', '.join(archive.files) or 'none'}"
                )
            x, y = archive["x"], archive["y"]
    except FileNotFoundError as error:
        raise CityError(f"{what}: there is no file {path}: a task needs train.npz, val.npz and test.npz") from error
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise CityError(f"{what}: {path} is not a numpy archive of plain numbers, or is damaged ({error})") from error
    for key, array in (("x", x), ("y", y)):
        if array.dtype.kind not in "fiu":
            raise CityError(f"{what}: {key} in {path} is of type {array.dtype}, it has to be numbers")
    return x, y


@dataclass(frozen=True)
class _Series:
    """``known (steps covered by some x, N, 11)`` and ``values (all steps, N)``."""

    known: Numbers
    values: Numbers


def _rebuild(parts: list[_Part]) -> _Series:
    """The series that the first step of every window, and the rest of the last window, spell out."""
    known = np.concatenate([part.x[:, 0] for part in parts] + [parts[-1].x[-1, 1:]])
    return _Series(known, np.concatenate([known[..., VALUE], parts[-1].y[-1, :, :, 0]]))


def _check_overlaps(what: str, parts: list[_Part], series: _Series) -> None:
    """Raise unless every number of every window equals the series: bit for bit, missing equal to missing."""
    for part in parts:
        length = part.x.shape[1]
        for step in range(length):
            expected = series.known[part.before + step : part.before + step + len(part.x)]
            _check_equal(what, part, "x", step, part.x[:, step], expected)
        for step in range(part.y.shape[1]):
            first = part.before + length + step
            _check_equal(what, part, "y", step, part.y[:, step, :, 0], series.values[first : first + len(part.y)])


def _check_equal(what: str, part: _Part, array: str, step: int, found: Numbers, expected: Numbers) -> None:
    differs = (found != expected) & ~(np.isnan(found) & np.isnan(expected))
    if not differs.any():
        return
    place = [int(at) for at in np.unravel_index(int(differs.argmax()), differs.shape)]
    raise CityError(
        f"{what}: {part.path}, window {place[0]}, {array} step {step}, node {place[1]}: "
        f"{found[tuple(place)]} where a neighbouring window has {expected[tuple(place)]}; "
        "windows have to advance by one step, train, val and test one after the other"
    )


def _interval(what: str, known: Numbers) -> int:
    """Seconds between steps, from the time of day of the first two."""
    clock = known[:, 0, TIME_OF_DAY].astype(np.float64)
    wrong = ~((clock >= 0) & (clock < 1))
    if wrong.any():
        at = int(wrong.argmax())
        raise CityError(
            f"{what}: the time of day (channel 1) of step {at} is {clock[at]}, it has to be a fraction below 1"
        )
    if len(clock) < 2:
        raise CityError(f"{what}: there is one step only, too few to see the interval")
    seconds = (clock[1] - clock[0]) % 1.0 * DAY
    interval = round(float(seconds))
    if interval == 0 and known[0, 0, DAY_OF_WEEK] != known[1, 0, DAY_OF_WEEK]:
        interval = DAY
    if interval == 0 or abs(seconds % DAY - interval % DAY) > _CLOCK_TOLERANCE or DAY % interval:
        raise CityError(f"{what}: the first two steps are {seconds:.1f} seconds apart, that does not divide a day")
    return interval


def _start(what: str, known: Numbers, labels: PublishedLabels) -> np.datetime64:
    if "start" in labels:
        return local_time(labels["start"])
    numbers = known[0, 0, STAMP]
    if not (np.isfinite(numbers).all() and (numbers == np.round(numbers)).all() and 1900 <= numbers[0] <= 2200):
        raise CityError(
            f"{what}: the timestamp numbers {numbers.tolist()} of the first step are not "
            "year, month, day, hour, minute, second: give start='YYYY-MM-DD HH:MM', the local time of the first step"
        )
    try:
        year, month, day, hour, minute, second = (int(number) for number in numbers)
        return np.datetime64(datetime(year, month, day, hour, minute, second).isoformat(), "s")
    except ValueError as error:
        raise CityError(
            f"{what}: the timestamp numbers {numbers.tolist()} of the first step are not a time: {error}"
        ) from error


def _check_clock(what: str, known: Numbers, interval: int, start: np.datetime64, monday: int) -> None:
    """Raise unless time of day and day of week are those of regular steps from ``start``."""
    seconds = start.astype(np.int64) + np.arange(len(known), dtype=np.int64) * interval
    expected_clock = seconds % DAY
    expected_day = (seconds // DAY + 3 + monday) % 7  # 1970-01-01 was a Thursday
    for label, channel, scale, expected, tolerance in (
        ("time of day", TIME_OF_DAY, DAY, expected_clock, _CLOCK_TOLERANCE),
        ("day of week", DAY_OF_WEEK, 1, expected_day, 0.0),
    ):
        found = known[:, :, channel].astype(np.float64) * scale
        wrong = (~(np.abs(found - expected[:, None]) <= tolerance)).any(axis=1)
        if wrong.any():
            at = int(wrong.argmax())
            moment = seconds[at].astype("datetime64[s]")
            raise CityError(
                f"{what}: the {label} (channel {channel}) of step {at} is {known[at, 0, channel]}, but with steps of "
                f"{interval} seconds from {start} it is {moment}, a {WEEKDAYS[(int(expected_day[at]) - monday) % 7]}: "
                "steps have to be regular; else give the right start, or monday= (the number of Monday)"
            )
