"""The folder of a trained model: found, read with every check, written. Nothing in it can run code.

The checksums tell of damage and of files that were exchanged. They are no signature: who can rewrite the folder can
rewrite them too.
"""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cmust.bundle.migrate import migrate
from cmust.bundle.schema import FORMAT, SCHEMA, check_document, digest
from cmust.errors import RunError, reason
from cmust.files import write_text
from cmust.run import FIRST, Run

MODEL = "model.json"
LARGEST_FILE = 256 * 2**20
"""Bytes; a ``model.json`` with the outlines of ten thousand places is a tenth of it."""
_REMEDY = "restore it from a copy or train again"
_OTHERS = ("model.safetensors", "pytorch_model.bin", "adapter_config.json", "model_index.json")


def find_model(path: Path | str, version: int | None = None) -> Path:
    """The folder of the model in a run folder or a bundle.

    Args:
        path: of either.
        version: of a run; the one in force when not given.

    Raises:
        RunError: there is none: nothing is there, it is not finished, or it is something else; no such version.
    """
    path = Path(path)
    if version is not None and type(version) is not int:
        raise RunError(f"version is {version!r}, it has to be a whole number")
    if (path / MODEL).is_file():
        if version not in (None, FIRST):
            raise RunError(f"{path} is a bundle, which has one version only; it has no version {version}")
        return path
    folder = Run(path).version_model(version)
    if (folder / MODEL).is_file():
        return folder
    if path.is_file():
        raise RunError(f"{path} is a file; give a run folder or a bundle")
    config = _config(path)
    if "settings" in config and "city" in config:
        raise RunError(f"run {path} has no model yet; finish it with `cmust train`")
    signs = [name for name in _OTHERS if (path / name).exists()]
    signs += [f"config.json with {key!r}" for key in ("architectures", "model_type") if key in config]
    if signs:
        raise RunError(f"{path} holds a model of another library ({', '.join(signs)}); cmust loads its own only")
    raise RunError(f"{path} is not a run folder or a bundle: there is no {MODEL} in it; train with `cmust train` first")


def read_model(folder: Path) -> dict[str, Any]:
    """What ``model.json`` says, in the present schema, with every file it names in place and unchanged.

    Raises:
        RunError: of a newer schema, of another program, changed, incomplete, or asking for what no model has.
    """
    path = folder / MODEL
    document = _read(path)
    schema = document.get("schema")
    if type(schema) is not int or document.get("format", FORMAT) != FORMAT:
        raise RunError(f"{path} is not of cmust (schema {schema!r:.40}); give a folder that cmust wrote")
    if not 1 <= schema <= SCHEMA:
        raise RunError(f"{path} has schema {schema}, this version reads 1 to {SCHEMA}; update cmust")
    if schema > 1:
        stored, found = document.pop("digest", None), digest(document)
        if stored != found:
            raise RunError(f"{path} was changed: its content does not have the digest it states; {_REMEDY}")
    document = migrate(document)
    try:
        check_document(document)
    except RunError as error:
        raise RunError(f"{path} does not fit together: {_line(error)}; {_REMEDY}") from error
    for name, expected in document["checksums"].items():
        _verify(folder / name, expected)
    return document


def write_model(folder: Path, document: dict[str, Any], files: Iterable[str]) -> dict[str, Any]:
    """Write ``model.json`` for weights that stand in ``folder`` already; nothing that could not be read again.

    Args:
        folder: of the model.
        document: the fields of :class:`~cmust.bundle.schema.ModelDocument` but schema, format and checksums.
        files: names of the weight files, relative to ``folder``.

    Returns:
        What was written.

    Raises:
        RunError: a field cannot be stored, or is not what it has to be.
    """
    checksums = {name: _checksum(folder / name) for name in files}
    whole = {"schema": SCHEMA, "format": FORMAT, **document, "checksums": checksums}
    try:
        stored: dict[str, Any] = json.loads(json.dumps(whole))
        check_document(stored)
    except (TypeError, ValueError, RunError) as error:
        problem = _line(error)
        raise RunError(
            f"the model cannot be written to {folder / MODEL}, it could not be read again: {problem}"
        ) from error
    stored["digest"] = digest(stored)
    write_text(folder / MODEL, json.dumps(stored) + "\n")
    return stored


def _read(path: Path) -> dict[str, Any]:
    try:
        if (size := path.stat().st_size) > LARGEST_FILE:
            raise RunError(f"{path} has {size} bytes, more than a model.json can have; {_REMEDY}")
        document = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise RunError(f"{path} is damaged: {reason(error)}; {_REMEDY}") from error
    if not isinstance(document, dict):
        raise RunError(f"{path} is damaged: it holds no JSON object; {_REMEDY}")
    return document


def _line(error: Exception) -> str:
    """A message that may repeat names from the file: one line, not a long one."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(error))[:500]


def _config(path: Path) -> dict[str, Any]:
    """``config.json``, for telling what a folder is; empty where it says nothing."""
    try:
        content = json.loads((path / "config.json").read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _verify(path: Path, expected: str) -> None:
    if not path.is_file():
        raise RunError(f"{path} is missing; restore the whole folder or train again")
    try:
        found = _checksum(path)
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror or error}; {_REMEDY}") from error
    if found != expected:
        raise RunError(
            f"{path} was changed or truncated (sha256 {found[:12]}..., expected {expected[:12]}...); {_REMEDY}"
        )
