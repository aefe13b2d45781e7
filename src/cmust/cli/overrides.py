"""Settings from a file and from flags, the flags winning."""

import tomllib
from collections.abc import Iterable
from typing import Any

from cmust.errors import ConfigError


def parse_overrides(given: Iterable[str]) -> dict[str, Any]:
    """Nested values from ``SECTION.KEY=VALUE`` texts.

    A value is read as TOML (``0.1``, ``true``, ``[3, 5]``, ``{a = 1}``), ``none`` or ``null`` as nothing,
    all else as text.

    Raises:
        ConfigError: a text has another form, or a key is given twice.
    """
    values: dict[str, Any] = {}
    for text in given:
        path, separator, value = text.partition("=")
        keys = [key.strip() for key in path.split(".")]
        if not separator or not all(keys):
            raise ConfigError(f"--set {text!r} is not of the form KEY=VALUE, such as --set model.dropout=0")
        table = values
        for key in keys[:-1]:
            table = table.setdefault(key, {})
            if not isinstance(table, dict):
                raise ConfigError(f"--set {path.strip()} is given after {key} itself; keep one of them")
        if keys[-1] in table:
            raise ConfigError(f"--set {path.strip()} is given twice; keep one of them")
        table[keys[-1]] = _scalar(value.strip())
    return values


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """``below`` with the values of ``above`` in their places, tables merged key by key."""
    result = dict(below)
    for key, value in above.items():
        under = result.get(key)
        result[key] = merged(under, value) if isinstance(under, dict) and isinstance(value, dict) else value
    return result


def _scalar(text: str) -> Any:
    if text.lower() in {"none", "null"}:
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
