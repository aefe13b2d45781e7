"""Cells as jobs: really on this machine, and what Slurm would be told."""

import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from cmust.cli import app
from cmust.errors import ConfigError
from cmust.experiments import cluster, table1
from cmust.experiments.cell_command import CellCommand
from cmust.experiments.cluster import Cluster, carry_out_as_jobs
from cmust.experiments.engine import Cell, CellsFailedError, cell_file, records
from cmust.experiments.study import claim, make_terms
from tests.experiments.kills import SETTINGS
from tests.rolling.tiny import small_city, tiny_city, tiny_task

submitit = pytest.importorskip("submitit")


def test_jobs_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One cell that works, and one that cannot: its tasks have different places."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    tasks = tiny_task("trips", steps=168), tiny_task("visits", steps=168, nodes=2)
    city, folder = tiny_city(*tasks).save(tmp_path / "city.zarr.zip"), tmp_path / "table1"
    settings = tmp_path / "settings.toml"
    settings.write_text("[model]\n" + "\n".join(f"{key} = {value}" for key, value in SETTINGS["model"].items()))
    command = ["experiment", "table1", str(city), str(folder), "--budget", "smoke", "--systems", "naive,mtgnn"]
    command += ["--config", str(settings), "--cluster", "local", "--job", "parallel=2"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2 and "| last value |" in result.output, result.output
    said = result.output.splitlines()[-1]
    assert said.startswith("error: 1 of 2 cells failed: mtgnn-trips+visits-0-") and "nodes" in said
    (log,) = (Path(word.rstrip(";:")) for word in said.split() if word.rstrip(";:").endswith(".err"))
    assert log.parent == folder / "jobs" and "error: " in log.read_text()
    (record,) = records(folder)
    assert record["cell"]["system"] == "naive" and set(record["tasks"]) == {"trips", "visits"}
    assert not [file for file in folder.rglob("*.pkl") if file.parent != folder / "jobs"]


SBATCH = """#!/bin/sh
cp "$1" {folder}/sent.sh
echo submitted >> {folder}/log
echo "Submitted batch job 71"
"""
RUNS = """#!/bin/sh
for task in 0 1; do
    SLURM_JOB_ID=9$task SLURM_ARRAY_JOB_ID=71 SLURM_ARRAY_TASK_ID=$task sh "$1" > /dev/null 2>&1 &
done
echo "Submitted batch job 71"
"""
SRUN = """#!/bin/sh
named() {{ echo "$1" | sed "s/%A_%a/71_$SLURM_ARRAY_TASK_ID/; s/%t/0/"; }}
out=$(named "$3") error=$(named "$5")
shift 5
exec "$@" >> "$out" 2>> "$error"
"""


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The programs of a Slurm cluster on which jobs wait for ever; sacct says what is in ``states``."""
    programs = {"sbatch": SBATCH, "srun": "#!/bin/sh\n", "sacct": "#!/bin/sh\ncat {folder}/states\n"}
    for name, text in programs.items():
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text.format(folder=tmp_path))
        file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "states").write_text("JobID|State|NodeList\n71_[0-1]|PENDING|\n")
    return tmp_path


def test_an_array_of_slurm_is_submitted_once(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [Cell("naive", ("trips", "visits"), 0), Cell("stid", ("trips",), 0)]
    folder, terms = slurm / "table1", make_terms(small_city(), "smoke", SETTINGS, "cpu")
    claim(table1.TABLE1, cells, terms, folder)
    looks = 0

    def look(seconds: float) -> None:
        """Instead of waiting: twice the command is interrupted, then the jobs are at their end."""
        nonlocal looks
        looks += 1
        if looks < 3:
            raise KeyboardInterrupt
        (slurm / "states").write_text("JobID|State|NodeList\n71_0|FAILED|\n71_1|CANCELLED by 0|\n")
        submitit.SlurmJob.watcher.clear()

    monkeypatch.setattr(cluster, "LATE", {"slurm": 0.0})
    monkeypatch.setattr(cluster, "time", SimpleNamespace(sleep=look, monotonic=time.monotonic))
    given = ["partition=gpu", "time=90", "gpus=1", "memory=24", "parallel=3", "setup=module load cuda", "setup=date"]
    heard: list[str] = []

    def command(cell: Cell) -> list[str]:
        return ["computes", cell.name]

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            carry_out_as_jobs(folder, cells, command, Cluster.parse("slurm", given), tell=heard.append)
    sent = (slurm / "sent.sh").read_text().splitlines()
    wanted = ["partition=gpu", "time=90", "gpus-per-node=1", "mem=24GB", "array=0-1%2"]
    assert {f"#SBATCH --{each}" for each in wanted} <= set(sent)
    assert [line for line in sent if line in ("module load cuda", "date")] == ["module load cuda", "date"]
    assert (slurm / "log").read_text().split() == ["submitted"]
    assert f"{cells[1].name}: job 71_1 was submitted before" in heard
    with pytest.raises(CellsFailedError, match=r"2 of 2 cells failed: naive-.* job 71_0 ended without a result"):
        carry_out_as_jobs(folder, cells, command, Cluster.parse("slurm", given), tell=heard.append)
    assert (slurm / "log").read_text().split() == ["submitted"]
    with pytest.raises(KeyboardInterrupt):  # what has failed gets another job
        looks = 0
        carry_out_as_jobs(folder, cells, command, Cluster.parse("slurm", given), tell=heard.append)
    assert (slurm / "log").read_text().split() == ["submitted"] * 2


def test_what_an_array_of_slurm_computed_is_collected(slurm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a cluster of two shell scripts that run the tasks of an array at once; its states come late."""
    for name, text in (("sbatch", RUNS), ("srun", SRUN)):
        (slurm / "bin" / name).write_text(text.format(folder=slurm))
    monkeypatch.setattr(cluster, "WAIT", {"slurm": 0.1})
    monkeypatch.setattr(cluster, "LATE", {"slurm": 0.2})
    good, bad = Cell("naive", ("trips",), 0), Cell("stid", ("trips",), 0)
    folder = slurm / "table1"
    (folder / "cells").mkdir(parents=True)
    scripts = {good: f"echo done > {cell_file(folder, good)}", bad: "echo 'error: no such place' >&2; exit 2"}
    with pytest.raises(CellsFailedError) as failed:
        carry_out_as_jobs(folder, [good, bad], lambda cell: ["sh", "-c", scripts[cell]], Cluster.parse("slurm", []))
    log = folder / "jobs" / "71_1_0_log.err"
    assert failed.value.failed == [f"{bad.name}: job 71_1 ended without a result (no such place), its log is {log}"]
    assert cell_file(folder, good).read_text() == "done\n" and "error: no such place" in log.read_text()


def test_a_job_whose_time_is_up_begins_again() -> None:
    words = [sys.executable, "-c", "raise SystemExit(3)"]
    again = CellCommand(words).checkpoint()
    assert again.function.words == words
    with pytest.raises(subprocess.CalledProcessError, match="exit status 3"):
        again.function()


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        ("pbs", [], "cluster 'pbs' is not known"),
        ("slurm", ["time=5", "setup=a", "setup=b", "time=9"], "--job time is given twice"),
        ("local", ["partition=gpu"], "of local there are time, gpus, parallel, setup"),
        ("slurm", ["time"], "give NAME=VALUE"),
        ("slurm", ["time=soon"], "--job time=soon: not a whole number"),
    ],
)
def test_options_that_mean_nothing_are_refused(kind: str, given: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Cluster.parse(kind, given)


def test_without_slurm_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match="cannot be given to Slurm here"):
        Cluster.parse("slurm", []).executor(tmp_path)
