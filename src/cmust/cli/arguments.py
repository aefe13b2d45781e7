"""Arguments that several commands take."""

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

CityFile = Annotated[Path, typer.Argument(metavar="CITY", help="A city file, NAME.zarr.zip.", show_default=False)]
RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.", show_default=False)]
ModelFolder = Annotated[Path, typer.Argument(metavar="RUN", help="A run folder or a bundle.", show_default=False)]


def is_first_process() -> bool:
    """Whether this process prints: under ``torchrun`` all do the same, and one of them speaks."""
    return os.environ.get("RANK", "0") == "0"


def shown_command(*words: object) -> str:
    """A command of this program to be copied into a shell, whatever stands in its paths."""
    return shlex.join(["cmust", *map(str, words)])
