"""What the machine is and what it computes well in; what a result's records say about how it was made."""

import os
import platform
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cmust import __version__


def provenance(command: str | None, device: torch.device) -> dict[str, Any]:
    """When, by which command (the program's arguments when not given), with which versions, on what machine."""
    return {
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command or command_line(),
        "versions": {
            "cmust": __version__,
            "torch": torch.__version__,
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
        "machine": describe_machine(device),
    }


def command_line() -> str:
    """How this program was started, as a shell reads it, without the folder it lies in; ``python -m cmust`` as
    ``cmust``.
    """
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    return shlex.join([name, *sys.argv[1:]])


def describe_machine(device: torch.device) -> str:
    """One line: processor, cores, accelerator."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next(
            (line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")),
            cpu,
        )
    text = f"{cpu}, {os.cpu_count()} cores, {torch.get_num_threads()} threads"
    return f"{text}, {torch.cuda.get_device_name(device)}" if device.type == "cuda" else text


def has_fast_bf16(accelerator: str) -> bool:
    """Whether bf16 matrix products are faster than fp32 on ``cpu`` or ``cuda`` here: a CPU with bf16 tiles (AMX) or
    bf16 vector instructions, a recent GPU.
    """
    if accelerator in ("cuda", "gpu") and torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    info = Path("/proc/cpuinfo")
    flags = info.read_text() if info.exists() else ""
    return "amx_bf16" in flags or "avx512_bf16" in flags
