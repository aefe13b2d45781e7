"""Cold start (C.5, Table 6): a task that comes when the others are trained, with a few days of history.

For each task in turn: the other tasks are trained by rolling on the data before a cut, then the task is added with the
last 7, 14 and 28 days before the cut. Beside it, on the very same history: the same network from fresh weights until it
stops by itself, and what knows that history without a network: the weekly average, the scaled one, and the profile that
``tuned`` begins with. All are scored on what follows the cut. A cell is a task; cells are resumable and may run in
processes of their own.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cmust.city import City, Task
from cmust.city.clock import iso_time, local_time
from cmust.continual.record import FROM_SCRATCH
from cmust.errors import ConfigError, RunError
from cmust.evaluation import SYSTEM
from cmust.experiments.later import check_adaptation, keep_adaptation, split_settings
from cmust.experiments.markdown import better, score_rows
from cmust.fitting import fit
from cmust.naive import PROFILE
from cmust.run import Run, read_json
from cmust.training import Watcher

DAYS = (7, 14, 28)
TEST_DAYS = 28
WITHOUT_NETWORK = ("weekly_average", "scaled_weekly_average", PROFILE)


def default_cut(city: City) -> str:
    """The midnight after which ``TEST_DAYS`` days of all tasks are left."""
    last = min(task.time[-1] + np.timedelta64(task.interval, "s") for task in city.tasks.values())
    return str(last.astype("datetime64[D]") - np.timedelta64(TEST_DAYS, "D"))


def check_cells(
    cells: Sequence[str], city: City, settings: dict[str, Any], *, cut: str, days: Sequence[int] = DAYS
) -> None:
    """Refuse, before hours of training, what a cell could not do or the table would call by a wrong name.

    Args:
        cells, city, settings, cut, days: as :func:`run_cell` takes them, of all cells that are wanted.

    Raises:
        ConfigError: the city has no such task, or no other; a setting does not fit or would be ignored; or there is
            less history than a length says.
        CityError: ``cut`` is no time, or lies outside of the data.
    """
    run_settings, training = split_settings(settings, "adapt", "compare")
    for cell in cells:
        if cell not in city.tasks or len(city.tasks) < 2:
            raise ConfigError(f"unknown cell {cell!r}; choose among the tasks {', '.join(city.tasks)}, of two or more")
        task = city.task(cell)
        _check_lengths(task, cut, days)
        for length in days:
            end, some = iso_time(cut), task.select(time=slice(_start(cut, length), None))
            check_adaptation(run_settings, some, training, until=end, compare=True)


def _check_lengths(task: Task, cut: str, days: Sequence[int]) -> None:
    """Refuse lengths that reach back before the data: rows of them would tell of less history than their title."""
    long = [str(length) for length in days if _start(cut, length) < task.time[0]]
    if long:
        raise ConfigError(
            f"task {task.name!r} begins at {task.time[0]}, which leaves less than {', '.join(long)} days of history "
            f"before {cut}; give shorter ones (--days), or a later cut (--cut)"
        )


def _start(cut: str, days: int) -> np.datetime64:
    """When a history of so many days begins."""
    return local_time(cut) - np.timedelta64(days, "D")


def run_cell(
    cell: str,
    city: City,
    folder: Path,
    settings: dict[str, Any],
    *,
    cut: str,
    days: Sequence[int] = DAYS,
    accelerator: str = "auto",
    watcher: Watcher | None = None,
) -> None:
    """Train without a task, then add it with each length of history; what is finished is not repeated.

    Args:
        cell: the task that comes later.
        city: all tasks, the time to be forecast included.
        folder: of the experiment; the cell's runs stand below it.
        settings: of the run (fields of ``Settings``); its table ``adapt`` holds training settings of the adaptation
            (``refine_epochs``) and of training from scratch (``start_epochs``).
        cut: local time; the others are trained before it, the history ends there.
        days: lengths of history.
        accelerator: Fabric's.
        watcher: hears of progress.

    Raises:
        ConfigError, CityError: see :func:`check_cells`.
    """
    check_cells([cell], city, settings, cut=cut, days=days)
    others = [name for name in city.tasks if name != cell]
    run_settings, training = split_settings(settings, "adapt", "compare")
    known = city.select(tasks=others, time=slice(None, cut))
    before = fit(known, folder / cell / "before", accelerator=accelerator, watcher=watcher, **run_settings)
    for length in days:
        keep_adaptation(
            folder / cell / f"days-{length}",
            before,
            city.select(tasks=[cell], time=slice(_start(cut, length), None)),
            cell,
            training,
            watcher,
            accelerator=accelerator,
            compare=True,
            until=cut,
        )


def collect(folder: Path) -> dict[str, Any]:
    """Scores and costs by length of history and task, of the finished adaptations below ``folder``.

    Raises:
        RunError: none is finished.
    """
    table: dict[str, Any] = {"days": {}, "before": {}}
    for file in sorted(folder.glob("*/days-*/adapt.json")):
        record, task, length = read_json(file, ""), file.parent.parent.name, file.parent.name.removeprefix("days-")
        (scored,) = record["tasks"].values()
        entry = {key: scored[key] for key in ("windows", "from", "until", "systems")}
        table["days"].setdefault(length, {})[task] = {**entry, "costs": record["costs"], "training": record["training"]}
        config = Run(file.parent.parent / "before").config()
        table["before"][task] = {"made": config["made"], "settings": config["settings"]}
    if not table["days"]:
        raise RunError(f"no finished adaptation below {folder}; run `cmust experiment coldstart` first")
    table["days"] = dict(sorted(table["days"].items(), key=lambda item: int(item[0])))
    return table


ROWS = {
    "weekly_average": "weekly average of the history",
    "scaled_weekly_average": "the same, scaled to the recent level",
    PROFILE: "weekly profile of the history, alone",
    FROM_SCRATCH: "the network from scratch",
    SYSTEM: "CMuST, adapted",
}


def render(table: dict[str, Any]) -> str:
    """The tables in Markdown, one per length of history; below each what it cost and where it wins."""
    lines: list[str] = []
    for length, tasks in table["days"].items():
        scored = {
            task: {system: each["systems"][system] for system in ROWS if system in each["systems"]}
            for task, each in tasks.items()
        }
        lines += [*score_rows(f"{length} days of history, masked MAE (plain MAE)", scored, ROWS)]
        for system in (FROM_SCRATCH, SYSTEM):
            costs = [each["costs"][system] for each in tasks.values()]
            cells = [
                f"{cost['seconds']:.0f} s, {cost['updates']} updates, {cost['epochs']} of {cost['most_epochs']} epochs"
                for cost in costs
            ]
            lines.append(f"| {ROWS[system]}: cost | {' | '.join(cells)} |")
        lines += ["", _verdict(tasks), ""]
    return "\n".join(lines).rstrip() + "\n"


def _verdict(tasks: dict[str, Any]) -> str:
    ours = {name: each["systems"][SYSTEM] for name, each in tasks.items()}
    scratch = [name for name, each in tasks.items() if better(ours[name], each["systems"][FROM_SCRATCH])]
    averages = [
        name
        for name, each in tasks.items()
        if all(better(ours[name], each["systems"][other]) for other in WITHOUT_NETWORK if other in each["systems"])
    ]
    faster = [
        name
        for name, each in tasks.items()
        if each["costs"][SYSTEM]["seconds"] < each["costs"][FROM_SCRATCH]["seconds"]
    ]
    return (
        f"Adapted is better, plain and masked, than from scratch on {len(scratch)} of {len(tasks)} tasks and than what "
        f"knows the history without a network on {len(averages)}; it took less time than from scratch on {len(faster)}."
    )
