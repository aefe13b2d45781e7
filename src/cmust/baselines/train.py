"""Another system trained on tasks of a city by the one epoch loop, in a run folder, and scored on the test part."""

import inspect
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from cmust.baselines.classic import fit_classic
from cmust.baselines.lessons import Scale, forecaster, teach
from cmust.baselines.material import Learned, Material, gather
from cmust.baselines.registry import System, find_system
from cmust.baselines.scene import Scene
from cmust.city import City
from cmust.errors import ConfigError
from cmust.evaluation import SCHEMA, score_tasks
from cmust.files import write_text
from cmust.identity import describe_city, field_defaults
from cmust.naive import NAIVE
from cmust.rolling import TrainingConfig, check_used, training_config
from cmust.run import Run, read_json
from cmust.training import Watcher, carry_out, make_fabric, trained_with
from cmust.windows import Protocol

LOSSES = ("mae", "huber", "masked_mae")
BASE: dict[str, Any] = {
    "loss": "mae",
    "batch_size": 64,
    "weight_decay": 0.0,
    "milestones": (),
    "start_epochs": 100,
    "patience": 30,
    "precision": "32-true",
}
"""What a system's ``TRAINING`` does not say."""
KEYS = (
    *("loss", "seed", "batch_size", "shuffle", "rate", "weight_decay", "decoupled_decay", "eps", "clip"),
    *("start_epochs", "updates_per_epoch", "windows_per_pass", "patience", "precision"),
    *("schedule", "milestones", "milestone_factor", "warmup_updates"),
)
"""Settings that mean something for every system; the others are those of rolling."""


def recipe(system: System, **changes: Any) -> tuple[str, TrainingConfig]:
    """Loss and training settings of a system: its own published ones, with single ones changed.

    Raises:
        ConfigError: a setting is unknown, does not fit, or means nothing for another system or with its schedule.
    """
    known = ("seed",) if system.classic else KEYS
    unknown = [key for key in changes if key not in known]
    if unknown:
        raise ConfigError(f"{unknown[0]} is no setting of {system.label}; there are {', '.join(known)}")
    values = {**BASE, **({} if system.classic else system.module.TRAINING), **changes}
    # A batch goes through whole: systems with batch normalisation see the statistics they were published with.
    values.setdefault("windows_per_pass", values["batch_size"])
    loss = str(values.pop("loss"))
    if loss not in LOSSES:
        raise ConfigError(f"loss = {loss!r} of {system.label}; choose among {', '.join(LOSSES)}")
    training = training_config("paper", **values)
    check_used(training, changes, "alone")
    return loss, training


def check_recipe(system: System, network: dict[str, Any], training: dict[str, Any]) -> None:
    """Refuse settings of a system that it does not take, before anything is begun with them.

    Raises:
        ConfigError: a setting of its network or of its training is unknown, does not fit or means nothing for it.
    """
    _maker(system, network)
    recipe(system, **training)


def train(
    name: str,
    city: City,
    folder: Path | str,
    tasks: Sequence[str],
    *,
    protocol: Protocol = "purged",
    input_steps: int = 12,
    horizon: int = 12,
    accelerator: str = "auto",
    watcher: Watcher | None = None,
    network: dict[str, Any] | None = None,
    scored: bool = True,
    **changes: Any,
) -> dict[str, Any]:
    """Train a system and score it on the test part beside the naive forecasts; interrupted, the same call goes on.

    Args:
        name: of the system.
        city: the data; all its tasks decide where the parts are cut.
        folder: of the run.
        tasks: what it forecasts: one, or several for a system that takes them together.
        protocol, input_steps, horizon: of the windows.
        accelerator: Fabric's.
        watcher: hears of progress.
        network: what ``make`` of the system takes besides the scene, such as the folder of a language model.
        scored: False: only trained, as where its pace is measured.
        changes: training settings other than the system's own.

    Returns:
        What ``evaluation.json`` of the folder holds: scores by task and system; no tasks where nothing is scored.

    Raises:
        ConfigError: there is no such system or setting, or it takes one task at a time.
        CityError: the tasks cannot be taken together, or there is too little data.
        RunError: the folder holds another run, is being written, or training diverged.
    """
    system, run = find_system(name), Run(folder)
    loss, training = recipe(system, **changes)
    make = _maker(system, network or {})
    fabric = make_fabric(training.precision, accelerator, 1, run)
    identity = {
        "system": name,
        "tasks": list(tasks),
        "windows": {"protocol": protocol, "input_steps": input_steps, "horizon": horizon},
        "network": network or {},
        "loss": loss,
        "training": training.model_dump(mode="json"),
        "city": describe_city(city),
    }
    with run.locked():
        made = trained_with(fabric)
        run.claim(identity, made, {"training": field_defaults(TrainingConfig)})
        if run.evaluation_file.exists():
            return read_json(run.evaluation_file, "")
        run.sweep()
        material = gather(system, city, tasks, protocol, input_steps, horizon)
        if system.classic:
            learned = fit_classic(name, material, training.seed)
        else:
            learned = _learn(make, material, run, fabric, loss, training, watcher)
        torch.manual_seed(training.seed)  # a system may draw at random in its forecasts, too
        evaluation = {
            "schema": SCHEMA,
            "made": made,
            "city": identity["city"],
            "protocol": protocol,
            "part": "test",
            "cost": learned.cost,
            "language": learned.language,
            "tasks": _scores(name, city, material, learned) if scored else {},
        }
        if scored:
            write_text(run.evaluation_file, json.dumps(evaluation, indent=1) + "\n")
        return evaluation


