"""From a city to a finished run: windows, prompts, the plan, training with resume, the model folder."""

import os
import platform
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import nn

from cmust import __version__
from cmust.board import TensorBoard
from cmust.city import City, Task
from cmust.clock import second_of_day
from cmust.errors import CmustError, ConfigError, RunError, reason
from cmust.forecaster import Forecaster, TaskModel
from cmust.machine import command_line, describe_machine, has_fast_bf16
from cmust.model import Head, ModelConfig, Trunk
from cmust.profile import Shape, make_profile, shaped
from cmust.prompts import (
    Convergence,
    FreePrompt,
    NoPrompt,
    SamplingAutoencoder,
    SummaryPrompt,
    sample_day,
    train_autoencoder,
)
from cmust.rolling import PLANS, Phase, Trainer
from cmust.rolling import state as store
from cmust.run import SCHEMA, Run
from cmust.seasonal import WeeklyAverage
from cmust.settings import Settings, make_settings
from cmust.windows import Frame, Windows, make_windows


class Watcher(Protocol):
    """What wants to know how training goes (a progress bar, say)."""

    def plan(self, phases: list[Phase], updates: list[int]) -> None:
        """Training begins: the phases, and at most how many updates each takes."""

    def update(self, phase: Phase, epoch: int) -> None:
        """An optimiser step was made."""

    def event(self, event: dict[str, Any]) -> None:
        """An epoch or a phase ended (see ``history.jsonl``)."""


