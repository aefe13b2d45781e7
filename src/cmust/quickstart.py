"""The demo city from data to report at a small setting: minutes, not hours."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmust.city import City, open_city
from cmust.comparison import add_system
from cmust.demo import demo_city
from cmust.evaluation import evaluate
from cmust.fitting import fit
from cmust.report import write_report
from cmust.rolling import epochs_by_task, rolling_plan
from cmust.settings import derived_settings, make_settings
from cmust.training import Watcher

SETTINGS: dict[str, Any] = {
    "preset": "tuned",
    "model": {
        "d_obs": 12,
        "d_s": 4,
        "d_t": 12,
        "d_p": 12,
        "d_ts": 8,
        "d_tod": 8,
        "d_dow": 8,
        "cross_width": 16,
        "self_width": 32,
        "ffn_width": 64,
        "heads": 2,
    },
    "training": {
        "batch_size": 8,
        "updates_per_epoch": 25,
        "start_epochs": 3,
        "rolling_epochs": 2,
        "refine_epochs": 3,
        "rate": 2e-3,
        "rolling_factor": 0.1,
        "refine_factor": 1.0,
        "schedule": "cosine",
        "warmup_updates": 10,
        "precision": "32-true",  # narrow layers gain nothing from bf16
    },
}
"""Less of everything than a real training: a narrow network and few epochs, so that two cores need minutes."""


@dataclass(frozen=True)
class Quickstart:
    """What came out.

    Attributes:
        evaluation: of the run, the network alone on each task among its systems.
        report: the page.
        beaten: tasks on which CMuST has a lower plain MAE than the weekly average.
    """

    evaluation: dict[str, Any]
    report: Path
    beaten: tuple[str, ...]


def quickstart(
    folder: Path,
    *,
    say: Callable[[str], None],
    training: Callable[[], AbstractContextManager[Watcher]],
    scoring: Callable[[], AbstractContextManager[Callable[[str, int, int], None]]],
    settings: dict[str, Any] | None = None,
    city: Callable[[], City] = demo_city,
) -> Quickstart:
    """Make the demo city, train all tasks by rolling and each task alone, score them and write the report.

    What stands in ``folder`` already is not made again, so that an interrupted call can be repeated.

    Args:
        folder: gets ``city.zarr.zip`` and the run folders ``cmust`` and ``alone``.
        say: hears what is being done.
        training: gives the watcher of a training.
        scoring: gives what hears of the progress of scoring.
        settings: of both trainings; :data:`SETTINGS` when not given.
        city: makes the city.
    """
    chosen = SETTINGS if settings is None else settings
    path = folder / "city.zarr.zip"
    if not path.exists():
        say("1 of 4: making the demo city (synthetic)")
        city().save(path)
    data = open_city(path)
    run, alone = folder / "cmust", folder / "alone"
    say("2 of 4: training all tasks, one after another, with one network")
    with training() as watcher:
        fit(data, run, watcher=watcher, **chosen)
    say("3 of 4: training the same network on each task alone, with as many updates per task")
    with training() as watcher:
        fit(data, alone, watcher=watcher, **alone_settings(chosen, list(data.tasks)))
    say("4 of 4: scoring both on the test part")
    for each in (run, alone):
        with scoring() as progress:
            evaluate(each, data, progress=progress)
    evaluation = add_system(run, "alone", alone)
    return Quickstart(evaluation, write_report(run), beaten(evaluation))


def alone_settings(settings: dict[str, Any], tasks: list[str]) -> dict[str, Any]:
    """The settings that train every task alone for as many epochs as the rolling plan has for it."""
    epochs = epochs_by_task(rolling_plan(tasks, make_settings(**settings).trainer))
    training = {**settings.get("training", {}), "epochs_by_task": epochs}
    return derived_settings(**{**settings, "scheme": "alone", "training": training}).model_dump()


def beaten(evaluation: dict[str, Any]) -> tuple[str, ...]:
    """Tasks on which CMuST has a lower plain MAE than the weekly average."""

    def error(task: dict[str, Any], system: str) -> float:
        return float(task["systems"][system]["plain"]["mae"])

    return tuple(
        name for name, task in evaluation["tasks"].items() if error(task, "cmust") < error(task, "weekly_average")
    )
