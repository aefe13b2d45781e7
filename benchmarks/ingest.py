"""How long ingest takes, and how much memory: cmust beside a straightforward pandas program, from Parquet and CSV.

    python -m benchmarks.ingest                      3 and 30 million trips
    python -m benchmarks.ingest --rows 200000        a quick look

Every measurement is a process of its own. Both programs make the four tasks of the New York recipe, and their numbers
are compared. Results go to benchmarks/results/ingest.json.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from benchmarks import trips

HERE = Path(__file__).parent
BOX = (-24.60, 43.13, -24.40, 43.27)
ROWS, COLUMNS, MIN_TRIPS = 30, 15, 1000
START = "2024-03-25"
STEPS = trips.WEEKS * 7 * 48
STOP = str(np.datetime64(START) + np.timedelta64(trips.WEEKS * 7, "D"))


def by_cmust(path: Path, threads: int) -> np.ndarray:
    """The recipe's way, end to end with the city written. Returns the tasks, ``(task, time, node)``."""
    from cmust.ingest.engine import open_engine
    from cmust.ingest.recipes.nyc_taxi import nyc_taxi

    with open_engine("duckdb", threads=threads, work=path.parent) as engine:
        made = nyc_taxi(
            [path], engine, box=BOX, rows=ROWS, columns=COLUMNS, min_trips=MIN_TRIPS, start=START, stop=STOP
        )
    made.city.save(path.parent / "city.zarr.zip")
    return np.stack([task.values[:, :, 0] for task in made.city.tasks.values()])


def by_pandas(path: Path, threads: int) -> np.ndarray:
    """The straightforward way: read all, filter, floor, group, unstack. ``threads`` is not used: pandas has one."""
    import pandas as pd

    times = ["tpep_pickup_datetime", "tpep_dropoff_datetime"]
    places = ["pickup_longitude", "pickup_latitude", "dropoff_longitude", "dropoff_latitude"]
    wanted = [*times, *places, "passenger_count"]
    if path.suffix == ".parquet":
        frame = pd.read_parquet(path, columns=wanted)
    else:
        frame = pd.read_csv(path, usecols=wanted, parse_dates=times)
    frame = frame[(frame[places] != 0).all(axis=1) & (frame[times[1]] >= frame[times[0]])]
    west, south, east, north = BOX
    made = []
    for end, when in zip(("pickup", "dropoff"), times, strict=True):
        lon, lat = frame[f"{end}_longitude"], frame[f"{end}_latitude"]
        inside = (lon >= west) & (lon < east) & (lat >= south) & (lat < north)
        inside &= (frame[when] >= START) & (frame[when] < STOP)
        side = frame[inside]
        row = ((side[f"{end}_latitude"] - south) / ((north - south) / ROWS)).astype(int)
        column = ((side[f"{end}_longitude"] - west) / ((east - west) / COLUMNS)).astype(int)
        keys = [side[when].dt.floor("30min").rename("time"), (row * COLUMNS + column).rename("cell")]
        made.append(side.groupby(keys).passenger_count.agg(["size", "sum"]))
    totals = sum(
        (one["size"].groupby("cell").sum().reindex(range(ROWS * COLUMNS), fill_value=0) for one in made), start=0
    )
    cells = totals.index[totals >= MIN_TRIPS]
    steps = pd.date_range(START, periods=STEPS, freq="30min")
    wide = [
        one[what].unstack("cell", fill_value=0).reindex(index=steps, columns=cells, fill_value=0)
        for what in ("size", "sum")
        for one in made
    ]
    return np.stack([one.to_numpy(np.float32) for one in wide])


def measure(program: str, path: Path, threads: int) -> dict[str, object]:
    """Run one program in a process of its own; seconds from start to end, and the most memory it held."""
    command = [sys.executable, "-m", "benchmarks.ingest", "--run", program, "--threads", str(threads), str(path)]
    began = time.perf_counter()
    subprocess.run(command, check=True, cwd=HERE.parent, env=os.environ | {"OMP_NUM_THREADS": str(threads)})
    seconds = time.perf_counter() - began
    told = json.loads(path.with_suffix(".told.json").read_text())
    return {"program": program, "seconds": round(seconds, 1), **told}


def run_one(program: str, path: Path, threads: int) -> None:
    """What the measured process does."""
    values = {"cmust": by_cmust, "pandas": by_pandas}[program](path, threads)
    used = resource.getrusage(resource.RUSAGE_SELF)
    told = {
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_gib": round(used.ru_maxrss / 2**20, 2),
        "shape": list(values.shape),
        "sums": [float(task.sum(dtype=np.float64)) for task in values],
        "weighed": [float((task * np.arange(task.size).reshape(task.shape)).sum(dtype=np.float64)) for task in values],
    }
    path.with_suffix(".told.json").write_text(json.dumps(told))


def write_results(threads: int, note: str, results: list[dict[str, object]]) -> None:
    """What is measured so far; runs of less than a million trips are only looked at."""
    if all(one["rows"] < 1_000_000 for one in results):
        return
    told = {"machine": f"{platform.machine()}, {os.cpu_count()} processors", "threads": threads}
    told |= {"note": note, "python": platform.python_version(), "results": results}
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "ingest.json").write_text(json.dumps(told, indent=1) + "\n")


def main() -> None:
    """Measure all, compare, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path, nargs="?")
    parser.add_argument("--rows", type=int, nargs="+", default=[3_000_000, 30_000_000])
    parser.add_argument("--pandas-rows", type=int, default=30_000_000, help="the largest size pandas can hold here")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--work", type=Path, help="folder with room for the files, some 6 GB for 30 million trips")
    parser.add_argument("--note", default="", help="about the machine, for the results")
    parser.add_argument("--run", choices=("cmust", "pandas"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.run:
        run_one(arguments.run, arguments.path, arguments.threads)
        return
    results = []
    for rows in arguments.rows:
        for kind in ("parquet", "csv"):
            with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
                path = trips.write(Path(folder) / f"trips.{kind}", rows)
                size = path.stat().st_size
                programs = ("cmust", "pandas") if rows <= arguments.pandas_rows else ("cmust",)
                found = [measure(program, path, arguments.threads) for program in programs]
                assert all(one["shape"] == found[0]["shape"] for one in found), found
                assert all(np.allclose(one["weighed"], found[0]["weighed"], rtol=1e-9) for one in found), found
                for one in found:
                    results.append({"rows": rows, "kind": kind, "file_gb": round(size / 1e9, 2), **one})
                    write_results(arguments.threads, arguments.note, results)
                    print(
                        {key: results[-1][key] for key in ("rows", "kind", "program", "seconds", "peak_gib")},
                        flush=True,
                    )


if __name__ == "__main__":
    main()
