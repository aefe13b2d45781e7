"""Weights against what ``model.json`` announces, before any memory is taken for them.

The expected tensors are made on the ``meta`` device, where a tensor of terabytes costs nothing: a description that
asks for more than its files hold is refused, and what is built afterwards is no larger than they are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from cmust.errors import RunError, reason
from cmust.model import Head, ModelConfig, Trunk, channel_counts
from cmust.prompts import FreePrompt, NoPrompt, SamplingAutoencoder, SummaryPrompt

Tensors = dict[str, Tensor]
Groups = dict[str, Tensors]


def check_weights(
    files: dict[str, Groups], config: ModelConfig, slots_per_day: int, tasks: dict[str, dict[str, Any]]
) -> None:
    """Compare names, shapes and types of all tensors, and see that all numbers are finite.

    Args:
        files: by name, the tensors of each file, by group.
        config: of the network.
        slots_per_day: rows of the time-of-day table.
        tasks: what ``model.json`` says of them.

    Raises:
        RunError: in one line, the first that does not fit.
    """
    tensors = [tensor for groups in files.values() for group in groups.values() for tensor in group.values()]
    elements = sum(tensor.numel() for tensor in tensors)
    # what asks for more blocks or steps than there are numbers is not even laid out
    if max(config.blocks * config.self_repeats, config.input_steps * config.d_h) > elements:
        raise RunError(f"the settings ask for a larger network than the {elements} numbers in its files")
    for file, groups in files.items():
        try:
            _check_file(file, groups, config, slots_per_day, tasks)
        except (ValueError, IndexError, RuntimeError) as error:  # of layers whose names no trunk has
            raise RunError(f"{file} has layers that no network has ({reason(error)})") from error


def _check_file(
    file: str, groups: Groups, config: ModelConfig, slots_per_day: int, tasks: dict[str, dict[str, Any]]
) -> None:
    task = tasks.get(file.removeprefix("tasks/").removesuffix(".safetensors")) if "/" in file else None
    channels = channel_counts(groups.get("trunk", {}))
    if task is not None and len(task["channels"]) not in channels:
        raise RunError(f"{file} has no layers for {len(task['channels'])} channels")
    with _without_memory():
        expected = {"trunk": Trunk(config, slots_per_day, channels).state_dict()}
        expected |= _expected_masks(groups, expected["trunk"]) if task is None else {}
        expected |= {} if task is None else _expected_head(groups, config, task)
    _check_groups(groups, expected)
    for name in ("std", "spread"):
        if task is not None and name in groups["head"] and not bool((groups["head"][name] > 0).all()):
            raise RunError(f"head.{name} is not positive")


def _check_groups(found: Groups, expected: Groups) -> None:
    _same_names(set(expected), set(found), "group")
    for group, tensors in expected.items():
        _same_names(set(tensors), set(found[group]), f"tensor of {group}")
        for name, tensor in tensors.items():
            _check_tensor(f"{group}.{name}", tensor, found[group][name])


def _expected_masks(found: Groups, trunk: Tensors) -> Groups:
    """Masks of the frozen part of ``W*``, of the weights that have one."""
    masks = {name: trunk[name].bool() for name in found.get("frozen", {}) if name in trunk}
    return {"frozen": masks} if "frozen" in found else {}


class _NoDraws(TorchFunctionMode):
    """Leaves out random initial weights: drawing them for ``meta`` loads half of PyTorch's compiler."""

    DRAWS = (Tensor.normal_, Tensor.uniform_, nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in self.DRAWS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **(kwargs or {}))


@contextmanager
def _without_memory() -> Iterator[None]:
    with torch.device("meta"), _NoDraws():
        yield


def _expected_head(found: Groups, config: ModelConfig, task: dict[str, Any]) -> Groups:
    nodes, channels = len(task["nodes"]), len(task["channels"])
    slots = 86_400 // task["interval"]
    width = _summary_width(found)
    prompt: nn.Module
    if not config.prompts:
        prompt = NoPrompt(config.d_p)
    elif config.prompt == "summary":
        prompt = SummaryPrompt(torch.empty(nodes, width), config.d_p)
    else:
        prompt = FreePrompt(torch.empty(config.input_steps, nodes, config.d_p))
    power = None if task["profile"] and task["profile"]["power"] is None else 0.0  # None: it has no levels
    moments = torch.empty(channels), torch.empty(channels)
    expected = {"head": Head(config, prompt, *moments, power).state_dict()}
    if "encoder" in found:
        expected["encoder"] = SamplingAutoencoder(slots * channels, width).state_dict()
    table = torch.empty(7 * slots, nodes, channels)
    return {**expected, "season": {"average": table, "profile": table}}


def _summary_width(found: Groups) -> int:
    """The width of the task's summary is stated nowhere but in its own tensors; at least 1."""
    for group, name in (("encoder", "encoder.bias"), ("head", "prompt.summary")):
        tensor = found.get(group, {}).get(name)
        if tensor is not None and tensor.ndim:
            return max(1, tensor.shape[-1])
    return 1


def _same_names(expected: set[str], found: set[str], what: str) -> None:
    for problem, names in (("lacks", expected - found), ("has an unknown", found - expected)):
        if names:
            raise RunError(f"it {problem} {what}: {min(names)!r:.120}")


def _check_tensor(name: str, expected: Tensor, found: Tensor) -> None:
    for what, wanted, given in (
        ("shape", tuple(expected.shape), tuple(found.shape)),
        ("type", expected.dtype, found.dtype),
    ):
        if wanted != given:
            raise RunError(f"{name} has {what} {given}, the settings need {wanted}")
    if not bool(torch.isfinite(found).all()):
        raise RunError(f"{name} holds NaN or infinite numbers")
