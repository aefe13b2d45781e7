"""The list of all settings, made from their models."""

from typing import Any

from pydantic import BaseModel
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cmust.settings import make_settings

_RESOLVED = ("model", "training")


def list_settings(preset: str, console: Console) -> None:
    """Print every setting: its key for ``--set``, its value in ``preset``, its meaning.

    Raises:
        ConfigError: there is no such preset.
    """
    chosen = make_settings(preset=preset)
    console.print(_table("settings", "", chosen, skip=_RESOLVED))
    console.print(_table("the network", "model.", chosen.network, skip=("preset",)))
    console.print(_table("training", "training.", chosen.trainer))


def _table(title: str, prefix: str, values: BaseModel, skip: tuple[str, ...] = ()) -> Table:
    table = Table(title=escape(title), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1))
    table.add_column("key", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("meaning", overflow="fold")
    for name, field in type(values).model_fields.items():
        if name not in skip:
            table.add_row(prefix + name, escape(_shown(getattr(values, name))), escape(field.description or ""))
    return table


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return str(list(value))
    return "none" if value is None else f"{value}"
