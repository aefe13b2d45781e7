"""A run folder: settings, history, resume point, model. Complete enough to forecast with no other file."""

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cmust.errors import BusyError, RunError
from cmust.files import write_text

SCHEMA = 1
"""Of ``config.json``."""
MODEL_SCHEMA = 2
"""Of ``model.json``, whose fields and older layouts ``bundle`` knows."""
LOCK = ".lock"
"""The file that whoever writes a run holds."""
FIRST = 1
"""The version that training makes; it lies in the run folder itself, later ones below ``versions/``."""


class Run:
    """The files of one run.

    A run has versions (see :mod:`cmust.continual.versions`). Each is a complete ``model`` folder that never changes
    again; ``current.json`` says which one is in force, and how many there are.

    Attributes:
        folder: of the run.
    """

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)

    @property
    def config_file(self) -> Path:
        """Everything that was set."""
        return self.folder / "config.json"

    @property
    def history_file(self) -> Path:
        """A line per epoch and per phase."""
        return self.folder / "history.jsonl"

    @property
    def state_file(self) -> Path:
        """The resume point."""
        return self.folder / "state" / "state.safetensors"

    @property
    def model_folder(self) -> Path:
        """Trunk, per-task weights, and what they need to forecast, as training leaves them."""
        return self.folder / "model"

    @property
    def pointer_file(self) -> Path:
        """Says which version is in force; its replacement is what makes a new version exist."""
        return self.folder / "current.json"

    def pointer(self) -> tuple[int, int]:
        """The version in force, and the last one there is.

        Raises:
            RunError: ``current.json`` is damaged, or it is lost: more versions lie there than a kill leaves.
        """
        current, last = self._counted()
        uncounted, kept = self.versions_above(last), self.pointer_file.exists()
        by_a_kill = kept and uncounted == [last + 1]  # the file is there before the first version that it counts
        if not uncounted or by_a_kill:
            return current, last
        state = f"counts {last} version{'s' if last > 1 else ''}" if kept else "is missing"
        found = ", ".join(f"{number:04d}" for number in uncounted)
        raise RunError(
            f"{self.pointer_file} {state}, but {self.folder / 'versions'} holds {found}, which no kill leaves; nothing "
            f"was removed: {self._restore_pointer()}"
        )

    def _counted(self) -> tuple[int, int]:
        """What ``current.json`` says."""
        if not self.pointer_file.exists():
            return FIRST, FIRST
        content = read_json(self.pointer_file, "")
        current, last = content.get("current"), content.get("last")
        if type(current) is int and type(last) is int and FIRST <= current <= last:
            return current, last
        raise RunError(f"{self.pointer_file} is damaged: it holds {content!s:.80}; {self._restore_pointer()}")

    def _restore_pointer(self) -> str:
        return (
            f'restore it from a copy, or write {{"current": N, "last": M}} into it, M being the highest folder of '
            f"{self.folder / 'versions'}"
        )

    def versions_above(self, number: int) -> list[int]:
        """The versions of a higher number whose folders lie there, counted or not; ascending."""
        folders = (self.folder / "versions").glob("[0-9]*")
        found = (int(folder.name) for folder in folders if folder.name.isdecimal() and folder.is_dir())
        return sorted(each for each in found if each > number)

    def version_folder(self, number: int) -> Path:
        """Where a version lies."""
        return self.folder if number == FIRST else self.folder / "versions" / f"{number:04d}"

    def version_model(self, number: int | None = None) -> Path:
        """The ``model`` folder of a version; of the one in force when not given.

        Raises:
            RunError: there is no such version.
        """
        current, last = self.pointer()
        wanted = current if number is None else number
        if not FIRST <= wanted <= last:
            raise RunError(f"run {self.folder} has no version {wanted}; it has {FIRST} to {last}")
        folder = self.version_folder(wanted) / "model"
        if wanted != FIRST and not folder.is_dir():
            raise RunError(
                f"{folder} is missing; restore it from a copy, or take another version with "
                f"`cmust versions {self.folder} --use {FIRST}`"
            )
        return folder

    @property
    def evaluation_file(self) -> Path:
        """Scores."""
        return self.folder / "evaluation.json"

    @property
    def finished(self) -> bool:
        """Whether training has ended and the model is there."""
        return (self.model_folder / "model.json").exists()

    def config(self) -> dict[str, Any]:
        """What ``config.json`` holds.

        Raises:
            RunError: this is not a run folder, or the file is damaged.
        """
        return read_json(
            self.config_file,
            f"{self.folder} is not a run folder: it has no config.json; train with `cmust train` first",
        )

    def write_config(self, config: dict[str, Any]) -> None:
        """Write ``config.json``."""
        write_text(self.config_file, json.dumps(config, indent=2) + "\n")

    def claim(
        self, identity: dict[str, Any], made: dict[str, Any], defaults: Mapping[str, Any] = MappingProxyType({})
    ) -> None:
        """Write ``config.json``, or check that the run that is there is this one.

        Args:
            identity: what makes it this run, as plain JSON values.
            made: how, kept beside it when the run begins.
            defaults: in the shape of ``identity``, for a run that was begun when a setting did not exist yet.

        Raises:
            RunError: the folder holds another run; the first setting that differs is named. Or it holds no run but
                somebody's files.
        """
        self._check_free()
        if not self.config_file.exists():
            self.write_config({**identity, "made": made})
            return
        found = _over(defaults, self.config())
        kind = next(iter(identity))
        if kind not in found:
            raise RunError(f"{self.config_file} is of something else: it has no {kind!r}; choose another folder")
        for key, theirs, ours in _differences({key: found.get(key) for key in identity}, identity):
            raise RunError(
                f"run {self.folder} was started with {key} = {theirs!r}, not {ours!r}; use the same settings to "
                f"resume it, or another folder"
            )

    def append_history(self, event: dict[str, Any]) -> None:
        """Add a line to ``history.jsonl``."""
        try:
            with self.history_file.open("a", encoding="utf-8") as file:
                file.write(json.dumps(event) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RunError(
                f"cannot write {self.history_file}: {error.strerror or error}; free some space and start the run "
                f"again, it resumes"
            ) from error

    def history_size(self) -> int:
        """Bytes of history so far; part of the resume point."""
        return self.history_file.stat().st_size if self.history_file.exists() else 0

    def cut_history(self, size: int) -> None:
        """Forget events after the resume point: the epoch they tell of is trained again."""
        if self.history_size() > size:
            os.truncate(self.history_file, size)

    def history(self) -> list[dict[str, Any]]:
        """All events.

        Raises:
            RunError: a line is damaged.
        """
        if not self.history_file.exists():
            return []
        try:
            return [
                json.loads(line) for line in self.history_file.read_text(encoding="utf-8").splitlines() if line.strip()
            ]
        except ValueError as error:
            raise RunError(f"{self.history_file} is damaged: {error}; remove the damaged line") from error

    def sweep(self) -> None:
        """Remove what a killed process left half written; only for who holds the run."""
        folders = (self.state_file.parent, self.model_folder, self.model_folder / "tasks")
        # In the folder itself only what the holder writes: an evaluation of the run may be going on.
        leftovers = [
            *self.folder.glob(f".{self.config_file.name}.*.tmp"),
            *(x for f in folders for x in f.glob(".*.tmp")),
        ]
        for leftover in leftovers:
            leftover.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for writing; released even when the process is killed.

        Raises:
            BusyError: another process holds it.
            RunError: the folder cannot be made, or holds somebody's files.
        """
        self._check_free()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise RunError(
                f"cannot write to run folder {self.folder}: {error.strerror}; choose another place"
            ) from error
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise BusyError(
                    f"run {self.folder} is being written by another process; wait for it or choose another folder"
                ) from error
            yield
        finally:
            os.close(handle)

    def _check_free(self) -> None:
        """Raise RunError where files lie in the folder and nothing says that a run was begun there.

        A run leaves its lock first, then ``config.json``. What a killed one leaves before that is hidden, as are the
        files that a system puts everywhere: hidden files do not count.
        """
        try:
            names = sorted(os.listdir(self.folder))
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise RunError(f"cannot read {self.folder}: {error.strerror}; choose another place") from error
        visible = [name for name in names if not name.startswith(".")]
        if not visible or LOCK in names or (self.config_file.name in names and "made" in self.config()):
            return
        more = f" and {len(visible) - 1} more" if len(visible) > 1 else ""
        raise RunError(
            f"{self.folder} is no run folder, but holds {visible[0]}{more}; choose a folder that is new or empty"
        )


def read_json(path: Path, missing: str) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        RunError: ``missing`` where there is no such file; else the place of the damage.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RunError(missing) from error
    except (ValueError, OSError, RecursionError) as error:
        raise RunError(f"{path} is damaged: {error}; restore it from a copy or train again") from error
    if not isinstance(content, dict):
        raise RunError(f"{path} is damaged: it holds no JSON object; restore it from a copy or train again")
    return content


def _over(defaults: Any, found: Any) -> Any:
    """``found`` with what it lacks from ``defaults``, at every depth."""
    if isinstance(defaults, Mapping) and isinstance(found, Mapping):
        keys = dict.fromkeys([*defaults, *found])
        return {key: _over(defaults.get(key), found[key]) if key in found else defaults[key] for key in keys}
    return found


def _differences(found: Any, wanted: Any, path: str = "") -> list[tuple[str, Any, Any]]:
    """Leaves that are not the same, as (path, found, wanted); None where one of the two has none."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        keys = dict.fromkeys([*wanted, *found])
        parts = [_differences(found.get(key), wanted.get(key), f"{path}.{key}".lstrip(".")) for key in keys]
        return [difference for part in parts for difference in part]
    return [] if found == wanted else [(path, found, wanted)]
