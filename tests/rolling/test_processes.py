"""Two CPU processes give the losses of one at the same global batch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from cmust.run import Run
from tests.rolling.tiny import SIZES, small_city, tiny_fit

ROOT = Path(__file__).parents[2]


def torchrun(folder: Path, settings: dict, processes: int = 2) -> subprocess.CompletedProcess:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"}
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    program = ["-m", "tests.rolling.processes", str(folder), json.dumps(settings)]
    return subprocess.run(
        [*launcher, *program], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=500, check=False
    )


# Of 111 windows batches of 55 leave one: a process gets none of it.
@pytest.mark.parametrize(("scheme", "batch"), [("rolling", 33), ("joint", 55)])
def test_losses_of_one_process(tmp_path: Path, scheme: str, batch: int) -> None:
    training = {"batch_size": batch, "start_epochs": 2, "refine_epochs": 1, "precision": "32-true", "clip": 1.0}
    rolling = {"rolling_epochs": 2, "rolling_factor": 0.1, "delta": 2e-9} if scheme == "rolling" else {}
    settings = {
        "scheme": scheme,
        "model": {**SIZES, "dropout": 0.0},
        "training": {**training, **rolling},
    }
    done = torchrun(tmp_path / "two", settings)
    assert done.returncode == 0, done.stderr[-3000:]
    tiny_fit(tmp_path / "one", small_city("trips", "visits"), **settings)
    one, two = Run(tmp_path / "one").history(), Run(tmp_path / "two").history()
    assert Run(tmp_path / "two").config()["made"]["processes"] == 2
    assert [event["event"] for event in one] == [event["event"] for event in two]
    for first, second in zip(one, two, strict=True):
        if first["event"] == "epoch":
            assert second["train_loss"] == pytest.approx(first["train_loss"], rel=1e-4)
            assert second["validation_loss"] == pytest.approx(first["validation_loss"], rel=1e-4)
            assert second["updates"] == first["updates"]
        assert second["frozen_share"] == pytest.approx(first["frozen_share"], abs=0.03)
    if scheme == "rolling":
        assert any(0.05 < event["frozen_share"] < 0.95 for event in one)
    for task in ("trips", "visits"):
        weights = [load_file(tmp_path / run / "model" / "tasks" / f"{task}.safetensors") for run in ("one", "two")]
        assert weights[0].keys() == weights[1].keys()


def test_what_the_first_process_refuses_ends_all(tmp_path: Path) -> None:
    settings = {"scheme": "joint", "training": {"start_epochs": 1, "precision": "32-true"}}
    tiny_fit(tmp_path / "run", small_city(), **settings)
    done = torchrun(tmp_path / "run", {**settings, "protocol": "published"})
    assert done.returncode != 0
    assert done.stderr.count("was started with settings.protocol = 'purged', not 'published'") >= 1
