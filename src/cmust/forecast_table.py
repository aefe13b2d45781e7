"""Forecasts of several tasks as one long table, and the files it is written to."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from cmust.city import City
from cmust.errors import CmustError
from cmust.files import atomic_path
from cmust.forecaster import Forecaster


def forecast_table(forecaster: Forecaster, city: City, tasks: Sequence[str], at: str | None = None) -> pd.DataFrame:
    """Forecasts as rows.

    Args:
        forecaster: of a run.
        city: holds the recent past.
        tasks: which.
        at: local time of the first forecast step; the step after a task's last when not given.

    Returns:
        Columns ``time``, ``node``, ``task``, ``value``, and ``channel`` before ``value`` where a task has several.

    Raises:
        CityError: the data does not fit the model or is too short.
        RunError: a task was not trained.
    """
    frames = []
    for name in tasks:
        array = forecaster.predict(city, name, at)
        frame = array.drop_vars(["lon", "lat"]).to_series().rename("value").reset_index()
        frames.append(frame.assign(task=name))
    table = pd.concat(frames, ignore_index=True)
    columns = ["time", "node", "task", *(["channel"] if "channel" in table else []), "value"]
    return table[columns]


def write_table(table: pd.DataFrame, path: Path) -> None:
    """Write a table as CSV or Parquet, by the ending of ``path``; atomically.

    Raises:
        CmustError: another ending, no library for it, or the place cannot be written to.
    """
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise CmustError(f"cannot write {path}: forecasts go to {' or '.join(_WRITERS)} files; choose such a name")
    with atomic_path(path) as temporary:
        writer(table, temporary)


def task_names(forecaster: Forecaster, wanted: str) -> tuple[str, ...]:
    """``all`` tasks of a run, or the named one.

    Raises:
        RunError: the run has no such task.
    """
    if wanted == "all":
        return tuple(forecaster.tasks)
    forecaster.model(wanted)
    return (wanted,)


def _write_csv(table: pd.DataFrame, path: Path) -> None:
    table.to_csv(path, index=False, date_format="%Y-%m-%dT%H:%M:%S")


def _write_parquet(table: pd.DataFrame, path: Path) -> None:
    try:
        table.to_parquet(path, index=False)
    except ImportError as error:
        raise CmustError("Parquet needs pyarrow: pip install 'cmust[ingest]'; or write a .csv file") from error


_WRITERS: dict[str, Callable[[pd.DataFrame, Path], None]] = {".csv": _write_csv, ".parquet": _write_parquet}
