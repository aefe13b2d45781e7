"""Cells as jobs of a Slurm cluster, or of this machine, through submitit (extra ``cmust[cluster]``).

A job runs ``cmust experiment cell`` in the folder of the experiment, which all machines see; what it computed stands in
the record of its cell, and is taken from there. submitit pickles what it is to run, a list of words here, and what that
returns, nothing here, below ``FOLDER/jobs``; these files are for its own processes, and nothing of ours opens them.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cmust.errors import ConfigError, reason
from cmust.experiments.cell_command import CellCommand
from cmust.experiments.engine import Cell, CellsFailedError, is_finished
from cmust.files import write_text
from cmust.run import read_json

KINDS = ("slurm", "local")
REQUEUES = 20
"""So often a job whose time was up is put back into the queue."""
WAIT = {"slurm": 10.0, "local": 0.5}
"""Seconds between two looks at the jobs."""
LATE = {"slurm": 10.0, "local": 0.0}
"""A file that a job has written is seen here after so many seconds at the latest."""


@dataclass(frozen=True)
class Option:
    """An option of a job.

    Attributes:
        read: its value from text.
        slurm, local: what submitit's executors call it; None where it means nothing.
        about: for people.
    """

    read: Callable[[str], Any]
    slurm: str | None
    local: str | None
    about: str


def _whole(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise ValueError("not a whole number from 1 on")
    return int(text)


def _gigabytes(text: str) -> str:
    return f"{_whole(text)}GB"


OPTIONS = {
    "partition": Option(str, "partition", None, "of the cluster"),
    "account": Option(str, "account", None, "that pays"),
    "qos": Option(str, "qos", None, "quality of service"),
    "constraint": Option(str, "constraint", None, "features of the machine"),
    "time": Option(_whole, "time", "timeout_min", "minutes a job may take, then it is put back into the queue"),
    "cpus": Option(_whole, "cpus_per_task", None, "cores"),
    "gpus": Option(_whole, "gpus_per_node", "gpus_per_node", "none when not given"),
    "memory": Option(_gigabytes, "mem", None, "GB"),
    "parallel": Option(_whole, "array_parallelism", "parallel", "the most jobs at a time"),
    "setup": Option(str, "setup", "setup", "a line of shell before the job begins; may be given several times"),
}
DEFAULTS = {"slurm": {"time": 1440, "array_parallelism": 256}, "local": {"timeout_min": 1440, "parallel": 1}}


@dataclass(frozen=True)
class Cluster:
    """Where jobs run.

    Attributes:
        kind: ``slurm`` or ``local``.
        parameters: of submitit's executor.
        parallel: the most jobs that are submitted and not ended; None for all, which then are one array.
    """

    kind: str
    parameters: dict[str, Any]
    parallel: int | None

    @classmethod
    def parse(cls, kind: str, given: Iterable[str]) -> "Cluster":
        """From a kind and ``NAME=VALUE`` texts.

        Raises:
            ConfigError: there is no such kind or option, or a value does not fit.
        """
        if kind not in KINDS:
            raise ConfigError(f"cluster {kind!r} is not known; choose {' or '.join(KINDS)}")
        known = [name for name, option in OPTIONS.items() if getattr(option, kind)]
        values: dict[str, Any] = dict(DEFAULTS[kind])
        seen = set()
        for text in given:
            name, separator, value = text.partition("=")
            if not separator or name not in known:
                raise ConfigError(f"--job {text!r}: give NAME=VALUE; of {kind} there are {', '.join(known)}")
            if name in seen and name != "setup":
                raise ConfigError(f"--job {name} is given twice; keep one")
            seen.add(name)
            try:
                read = OPTIONS[name].read(value)
            except ValueError as error:
                raise ConfigError(f"--job {name}={value}: {error}") from error
            key = getattr(OPTIONS[name], kind)
            values[key] = [*values.get(key, []), read] if name == "setup" else read
        parallel = values.pop("parallel", None)
        return cls(kind, values, parallel)

    def executor(self, folder: Path) -> Any:
        """What submits jobs, with its files in ``folder``.

        Raises:
            ConfigError: submitit is not installed, or this machine is not of a Slurm cluster.
        """
        try:
            import submitit
        except ModuleNotFoundError as error:
            raise ConfigError("jobs need submitit; install the extra: pip install 'cmust[cluster]'") from error
        kinds = {"slurm": submitit.SlurmExecutor, "local": submitit.LocalExecutor}
        try:
            executor = kinds[self.kind](folder, max_num_timeout=REQUEUES)
        except RuntimeError as error:
            raise ConfigError(
                f"jobs cannot be given to Slurm here ({reason(error)}); start the command on a machine of the cluster, "
                f"or give --cluster local"
            ) from error
        executor.update_parameters(**self.parameters)
        return executor


def cell_command(city: Path, folder: Path, accelerator: str) -> Callable[[Cell], list[str]]:
    """The words of the command that computes a cell of the experiment in ``folder``."""
    program = [sys.executable, "-m", "cmust", "experiment", "cell"]

    def words(cell: Cell) -> list[str]:
        return [
            *(*program, str(city.resolve()), str(folder.resolve())),
            *(json.dumps(asdict(cell)), "--accelerator", accelerator),
        ]

    return words


def carry_out_as_jobs(
    folder: Path,
    cells: Sequence[Cell],
    command: Callable[[Cell], list[str]],
    cluster: Cluster,
    *,
    tell: Callable[[str], None] = lambda line: None,
) -> None:
    """Submit a job for each cell that is not finished and has none yet, and wait for all of them. Killed, jobs of a
    cluster go on; called again, it waits for them.

    Args:
        folder: of an experiment that has begun.
        cells: in order.
        command: the words that compute a cell.
        cluster: where.
        tell: hears a line for each cell.

    Raises:
        ConfigError: jobs cannot be submitted here.
        CellsFailedError: some failed; the others are finished.
    """
    queue = [cell for cell in cells if not is_finished(folder, cell)]
    tell(f"{len(cells) - len(queue)} of {len(cells)} cells finished before")
    if not queue:
        return
    submitted = Submitted(folder / "jobs", cluster)
    active = submitted.still_there(queue)
    for cell, job in active.items():
        tell(f"{cell.name}: job {job.job_id} was submitted before")
    queue = [cell for cell in queue if cell not in active]
    failed: list[str] = []
    while queue or active:
        free = len(queue) if cluster.parallel is None else max(cluster.parallel - len(active), 0)
        if new := queue[:free]:
            jobs = submitted.submit({cell: command(cell) for cell in new})
            tell(f"{len(new)} jobs submitted: {jobs[new[0]].job_id} to {jobs[new[-1]].job_id}")
            active, queue = active | jobs, queue[free:]
        time.sleep(WAIT[cluster.kind])
        for cell in [cell for cell, job in active.items() if is_finished(folder, cell) or job.done()]:
            job = active.pop(cell)
            if _appears(folder, cell, LATE[cluster.kind]):
                tell(f"{cell.name}: finished by job {job.job_id}")
            else:
                failed.append(f"{cell.name}: job {job.job_id} ended without a result{_last_words(job.paths.stderr)}")
                tell(failed[-1])
    if failed:
        raise CellsFailedError(failed, len(cells))


class Submitted:
    """The jobs of an experiment; ``jobs.json`` says which cell has which, so that none is submitted twice."""

    def __init__(self, folder: Path, cluster: Cluster) -> None:
        self._file = folder / "jobs.json"
        self._kind = cluster.kind
        self._executor = cluster.executor(folder)

    def still_there(self, cells: Sequence[Cell]) -> dict[Cell, Any]:
        """Jobs of an earlier call that Slurm knows and that have not ended. Jobs of this machine are known to the
        process only that started them; a second one for a cell finds it taken.
        """
        if self._kind != "slurm":
            return {}
        known, found = self._known(), {}
        for cell in cells:
            if cell.name in known:
                job = self._executor.job_class(self._executor.folder, known[cell.name])
                if not job.done(force_check=True) and job.state != "UNKNOWN":
                    found[cell] = job
        return found

    def submit(self, commands: dict[Cell, list[str]]) -> dict[Cell, Any]:
        """One array of jobs.

        Raises:
            ConfigError: they are refused.
        """
        try:
            jobs = self._executor.submit_array([CellCommand(words) for words in commands.values()])
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            raise ConfigError(f"{self._kind} does not take the jobs: {error}") from error
        made = dict(zip(commands, jobs, strict=True))
        ids = self._known() | {cell.name: job.job_id for cell, job in made.items()}
        write_text(self._file, json.dumps(ids, indent=1) + "\n")
        return made

    def _known(self) -> dict[str, str]:
        return read_json(self._file, "") if self._file.exists() else {}


def _appears(folder: Path, cell: Cell, late: float) -> bool:
    """Whether a cell whose job has ended is finished; other machines' files may come late."""
    until = time.monotonic() + late
    while not is_finished(folder, cell) and time.monotonic() < until:
        time.sleep(0.5)
    return is_finished(folder, cell)


def _last_words(log: Path) -> str:
    """The error that our command printed into a log, and where the log is."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    said = next((line.removeprefix("error: ") for line in reversed(lines) if line.startswith("error: ")), None)
    return f" ({said}), its log is {log}" if said else f", its log is {log}"
