"""Modules in the place of those that published code imports and that are not needed, or not there any more."""

import sys
from types import ModuleType


def stand_in(name: str, **content: object) -> None:
    """``name`` can be imported from now on and holds ``content``; so do the packages that it is in."""
    parts = name.split(".")
    for i in range(1, len(parts) + 1):
        sys.modules.setdefault(".".join(parts[:i]), ModuleType(parts[i - 1]))
    vars(sys.modules[name]).update(content)
