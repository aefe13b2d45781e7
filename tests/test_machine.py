"""What records say about how the program was started."""

import sys

import pytest

from cmust.machine import command_line


@pytest.mark.parametrize("program", ["/opt/env/bin/cmust", "/opt/env/lib/cmust/__main__.py"])
def test_the_command_is_named_as_a_user_types_it(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [program, "update", "runs/demo"])
    assert command_line() == "cmust update runs/demo"
