"""Killed at any instant, a change of a run leaves it as it was, or is complete."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("kind", ["adapt", "update"])
def test_kills_in_training_and_while_the_version_is_made(tmp_path: Path, kind: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.continual.kills", str(tmp_path), kind, "1"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["before"] + result["after"] == 8 and result["before"] >= 7
    assert result["same"]
    assert result["left"] == [str(tmp_path / "killed" / "state")]  # that of the training
