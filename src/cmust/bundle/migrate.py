"""Older layouts of ``model.json``, brought to the present one a schema at a time; loading never rewrites a file.

Schema 1: no ``format``, no ``training``, no ``record``; tasks did not say what data they have seen; and no ``digest``:
a change of ``model.json`` itself went unnoticed.
"""

from collections.abc import Callable
from typing import Any

from cmust.bundle.schema import FORMAT, SCHEMA

Document = dict[str, Any]


def migrate(document: Document) -> Document:
    """``document`` in the present layout, whatever known schema it has."""
    while document["schema"] < SCHEMA:
        document = _STEPS[document["schema"]](document)
    return document


def _from_1(document: Document) -> Document:
    return {**document, "schema": 2, "format": FORMAT, "record": {}}


_STEPS: dict[int, Callable[[Document], Document]] = {1: _from_1}
