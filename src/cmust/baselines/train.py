"""Another system trained on tasks of a city by the one epoch loop, in a run folder, and scored on the test part."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from cmust.baselines.lessons import Scale, forecaster, teach
from cmust.baselines.material import Material, gather
from cmust.baselines.registry import System, find_system
from cmust.city import City
from cmust.errors import ConfigError
from cmust.evaluation import SCHEMA, score_systems
from cmust.files import write_text
from cmust.identity import describe_city
from cmust.machine import provenance
from cmust.naive import NAIVE
from cmust.rolling import TrainingConfig, training_config
from cmust.run import Run, read_json
from cmust.training import Watcher, carry_out, make_fabric
from cmust.windows import Protocol, Windows

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
        ConfigError: a setting is unknown, does not fit, or means nothing for another system.
    """
    unknown = [key for key in changes if key not in KEYS]
    if unknown:
        raise ConfigError(f"{unknown[0]} is no setting of {system.label}; there are {', '.join(KEYS)}")
    values = {**BASE, **system.module.TRAINING, **changes}
    # A batch goes through whole: systems with batch normalisation see the statistics they were published with.
    values.setdefault("windows_per_pass", values["batch_size"])
    loss = str(values.pop("loss"))
    if loss not in LOSSES:
        raise ConfigError(f"loss = {loss!r} of {system.label}; choose among {', '.join(LOSSES)}")
    return loss, training_config("paper", **values)


@dataclass(frozen=True)
class Trained:
    """A system in its best state, on the device it was trained on.

    Attributes:
        network, head: of the system.
        material: what it was trained on.
        fabric: of the device.
        parameters: how many weights.
        cost: ``updates``, ``epochs`` and ``seconds`` of all its phases.
    """

    network: nn.Module
    head: Scale
    material: Material
    fabric: Fabric
    parameters: int
    cost: dict[str, float]

    def forecast_of(self, task: str) -> Callable[[Windows, Tensor], Tensor]:
        """Forecasts of one task ``(B, F, N, C)`` in its own units, for windows of the material as it is scored."""
        material, device = self.material, self.fabric.device
        seen = material.windows
        further = seen.input_steps - material.tasks[task].input_steps
        channels = material.channels[task]
        scale = material.scale[channels]
        forecast = forecaster(self.network, material.scene)

        def system(windows: Windows, starts: Tensor) -> Tensor:
            inputs = seen.inputs(starts - further)
            with self.fabric.autocast():
                made = forecast(self.network, self.head, type(inputs)(*(part.to(device) for part in inputs)))
            return made.float().cpu()[..., channels] * scale

        return system


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
        changes: training settings other than the system's own.

    Returns:
        What ``evaluation.json`` of the folder holds: scores by task and system.

    Raises:
        ConfigError: there is no such system or setting, or it takes one task at a time.
        CityError: the tasks cannot be taken together, or there is too little data.
        RunError: the folder holds another run, is being written, or training diverged.
    """
    system, run = find_system(name), Run(folder)
    loss, training = recipe(system, **changes)
    fabric = make_fabric(training.precision, accelerator, 1)
    identity = {
        "system": name,
        "tasks": list(tasks),
        "windows": {"protocol": protocol, "input_steps": input_steps, "horizon": horizon},
        "loss": loss,
        "training": training.model_dump(mode="json"),
        "city": describe_city(city),
    }
    with run.locked():
        made = provenance(None, fabric.device)
        run.claim(identity, made)
        if run.evaluation_file.exists():
            return read_json(run.evaluation_file, "")
        run.sweep()
        material = gather(system, city, tasks, protocol, input_steps, horizon)
        trained = _train(system, material, run, fabric, loss, training, watcher)
        torch.manual_seed(training.seed)  # a system may draw at random in its forecasts, too
        scores = {task: _score(trained, name, city, task) for task in tasks}
        evaluation = {
            "schema": SCHEMA,
            "made": made,
            "city": identity["city"],
            "protocol": protocol,
            "part": "test",
            "parameters": trained.parameters,
            "cost": trained.cost,
            "tasks": scores,
        }
        write_text(run.evaluation_file, json.dumps(evaluation, indent=1) + "\n")
        return evaluation


def _train(
    system: System,
    material: Material,
    run: Run,
    fabric: Fabric,
    loss: str,
    training: TrainingConfig,
    watcher: Watcher | None,
) -> Trained:
    torch.manual_seed(training.seed)
    network: nn.Module = system.module.make(material.scene)
    windows = material.windows
    head = Scale(windows.scaler.mean, windows.scaler.std)
    task = windows.name
    phases, lessons = teach(network, material.scene, task, loss, training)
    outcome = carry_out(
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
    network.load_state_dict(outcome.weights[task]["trunk"])
    ends = [event for event in run.history() if event["event"] == "phase"]
    cost = {key: sum(end[key] for end in ends) for key in ("updates", "epochs", "seconds")}
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return Trained(network.eval(), head, material, fabric, parameters, cost)


@torch.no_grad()
def _score(trained: Trained, name: str, city: City, task: str) -> dict[str, Any]:
    windows = trained.material.tasks[task]
    starts = windows.split.starts["test"]
    data = city.task(task)
    return {
        "unit": data.unit,
        "kind": data.kind,
        "interval": data.interval,
        "windows": len(starts),
        "systems": score_systems(windows, starts, {name: trained.forecast_of(task), **NAIVE}),
    }
