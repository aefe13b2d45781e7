"""New places: trained on some places of a city, forecasting the others without and with adaptation.

Every fourth place (by name order of the data) is held out. The other places are trained by rolling before a cut; then
every task is extended to the places held out, by their history before the cut, and scored on what follows. A cell is a
task; cells are resumable and may run in processes of their own.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from cmust.city import City
from cmust.city.clock import iso_time
from cmust.continual.newcomer import AUTO
from cmust.errors import ConfigError, RunError
from cmust.evaluation import SYSTEM
from cmust.experiments.later import check_adaptation, keep_adaptation, split_settings
from cmust.experiments.markdown import better, score_rows
from cmust.fitting import fit
from cmust.naive import LABELS
from cmust.run import Run, read_json
from cmust.training import Watcher

EVERY = 4
ADAPTED = "adapted"
KNOWN = "known-places"


def hold_out(city: City, *, held: bool) -> City:
    """The city at the places held out, or at the others."""
    tasks = {}
    for name, task in city.tasks.items():
        nodes = [node for index, node in enumerate(task.nodes) if (index % EVERY == EVERY - 1) == held]
        if not nodes:
            raise ConfigError(f"task {name!r} has {task.n_nodes} places; to hold every fourth out takes {EVERY}")
        tasks[name] = task.select(nodes=nodes)
    return replace(city, tasks=tasks, covariates={})


def check_cells(cells: Sequence[str], city: City, settings: dict[str, Any], *, cut: str) -> None:
    """Refuse, before hours of training, what a cell could not do.

    Args:
        cells, city, settings, cut: as :func:`run_cell` takes them, of all cells that are wanted.

    Raises:
        ConfigError: the city has no such task, or too few places; or a setting does not fit or would be ignored.
        CityError: ``cut`` is no time, or lies outside of the data.
    """
    run_settings, training = _split(settings)
    held = hold_out(city, held=True)
    for cell in cells:
        if cell not in city.tasks:
            raise ConfigError(f"unknown cell {cell!r}; choose among the tasks {', '.join(city.tasks)}")
        task = held.task(cell)
        check_adaptation(run_settings, task, training, until=iso_time(cut), compare=False)


def _split(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of the run, and those of the adaptation."""
    run_settings, training = split_settings(settings, "adapt", "compare")
    training.pop("start_epochs", None)  # of the comparison in coldstart, whose file this is, too
    return run_settings, training


def run_cell(
    cell: str,
    city: City,
    folder: Path,
    settings: dict[str, Any],
    *,
    cut: str,
    accelerator: str = "auto",
    watcher: Watcher | None = None,
) -> None:
    """Extend a task to the places held out, without training and with; what is finished is not repeated.

    Args:
        cell: the task.
        city: all places, the time to be forecast included.
        folder: of the experiment; the run of all cells is ``folder/known-places``.
        settings: of the run (fields of ``Settings``); its table ``adapt`` holds training settings of the adaptation. A
            file of ``coldstart`` will do: ``start_epochs`` in it is for that study alone.
        cut: local time; training before it, scores after it.
        accelerator: Fabric's.
        watcher: hears of progress.

    Raises:
        ConfigError, CityError: see :func:`check_cells`.
        RunError: another process trains the run of the cells at this time.
    """
    check_cells([cell], city, settings, cut=cut)
    run_settings, training = _split(settings)
    known = hold_out(city.select(time=slice(None, cut)), held=False)
    before = fit(known, folder / KNOWN, accelerator=accelerator, watcher=watcher, **run_settings)
    for train in ("nothing", AUTO):
        keep_adaptation(
            folder / cell / train,
            before,
            hold_out(city, held=True),
            cell,
            training if train == AUTO else {},
            watcher,
            accelerator=accelerator,
            name=f"{cell}_held_out",
            like=cell,
            train=train,
            until=cut,
        )


ROWS = {
    **LABELS,
    SYSTEM: "CMuST, places never trained on",
    ADAPTED: "CMuST, adapted to the places",
}


def collect(folder: Path) -> dict[str, Any]:
    """Scores by task and system of the finished cells below ``folder``, and how their run was made.

    Raises:
        RunError: none is finished.
    """
    table: dict[str, Any] = {"tasks": {}, "costs": {}}
    for file in sorted(folder.glob("*/auto/adapt.json")):
        cell = file.parent.parent
        record, plain, task = read_json(file, ""), read_json(cell / "nothing" / "adapt.json", ""), cell.name
        (trained,), (untrained,) = record["tasks"].values(), plain["tasks"].values()
        table["tasks"][task] = {**untrained["systems"], ADAPTED: trained["systems"][SYSTEM]}
        table["costs"][task] = record["costs"][SYSTEM]
        table["places"] = len(trained["nodes"])
    if not table["tasks"]:
        raise RunError(f"no finished cell below {folder}; run `cmust experiment newplaces` first")
    config = Run(folder / KNOWN).config()
    return {"made": config["made"], "settings": config["settings"], **table}


def render(table: dict[str, Any]) -> str:
    """The table in Markdown, and on how many tasks all naive forecasts are beaten."""
    title = f"{table['places']} new places, masked MAE (plain MAE)"
    lines = [*score_rows(title, table["tasks"], ROWS), ""]
    for system in (SYSTEM, ADAPTED):
        won = [
            name
            for name, systems in table["tasks"].items()
            if all(better(systems[system], systems[naive]) for naive in LABELS if naive in systems)
        ]
        lines.append(
            f"- {ROWS[system]}: better than every naive forecast on {len(won)} of {len(table['tasks'])} tasks."
        )
    seconds = ", ".join(f"{task} {cost['seconds']:.0f} s" for task, cost in table["costs"].items())
    return "\n".join([*lines, f"- Seconds of adaptation: {seconds}."]) + "\n"
