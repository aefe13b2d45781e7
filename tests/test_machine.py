"""What records say about how the program was started."""

import subprocess
import sys

import pytest

from cmust.machine import command_line


@pytest.mark.parametrize("program", ["/opt/env/bin/cmust", "/opt/env/lib/cmust/__main__.py"])
def test_the_command_is_named_as_a_user_types_it(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [program, "update", "runs/demo"])
    assert command_line() == "cmust update runs/demo"


def test_a_shell_reads_the_recorded_command_as_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["cmust", "experiment", "table1", "my city.zarr.zip", "out", "--budget", "minutes 5", "it's", "$HOME"]
    monkeypatch.setattr(sys, "argv", words)
    read = subprocess.run(["sh", "-c", f"printf '%s\\n' {command_line()}"], capture_output=True, text=True, check=True)
    assert read.stdout.splitlines() == words
