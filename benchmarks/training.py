"""An epoch, a whole small rolling run, and reading batches of windows: how long, beside the plain way of each.

    python -m benchmarks.training                 on the demo city, published sizes for the epoch
    python -m benchmarks.training --rounds 1      a quick look

Ours and the plain way take turns. The epoch is the trainer's own, with validation and checkpoint, beside the same loop
over the plain formulation (``benchmarks.plain``). Batches: by index from one resident series, beside windows copied out
beforehand as a tensor data set. Results: benchmarks/results/training.json.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import torch
from benchmarks.plain import plain_forecast
from torch.utils.data import DataLoader, TensorDataset

from cmust import __version__, quickstart
from cmust.city import City
from cmust.demo import demo_city
from cmust.fitting import fit, make_fabric, make_head
from cmust.machine import describe_machine
from cmust.model import Trunk, forecast
from cmust.rolling import Lesson, Trainer, single_plan
from cmust.settings import make_settings
from cmust.windows import Windows, make_windows

RESULTS = Path(__file__).parent / "results" / "training.json"


@contextmanager
def timed(seconds: list[float]) -> Iterator[None]:
    """Append how long the block took."""
    began = time.perf_counter()
    yield
    seconds.append(time.perf_counter() - began)


def epoch(city: City, preset: str, updates: int, rounds: int) -> dict[str, list[float]]:
    """Seconds of epochs of one task alone, ours and over the plain formulation, in turns; the first is warm-up."""
    task = next(iter(city.tasks))
    more = {"updates_per_epoch": updates, "start_epochs": rounds + 1, "patience": rounds + 1, "precision": "32-true"}
    settings = make_settings(preset=preset, tasks=(task,), training=more)
    seconds: dict[str, list[float]] = {}
    for system, function in (("ours", forecast), ("plain", plain_forecast)):
        torch.manual_seed(0)
        windows = make_windows(city.select(tasks=(task,)), "purged")
        trunk = Trunk(settings.network, 86_400 // city.interval, (1,))
        head = make_head(settings.network, city.task(task), windows[task], 0).head
        taken: list[float] = []
        Trainer(
            make_fabric(settings.trainer.precision, "cpu", 1),
            trunk,
            {task: head},
            windows,
            single_plan([task], settings.trainer),
            settings.trainer,
            lesson=lambda phase, function=function: Lesson(settings.network.loss, function),
            on_event=lambda event, taken=taken: taken.append(event["seconds"]) if event["event"] == "epoch" else None,
        ).run()
        seconds[system] = taken[1:]
    return seconds


def rolling_run(city: City, rounds: int) -> dict[str, list[float]]:
    """Seconds of the quickstart's rolling run, from data to model folder."""
    seconds: list[float] = []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder, timed(seconds):
            fit(city, Path(folder) / "run", accelerator="cpu", devices=1, **quickstart.SETTINGS)
    return {"ours": seconds}


def loading(windows: Windows, rounds: int, batch_size: int = 16) -> dict[str, Any]:
    """Seconds for all batches of an epoch, and the bytes each way holds."""
    starts = windows.split.starts["train"]
    everything = [*windows.inputs(starts), *windows.targets(starts)]
    copies = [tensor for tensor in everything if len(tensor) == len(starts)]
    loader = DataLoader(TensorDataset(*copies), batch_size=batch_size, shuffle=True)

    def ours() -> None:
        for batch in starts[torch.randperm(len(starts))].split(batch_size):
            windows.inputs(batch)
            windows.targets(batch)

    def plain() -> None:
        for _ in loader:
            pass

    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(rounds):
        for system, way in (("ours", ours), ("plain", plain)):
            with timed(seconds[system]):
                way()
    series = (windows.values, windows.valid, windows.average, windows.profile, *windows.clock.__dict__.values())
    # the profile may be the average itself
    resident = {tensor.data_ptr(): tensor.nbytes for tensor in series}
    held = {"ours": sum(resident.values()), "plain": sum(tensor.nbytes for tensor in copies)}
    return {"seconds": seconds, "megabytes": {system: round(size / 1e6, 1) for system, size in held.items()}}


def summary(seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Median, least and most of each system, and the ratio of the medians where there are two."""
    told: dict[str, Any] = {
        system: {key: round(way(taken), 4) for key, way in SPREAD.items()} for system, taken in seconds.items()
    }
    if "plain" in seconds:
        told["plain_times_ours"] = round(median(seconds["plain"]) / median(seconds["ours"]), 2)
    return told


SPREAD: dict[str, Callable[[list[float]], float]] = {"median": median, "least": min, "most": max}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--presets", nargs="+", default=["reference", "paper", "tuned"])
    parser.add_argument("--updates", type=int, default=20, help="of an epoch")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--note", default="", help="about the machine, for the results")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    city = demo_city()
    told: dict[str, Any] = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python -m benchmarks.training", *sys.argv[1:]]),
        "machine": describe_machine(torch.device("cpu")),
        "note": arguments.note,
        "versions": {"cmust": __version__, "torch": torch.__version__},
        "city": "demo (synthetic)",
    }
    windows = next(iter(make_windows(city, "purged").values()))
    read = loading(windows, arguments.rounds)
    told["loading"] = {**summary(read["seconds"]), "megabytes": read["megabytes"]}
    print("batches of an epoch:", told["loading"], flush=True)
    told["rolling_run"] = summary(rolling_run(city, arguments.rounds))
    print("small rolling run:", told["rolling_run"], flush=True)
    told["epoch"] = {"updates": arguments.updates}
    for preset in arguments.presets:
        told["epoch"][preset] = summary(epoch(city, preset, arguments.updates, arguments.rounds))
        print(f"epoch of {arguments.updates} updates, {preset}:", told["epoch"][preset], flush=True)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
