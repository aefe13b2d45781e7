from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from cmust.city import City, Covariate, Task

Maker = Callable[..., Task]


def make_task(**changes: Any) -> Task:
    """A valid task of 6 half hours and 3 nodes with a missing value; any field can be replaced."""
    values = np.arange(18, dtype=np.float32).reshape(6, 3, 1)
    values[2, 1] = np.nan
    fields: dict[str, Any] = {
        "name": "trips",
        "values": values,
        "time": np.datetime64("2020-02-28T22:30", "s") + np.arange(6) * np.timedelta64(1800, "s"),
        "nodes": ("a", "b", "ü"),
        "lon": np.array([10.0, 10.1, 10.2]),
        "lat": np.array([50.0, 50.1, 50.2]),
        "interval": 1800,
        "unit": "trips / 30 min",
        "kind": "count",
    }
    return Task(**{**fields, **changes})


@pytest.fixture
def task() -> Maker:
    return make_task


@pytest.fixture
def city() -> City:
    """Two tasks that differ in time, interval, nodes and channels; geometry; covariates of both shapes."""
    trips = make_task(
        geometry=({"type": "Point", "coordinates": [10.0, 50.0]}, None, {"type": "Point", "coordinates": [10.2, 50.2]}),
        description="first",
    )
    hours = np.datetime64("2020-01-01T00:00", "s") + np.arange(4) * np.timedelta64(3600, "s")
    speed = Task(
        name="speed",
        values=np.array([[[1, 2]], [[0, -0.0]], [[np.nan, 3]], [[4, 5]]], dtype=np.float32),
        time=hours,
        nodes=("loop 7",),
        lon=np.array([11.0]),
        lat=np.array([51.0]),
        interval=3600,
        unit="km/h",
        kind="speed",
        channels=("cars", "lorries"),
    )
    rain = Covariate("rain", np.array([0, 1.5, np.nan, 0], np.float32), hours, 3600, False, "mm")
    event = Covariate("event", np.ones((4, 2), np.float32), hours, 3600, True, "", ("x", "y"))
    return City(
        name="small",
        tasks={"trips": trips, "speed": speed},
        timezone="Europe/Berlin",
        synthetic=True,
        source="made up",
        description="for tests",
        covariates={"rain": rain, "event": event},
    )
