"""Which data it is: what a model remembers of the data it was made from."""

from typing import Any

from cmust.city import City, Task


def describe_city(city: City) -> dict[str, Any]:
    """Name, fingerprint, time zone, and whether synthetic."""
    return {
        "name": city.name,
        "fingerprint": city.fingerprint(),
        "timezone": city.timezone,
        "synthetic": city.synthetic,
    }


def data_fingerprint(task: Task) -> str:
    """SHA-256 (hexadecimal) of the nodes, coordinates, times and values of one task, whatever city it lies in."""
    return City("task", {task.name: task}).fingerprint()
