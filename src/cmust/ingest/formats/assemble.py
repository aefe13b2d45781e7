"""From what a reader found to a checked city: regular steps, missing values, places, names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cmust.city import City, Task
from cmust.city.ownership import hand_over
from cmust.errors import IngestError
from cmust.ingest.clock import skipped
from cmust.ingest.formats.places import Places, read_places
from cmust.ingest.formats.steps import regular_steps
from cmust.ingest.names import slug

UNKNOWN = "unknown"


@dataclass(frozen=True)
class ImportSettings:
    """What no foreign format says, so that the user has to.

    Attributes:
        name: of the city.
        timezone: IANA name of the zone whose wall clock the times are; no format carries it.
        coordinates: a CSV file with columns node, lon, lat; or ``"unknown"``: every node is put at 0, 0, which says
            nothing about places rather than something wrong; or None where the format has its own.
        zero_is_missing: whether a zero stands for "no reading", as METR-LA and PEMS-BAY use it. Zero is data otherwise.
        kinds: kind by task name (count, speed, risk, concentration, other).
        units: unit by task name, for people.
    """

    name: str
    timezone: str
    coordinates: Path | str | None = None
    zero_is_missing: bool = False
    kinds: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Readings:
    """What a reader found in somebody else's files.

    Attributes:
        source: what was read, for the city's ``source``.
        time: ``datetime64[s]`` (T,), sorted and unique; steps may lack in between.
        interval: seconds; None when the times have to tell.
        nodes: names (N,).
        values: task name to float32 (T, N), NaN where missing.
        places: where the nodes are, when the files say so.
        notes: what was left out or assumed, a sentence each.
        kinds: kind by task, where the files say so.
        units: unit by task, where the files say so.
        synthetic: whether the files say that the data was simulated.
    """

    source: str
    time: npt.NDArray[np.datetime64]
    interval: int | None
    nodes: tuple[str, ...]
    values: dict[str, npt.NDArray[np.float32]]
    places: Places | None = None
    notes: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    synthetic: bool = False


@dataclass(frozen=True)
class Imported:
    """A city, and what was left out or assumed on the way, a sentence each."""

    city: City
    notes: tuple[str, ...]


def assemble(readings: Readings, settings: ImportSettings) -> Imported:
    """The city of what was read.

    Raises:
        IngestError: coordinates, times or settings do not fit.
        CityError: what was read is not a valid city.
    """
    _check_names("kind", settings.kinds, readings)
    _check_names("unit", settings.units, readings)
    places, place_notes = _places(readings, settings)
    steps = regular_steps(readings.time, readings.interval, readings.source)
    notes = [*readings.notes, *place_notes, *steps.notes]
    gone = skipped(steps.time, steps.interval, settings.timezone)
    if any(np.isfinite(steps.spread(found)[gone]).any() for found in readings.values.values()):
        notes.append(
            f"there are values at {steps.time[gone][0]}, a time that the clocks of {settings.timezone} skip: the times "
            "may be of another zone, or of one clock all year"
        )
    tasks = {}
    for name, found in readings.values.items():
        values = steps.spread(found)
        if settings.zero_is_missing:
            zero = values == 0
            values = np.where(zero, np.float32(np.nan), values)
            notes.append(f"{name}: {int(zero.sum())} zeros of {zero.size} values taken as missing")
        if np.isnan(values).all():
            raise IngestError(
                f"{readings.source}: '{name}' has no value at all; check the file and what counts as missing"
            )
        tasks[name] = Task(
            name=name,
            values=hand_over(values[:, :, None]),
            time=steps.time,
            nodes=readings.nodes,
            lon=places.lon,
            lat=places.lat,
            interval=steps.interval,
            unit=settings.units.get(name, readings.units.get(name, "")),
            kind=settings.kinds.get(name, readings.kinds.get(name, "other")),
            geometry=places.geometry,
        )
    city = City(
        settings.name,
        tasks,
        timezone=settings.timezone,
        synthetic=readings.synthetic,
        source=readings.source,
        description=" ".join(f"{note}." for note in place_notes),
    )
    return Imported(city, tuple(notes))


def task_names(labels: list[str], source: str) -> list[str]:
    """Task names of ``labels``, in order.

    Raises:
        IngestError: one is blank, or two become the same.
    """
    if not all(label.strip() for label in labels):
        raise IngestError(f"{source}: one of the tasks {labels} has no name: give it one")
    names = [slug(label) for label in labels]
    for at, name in enumerate(names):
        if name in names[:at]:
            raise IngestError(
                f"{source}: '{labels[names.index(name)]}' and '{labels[at]}' both become task '{name}': rename one"
            )
    return names


def _check_names(what: str, given: Mapping[str, str], readings: Readings) -> None:
    for name in given:
        if name not in readings.values:
            raise IngestError(
                f"{what} given for '{name}', but the tasks of {readings.source} are {', '.join(readings.values)}"
            )


def _places(readings: Readings, settings: ImportSettings) -> tuple[Places, list[str]]:
    """Where the nodes are: from the file the user gave, else from the format, else nowhere when asked for."""
    if settings.coordinates == UNKNOWN:
        if readings.places is not None:
            raise IngestError(
                f"{readings.source} has coordinates of its own: leave 'unknown' out, or give a CSV file to replace them"
            )
        nowhere = np.zeros(len(readings.nodes))
        return Places(nowhere, nowhere), [
            "Coordinates are unknown: every node stands at 0, 0 and no model can learn from places"
        ]
    if settings.coordinates is not None:
        return read_places(Path(settings.coordinates), readings.nodes), []
    if readings.places is None:
        raise IngestError(
            f"{readings.source} has no coordinates: give a CSV file with columns node, lon, lat, "
            f"or '{UNKNOWN}' to put every node at 0, 0"
        )
    return readings.places, []
