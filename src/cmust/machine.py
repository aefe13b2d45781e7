"""What the machine is and what it computes well in."""

import os
import platform
import sys
from pathlib import Path

import torch


def command_line() -> str:
    """How this program was started, without the folder it lies in."""
    return " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])


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
    """Whether bf16 matrix products are faster than fp32 here: a recent GPU, or a CPU with bf16 tile units."""
    if accelerator in ("auto", "cuda", "gpu") and torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    info = Path("/proc/cpuinfo")
    return info.exists() and "amx_bf16" in info.read_text()
