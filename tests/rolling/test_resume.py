"""A run killed again and again ends with the very bits of a run left in peace."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_kills_in_mid_epoch_and_in_mid_save(tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    done = subprocess.run(
        [sys.executable, "-m", "tests.rolling.kills", str(tmp_path), "1"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout.splitlines()[-1])
    assert sum(result["deaths"].values()) >= 20
    assert all(count >= 1 for count in result["deaths"].values()), result["deaths"]
    assert result["files"] == [
        "model/tasks/trips.safetensors",
        "model/tasks/visits.safetensors",
        "model/trunk.safetensors",
    ]
    assert result["differing"] == []
    assert result["same_history"] and result["events"] == 3 + 4 + 4 + 3 + 3 + 5
    assert any(0.05 < share < 0.95 for share in result["shares"]), result["shares"]
    assert result["leftovers"] == []
