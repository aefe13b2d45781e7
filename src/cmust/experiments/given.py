"""Tables in the settings of an experiment, as a file gives them."""

from collections.abc import Mapping
from typing import Any

from cmust.errors import ConfigError


def table_of(settings: Mapping[str, Any], *keys: str) -> dict[str, Any]:
    """The table below ``keys``, one within the other; empty where there is none.

    Raises:
        ConfigError: something else stands in its place.
    """
    found: Any = settings
    for depth, key in enumerate(keys, start=1):
        found = found.get(key, {})
        if not isinstance(found, dict):
            name = ".".join(keys[:depth])
            raise ConfigError(f"{name} is {found!r:.80}, where a table is wanted: write its settings below [{name}]")
    return dict(found)
