"""Killed at any instant, a change of a run leaves it as it was, or is complete."""

from pathlib import Path

import pytest

from tests.deaths import told_by


@pytest.mark.parametrize("kind", ["adapt", "update"])
def test_kills_in_training_and_while_the_version_is_made(tmp_path: Path, kind: str) -> None:
    result = told_by("tests.continual.kills", tmp_path, kind, 1)
    assert result["before"] + result["after"] == 8 and result["before"] >= 7
    assert result["same"]
    assert result["left"] == [str(tmp_path / "killed" / "state")]  # that of the training