def _maker(system: System, options: dict[str, Any]) -> Callable[[Scene], nn.Module]:
    if system.classic:
        if options:
            raise ConfigError(f"{system.label} has no network; leave its table network out")
        return lambda scene: nn.Identity()
    make = system.module.make
    known = list(inspect.signature(make).parameters)[1:]
    for key in options:
        if key not in known:
            there = ", ".join(known) or "none"
            raise ConfigError(f"{key} is no setting of the network of {system.label}; there are {there}")
    return lambda scene: make(scene, **options)


def _learn(
    make: Callable[[Scene], nn.Module],
    material: Material,
    run: Run,
    fabric: Fabric,
    loss: str,
    training: TrainingConfig,
    watcher: Watcher | None,
) -> Learned:
    torch.manual_seed(training.seed)
    network, windows = make(material.scene), material.windows
    head, task = Scale(windows.scaler.mean, windows.scaler.std), windows.name
    phases, lessons = teach(network, material.scene, task, loss, training)
    carry_out(
        phases,
        run,
        fabric,
        network,
        {task: head},
        {task: windows},
        training,
        lesson=lambda phase: lessons[phase.name],
        watcher=watcher,
    )
    network.eval()  # it is left with the weights that were kept
    ends = [event for event in run.history() if event["event"] == "phase"]
    cost = {key: sum(end[key] for end in ends) for key in ("updates", "epochs", "seconds")}
    cost["parameters"] = sum(parameter.numel() for parameter in network.parameters())
    network_forecast = forecaster(network, material.scene)

    further = windows.input_steps - next(iter(material.tasks.values())).input_steps

    def forecast(starts: Tensor) -> dict[str, Tensor]:
        inputs = windows.inputs(starts - further)
        with fabric.autocast():
            made = network_forecast(network, head, type(inputs)(*(part.to(fabric.device) for part in inputs)))
        made = made.float().cpu() * material.scale
        return {task: made[..., channels] for task, channels in material.channels.items()}

    return Learned(forecast, cost, getattr(network, "language", None))


@torch.no_grad()
def _scores(name: str, city: City, material: Material, learned: Learned) -> dict[str, Any]:
    """Of all tasks in one pass: what takes them together forecasts each window of all of them once. Their times, and so
    their windows, are the same.
    """
    starts = next(iter(material.tasks.values())).split.starts["test"]

    def forecasts(batch: Tensor) -> dict[str, dict[str, Tensor]]:
        made = learned.forecast(batch)
        return {
            task: {name: made[task], **{naive: simple(windows, batch) for naive, simple in NAIVE.items()}}
            for task, windows in material.tasks.items()
        }

    return {
        task: {
            "unit": city.task(task).unit,
            "kind": city.task(task).kind,
            "interval": city.task(task).interval,
            "windows": len(starts),
            "systems": systems,
        }
        for task, systems in score_tasks(material.tasks, starts, [name, *NAIVE], forecasts).items()
    }
