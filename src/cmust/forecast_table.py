"""Forecasts of several tasks, as data sets and as one long table, and the files they are written to."""

import importlib.util
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import xarray as xr
from zarr.core.buffer import Buffer
from zarr.storage import MemoryStore

from cmust.city import City
from cmust.errors import CmustError, RunError
from cmust.files import atomic_path
from cmust.forecaster import Forecaster
from cmust.recent import MAX_MISSING

Forecasts = dict[str, xr.Dataset]
_TIME = {"units": "seconds since 1970-01-01", "dtype": "int64"}
_OLDEST_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # a fixed time of the members, so that equal forecasts are equal files


def forecast_tasks(
    forecaster: Forecaster,
    city: City,
    tasks: Sequence[str],
    at: str | None = None,
    *,
    level: float | None = None,
    max_missing: float = MAX_MISSING,
) -> Forecasts:
    """Forecast several tasks; arguments and errors are those of :meth:`cmust.Forecaster.predict`.

    Without ``at`` each task is forecast from its own last observation.

    Returns:
        Per task a data set of ``value``, and with ``level`` of ``lower`` and ``upper``.
    """
    if level is not None:
        return {name: forecaster.predict(city, name, at, level=level, max_missing=max_missing) for name in tasks}
    found = {}
    for name in tasks:
        array = forecaster.predict(city, name, at, max_missing=max_missing)
        found[name] = xr.Dataset(
            {"value": array.drop_attrs().assign_attrs(unit=array.attrs["unit"])}, attrs=array.attrs
        )
        found[name].attrs["task"] = name
    return found


def forecast_table(forecasts: Forecasts) -> pd.DataFrame:
    """Forecasts as rows.

    Returns:
        Columns ``time``, ``node``, ``task``, ``channel`` where a task has several, ``value``, ``lower`` and ``upper``
        where there are intervals, ``filled`` and ``flag``.
    """
    frames = [
        data.drop_vars(["lon", "lat"]).to_dataframe().reset_index().assign(task=name)
        for name, data in forecasts.items()
    ]
    table = pd.concat(frames, ignore_index=True)
    columns = ("time", "node", "task", "channel", "value", "lower", "upper", "filled", "flag")
    return table[[column for column in columns if column in table]]


def write_forecasts(forecasts: Forecasts, path: Path) -> None:
    """Write forecasts by the ending of ``path``, atomically: ``.csv`` and ``.parquet`` as one long table, ``.nc``
    (NetCDF) and ``.zarr.zip`` with a group per task.

    Raises:
        CmustError: another ending, no library for it, or the place cannot be written to.
    """
    writer = next((write for ending, write in _WRITERS.items() if path.name.lower().endswith(ending)), None)
    if writer is None:
        *others, last = _WRITERS
        raise CmustError(
            f"cannot write {path}: forecasts go to {', '.join(others)} or {last} files; choose such a name"
        )
    with atomic_path(path) as temporary:
        writer(forecasts, temporary)


def task_names(forecaster: Forecaster, city: City, wanted: str) -> tuple[str, ...]:
    """``all`` tasks of a run that the city has, or the named one.

    Raises:
        RunError: the run has no such task, or the city none of them.
    """
    if wanted != "all":
        forecaster.model(wanted)
        return (wanted,)
    found = forecaster.tasks_in(city)
    if not found:
        raise RunError(f"{city.source or city.name} has none of the run's tasks {', '.join(forecaster.tasks)}")
    return found


def _write_csv(forecasts: Forecasts, path: Path) -> None:
    forecast_table(forecasts).to_csv(path, index=False, date_format="%Y-%m-%dT%H:%M:%S")


def _write_parquet(forecasts: Forecasts, path: Path) -> None:
    try:
        forecast_table(forecasts).to_parquet(path, index=False)
    except ImportError as error:
        raise CmustError("Parquet needs pyarrow: pip install 'cmust[ingest]'; or write a .csv file") from error


def _write_netcdf(forecasts: Forecasts, path: Path) -> None:
    if importlib.util.find_spec("h5netcdf") is None:
        raise CmustError("NetCDF needs h5netcdf: pip install 'cmust[netcdf]'; or write a .zarr.zip file")
    times = {f"/{name}": {"time": _TIME} for name in forecasts}
    # made in memory: on a full disk HDF5 fails in ways that no Python program survives
    made = xr.DataTree.from_dict(forecasts).to_netcdf(engine="h5netcdf", encoding=times)
    path.write_bytes(made)


def _write_zarr(forecasts: Forecasts, path: Path) -> None:
    members: dict[str, Buffer] = {}
    store = MemoryStore(members)
    for name, data in forecasts.items():
        data.to_zarr(store, group=name, mode="w", consolidated=False, zarr_format=3, encoding={"time": _TIME})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for member in sorted(members):
            archive.writestr(zipfile.ZipInfo(member, _OLDEST_ZIP_TIME), members[member].to_bytes())


_WRITERS: dict[str, Callable[[Forecasts, Path], None]] = {
    ".csv": _write_csv,
    ".parquet": _write_parquet,
    ".nc": _write_netcdf,
    ".zarr.zip": _write_zarr,
}
