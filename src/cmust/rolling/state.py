"""The resume point of a training: one safetensors file, replaced by rename, holding tensors and plain JSON only."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cmust.errors import RunError, reason
from cmust.files import atomic_path


@dataclass(frozen=True)
class Saved:
    """Tensors by group, and plain values."""

    tensors: dict[str, dict[str, Tensor]]
    values: dict[str, Any]


def save(path: Path, tensors: dict[str, dict[str, Tensor]], values: dict[str, Any]) -> None:
    """Write groups of tensors and JSON values atomically.

    Raises:
        CmustError: the file cannot be written; the one before is untouched.
    """
    flat = {
        f"{group}|{name}": tensor.detach().cpu().contiguous()
        for group, part in tensors.items()
        for name, tensor in part.items()
    }
    with atomic_path(path) as temporary:
        try:
            save_file(flat, temporary, metadata={"values": json.dumps(values)})
        except SafetensorError as error:  # the library wraps a full disk in its own class
            raise OSError(str(error)) from error


def load(path: Path) -> Saved:
    """Read what ``save`` wrote.

    Raises:
        RunError: missing, truncated, tampered with, or not such a file.
    """
    tensors: dict[str, dict[str, Tensor]] = {}
    try:
        with safe_open(path, "pt") as file:
            values = json.loads((file.metadata() or {})["values"])
            for flat in file.keys():  # noqa: SIM118 (not a dictionary)
                group, _, name = flat.partition("|")
                # A copy is aligned in memory; products of what lies in the file at odd places differ in the last bit.
                tensors.setdefault(group, {})[name] = file.get_tensor(flat).clone()
    except FileNotFoundError as error:
        raise RunError(
            f"{path} is missing; the run is incomplete: train it again, or give the whole run folder"
        ) from error
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise RunError(f"{path} is damaged ({reason(error)}); restore it from a copy or train again") from error
    return Saved(tensors, values)
