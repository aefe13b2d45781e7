"""How long a forecast of all tasks takes: from a loaded run, and as a command from a cold process.

    python -m benchmarks.forecast RUN CITY [--threads 2] [--repeats 20]

Prints the median and the slowest of the repeats, and the seconds of processor time beside the wall clock, which tell a
busy machine from a slow program.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def warm(run: str, city_file: str, threads: int, repeats: int, level: float | None) -> tuple[list[float], float]:
    """Seconds of each forecast of all tasks from a loaded run, and of processor time on average."""
    import torch

    import cmust
    from cmust.forecast_table import forecast_tasks, task_names

    torch.set_num_threads(threads)
    forecaster, city = cmust.Forecaster.load(run), cmust.open_city(city_file)
    names = task_names(forecaster, city, "all")
    forecast_tasks(forecaster, city, names, level=level)
    seconds, used = [], processor(resource.RUSAGE_SELF)
    for _ in range(repeats):
        started = time.perf_counter()
        forecast_tasks(forecaster, city, names, level=level)
        seconds.append(time.perf_counter() - started)
    return seconds, (processor(resource.RUSAGE_SELF) - used) / repeats


def cold(run: str, city_file: str, threads: int, repeats: int) -> tuple[list[float], float]:
    """Seconds of ``cmust forecast`` in a process of its own, from its start to the written table; processor time."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    seconds, used = [], processor(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable,
            "-m",
            "cmust",
            "forecast",
            run,
            city_file,
            "--out",
            str(Path(folder) / "forecast.csv"),
        ]
        for _ in range(repeats):
            started = time.perf_counter()
            subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
            seconds.append(time.perf_counter() - started)
    return seconds, (processor(resource.RUSAGE_CHILDREN) - used) / repeats


def processor(who: int) -> float:
    """Seconds of processor time so far."""
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run")
    parser.add_argument("city")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--level", type=float, help="with intervals of this level (a calibrated run)")
    options = parser.parse_args()
    show("cold process", *cold(options.run, options.city, options.threads, max(1, options.repeats // 5)))
    show("loaded run", *warm(options.run, options.city, options.threads, options.repeats, options.level))


def show(what: str, seconds: list[float], used: float) -> None:
    print(
        f"{what}: median {statistics.median(seconds):.3f} s, slowest {max(seconds):.3f} s of {len(seconds)}; "
        f"{used:.3f} s of processor time each"
    )


if __name__ == "__main__":
    main()
