"""Whether data is that of a run: the same clock, the same places, the same steps, the same quantities.

A network knows a place by where it is and an hour by its clock; names alone do not make the same data.
"""

from typing import Any

import numpy as np

from cmust.city import City, Task, check_is_city
from cmust.errors import CityError

SAME_PLACE = 1e-4
"""Degrees, some 10 m: rounded coordinates are the same place still."""


def check_zone(city: City, timezone: str) -> None:
    """Refuse a city whose clock is not that of the training city: every hour would be taken for another.

    Raises:
        CityError: it is not, or no city at all.
    """
    check_is_city(city)
    if city.timezone != timezone:
        raise CityError(
            f"city {city.name!r} keeps the time of {city.timezone}, the run was trained on that of {timezone}; give "
            f"the data in the local time of {timezone}, and say so"
        )


def check_same_data(task: Task, about: dict[str, Any]) -> None:
    """Refuse data of other places, steps or quantities than those of training.

    Args:
        task: the data.
        about: what ``model.json`` says of the task.

    Raises:
        CityError: its nodes, their coordinates, interval, time of the steps, channels or unit are not those the model
            was trained on.
    """
    for label, found, expected in (
        ("nodes", list(task.nodes), about["nodes"]),
        ("interval", task.interval, about["interval"]),
        ("channels", list(task.channels), about["channels"]),
        ("unit", task.unit, about["unit"]),
    ):
        if found != expected:
            raise CityError(
                f"task {task.name!r} has {label} {_short(found)}, the run was trained on {_short(expected)}; "
                "give the data of the same places in the same form"
            )
    _check_places(task, about)
    _check_steps(task, about)


def _check_places(task: Task, about: dict[str, Any]) -> None:
    found, known = np.stack([task.lon, task.lat], axis=1), np.stack([about["lon"], about["lat"]], axis=1)
    apart = np.abs((found - known + 180) % 360 - 180).max(axis=1)  # of longitudes, -180 and 180 are one
    if (apart > SAME_PLACE).any():
        at = int((apart > SAME_PLACE).argmax())
        here, there = (f"{lon:.5f}, {lat:.5f}" for lon, lat in (found[at], known[at]))
        raise CityError(
            f"task {task.name!r} has node {task.nodes[at]!r} at {here} (lon, lat), the run was trained on it at "
            f"{there}; give the data of the same places, each under its own name"
        )


def _check_steps(task: Task, about: dict[str, Any]) -> None:
    """Steps that begin half an interval later are other quantities: an hour from :30 is no hour from :00."""
    known = np.datetime64(about["trained_until"], "s")
    late = int((task.time[0] - known).astype(np.int64)) % task.interval
    if late:
        raise CityError(
            f"task {task.name!r} has a step at {task.time[0]}, {late} s after those the run was trained on (one every "
            f"{task.interval} s, such as {known}); aggregate to these steps"
        )


def _short(value: Any) -> str:
    if isinstance(value, list) and len(value) > 3:
        return f"{value[0]!r}, {value[1]!r}, ... ({len(value)})"
    return str(value)
