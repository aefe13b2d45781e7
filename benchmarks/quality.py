"""Time to quality: validation error of a task against wall time and updates, for presets and changes of ``tuned``.

    python -m benchmarks.quality nyc.zarr.zip FOLDER --task taxi_pickup                 every curve (hours)
    python -m benchmarks.quality nyc.zarr.zip FOLDER --curves reference tuned           these

Every curve is a training of the task alone; ``reference`` and ``paper`` make whole passes with their own settings,
``tuned`` and its variants the updates of ``--updates``, looked at often. The clock runs while the network trains and
validates as it always does, not while this file scores it. Killed and called again, it goes on; another task, seed,
precision or number of updates takes another folder. Test data is not looked at. Results: FOLDER/CURVE/curve.jsonl,
benchmarks/results/quality.json.
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from cmust import __version__, open_city
from cmust.city import City
from cmust.cli.progress import training_watcher
from cmust.evaluation import score_systems
from cmust.fitting import make_fabric, make_head
from cmust.identity import describe_city, field_defaults
from cmust.machine import describe_machine, provenance
from cmust.model import ModelConfig, Trunk, forecast
from cmust.naive import NAIVE, PROFILE
from cmust.profile import profile_alone, shaped
from cmust.rolling import Phase, TrainingConfig, single_plan
from cmust.run import Run
from cmust.settings import make_settings
from cmust.training import Watcher, carry_out
from cmust.windows import Windows, make_windows

RESULTS = Path(__file__).parent / "results" / "quality.json"
LOOK = 20
"""Updates of ``tuned`` between two looks at validation data."""


@dataclass(frozen=True)
class Curve:
    """A way to train: a preset and what of it is otherwise."""

    preset: str
    model: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)


CURVES = {
    "reference": Curve("reference"),
    "tuned": Curve("tuned"),
    "bf16": Curve("tuned", training={"precision": "bf16-mixed"}),
    "no residual over the weekly average": Curve("tuned", {"seasonal": False}),
    "no warm-up": Curve("tuned", training={"warmup_updates": 0}),
    "constant rate": Curve("tuned", training={"schedule": "milestones", "milestones": []}),
    "half the rate": Curve("tuned", training={"rate": 5e-4}),
    "twice the rate": Curve("tuned", training={"rate": 2e-3}),
    "gradients clipped": Curve("tuned", training={"clip": 1.0}),
    "twice the batch, twice the rate": Curve("tuned", training={"batch_size": 32, "rate": 2e-3}),
    "huber loss": Curve("tuned", {"loss": "huber"}),
    "deviations in the task's standard deviation": Curve("tuned", {"spread": "task"}),
    "fusion by Eq. 15": Curve("tuned", {"fusion": "sum"}),
    "tuned before both": Curve("tuned", {"spread": "task", "fusion": "sum"}),
    "dropout": Curve("tuned", {"dropout": 0.1}),
    "35 nodes in an update": Curve("tuned", training={"nodes_per_update": 35}),
    "17 nodes in an update": Curve("tuned", training={"nodes_per_update": 17}),
    "215 validation windows": Curve("tuned", training={"validation_windows": 215}),
    "paper": Curve("paper"),
}


class Scored:
    """A watcher that scores the network at the end of every epoch, and passes on what it hears."""

    def __init__(self, file: Path, heard: Watcher, windows: Windows, trunk: torch.nn.Module, head: torch.nn.Module):
        self._file, self._heard, self._windows = file, heard, windows
        self._systems = {"network": lambda windows, starts: forecast(trunk, head, windows.inputs(starts))}
        self._known = len(read(file))

    def plan(self, phases: list[Phase], updates: list[int]) -> None:
        """Training begins."""
        self._heard.plan(phases, updates)

    def update(self, phase: Phase, epoch: int) -> None:
        """An optimiser step."""
        self._heard.update(phase, epoch)

    @torch.no_grad()
    def event(self, event: dict[str, Any]) -> None:
        """The end of an epoch."""
        self._heard.event(event)
        # an epoch that is repeated after a kill has its line already
        if event["event"] != "epoch" or event["epoch"] <= self._known:
            return
        found = score_systems(self._windows, self._windows.split.starts["validation"], self._systems)["network"]
        line = {key: event[key] for key in ("epoch", "updates", "seconds", "validation_loss")}
        line |= {"masked": found["masked"]["mae"], "plain": found["plain"]["mae"]}
        with self._file.open("a", encoding="utf-8") as sink:
            sink.write(json.dumps(line) + "\n")


def read(file: Path) -> list[dict[str, Any]]:
    """What a curve has so far."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def train(
    curve: Curve, city: City, task: str, folder: Path, epochs: int, updates: int, precision: str, seed: int
) -> None:
    """Train the task alone, and keep its curve.

    Raises:
        RunError: the folder holds another curve: of another task, city, seed, precision or length.
    """
    length: dict[str, Any] = {"start_epochs": epochs}
    if curve.preset == "tuned":
        share = curve.training.get("batch_size", 16) // 16
        length = {"start_epochs": updates // LOOK, "updates_per_epoch": LOOK // share}
    training = {"patience": length["start_epochs"], "precision": precision, "seed": seed, **length, **curve.training}
    settings = make_settings(
        preset=curve.preset, tasks=(task,), scheme="alone", protocol="published", model=curve.model, training=training
    )
    config, run = settings.network, Run(folder)
    identity = {
        "task": task,
        "model": config.model_dump(mode="json"),
        "training": settings.trainer.model_dump(mode="json"),
        "city": describe_city(city),
    }
    defaults = {"model": field_defaults(ModelConfig), "training": field_defaults(TrainingConfig)}
    run.claim(identity, provenance(None, torch.device("cpu")), defaults)
    windows = make_windows(city, "published", config.input_steps, config.horizon)[task]
    torch.manual_seed(seed)
    trunk, shape = Trunk(config, 86_400 // city.interval, (city.task(task).n_channels,)), None
    if config.seasonal:
        shape, windows = shaped(windows, city.task(task).time, city.task(task).interval)
    head = make_head(config, city.task(task), windows, seed, shape.power if shape else 0.0).head
    with training_watcher() as heard:
        carry_out(
            single_plan([task], settings.trainer),
            run,
            make_fabric(settings.trainer.precision, "cpu", 1),
            trunk,
            {task: head},
            {task: windows},
            settings.trainer,
            watcher=Scored(folder / "curve.jsonl", heard, windows, trunk, head),
        )


def told(folder: Path, epochs: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Of every curve: its best, its points, and when it was first as good as the best of a finished ``reference``."""
    ended = read(folder / "reference" / "curve.jsonl")
    bar = min(point["masked"] for point in ended) if len(ended) >= epochs else None
    for name in CURVES:
        points, seconds = [], 0.0
        for line in read(folder / name / "curve.jsonl"):
            seconds += line["seconds"]
            points.append(
                {"updates": line["updates"], "seconds": round(seconds, 1)}
                | {k: line[k] for k in ("masked", "plain", "validation_loss")}
            )
        if points:
            reached = next((point for point in points if bar is not None and point["masked"] <= bar), None)
            yield (
                name,
                {"best": min(points, key=lambda point: point["masked"]), "as_reference": reached, "points": points},
            )


def naive(city: City, task: str) -> dict[str, float | None]:
    """Masked MAE of the naive forecasts, and of the profile that ``tuned`` begins with, on the validation part."""
    windows, data = make_windows(city, "published")[task], city.task(task)
    systems = {**NAIVE, PROFILE: profile_alone(windows, data.time, data.interval)}
    scores = score_systems(windows, windows.split.starts["validation"], systems)
    return {name: score["masked"]["mae"] for name, score in scores.items()}


def main() -> None:
    """Train, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("city", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--task", default="taxi_pickup")
    parser.add_argument("--curves", nargs="+", choices=CURVES, default=list(CURVES), metavar="CURVE")
    parser.add_argument("--epochs", type=int, default=20, help="of reference and paper")
    parser.add_argument("--updates", type=int, default=400, help="of 16 windows, of tuned and its variants")
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--note", default="", help="about the machine, for the results")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    city = open_city(arguments.city).select(tasks=(arguments.task,))
    for name in arguments.curves:
        train(
            CURVES[name],
            city,
            arguments.task,
            arguments.folder / name,
            arguments.epochs,
            arguments.updates,
            arguments.precision,
            arguments.seed,
        )
    curves = dict(told(arguments.folder, arguments.epochs))
    for name, curve in curves.items():
        print(f"{name}: best {curve['best']}, as good as the best of reference: {curve['as_reference']}")
    result = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python -m benchmarks.quality", *sys.argv[1:]]),
        "machine": describe_machine(torch.device("cpu")),
        "note": arguments.note,
        "threads": arguments.threads,
        "versions": {"cmust": __version__, "torch": torch.__version__},
        "city": city.name,
        "task": arguments.task,
        "part": "validation",
        "naive": naive(city, arguments.task),
        "curves": curves,
    }
    arguments.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
