"""The loss of a phase over all processes: of a batch with its gradient, and of the validation part."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
from lightning_fabric import Fabric
from lightning_fabric.wrappers import _FabricModule
from torch import Tensor, nn

from cmust.errors import CityError
from cmust.model import at_nodes
from cmust.model.losses import counted, loss_terms
from cmust.rolling.config import TrainingConfig
from cmust.rolling.lesson import Lesson
from cmust.rolling.plan import Phase
from cmust.windows import Windows, spread


class Ensemble(nn.Module):
    """The trunk and the heads of a phase as one module, so that Fabric can wrap it."""

    def __init__(self, trunk: nn.Module, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.trunk = trunk
        # A prefix, as a module cannot have another of the name of one of its methods: train, type, half ...
        self.heads = nn.ModuleDict({f"of_{task}": head for task, head in heads.items()})

    def forward(self, task: str, compute: Callable[[nn.Module, nn.Module], Tensor]) -> Tensor:
        """What ``compute`` makes of the trunk and the head of ``task``: a forecast, or an objective.

        The data are in ``compute``: tensors that are handed to a module Fabric makes bf16, where 1013.2 hPa are 1012.
        """
        return compute(self.trunk, self.heads[f"of_{task}"])


class Losses:
    """What the lessons of a plan say of windows.

    Args:
        fabric: launched.
        windows: per task, on Fabric's device.
        config: settings.
        lessons: per phase, by its name.
    """

    def __init__(
        self, fabric: Fabric, windows: dict[str, Windows], config: TrainingConfig, lessons: dict[str, Lesson]
    ) -> None:
        self._fabric, self._windows, self._config, self._lessons = fabric, windows, config, lessons

    def check_targets(self, plan: list[Phase]) -> None:
        """Without a target the loss would be 0, and the last epoch as good as any.

        Raises:
            CityError: a task has no target in its training or validation part.
        """
        learned = {(task, self._lessons[phase.name].loss) for phase in plan for task in phase.tasks}
        for task, kind in sorted(learned):
            windows = self._windows[task]
            judging = self._validating(task)
            places = {
                "its train part": windows.split.starts["train"],
                "its validation part": windows.split.starts["validation"],
                f"the {len(judging)} windows that training.validation_windows takes of its validation part": judging,
            }
            for where, starts in places.items():
                batches = starts.split(64)
                if not any(bool(counted(kind, *windows.targets(starts)).any()) for starts in batches):
                    what = "only zeros, which this loss leaves out, or missing" if kind == "masked_mae" else "missing"
                    raise CityError(
                        f"task {task!r}: every target of {where} is {what}; leave the task out of tasks, "
                        f"or give data with observations there"
                    )

    def backward(self, phase: Phase, network: _FabricModule, task: str, starts: Tensor, epoch: int) -> Tensor:
        """The gradient of a global batch, a part of it at a time; its loss.

        The mean over processes of what each adds up here is the gradient of the whole.
        """
        world = self._fabric.world_size
        mine = starts[self._fabric.global_rank :: world] if world > 1 else starts
        nodes = self._drawn(phase, task)
        parts = mine.split(self._pass_size(task, nodes))
        kind = self._lessons[phase.name].loss
        counts = (counted(kind, *self._targets(task, part, nodes)).sum() for part in parts)
        count = sum(counts, start=mine.new_zeros(()))
        count = (self._everyone(count) if world > 1 else count).clamp(min=1)
        loss = torch.zeros((), device=mine.device)
        for index, part in enumerate(parts):
            with self._fabric.no_backward_sync(network, enabled=world > 1 and index + 1 < len(parts)):
                share = self._terms(phase, network, task, part, epoch, nodes)[0] / count
                self._fabric.backward(share * world if world > 1 else share)
            loss += share.detach()
        return self._everyone(loss) if world > 1 else loss

    def of_validation(self, phase: Phase, network: nn.Module, task: str, epoch: int) -> float:
        """The mean loss over the validation windows of a task; gradients are the caller's to switch off."""
        sums = torch.zeros(2, dtype=torch.float64, device=self._fabric.device)
        mine = self._validating(task)[self._fabric.global_rank :: self._fabric.world_size]
        for starts in mine.split(self._pass_size(task)):
            total, count = self._terms(phase, network, task, starts, epoch)
            sums += torch.stack((total.double(), count.double()))
        if self._fabric.world_size > 1:
            sums = self._everyone(sums)
        return (sums[0] / sums[1]).item()

    def _terms(
        self, phase: Phase, network: nn.Module, task: str, starts: Tensor, epoch: int, nodes: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Sum and count of the lesson's loss over windows, of some of the nodes perhaps; an objective counts once for
        every target.
        """
        windows, lesson = self._windows[task], self._lessons[phase.name]
        inputs, (truth, valid) = windows.inputs(starts), self._targets(task, starts, nodes)

        def terms(made: Tensor) -> tuple[Tensor, Tensor]:
            total, count = loss_terms(lesson.loss, made, truth, valid, windows.scaler.std)
            if lesson.loss == "masked_mae" and len(phase.tasks) > 1:
                total = total / windows.scaler.std.mean()  # original units of different tasks do not add up
            return total, count

        def score(made: Tensor) -> Tensor:
            total, count = terms(made)
            return total / count.clamp(min=1)

        by_forecast = lesson.objective is None or not network.training
        if lesson.forecast is not None and by_forecast:
            forecast = lesson.forecast if nodes is None else partial(lesson.forecast, nodes=nodes)
            return terms(network(task, lambda trunk, head: forecast(trunk, head, inputs)))
        objective = lesson.objective
        assert objective is not None  # a lesson has one or the other
        count = counted(lesson.loss, truth, valid).sum()
        return network(task, lambda trunk, head: objective(trunk, head, inputs, truth, epoch, score)) * count, count

    def _validating(self, task: str) -> Tensor:
        """Starts of the windows that tell epochs apart: all of the validation part, or as many as are wanted of it."""
        starts, wanted = self._windows[task].split.starts["validation"], self._config.validation_windows
        return starts if wanted is None else spread(starts, wanted)

    def _drawn(self, phase: Phase, task: str) -> Tensor | None:
        """The nodes of an update ``(K,)``, ascending; None: all."""
        windows, wanted = self._windows[task], self._lessons[phase.name].nodes
        if wanted is None or wanted >= windows.n_nodes:
            return None
        return torch.randperm(windows.n_nodes)[:wanted].sort().values.to(windows.values.device)

    def _targets(self, task: str, starts: Tensor, nodes: Tensor | None) -> tuple[Tensor, Tensor]:
        """Truth and validity of windows at some of the nodes."""
        truth, valid = self._windows[task].targets(starts)
        return at_nodes(truth, nodes), at_nodes(valid, nodes)

    def _pass_size(self, task: str, nodes: Tensor | None = None) -> int:
        """Windows that go through the network at once."""
        fitting = self._windows[task].pass_size(None if nodes is None else len(nodes))
        return self._config.windows_per_pass or min(self._config.batch_size, fitting)

    def _everyone(self, mine: Tensor) -> Tensor:
        """The sum over all processes. (Fabric's own waits for all of them, and for their GPUs, before it adds.)"""
        total = mine.clone()
        torch.distributed.all_reduce(total)
        return total
