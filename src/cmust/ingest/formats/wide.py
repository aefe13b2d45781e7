"""Wide tables, a row per time and a column per node, as METR-LA and PEMS-BAY are shared: CSV, or HDF5 as pandas
writes it."""

from __future__ import annotations

import csv
import gzip
import warnings
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
import pandas as pd

from cmust.errors import IngestError
from cmust.ingest.formats.assemble import Imported, ImportSettings, Readings, assemble, task_names
from cmust.ingest.formats.pandas_hdf5 import WideTable, read_pandas_hdf5
from cmust.ingest.formats.steps import Times, counted_steps, sorted_unique, wall_clock
from cmust.ingest.names import renamed

_HDF5 = (".h5", ".hdf5", ".hdf")
_MISSING = ("", "NA", "N/A", "NaN", "nan", "null", "NULL", "None")


def import_wide(
    source: Path,
    settings: ImportSettings,
    *,
    task: str,
    interval: int | None = None,
    start: str | None = None,
    key: str | None = None,
) -> Imported:
    """A city of one task from a wide table.

    Args:
        source: a CSV (or .csv.gz) file, or an HDF5 file (.h5, .hdf5, .hdf) in pandas' fixed format.
        settings: see :class:`ImportSettings`; the table has no coordinates.
        task: the name of the task.
        interval: seconds; the most frequent distance between rows when not given.
        start: ISO wall-clock time of the first row, for a CSV without a time column: then every column is a node and
            ``interval`` is needed. Otherwise the first column holds the times.
        key: which table of an HDF5 file; needed only when there are several.

    Raises:
        IngestError: the file is not such a table, or an option does not fit it.
        CityError: the values are not a valid city.
    """
    if source.suffix.lower() in _HDF5:
        if start is not None:
            raise IngestError(f"{source} carries its own times: leave the start out")
        table = read_pandas_hdf5(source, key)
    elif key is not None:
        raise IngestError(f"{source} is read as CSV, which has no key: leave the key out, or name an .h5 file")
    else:
        table = _read_csv(source, start, interval)
    order = sorted_unique(table.time, str(source))
    in_order = bool((np.diff(order) == 1).all())
    notes = () if in_order else ("the rows were not in the order of time and have been sorted",)
    readings = Readings(
        source=f"wide table {source.name}",
        time=table.time[order],
        interval=interval,
        nodes=table.nodes,
        values={task_names([task], str(source))[0]: table.values if in_order else table.values[order]},
        notes=(*notes, *renamed([task])),
    )
    return assemble(readings, settings)


def _read_csv(source: Path, start: str | None, interval: int | None) -> WideTable:
    header, header_line = _header(source)
    with_times = start is None
    nodes = tuple(header[1:] if with_times else header)
    if not nodes:
        raise IngestError(f"{source}: the first line '{','.join(header)}' names no node: is the delimiter a comma?")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # of columns without a name, which it leaves out
            frame = pd.read_csv(
                source,
                header=None,
                skiprows=header_line,
                dtype=str,
                keep_default_na=False,
                names=header,
                index_col=False,
            )
    except pd.errors.ParserWarning as error:
        raise IngestError(f"{source}: its rows have more fields than its first line names: name them all") from error
    except (OSError, EOFError, ValueError, pd.errors.ParserError) as error:
        raise IngestError(f"cannot read {source}: {error}") from error
    if (frame.iloc[:, -1] == "").any():  # empty, or not there
        _check_lengths(source, len(header))
    if frame.empty:
        raise IngestError(f"{source} has a header but no rows")
    time = _times(source, frame.iloc[:, 0].tolist(), len(frame), start, interval)
    columns = range(1 if with_times else 0, len(header))
    values = np.empty((len(frame), len(nodes)), dtype=np.float32)
    for at, column in enumerate(columns):
        values[:, at] = _numbers(source, header_line + 1, header[column], frame.iloc[:, column])
    return WideTable(time, nodes, values)


def _times(source: Path, first: list[str], count: int, start: str | None, interval: int | None) -> Times:
    if start is None:
        return wall_clock(first, f"{source}, first column (give a start when the table has no times)")
    if interval is None:
        raise IngestError(f"{source} is to have no time column: give the interval in seconds beside the start")
    return counted_steps(start, interval, count)


def _open(source: Path) -> IO[str]:
    if source.suffix == ".gz":
        return gzip.open(source, "rt", newline="", encoding="utf-8-sig")
    return source.open(newline="", encoding="utf-8-sig")


def _check_lengths(source: Path, width: int) -> None:
    line = 0
    try:
        with _open(source) as file:
            for line, row in enumerate(csv.reader(file), start=1):
                if row and len(row) < width:
                    raise IngestError(
                        f"{source}, row {line}: {len(row)} fields, but the first row names {width}: get it again"
                    )
    except csv.Error as error:
        raise IngestError(
            f"{source}, after row {line}: {error}: a quote was not closed there, or the file is not CSV: get it again"
        ) from error


def _header(source: Path) -> tuple[list[str], int]:
    """The names in the first row that is not blank, and which row that is, from 1."""
    try:
        with _open(source) as file:
            rows = enumerate(csv.reader(file), start=1)
            line, header = next(((line, row) for line, row in rows if "".join(row).strip()), (0, []))
    except (OSError, EOFError, UnicodeDecodeError, csv.Error) as error:
        raise IngestError(
            f"cannot read {source}: {error}; a CSV file or an .h5 file in pandas' fixed format is needed"
        ) from error
    names = [name.strip() for name in header]
    if not names:
        raise IngestError(f"{source} is empty")
    for at, name in enumerate(names):
        if name in names[:at]:
            raise IngestError(f"{source}: column '{name}' is there twice: node names have to be unique")
    return names, line


def _numbers(source: Path, line: int, column: str, texts: pd.Series[str]) -> npt.NDArray[np.float64]:
    """Numbers of a column whose first is in ``line`` of the file, NaN where a cell is empty or spells missing."""
    texts = texts.str.strip()
    missing = texts.isin(_MISSING)
    numbers = pd.to_numeric(texts.mask(missing), errors="coerce")
    wrong = numbers.isna() & ~missing
    if wrong.any():
        at = int(np.asarray(wrong).argmax())
        raise IngestError(f"{source}, line {line + at}, column '{column}': '{texts.iloc[at]}' is not a number")
    return np.asarray(numbers, dtype=np.float64)
