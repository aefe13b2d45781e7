"""Who can change an array: a city's own are read-only, and copied only where somebody else could still write to them.

Cities can be gigabytes, so nothing is copied that need not be: not what was converted anyway, not what no one can write
to (the arrays of another task), and not what its maker hands over.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

Array = TypeVar("Array", bound=npt.NDArray[Any])


def own(array: Array, given: Any) -> Array:
    """``array`` as a read-only one that nobody else can change.

    Args:
        array: what became of ``given``.
        given: what a user gave; a list, or an array of another type, shares no memory with ``array``.
    """
    if not isinstance(given, list | tuple) and np.may_share_memory(array, np.asarray(given)) and _can_change(array):
        array = array.copy()
    array.flags.writeable = False
    return array


def hand_over(array: Array) -> Array:
    """``array``, which nobody writes to from here on: a task that is made of it need not copy it."""
    for each in _owners(array):
        each.flags.writeable = False
    return array


def _can_change(array: npt.NDArray[Any]) -> bool:
    """Whether it, or the array it is a view of, can be written to: a read-only view alone protects nothing."""
    return any(each.flags.writeable for each in _owners(array))


def _owners(array: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    each: Any = array
    while isinstance(each, np.ndarray):
        yield each
        each = each.base
