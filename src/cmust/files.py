"""Atomic writes: a reader sees the old file or the new one, whatever kills the writer."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cmust.errors import CmustError


@contextmanager
def atomic_path(target: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``target``; on success sync it and rename it to ``target``.

    On any failure the temporary file is removed and ``target`` stays as it was.

    Raises:
        CmustError: the disk is full, or the place cannot be written to.
    """
    target = Path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        os.close(handle)
    except OSError as error:
        raise CmustError(
            f"cannot write {target}: {error.strerror or error}; choose a place that can be written to"
        ) from error
    temporary = Path(name)
    try:
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        os.replace(temporary, target)
    except OSError as error:
        raise CmustError(
            f"cannot write {target}: {error.strerror or error}; what stood there before is untouched: free some "
            f"space and try again"
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Give ``source`` a second name, or a copy where the disk knows no second names. Safe as long as files are replaced
    and never written in place, as everything here is.

    Raises:
        CmustError: ``target`` cannot be written.
    """
    target.unlink(missing_ok=True)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        os.link(source, target)
    except OSError:
        with atomic_path(target) as temporary:
            shutil.copyfile(source, temporary)


def write_text(target: Path | str, text: str) -> None:
    """Write ``text`` to ``target`` atomically, UTF-8."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def atomic_folder(target: Path | str) -> Iterator[Path]:
    """Yield a temporary folder beside ``target``; on success rename it to ``target``, on any failure remove it.

    Raises:
        CmustError: there is something at ``target`` other than an empty folder, or the place cannot be written to.
    """
    target = Path(target)
    try:
        if target.exists() and not (target.is_dir() and not any(target.iterdir())):
            raise CmustError(f"{target} exists already; remove it or choose another name")
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    except OSError as error:
        raise CmustError(
            f"cannot write {target}: {error.strerror or error}; choose a place that can be written to"
        ) from error
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o777 & ~umask)
        os.rename(temporary, target)
    except OSError as error:
        raise CmustError(f"cannot write {target}: {error.strerror or error}; free some space and try again") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
