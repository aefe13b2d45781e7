"""What the studies of adapting and updating share: settings in two tables, checks, adaptations that are kept."""

import json
from pathlib import Path
from typing import Any

from cmust.city import City, Task
from cmust.continual.adapt import adapted, check_trained, training_of
from cmust.continual.newcomer import AUTO, history_of, make_wish, what_can_be_judged
from cmust.errors import ConfigError
from cmust.experiments.given import table_of
from cmust.files import write_text
from cmust.forecaster import Forecaster
from cmust.identity import data_fingerprint, field_defaults
from cmust.rolling import TrainingConfig, Use, changed_training, check_used
from cmust.run import Run, read_json
from cmust.settings import make_settings
from cmust.training import Watcher, make_fabric, trained_with


def split_settings(settings: dict[str, Any], table: str, use: Use) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of the run, and those of what comes later: training settings in a table of their own, ``[adapt]`` or
    ``[update]``. Both are checked here, before hours of training.

    Args:
        settings: of the study.
        table: which.
        use: what its settings are for.

    Raises:
        ConfigError: a setting is unknown, does not fit, or would be ignored.
    """
    run = {key: value for key, value in settings.items() if key != table}
    later = table_of(settings, table)
    check_used(changed_training(make_settings(**run).trainer, **later), later, use)
    return run, later


def check_adaptation(
    run_settings: dict[str, Any], task: Task, training: dict[str, Any], *, until: str, compare: bool
) -> None:
    """Refuse an adaptation that would fail, or have nothing after its history to be scored on, once the run it adds to
    is trained.

    Args:
        run_settings: of that run.
        task: the history, and what follows it.
        training: settings other than the run's.
        until: the history ends here (ISO 8601).
        compare: with training from scratch.

    Raises:
        ConfigError: a setting is for nothing where so little history trains the head alone; or nothing follows.
        CityError: the history is too short.
    """
    network, history = make_settings(**run_settings).network, history_of(task, until)
    check_trained(what_can_be_judged(network, history), training, compare=compare)
    later = task.n_steps - history.n_steps
    if later < network.horizon:
        raise ConfigError(
            f"task {task.name!r} has {later} steps from {until} on, and is scored on forecasts of {network.horizon}; "
            f"give an earlier cut"
        )


def keep_adaptation(
    folder: Path,
    before: Forecaster,
    city: City,
    task: str,
    training: dict[str, Any],
    watcher: Watcher | None,
    *,
    accelerator: str = "auto",
    compare: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Adapt in memory and keep the record in ``folder``; interrupted it resumes, finished it is not repeated.

    Args:
        folder: of this adaptation alone.
        before: the forecaster.
        city: holds the task.
        task: of the city.
        training: settings other than the run's.
        watcher: hears of progress.
        accelerator: Fabric's.
        compare: with training from scratch.
        options: ``name``, ``like``, ``train``, ``until``, as in :func:`cmust.adapt`.

    Raises:
        RunError: the folder holds another adaptation.
    """
    work, result = Run(folder), folder / "adapt.json"
    wish = make_wish(before, city.task(task), **{"name": None, "like": None, "train": AUTO, "until": None, **options})
    config = training_of(before, wish, training, compare=compare)
    identity = {
        "adapt": vars(wish),
        "compare": compare,
        "training": config.model_dump(mode="json"),
        "fingerprint": data_fingerprint(city.task(task)),
        "before": before.city["fingerprint"],
    }
    fabric = make_fabric(config.precision, accelerator, 1, work)
    defaults = {"training": field_defaults(TrainingConfig)}
    work.claim(json.loads(json.dumps(identity)), trained_with(fabric), defaults)
    if result.exists():
        return read_json(result, "")
    record = adapted(before, city, wish, config, work, fabric, compare=compare, watcher=watcher).record
    write_text(result, json.dumps(record, indent=1) + "\n")
    return record
