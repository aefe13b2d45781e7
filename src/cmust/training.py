"""A plan carried out in a folder: the trainer with history, TensorBoard and resume point.

Fitting, adapting, updating and the training of other systems all go through here.
"""

import atexit
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies.ddp import DDPStrategy
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import nn

from cmust.board import TensorBoard
from cmust.errors import ConfigError, RunError, reason
from cmust.machine import has_fast_bf16, provenance
from cmust.model import Trunk
from cmust.rolling import Lesson, Phase, Star, Trainer, TrainingConfig
from cmust.rolling import state as store
from cmust.run import Run
from cmust.windows import Windows

Weights = dict[str, torch.Tensor]
# Fabric would recommend another precision of fp32 products at every phase, into the progress bars. That it computes in
# bf16 it shall say.
logging.getLogger("lightning_fabric.utilities.rank_zero").addFilter(
    lambda record: "set_float32_matmul_precision" not in record.getMessage()
)


class Watcher(Protocol):
    """What wants to know how training goes (a progress bar, say)."""

    def plan(self, phases: list[Phase], updates: list[int]) -> None:
        """Training begins: the phases, and at most how many updates each takes."""

    def update(self, phase: Phase, epoch: int) -> None:
        """An optimiser step was made."""

    def event(self, event: dict[str, Any]) -> None:
        """An epoch or a phase ended (see ``history.jsonl``)."""


def make_fabric(precision: str, accelerator: str, devices: int | str, run: Run | None = None) -> Fabric:
    """Fabric of a precision (``training.precision``) on an accelerator: ``cpu``, ``cuda``, or ``auto`` for a GPU where
    there is one. Under ``torchrun`` the number of processes is the launcher's.

    Args:
        precision: ``auto`` for bf16 where the machine computes in it.
        accelerator: see above.
        devices: of it.
        run: what is to be trained, where it may have begun already: with ``auto`` it goes on in the precision it began
            in, on a machine of another kind too.

    Raises:
        ConfigError: this machine has no such accelerator, or not so many devices.
        RunError: ``config.json`` of the run is damaged.
    """
    if precision == "auto" and run is not None and run.config_file.exists():
        made = run.config().get("made")
        began = made.get("precision") if isinstance(made, dict) else None
        precision = began if began in ("32-true", "bf16-mixed") else precision
    if accelerator == "auto":  # Fabric's own choice may be one without float64
        accelerator = "cuda" if torch.cuda.is_available() else "cpu"
    local_world = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    count = local_world if devices == "auto" else devices
    several = count not in (1, "1") or int(os.environ.get("WORLD_SIZE", "1")) > 1
    if precision == "auto":
        precision = "bf16-mixed" if has_fast_bf16(accelerator) else "32-true"
    if several:
        atexit.register(_leave_group)
    if precision == "32-true":
        torch.backends.cudnn.allow_tf32 = False  # convolutions would have ten bits of a fraction otherwise
    try:
        if accelerator not in ("cpu", "cuda", "gpu"):
            raise ValueError("it is no accelerator that cmust trains on")
        return Fabric(
            accelerator=accelerator,
            devices=count,
            num_nodes=int(os.environ.get("WORLD_SIZE", "1")) // local_world,
            # Buffers (scales, summaries) never change: nothing to send around before every forward pass.
            strategy=DDPStrategy(find_unused_parameters=True, broadcast_buffers=False) if several else "auto",
            precision=precision,  # type: ignore[arg-type]
        )
    except (ImportError, RuntimeError, TypeError, ValueError, MisconfigurationException) as error:
        raise ConfigError(
            f"accelerator {accelerator!r} with devices {devices!r} cannot be used here ({reason(error)}); "
            f"give accelerator auto, cpu or cuda, and a number of devices from 1 on, or auto"
        ) from error


def _leave_group() -> None:
    """Part from the other processes before this one ends: PyTorch's threads between them may abort it otherwise, after
    all is done. (Fabric does so for GPUs.)
    """
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def device_of(accelerator: str) -> torch.device:
    """Where forecasts are computed: of ``cpu``, ``cuda``, or ``auto`` for a GPU where there is one.

    Raises:
        ConfigError: this machine has no such accelerator.
    """
    return make_fabric("32-true", accelerator, 1).device


def trained_with(fabric: Fabric, command: str | None = None) -> dict[str, Any]:
    """What records say of a training: :func:`cmust.machine.provenance`, and the precision that was chosen."""
    return {**provenance(command, fabric.device), "precision": fabric._precision.precision}


@dataclass(frozen=True)
class Outcome:
    """What a plan gave, on the CPU.

    Attributes:
        weights: per delivered task its ``trunk`` and its ``head``.
        star: ``W*`` and what is frozen in it; None where nothing rolled and nothing was given.
    """

    weights: dict[str, dict[str, Weights]]
    star: Star | None


def carry_out(
    plan: list[Phase],
    run: Run,
    fabric: Fabric,
    trunk: nn.Module,
    heads: Mapping[str, nn.Module],
    windows: Mapping[str, Windows],
    config: TrainingConfig,
    *,
    star: Star | None = None,
    lesson: Callable[[Phase], Lesson] | None = None,
    watcher: Watcher | None = None,
) -> Outcome:
    """Train in a run folder; interrupted and called again with the same arguments, it goes on where it was.

    Args:
        plan: the phases.
        run: gets ``history.jsonl``, ``tensorboard`` and ``state``.
        fabric: launched.
        trunk, heads: freshly made; trained in place, on Fabric's device.
        windows: of the tasks of the plan.
        config: settings of training.
        star: for plans that begin at ``W*``.
        lesson: what a phase teaches; of our own network when not given.
        watcher: hears of progress; of the first process only.

    Raises:
        RunError: the resume point is damaged or does not fit, or training diverged.
    """
    run.folder.mkdir(parents=True, exist_ok=True)
    if isinstance(trunk, Trunk):
        trunk.recompute(config.recompute)
    board = TensorBoard(run.folder / "tensorboard") if fabric.is_global_zero else None
    watcher = watcher if fabric.is_global_zero else None

    def on_event(event: dict[str, Any]) -> None:
        run.append_history(event)
        if board:
            board.write(event)
        if watcher:
            watcher.event(event)

    trainer = Trainer(
        fabric,
        fabric.to_device(trunk),
        {name: fabric.to_device(head) for name, head in heads.items()},
        {name: each.to(fabric.device) for name, each in windows.items()},
        plan,
        config,
        star=star,
        lesson=lesson,
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
    try:
        trainer.run()
    except torch.OutOfMemoryError as error:
        raise RunError(
            f"the memory of {fabric.device} does not suffice ({reason(error)}); in another folder, train with "
            f"training.windows_per_pass below {config.batch_size}, training.recompute or training.nodes_per_update"
        ) from error
    finally:
        if board:
            board.close()
    fabric.barrier()
    delivered = [task for phase in plan if phase.delivers for task in phase.tasks]
    weights = {task: store.load(_result_file(run, task)).tensors for task in delivered}
    return Outcome(weights, None if (common := trainer.common()) is None else common.cpu())


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
