"""The versions of a run: made beside what is there, brought into force by replacing one small file, never changed.

Version 1 is what training leaves. A later one is a folder ``versions/0002`` with ``model/``, ``version.json`` and the
history of its making. It is made in ``versions/.work``, renamed, and exists from the moment ``current.json`` counts it:
a kill before that leaves the run as it was, and the next change that is made clears away what is left.
"""

import json
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cmust.errors import CmustError, ConfigError, RunError
from cmust.files import write_text
from cmust.forecaster import Forecaster
from cmust.run import FIRST, Run, read_json

SCHEMA = 1


@dataclass(frozen=True)
class Version:
    """One version of a run.

    Attributes:
        number: 1 is what training made.
        made_by: train, adapt or update.
        made: when, by which command, on what machine, with which versions.
        parent: the version it was made from; None for the first.
        city: which data made it.
        tasks: by name, what its ``model.json`` says.
        in_force: whether it is the one that is used.
    """

    number: int
    made_by: str
    made: dict[str, Any]
    parent: int | None
    city: dict[str, Any]
    tasks: dict[str, dict[str, Any]]
    in_force: bool


def list_versions(run: Path | str) -> list[Version]:
    """All versions of a finished run, the first one first.

    Raises:
        RunError: the run is not finished, or damaged.
    """
    folder = _finished(run)
    current, last = folder.pointer()
    versions = []
    for number in range(FIRST, last + 1):
        model = read_json(folder.version_model(number) / "model.json", f"version {number} of {run} has no model.json")
        if number == FIRST:
            made = folder.config()["made"] if folder.config_file.exists() else {}
            about = {"made_by": "train", "made": {**made, "when": made.get("started")}, "city": model["city"]}
        else:
            about = read_json(
                folder.version_folder(number) / "version.json", f"version {number} of {run} has no version.json"
            )
        versions.append(
            Version(
                number,
                about["made_by"],
                about["made"],
                about.get("parent"),
                about["city"],
                model["tasks"],
                number == current,
            )
        )
    return versions


def lineage(run: Path | str) -> Iterator[tuple[int, Forecaster]]:
    """The version in force and those it was made from, each with its number, the first one last.

    Raises:
        RunError: one is damaged.
    """
    folder = Run(run)
    number, _ = folder.pointer()
    yield number, Forecaster.load(run, number)
    while number > FIRST:
        file = folder.version_folder(number) / "version.json"
        parent = read_json(file, f"version {number} of {run} has no version.json").get("parent")
        if type(parent) is not int or not FIRST <= parent < number:
            raise RunError(f"{file} is damaged: its parent is {parent!s:.80}; restore it from a copy")
        number = parent
        yield number, Forecaster.load(run, number)


def use_version(run: Path | str, number: int) -> None:
    """Bring a version into force, such as an earlier one.

    Raises:
        RunError: there is no such version, it is damaged, or another process writes the run.
    """
    folder = _finished(run)
    with folder.locked():
        Forecaster.load(run, number)
        _point(folder, number, folder.pointer()[1])


@dataclass(frozen=True)
class Change:
    """A change of a run that is held.

    Attributes:
        run: the run.
        parent: the version in force.
    """

    run: Run
    parent: int

    def work(self, identity: dict[str, Any]) -> Run:
        """The folder in which the next version is made: that of an interrupted attempt at the very same, or an empty
        one.
        """
        work = Run(_work_folder(self.run))
        identity = json.loads(json.dumps({**identity, "parent": self.parent}))
        if not _is(work, identity):
            shutil.rmtree(work.folder, ignore_errors=True)
            work.write_config(identity)
        for leftover in work.folder.rglob(".*.tmp"):
            leftover.unlink(missing_ok=True)
        return work

    def publish(
        self,
        work: Run,
        forecaster: Forecaster,
        changed: Collection[str],
        about: dict[str, Any],
        records: dict[str, Any],
    ) -> int:
        """Make what ``work`` holds the next version, in force from then on.

        Args:
            work: where it was made.
            forecaster: of the new version.
            changed: as in :meth:`Forecaster.save`; all other files are those of the parent.
            about: ``made_by``, ``made``, ``city`` of ``version.json``.
            records: further JSON files, by name.

        Returns:
            Its number.

        Raises:
            RunError: it cannot be loaded; the run stays as it was.
        """
        _sweep(self.run)
        number = self.run.pointer()[1] + 1
        forecaster.save(work.model_folder, self.run.version_model(self.parent), changed)
        self._check(work, number)
        for name, record in records.items():
            write_text(work.folder / name, json.dumps(record, indent=1) + "\n")
        version = {"schema": SCHEMA, "number": number, "parent": self.parent, **about}
        write_text(work.folder / "version.json", json.dumps(version, indent=1) + "\n")
        for state in list(work.folder.rglob("state")):
            shutil.rmtree(state)
        if not self.run.pointer_file.exists():  # so that a version without one tells of its loss, not of a kill
            _point(self.run, FIRST, FIRST)
        os.rename(work.folder, self.run.version_folder(number))
        _sync(work.folder.parent)
        _point(self.run, number, number)
        return number

    def _check(self, work: Run, number: int) -> None:
        """A version that cannot be loaded must not come into force."""
        try:
            Forecaster.load(work.folder)
        except RunError as error:
            raise RunError(
                f"version {number} is not brought into force, since it cannot be loaded: {error.__cause__ or error}; "
                f"version {self.parent} stays: start the same again, and report it if it ends here again"
            ) from error

    def drop(self, work: Run) -> None:
        """Make no version of what is in ``work``."""
        shutil.rmtree(work.folder)


def check_one_process(doing: str) -> None:
    """Changes are made by one process.

    Args:
        doing: what is done, the first word of the message.

    Raises:
        ConfigError: this is one of several.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(f"{doing} runs in one process; start it without torchrun")


@contextmanager
def changing(run: Path | str) -> Iterator[Change]:
    """Hold a finished run in order to add a version to it.

    Only a change that ends well clears away what a kill has left: one that is refused leaves every version alone,
    counted or not.

    Raises:
        RunError: the run is not finished, more versions lie there than are counted, or another process writes it.
    """
    folder = _finished(run)
    with folder.locked():
        try:
            yield Change(folder, folder.pointer()[0])
            _sweep(folder)
        finally:
            work = Run(_work_folder(folder))
            if not work.state_file.exists():  # nothing that could be resumed
                shutil.rmtree(work.folder, ignore_errors=True)


def _finished(run: Path | str) -> Run:
    folder = Run(run)
    if not folder.finished:
        Forecaster.load(run)  # says what is missing
        raise RunError(
            f"{run} is a bundle: it has one version, and nothing is added to it; give the run folder it is of"
        )
    return folder


def _work_folder(run: Run) -> Path:
    return run.folder / "versions" / ".work"


def _is(work: Run, identity: dict[str, Any]) -> bool:
    """Whether an attempt at the very same was interrupted there."""
    try:
        return work.config_file.exists() and work.config() == identity
    except CmustError:
        return False


def _sweep(run: Run) -> None:
    """Clear away the version that was never counted, and halves of the pointer; only for who holds the run."""
    for leftover in run.folder.glob(f".{run.pointer_file.name}.*.tmp"):
        leftover.unlink(missing_ok=True)
    for number in run.versions_above(run.pointer()[1]):
        shutil.rmtree(run.version_folder(number))


def _point(run: Run, current: int, last: int) -> None:
    write_text(run.pointer_file, json.dumps({"schema": SCHEMA, "current": current, "last": last}) + "\n")


def _sync(folder: Path) -> None:
    """Have the disk know of a rename in ``folder`` before anything relies on it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