def fit(
    city: City,
    run: Path | str,
    *,
    accelerator: str = "auto",
    devices: int | str = "auto",
    watcher: Watcher | None = None,
    command: str | None = None,
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
        settings: the fields of :class:`cmust.settings.Settings`.

    Returns:
        The forecaster of the finished run.

    Raises:
        ConfigError: a setting is unknown or does not fit.
        CityError: the city does not fit the settings.
        RunError: the folder belongs to another city or other settings, is being written, or is damaged.
    """
    chosen = make_settings(**settings)
    fabric = make_fabric(chosen, accelerator, devices)
    fabric.launch()
    return _fit(fabric, city, Run(run), chosen, watcher, command or command_line())


def make_fabric(settings: Settings, accelerator: str, devices: int | str) -> Fabric:
    """Fabric for these settings. Under ``torchrun`` the number of processes is the launcher's."""
    local_world = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    count = local_world if devices == "auto" else devices
    several = count not in (1, "1") or int(os.environ.get("WORLD_SIZE", "1")) > 1
    precision = settings.trainer.precision
    if precision == "auto":
        precision = "bf16-mixed" if has_fast_bf16(accelerator) else "32-true"
    return Fabric(
        accelerator=accelerator,
        devices=count,
        num_nodes=int(os.environ.get("WORLD_SIZE", "1")) // local_world,
        # Buffers (scales, summaries) never change: nothing to send around before every forward pass.
        strategy=DDPStrategy(find_unused_parameters=True, broadcast_buffers=False) if several else "auto",
        precision=precision,
    )


def _fit(fabric: Fabric, city: City, run: Run, settings: Settings, watcher: Watcher | None, command: str) -> Forecaster:
    names = settings.tasks or tuple(city.tasks)
    city = city.select(tasks=names)
    unknown = sorted(set(settings.trainer.epochs_by_task) - set(names))
    if unknown:
        raise ConfigError(
            f"training.epochs_by_task names {unknown[0]!r}, which is not among the tasks {', '.join(names)}"
        )
    refusal: CmustError | None = None
    with ExitStack() as held:
        if fabric.is_global_zero:
            try:
                held.enter_context(run.locked())
                _claim(run, city, settings, fabric, command)
                run.sweep()
            except CmustError as error:
                refusal = error
        # Every process hears what the first one found, so that none is left waiting for the others.
        refusal, finished = fabric.broadcast((refusal, run.finished))
        if refusal is not None:
            raise refusal
        if finished:
            return Forecaster.load(run.folder)
        return _train(fabric, city, run, settings, watcher if fabric.is_global_zero else None)


def _claim(run: Run, city: City, settings: Settings, fabric: Fabric, command: str) -> None:
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
    }
    if run.config_file.exists():
        found = run.config()
        for key, theirs, ours in _differences(found, identity):
            raise RunError(
                f"run {run.folder} was started with {key} = {theirs!r}, not {ours!r}; use the same settings to "
                f"resume it, or another folder"
            )
        return
    made = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "machine": describe_machine(fabric.device),
        "processes": fabric.world_size,
        "precision": fabric._precision.precision,
        "versions": {
            "cmust": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
    run.write_config({**identity, "made": made})


def _differences(found: Any, wanted: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Leaves of ``wanted`` that ``found`` has otherwise, as (path, found, wanted)."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        parts = [_differences(found.get(key), value, f"{path}.{key}".lstrip(".")) for key, value in wanted.items()]
        return [difference for part in parts for difference in part]
    return [] if found == wanted else [(path, found, wanted)]


def _train(fabric: Fabric, city: City, run: Run, settings: Settings, watcher: Watcher | None) -> Forecaster:
    config, training = settings.network, settings.trainer
    windows = make_windows(city, settings.protocol, config.input_steps, config.horizon)
    torch.manual_seed(training.seed)
    trunk = fabric.to_device(
        Trunk(config, 86_400 // city.interval, tuple(task.n_channels for task in city.tasks.values()))
    )
    shapes: dict[str, Shape] = {}
    if config.seasonal:
        for name, task in city.tasks.items():
            shapes[name], windows[name] = shaped(windows[name], task.time, task.interval)
    parts = {
        name: make_head(config, task, windows[name], training.seed, shapes[name].power if config.seasonal else 0.0)
        for name, task in city.tasks.items()
    }
    heads = {name: fabric.to_device(part.head) for name, part in parts.items()}
    resident = {name: each.to(fabric.device) for name, each in windows.items()}
    plan = PLANS[settings.scheme](list(city.tasks), training)

    board = TensorBoard(run.folder / "tensorboard") if fabric.is_global_zero else None

    def on_event(event: dict[str, Any]) -> None:
        run.append_history(event)
        if board:
            board.write(event)
        if watcher:
            watcher.event(event)

    trainer = Trainer(
        fabric,
        trunk,
        heads,
        resident,
        plan,
        training,
        on_event=on_event,
        on_update=watcher.update if watcher else lambda phase, epoch: None,
        on_checkpoint=lambda trainer: _save_state(run, trainer),
        on_delivery=lambda task, weights: store.save(_result_file(run, task), weights, {}),
    )
    if run.state_file.exists():
        history_size = _resume(run, trainer)
        if fabric.is_global_zero:
            run.cut_history(history_size)
            if board:
                board.start_after(run.history())
    elif fabric.is_global_zero:
        run.cut_history(0)
    if watcher:
        watcher.plan(plan, [trainer.updates_of(phase) for phase in plan])
    trainer.run()
    fabric.barrier()
    forecaster = _assemble(city, run, settings, windows, parts, shapes)
    forecaster.star = trainer.star
    if fabric.is_global_zero:
        forecaster.save(run.model_folder)
        if board:
            board.close()
    fabric.barrier()
    return forecaster


def _resume(run: Run, trainer: Trainer) -> int:
    """Put the trainer where the run stopped; how many bytes of history belong to that."""
    saved = store.load(run.state_file)
    try:
        trainer.resume(saved)
        return int(saved.values["history_size"])
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise RunError(
            f"{run.state_file} does not fit this run ({reason(error)}); restore it from a copy, or remove the "
            f"folder {run.folder} and train again"
        ) from error


def _save_state(run: Run, trainer: Trainer) -> None:
    tensors, values = trainer.checkpoint()
    store.save(run.state_file, tensors, {**values, "history_size": run.history_size()})


def _result_file(run: Run, task: str) -> Path:
    return run.folder / "state" / f"result-{task}.safetensors"


@dataclass(frozen=True)
class HeadParts:
    """A task's head, and what made its prompt."""

    head: Head
    encoder: SamplingAutoencoder | None
    convergence: Convergence | None


def make_head(config: ModelConfig, task: Task, windows: Windows, seed: int, power: float = 0.0) -> HeadParts:
    """The head of a task with a prompt from its own training data (Eq. 8); the same for the same seed, whatever the
    other tasks.
    """
    scaler = windows.scaler
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if not config.prompts:
            return HeadParts(Head(config, NoPrompt(config.d_p), scaler.mean, scaler.std, power), None, None)
        train = slice(0, windows.split.train_steps)
        standardised = (task.values[train] - scaler.mean.numpy()) / scaler.std.numpy()
        day = sample_day(standardised, second_of_day(task.time[train]) // task.interval, task.steps_per_day)
        encoder, convergence = train_autoencoder(day)
        summary = encoder.encode(day)
        prompt: nn.Module
        if config.prompt == "summary":
            prompt = SummaryPrompt(summary, config.d_p)
        else:
            prompt = FreePrompt.from_summary(summary, config.input_steps, config.d_p)
        return HeadParts(Head(config, prompt, scaler.mean, scaler.std, power), encoder, convergence)


def _assemble(
    city: City,
    run: Run,
    settings: Settings,
    windows: dict[str, Windows],
    parts: dict[str, HeadParts],
    shapes: dict[str, Shape],
) -> Forecaster:
    """The forecaster from the delivered weights."""
    config = settings.network
    lon = np.concatenate([task.lon for task in city.tasks.values()])
    lat = np.concatenate([task.lat for task in city.tasks.values()])
    forecaster = Forecaster(
        config=config,
        city={
            "name": city.name,
            "fingerprint": city.fingerprint(),
            "timezone": city.timezone,
            "synthetic": city.synthetic,
        },
        protocol=settings.protocol,
        slots_per_day=86_400 // city.interval,
        reference=min(task.time[0] for task in city.tasks.values()),
        frame=Frame.of(lon, lat),
        home=run.folder,
    )
    channels = tuple(task.n_channels for task in city.tasks.values())
    for name, task in city.tasks.items():
        weights = store.load(_result_file(run, name)).tensors
        trunk = Trunk(config, forecaster.slots_per_day, channels)
        trunk.load_state_dict(weights["trunk"])
        head = parts[name].head.cpu()
        head.load_state_dict(weights["head"])
        average = WeeklyAverage.fit(task.values, task.time, task.interval, windows[name].split.train_steps)
        shape, convergence = shapes.get(name), parts[name].convergence
        profile = average.table()
        if shape is not None:
            chosen = make_profile(windows[name], task.time, task.interval, shape).table
            profile = np.where(np.isnan(chosen), profile, chosen)
        forecaster.tasks[name] = TaskModel(
            trunk.eval(),
            head.eval(),
            parts[name].encoder,
            average.table(),
            profile,
            {
                "nodes": list(task.nodes),
                "lon": task.lon.tolist(),
                "lat": task.lat.tolist(),
                "geometry": list(task.geometry) if task.geometry else None,
                "unit": task.unit,
                "kind": task.kind,
                "interval": task.interval,
                "channels": list(task.channels),
                "trained_until": str(task.time[windows[name].split.train_steps - 1]),
                "profile": None if shape is None else {**vars(shape), "half_life": str(shape.half_life)},
                "autoencoder": vars(convergence) if convergence else None,
            },
        )
    return forecaster
