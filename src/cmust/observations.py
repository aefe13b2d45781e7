"""Recent observations for a forecast: a city file, or a table with timestamps checked against the run's model.

Long tables have the columns ``time``, ``node``, ``value`` and, where needed, ``task`` and ``channel``; wide ones
``time`` and a column per node. Rows may stand in any order. A row that is not there, or an empty value, is missing;
zero is data.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from cmust.city import City, Task, open_city
from cmust.city.task import shorten, to_times
from cmust.errors import CityError, CmustError, reason
from cmust.forecaster import Forecaster

TEXT = ("task", "node", "channel")
MISSING = ("", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "-NaN", "-nan", "NULL", "null", "None", "<NA>")
"""What stands in a cell of a CSV file for no value."""
LEAST_SHARE = 0.1
"""Of the steps from the first to the last: where fewer are there, a wrong time is likelier than a gap."""


def read_observations(path: Path | str, forecaster: Forecaster, task: str | None = None) -> City:
    """What a file holds for the tasks of a run.

    Args:
        path: ``NAME.zarr.zip`` (a city), ``NAME.csv`` or ``NAME.parquet``.
        forecaster: of the run; tells nodes, interval and channels.
        task: whose values a table without a ``task`` column holds; may be left out where the run has one task only.

    Raises:
        CityError: the file cannot be read, or its content does not fit the model; the message names the place.
        CmustError: there is no library for this kind of file.
        RunError: the run has no such task.
    """
    path = Path(path)
    if path.name.endswith(".zip"):
        return open_city(path)
    frame = _read(path)
    return observed_city(frame, forecaster, task, source=str(path))


def observed_city(frame: pd.DataFrame, forecaster: Forecaster, task: str | None = None, source: str = "table") -> City:
    """A table in memory as :func:`read_observations` reads one from a file."""
    if "time" not in frame.columns:
        raise CityError(f"{source} has no column 'time'; it has {shorten(list(map(str, frame.columns)))}")
    if frame.empty:
        raise CityError(f"{source} has no rows")
    is_long = {"node", "value"} <= set(frame.columns)
    table = frame if is_long else frame.rename(columns=str).melt(id_vars="time", var_name="node")
    if "task" not in table.columns:
        table = table.assign(task=_only_task(forecaster, task, source))
    for column in ("time", *TEXT):
        if column in table.columns and table[column].isna().any():
            raise CityError(f"{source}: row {int(table[column].isna().to_numpy().argmax())} has no {column}")
    tasks = {}
    for name, rows in table.groupby(table["task"].astype(str), sort=False):
        about = forecaster.model(str(name)).about
        tasks[str(name)] = _task(str(name), rows, about, f"{source}, task '{name}'")
    known = forecaster.city
    return City(known["name"], tasks, timezone=known["timezone"], synthetic=known["synthetic"], source=source)


def _read(path: Path) -> pd.DataFrame:
    if not path.exists():
        raise CityError(f"there is no file {path}; give a city (.zarr.zip), a .csv or a .parquet file")
    try:
        if path.suffix.lower() == ".csv":
            # NA or null may be the name of a node: of a name, only an empty cell is missing.
            missing = {name: ("",) if name in TEXT else MISSING for name in pd.read_csv(path, nrows=0).columns}
            return pd.read_csv(path, dtype=dict.fromkeys(TEXT, str), keep_default_na=False, na_values=missing)
        if path.suffix.lower() == ".parquet":
            return pd.read_parquet(path)
    except ImportError as error:
        raise CmustError("Parquet needs pyarrow: pip install 'cmust[ingest]'; or give a .csv file") from error
    except (ValueError, OSError) as error:  # what pandas and pyarrow raise for a file that is not what its name says
        raise CityError(f"cannot read {path}: {reason(error)}") from error
    raise CityError(f"cannot read {path}: give a city (.zarr.zip), a .csv or a .parquet file")


def _only_task(forecaster: Forecaster, task: str | None, source: str) -> str:
    names = [task] if task is not None else list(forecaster.tasks)
    if len(names) > 1:
        raise CityError(
            f"{source} has no column 'task', and the run has {', '.join(names)}; say which task it holds "
            f"(--task NAME), or add the column"
        )
    return names[0]


def _task(name: str, rows: pd.DataFrame, about: Mapping[str, Any], what: str) -> Task:
    """The values of one task on the regular times from its first to its last, at the nodes of the model."""
    nodes = _places(rows, "node", about["nodes"], what)
    channels = _channels(rows, about["channels"], what)
    time = to_times(what, rows["time"])
    steps = _steps(time, about, what)
    cells = pd.DataFrame({"step": steps, "node": nodes, "channel": channels})
    if (twice := cells.duplicated().to_numpy()).any():
        at = int(twice.argmax())
        raise CityError(f"{what}: {time[at]} at node '{rows['node'].iloc[at]}' is there twice: keep one of each")
    first = steps.min()
    values = np.full((steps.max() - first + 1, len(about["nodes"]), len(about["channels"])), np.nan, np.float32)
    values[steps - first, nodes, channels] = _numbers(rows["value"], what)
    start = time[int(steps.argmin())]
    return Task(
        name=name,
        values=values,
        time=start + np.timedelta64(about["interval"], "s") * np.arange(len(values)),
        nodes=tuple(about["nodes"]),
        lon=np.array(about["lon"]),
        lat=np.array(about["lat"]),
        interval=about["interval"],
        unit=about["unit"],
        kind=about["kind"],
        channels=tuple(about["channels"]),
        geometry=tuple(about["geometry"]) if about.get("geometry") else None,
    )


def _places(rows: pd.DataFrame, column: str, known: list[str], what: str) -> npt.NDArray[np.int64]:
    """Positions among the ``known`` names, all of which have to be there."""
    names = rows[column].astype(str)
    position = names.map({name: at for at, name in enumerate(known)})
    if position.isna().any():
        unknown = list(dict.fromkeys(names[position.isna()]))
        raise CityError(f"{what}: the run was not trained on {column} {shorten(unknown)}; it has {shorten(known)}")
    absent = [name for name in known if name not in set(names)]
    if absent:
        raise CityError(
            f"{what}: {column} {shorten(absent)} is not there; where nothing was observed, give rows with empty values"
        )
    return np.asarray(position, np.int64)


def _channels(rows: pd.DataFrame, known: list[str], what: str) -> npt.NDArray[np.int64]:
    if "channel" in rows.columns:
        return _places(rows, "channel", known, what)
    if len(known) > 1:
        raise CityError(
            f"{what}: the run has the channels {', '.join(known)}; give a long table with a column 'channel'"
        )
    return np.zeros(len(rows), np.int64)


def _steps(time: npt.NDArray[np.datetime64], about: Mapping[str, Any], what: str) -> npt.NDArray[np.int64]:
    """Whole intervals since the last step of training."""
    interval = int(about["interval"])
    distance = np.diff(np.unique(time)).astype(np.int64)
    if len(distance) and distance.min() > interval:
        raise CityError(
            f"{what}: there is a step every {distance.min()} s, the run was trained on {interval} s; give data of that "
            f"interval"
        )
    known = np.datetime64(about["trained_until"], "s")
    seconds = (time - known).astype(np.int64)
    if (off := seconds % interval != 0).any():
        wrong = time[int(off.argmax())]
        before = wrong - np.timedelta64(int(seconds[int(off.argmax())] % interval), "s")
        raise CityError(
            f"{what}: {wrong} is not a step of the run, which has one every {interval} s, such as {before}; aggregate "
            f"to these steps"
        )
    steps: npt.NDArray[np.int64] = seconds // interval
    present = np.unique(steps)
    whole = int(present[-1] - present[0]) + 1
    if len(present) < LEAST_SHARE * whole:
        before, after = known + np.timedelta64(interval, "s") * present[np.diff(present).argmax() + np.arange(2)]
        raise CityError(
            f"{what}: only {len(present)} of the {whole} steps from {time.min()} to {time.max()} are there, and none "
            f"between {before} and {after}: one of these times is wrong, or what lies before the gap is of no use"
        )
    return steps


def _numbers(values: "pd.Series[Any]", what: str) -> npt.NDArray[np.float64]:
    try:
        return pd.to_numeric(values).to_numpy(np.float64, na_value=np.nan)
    except (ValueError, TypeError) as error:
        raise CityError(f"{what}: a value is not a number: {reason(error)}") from error
