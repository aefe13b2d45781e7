"""From a city to a finished run: windows, prompts, the plan, training with resume, the model folder."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from cmust.assembly import describe, load_trunk, seasonal_tables, window_scores
from cmust.city import City, check_is_city
from cmust.city.clock import local_time
from cmust.errors import CmustError, ConfigError
from cmust.forecaster import Forecaster
from cmust.heads import HeadParts, make_head
from cmust.identity import data_fingerprint, describe_city, field_defaults
from cmust.model import ModelConfig, Trunk
from cmust.profile import Shape, shaped
from cmust.rolling import PLANS, TrainingConfig
from cmust.run import SCHEMA, Run
from cmust.settings import Settings, make_settings
from cmust.task_model import TaskModel
from cmust.training import Outcome, Watcher, carry_out, make_fabric, trained_with
from cmust.windows import Cuts, Frame, Windows, common_cuts, make_windows


def fit(
    city: City,
    run: Path | str,
    *,
    accelerator: str = "auto",
    devices: int | str = "auto",
    watcher: Watcher | None = None,
    command: str | None = None,
    cuts: Cuts | None = None,
    **settings: Any,
) -> Forecaster:
    """Train on a city and write a run folder; started again on the same folder with the same settings, it resumes.

    Args:
        city: the data.
        run: the folder; created where missing.
        accelerator: Fabric's: ``cpu``, ``cuda``, ``auto``.
        devices: Fabric's; ``auto`` is one process, or those that ``torchrun`` started.
        watcher: hears of progress.
        command: how the run was started, for its records; the program's arguments when not given.
        cuts: local times at which validation and test part begin, where ``purged`` is to cut the tasks as others are
            cut that they are compared with; 70 % and 80 % of the span they share when not given.
        settings: the fields of :class:`cmust.settings.Settings`.

    Returns:
        The forecaster of the finished run.

    Raises:
        ConfigError: a setting is unknown or does not fit.
        CityError: the city does not fit the settings.
        RunError: the folder belongs to another city or other settings, is being written, or is damaged.
    """
    check_is_city(city)
    chosen = make_settings(**settings)
    fabric = make_fabric(chosen.trainer.precision, accelerator, devices, Run(run))
    fabric.launch()
    return _fit(fabric, city, Run(run), chosen, cuts, watcher, command)


def _fit(
    fabric: Fabric,
    city: City,
    run: Run,
    settings: Settings,
    cuts: Cuts | None,
    watcher: Watcher | None,
    command: str | None,
) -> Forecaster:
    names = settings.tasks or tuple(city.tasks)
    city = city.select(tasks=names)
    unknown = sorted(set(settings.trainer.epochs_by_task) - set(names))
    if unknown:
        raise ConfigError(
            f"training.epochs_by_task names {unknown[0]!r}, which is not among the tasks {', '.join(names)}"
        )
    cuts = None if cuts is None else _other_cuts(city, settings, cuts)
    config = settings.network
    # what cannot be trained on is refused before the folder is claimed for it
    windows = make_windows(city, settings.protocol, config.input_steps, config.horizon, cuts)
    refusal: CmustError | None = None
    with ExitStack() as held:
        if fabric.is_global_zero:
            try:
                held.enter_context(run.locked())
                _claim(run, city, settings, cuts, fabric, command)
                run.sweep()
            except CmustError as error:
                refusal = error
        # Every process hears what the first one found, so that none is left waiting for the others.
        refusal, finished = fabric.broadcast((refusal, run.finished))
        if refusal is not None:
            raise refusal
        if finished:
            return Forecaster.load(run.folder)
        return _train(fabric, city, run, settings, cuts, windows, watcher)


def _other_cuts(city: City, settings: Settings, cuts: Cuts) -> Cuts | None:
    """The cuts given; None where they are those of the tasks themselves, so that it is the same run as without them."""
    if settings.protocol != "purged":
        raise ConfigError(f"cuts are for protocol purged, not {settings.protocol}; leave them out")
    read = tuple(map(local_time, cuts))
    if len(read) != 2 or read[0] >= read[1]:
        raise ConfigError(f"cuts are {', '.join(map(str, read))}; give two times, the later one second")
    return None if read == common_cuts(city) else read


def _claim(run: Run, city: City, settings: Settings, cuts: Cuts | None, fabric: Fabric, command: str | None) -> None:
    """Write ``config.json``, or check that the run that is there is this one."""
    # Settings first: another choice of tasks changes the fingerprint too, and is the better thing to name.
    identity = {
        "schema": SCHEMA,
        "settings": {
            "preset": settings.preset,
            "scheme": settings.scheme,
            "protocol": settings.protocol,
            "tasks": list(city.tasks),
            "model": settings.network.model_dump(mode="json"),
            "training": settings.trainer.model_dump(mode="json"),
        },
        "city": {
            "name": city.name,
            "fingerprint": city.fingerprint(),
            "timezone": city.timezone,
            "synthetic": city.synthetic,
            "source": city.source,
        },
        "cuts": None if cuts is None else [str(cut) for cut in cuts],
    }
    made = trained_with(fabric, command)
    made = {"started": made.pop("when"), **made, "processes": fabric.world_size}
    defaults = {"model": field_defaults(ModelConfig), "training": field_defaults(TrainingConfig)}
    run.claim(identity, made, {"settings": defaults, "cuts": None})


def _train(
    fabric: Fabric,
    city: City,
    run: Run,
    settings: Settings,
    cuts: Cuts | None,
    windows: dict[str, Windows],
    watcher: Watcher | None,
) -> Forecaster:
    config, training = settings.network, settings.trainer
    torch.manual_seed(training.seed)
    trunk = Trunk(config, 86_400 // city.interval, tuple(task.n_channels for task in city.tasks.values()))
    shapes: dict[str, Shape] = {}
    if config.seasonal:
        for name, task in city.tasks.items():
            shapes[name], windows[name] = shaped(windows[name], task.time, task.interval)
    parts = {
        name: make_head(config, task, windows[name], training.seed, shapes[name].power if config.seasonal else 0.0)
        for name, task in city.tasks.items()
    }
    plan = PLANS[settings.scheme](list(city.tasks), training)
    heads = {name: part.head for name, part in parts.items()}
    outcome = carry_out(plan, run, fabric, trunk, heads, windows, training, watcher=watcher)
    forecaster = _assemble(city, settings, cuts, windows, parts, shapes, outcome, fabric.device)
    forecaster.home = run.folder
    if fabric.is_global_zero:
        forecaster.save(run.model_folder)
    fabric.barrier()
    return forecaster


def _assemble(
    city: City,
    settings: Settings,
    cuts: Cuts | None,
    windows: dict[str, Windows],
    parts: dict[str, HeadParts],
    shapes: dict[str, Shape],
    outcome: Outcome,
    device: torch.device,
) -> Forecaster:
    """The forecaster from the delivered weights, its validation scores computed on ``device``."""
    config = settings.network
    lon = np.concatenate([task.lon for task in city.tasks.values()])
    lat = np.concatenate([task.lat for task in city.tasks.values()])
    forecaster = Forecaster(
        config=config,
        city=describe_city(city),
        protocol=settings.protocol,
        slots_per_day=86_400 // city.interval,
        reference=min(task.time[0] for task in city.tasks.values()),
        frame=Frame.of(lon, lat),
        training=settings.trainer,
        star=outcome.star,
    )
    cut_at = [str(cut) for cut in cuts or common_cuts(city)] if settings.protocol == "purged" else None
    for name, task in city.tasks.items():
        each, shape, convergence = windows[name], shapes.get(name), parts[name].convergence
        head = parts[name].head.cpu()
        head.load_state_dict(outcome.weights[name]["head"])
        trunk = load_trunk(config, forecaster.slots_per_day, outcome.weights[name]["trunk"])
        tables = seasonal_tables(task, each, shape, each.split.train_steps)
        model = TaskModel(trunk, head.eval(), parts[name].encoder, tables.average, tables.profile, {})
        starts = each.split.starts["validation"]
        model.about = describe(
            task,
            shape,
            each.split.train_steps,
            int(starts[-1]) + each.input_steps + each.horizon,
            fingerprint=data_fingerprint(task),
            cuts=cut_at,
            validation=window_scores(model, task, each, starts, device),
            autoencoder=vars(convergence) if convergence else None,
        )
        forecaster.tasks[name] = model
    return forecaster
