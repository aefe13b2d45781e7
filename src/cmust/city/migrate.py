"""Older layouts of a city file, brought to the present one a version at a time.

A change of the layout raises :data:`SCHEMA_VERSION` and adds one function to :data:`_STEPS`, from the version before.
Opening a file never rewrites it.

Version 1 (the first draft of the layout): a task's values were ``(time, node)`` without a channel axis, its step was
``interval_minutes``, node coordinates were one array ``coordinates (node, 2)`` of longitude and latitude, and there
were neither covariates nor a fingerprint.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

SCHEMA_VERSION = 2


@dataclass(frozen=True)
class Document:
    """A city file as read, before it is interpreted: root attributes and one undecoded dataset per group."""

    attributes: dict[str, Any]
    tasks: dict[str, xr.Dataset]
    covariates: dict[str, xr.Dataset]


def migrate(document: Document) -> Document:
    """``document`` in the present layout, whatever known version it has."""
    while (version := document.attributes["schema_version"]) < SCHEMA_VERSION:
        document = _STEPS[version](document)
    return document


def _from_1(document: Document) -> Document:
    return Document(
        attributes={**document.attributes, "schema_version": 2, "covariates": []},
        tasks={name: _task_from_1(dataset) for name, dataset in document.tasks.items()},
        covariates={},
    )


def _task_from_1(dataset: xr.Dataset) -> xr.Dataset:
    attributes = dict(dataset.attrs)
    attributes["interval"] = round(attributes.pop("interval_minutes") * 60)
    coordinates = dataset["coordinates"].values
    return xr.Dataset(
        {"values": (("time", "node", "channel"), dataset["values"].values[:, :, None])},
        coords={
            "time": dataset["time"].variable,
            "node": dataset["node"].values,
            "channel": np.array(["value"], dtype=object),
            "lon": ("node", coordinates[:, 0]),
            "lat": ("node", coordinates[:, 1]),
        },
        attrs=attributes,
    )


_STEPS: dict[int, Callable[[Document], Document]] = {1: _from_1}
