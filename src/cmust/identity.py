"""Which data and which settings it is: what a run remembers of what it was begun with."""

from typing import Any

from pydantic import BaseModel

from cmust.city import City, Task


def describe_city(city: City) -> dict[str, Any]:
    """Name, fingerprint, time zone, and whether synthetic."""
    return {
        "name": city.name,
        "fingerprint": city.fingerprint(),
        "timezone": city.timezone,
        "synthetic": city.synthetic,
    }


def field_defaults(settings: type[BaseModel]) -> dict[str, Any]:
    """The defaults of its fields: what a run was begun with that was begun before a setting existed."""
    return {name: field.get_default(call_default_factory=True) for name, field in settings.model_fields.items()}


def data_fingerprint(task: Task) -> str:
    """SHA-256 (hexadecimal) of the nodes, coordinates, times and values of one task, whatever city it lies in."""
    return City("task", {task.name: task}).fingerprint()
