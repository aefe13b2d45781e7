"""The head of a task: its prompt from its own data, its scale, its ways back to the recent level."""

import copy
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from cmust.city import Task
from cmust.clock import second_of_day
from cmust.errors import ConfigError
from cmust.model import Head, ModelConfig
from cmust.prompts import (
    Convergence,
    FreePrompt,
    NoPrompt,
    SamplingAutoencoder,
    SummaryPrompt,
    sample_day,
    train_autoencoder,
)
from cmust.windows import Scaler, Windows


@dataclass(frozen=True)
class HeadParts:
    """A task's head, and what made its prompt."""

    head: Head
    encoder: SamplingAutoencoder | None
    convergence: Convergence | None


def make_head(config: ModelConfig, task: Task, windows: Windows, seed: int, power: float | None = 0.0) -> HeadParts:
    """The head of a task with a prompt from its own training data (Eq. 8); the same for the same seed, whatever the
    other tasks.
    """
    scaler = windows.scaler
    made = partial(Head, config, mean=scaler.mean, std=scaler.std, power=power, spread=_spread(windows))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if not config.prompts:
            return HeadParts(made(NoPrompt(config.d_p)), None, None)
        day = _mean_day(task, windows.split.train_steps, scaler)
        encoder, convergence = train_autoencoder(day)
        summary = encoder.encode(day)
        prompt: nn.Module
        if config.prompt == "summary":
            prompt = SummaryPrompt(summary, config.d_p)
        else:
            prompt = FreePrompt.from_summary(summary, config.input_steps, config.d_p)
        return HeadParts(made(prompt), encoder, convergence)


@torch.no_grad()
def moved_head(head: Head, encoder: SamplingAutoencoder | None, task: Task, steps: int) -> Head:
    """The head of a trained task at other places: their prompt is what its encoder and its ``FC_p`` make of their days.

    Args:
        head: of the trained task; left as it is.
        encoder: of the trained task.
        task: the data at the other places, in the same unit, interval and channels.
        steps: so many first steps of it summarise the places.

    Raises:
        ConfigError: the prompts are free parameters, which no other place can be given.
    """
    moved = copy.deepcopy(head)
    if isinstance(moved.prompt, FreePrompt):
        raise ConfigError(
            "model.prompt=free learns a prompt for every place by itself and has none for new places; "
            "adapt without --like (in Python like=), or train with model.prompt=summary"
        )
    if isinstance(moved.prompt, SummaryPrompt):
        assert encoder is not None
        moved.prompt.summary = encoder.encode(_mean_day(task, steps, Scaler(head.mean, head.std)))
    return moved


def _spread(windows: Windows) -> Tensor:
    """Root mean square of the training part's deviations from the profile, ``(C,)``; 1 where there are none."""
    steps = windows.split.train_steps
    valid = windows.valid[:steps]
    away = (windows.values[:steps] - windows.profile[:steps]).masked_fill_(~valid, 0.0)
    spread = (away.square_().sum((0, 1), dtype=torch.float64) / valid.sum((0, 1))).sqrt().float()
    return torch.where(spread > 0, spread, 1.0)


def _mean_day(task: Task, steps: int, scaler: Scaler) -> Tensor:
    """``X_samp`` of the first ``steps``, ``(N, L * C)``."""
    standardised = (task.values[:steps] - scaler.mean.numpy()) / scaler.std.numpy()
    return sample_day(standardised, second_of_day(task.time[:steps]) // task.interval, task.steps_per_day)
