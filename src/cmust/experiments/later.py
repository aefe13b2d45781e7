"""What the studies of adapting and updating share: settings in three tables, adaptations that are kept."""

import json
from pathlib import Path
from typing import Any

from cmust.city import City
from cmust.continual.adapt import adapted, training_of
from cmust.continual.newcomer import AUTO, make_wish
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
    later = dict(settings.get(table, {}))
    check_used(changed_training(make_settings(**run).trainer, **later), later, use)
    return run, later


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
    fabric = make_fabric(config.precision, accelerator, 1)
    defaults = {"training": field_defaults(TrainingConfig)}
    work.claim(json.loads(json.dumps(identity)), trained_with(fabric), defaults)
    if result.exists():
        return read_json(result, "")
    record = adapted(before, city, wish, config, work, fabric, compare=compare, watcher=watcher).record
    write_text(result, json.dumps(record, indent=1) + "\n")
    return record
