"""What records say about how the program was started."""

import subprocess
import sys
from pathlib import Path

import pytest

from cmust.machine import command_line, has_fast_bf16


@pytest.mark.parametrize("program", ["/opt/env/bin/cmust", "/opt/env/lib/cmust/__main__.py"])
def test_the_command_is_named_as_a_user_types_it(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [program, "update", "runs/demo"])
    assert command_line() == "cmust update runs/demo"


def test_a_shell_reads_the_recorded_command_as_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["cmust", "experiment", "table1", "my city.zarr.zip", "out", "--budget", "minutes 5", "it's", "$HOME"]
    monkeypatch.setattr(sys, "argv", words)
    read = subprocess.run(["sh", "-c", f"printf '%s\\n' {command_line()}"], capture_output=True, text=True, check=True)
    assert read.stdout.splitlines() == words


@pytest.mark.parametrize(
    ("flags", "fast"),
    [
        ("fma avx2", False),
        ("avx512f avx512vl", False),
        ("avx512f avx512_bf16", True),
        ("avx512f amx_bf16 amx_tile", True),
    ],
)
def test_a_processor_that_computes_in_bf16_is_told_by_its_flags(
    flags: str, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "exists", lambda file: True)
    monkeypatch.setattr(Path, "read_text", lambda file: f"model name\t: Some\nflags\t\t: fpu {flags}\n")
    assert has_fast_bf16("cpu") is fast
