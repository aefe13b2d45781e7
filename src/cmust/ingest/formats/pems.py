"""The ``(T, N, C)`` npz of PEMS03, PEMS04, PEMS07 and PEMS08: values only, no times, no names, no places."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cmust.errors import IngestError
from cmust.ingest.formats.assemble import Imported, ImportSettings, Readings, assemble, task_names
from cmust.ingest.formats.steps import counted_steps
from cmust.ingest.names import renamed

# ASTGCN and its successors publish PEMS04 and PEMS08 with three channels, PEMS03 and PEMS07 with one.
_CHANNELS = {1: ("flow",), 3: ("flow", "occupancy", "speed")}


def import_pems(
    source: Path,
    settings: ImportSettings,
    *,
    start: str,
    interval: int = 300,
    tasks: Sequence[str] = (),
    key: str = "data",
) -> Imported:
    """A city with a task per channel; nodes are named by their column, ``0`` to ``N-1``, as their distance files do.

    Args:
        source: the npz file.
        settings: see :class:`ImportSettings`; the file has no coordinates.
        start: ISO wall-clock time of the first step.
        interval: seconds between steps.
        tasks: a name per channel; flow, or flow, occupancy, speed when not given.
        key: name of the array in the file.

    Raises:
        IngestError: the file is not such an npz.
        CityError: the values are not a valid city.
    """
    values = _read(source, key)
    channels = values.shape[2]
    labels = list(tasks) or list(_CHANNELS.get(channels, ()))
    if len(labels) != channels:
        raise IngestError(f"{source}: '{key}' has {channels} channels but {len(labels)} task names: name each channel")
    names = task_names(labels, str(source))
    readings = Readings(
        source=f"npz file {source.name}",
        time=counted_steps(start, interval, len(values)),
        interval=interval,
        nodes=tuple(str(at) for at in range(values.shape[1])),
        values={name: values[:, :, at].astype(np.float32) for at, name in enumerate(names)},
        notes=tuple(renamed(labels)),
    )
    return assemble(readings, settings)


def _read(source: Path, key: str) -> npt.NDArray[np.generic]:
    """The array ``(T, N, C)``; a ``(T, N)`` one gets its channel axis."""
    try:
        file = np.load(source, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise IngestError(f"{source} is a single array, not an npz: save it with numpy.savez(path, data=array)")
        with file:
            if key not in file.files:
                raise IngestError(f"{source} has no array '{key}'; it has {', '.join(file.files)}")
            values: npt.NDArray[np.generic] = file[key]
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise IngestError(
            f"cannot read {source}: {error}; a npz of plain numbers is needed (pickled arrays are refused: they "
            "can run code)"
        ) from error
    if values.dtype.kind not in "fiu":
        raise IngestError(f"{source}: '{key}' holds {values.dtype}, not numbers")
    if values.ndim == 2:
        values = values[:, :, None]
    if values.ndim != 3:
        raise IngestError(f"{source}: '{key}' has shape {values.shape}, it has to be (time, node, channel)")
    return values
