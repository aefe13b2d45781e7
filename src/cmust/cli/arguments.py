"""Arguments that several commands take."""

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

CityFile = Annotated[Path, typer.Argument(metavar="CITY", help="A city file, NAME.zarr.zip.", show_default=False)]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)]
ModelFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder or a bundle.", show_default=False)]

Accelerator = Annotated[str, typer.Option(help="auto (a GPU where there is one), cpu or cuda.")]
Force = Annotated[bool, typer.Option("--force", help="Replace the city file that is there.")]


def is_first_process() -> bool:
    """Whether this process prints: under ``torchrun`` all do the same, and one of them speaks."""
    return os.environ.get("RANK", "0") == "0"


def shown_command(*words: object) -> str:
    """A command of this program to be copied into a shell, whatever stands in its paths."""
    return shlex.join(["cmust", *map(str, words)])


def names(option: str, given: str | None) -> list[str] | None:
    """What stands between the commas; None where the option was not given, which means all.

    Raises:
        ConfigError: a name is empty. A shell variable that is not set gives one, and is not to mean all.
    """
    from cmust.errors import ConfigError

    if given is None:
        return None
    found = [name.strip() for name in given.split(",")]
    if not all(found):
        raise ConfigError(f"{option} is given {given!r}, which leaves a name out; name each, or leave {option} out")
    return found


def check_new(city: Path, *, force: bool) -> None:
    """Refuse to write a city where there is a file; before the work, not after it.

    Raises:
        ConfigError: there is one, and no ``--force``.
    """
    from cmust.errors import ConfigError

    if city.is_file() and not force:
        raise ConfigError(f"{city} exists already; give --force to replace it, or another name")


def pairs(option: str, given: list[str] | None) -> dict[str, str]:
    """The ``NAME=VALUE`` texts of an option that may be repeated.

    Raises:
        IngestError: one is written otherwise, or a name is there twice.
    """
    from cmust.errors import IngestError

    found: dict[str, str] = {}
    for text in given or []:
        name, mark, value = (part.strip() for part in text.partition("="))
        if not (name and mark and value):
            raise IngestError(f"{option} '{text}' is not of the form NAME=VALUE")
        if name in found:
            raise IngestError(f"{option} is given twice for '{name}': keep one")
        found[name] = value
    return found


def whole(option: str, text: str, least: int) -> int:
    """A whole number.

    Raises:
        ConfigError: it is none, or below ``least``.
    """
    from cmust.errors import ConfigError

    if not text.isdecimal() or int(text) < least:
        raise ConfigError(f"{option} has {text!r}, which is not a whole number from {least} on")
    return int(text)
