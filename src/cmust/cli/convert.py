"""``cmust import FORMAT SOURCE CITY`` and ``cmust export FORMAT CITY TARGET``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from cmust.city import City, open_city
from cmust.city.labels import PublishedLabels
from cmust.cli.arguments import Force, check_new, names, pairs
from cmust.cli.grouped import grouped
from cmust.ingest.formats import (
    Imported,
    ImportSettings,
    Missing,
    Timestamps,
    export_libcity,
    export_published,
    import_basicts,
    import_libcity,
    import_pems,
    import_wide,
)

import_app = typer.Typer(no_args_is_help=True, help="Make a city from another project's files.")
export_app = typer.Typer(no_args_is_help=True, help="Write a city as another project's files.")

Source = Annotated[Path, typer.Argument(help="The file or folder to read.")]
Timezone = Annotated[
    str, typer.Option(help="IANA zone whose wall clock the times are, such as America/Los_Angeles; no format says.")
]
Name = Annotated[str | None, typer.Option(help="Name of the city; that of the source when not given.")]
Kind = Annotated[list[str] | None, typer.Option(help="TASK=count|speed|risk|concentration|other; may be repeated.")]
Unit = Annotated[list[str] | None, typer.Option(help="TASK=UNIT; may be repeated.")]
Tasks = Annotated[str | None, typer.Option(help="Names of the channels, separated by commas.")]
Start = Annotated[str, typer.Option(help="Wall-clock time of the first step, such as 2018-01-01T00:00:00.")]


@dataclass(frozen=True)
class Target:
    """The city to write."""

    target: Annotated[Path, typer.Argument(metavar="CITY", help="The city file to write, NAME.zarr.zip.")]
    force: Force = False

    def __post_init__(self) -> None:
        """Refuse to replace a city unasked."""
        check_new(self.target, force=self.force)

    def save(self, imported: Imported) -> None:
        """Write the city, and say what was assumed and what is in it."""
        written = imported.city.save(self.target)
        for note in imported.notes:
            _say(f"note: {note}")
        for task in imported.city.tasks.values():
            typer.echo(
                f"{task.name}: {task.n_steps} steps of {task.interval} s from {task.time[0]}, {task.n_nodes} nodes"
            )
        typer.echo(f"wrote {written}")


@dataclass(frozen=True)
class Labels:
    """What no format says."""

    timezone: Timezone
    name: Name = None
    coordinates: Annotated[
        str | None, typer.Option(help="CSV file with columns node, lon, lat; or 'unknown' to put every node at 0, 0.")
    ] = None
    zero_is_missing: Annotated[
        bool, typer.Option("--zero-is-missing", help="Zeros stand for missing readings (METR-LA, PEMS-BAY).")
    ] = False
    kind: Kind = None
    unit: Unit = None

    def of(self, source: Path) -> ImportSettings:
        """As settings of an import."""
        return ImportSettings(
            name=self.name or source.resolve().name.split(".")[0],
            timezone=self.timezone,
            coordinates=self.coordinates,
            zero_is_missing=self.zero_is_missing,
            kinds=pairs("--kind", self.kind),
            units=pairs("--unit", self.unit),
        )


@import_app.command("libcity")
@grouped
def libcity(
    source: Source,
    target: Target,
    labels: Labels,
) -> None:
    """A folder of LibCity atomic files: .geo with .dyna or .grid, config.json."""
    target.save(import_libcity(source, labels.of(source)))


@import_app.command("basicts")
@grouped
def basicts(
    source: Source,
    target: Target,
    labels: Labels,
    start: Start,
    interval: Annotated[int | None, typer.Option(help="Seconds; when the folder does not say.")] = None,
    tasks: Tasks = None,
) -> None:
    """A BasicTS data folder: desc.json with data.dat, or meta.json with .npy files."""
    channels = names("--tasks", tasks) or []
    target.save(import_basicts(source, labels.of(source), start=start, interval=interval, tasks=channels))


@import_app.command("wide")
@grouped
def wide(
    source: Source,
    target: Target,
    labels: Labels,
    task: Annotated[str, typer.Option(help="Name of the task.")],
    interval: Annotated[int | None, typer.Option(help="Seconds; the distance of the rows when not given.")] = None,
    start: Annotated[str | None, typer.Option(help="Time of the first row of a CSV that has no time column.")] = None,
    key: Annotated[str | None, typer.Option(help="The table, for an HDF5 file with several.")] = None,
) -> None:
    """A wide table as of METR-LA and PEMS-BAY: a row per time, a column per node; CSV or pandas HDF5."""
    target.save(import_wide(source, labels.of(source), task=task, interval=interval, start=start, key=key))


@import_app.command("pems")
@grouped
def pems(
    source: Source,
    target: Target,
    labels: Labels,
    start: Start,
    interval: Annotated[int, typer.Option(help="Seconds between steps.")] = 300,
    tasks: Tasks = None,
    key: Annotated[str, typer.Option(help="The array in the file.")] = "data",
) -> None:
    """A (time, node, channel) npz as of PEMS03, PEMS04, PEMS07, PEMS08."""
    channels = names("--tasks", tasks) or []
    target.save(import_pems(source, labels.of(source), start=start, interval=interval, tasks=channels, key=key))


@import_app.command("published")
@grouped
def published(
    source: Source,
    target: Target,
    timezone: Timezone,
    start: Annotated[str | None, typer.Option(help="Time of the first step; needed unless the files hold it.")] = None,
    monday: Annotated[int, typer.Option(help="The number of Monday in the files.")] = 0,
    name: Name = None,
    kind: Kind = None,
    unit: Unit = None,
) -> None:
    """The windows of the method's authors: a folder per task with train.npz, val.npz, test.npz."""
    labels: PublishedLabels = {"timezone": timezone, "monday": monday, "source": f"published windows {source.name}"}
    if start is not None:
        labels["start"] = start
    if name is not None:
        labels["name"] = name
    if kind:
        labels["kind"] = pairs("--kind", kind)
    if unit:
        labels["unit"] = pairs("--unit", unit)
    target.save(Imported(City.from_published(source, **labels), ()))


CityFile = Annotated[Path, typer.Argument(metavar="CITY", help="The city file to read.")]
Folder = Annotated[Path, typer.Argument(metavar="TARGET", help="The folder to write; it must not exist yet.")]
MissingRule = Annotated[Missing, typer.Option(help="What becomes of missing values.")]
TaskList = Annotated[list[str] | None, typer.Option("--task", help="Only this task; may be repeated.")]


@export_app.command("published")
def to_published(
    city: CityFile,
    target: Folder,
    missing: MissingRule = Missing.REFUSE,
    timestamps: Annotated[Timestamps, typer.Option(help="The six timestamp numbers.")] = Timestamps.SCALED,
    task: TaskList = None,
) -> None:
    """The authors' windows: a folder per task with train.npz, val.npz, test.npz."""
    notes = export_published(_open(city, task), target, missing=missing, timestamps=timestamps, progress=_say)
    _report(notes, target)


@export_app.command("libcity")
def to_libcity(
    city: CityFile,
    target: Folder,
    missing: MissingRule = Missing.REFUSE,
    neighbours: Annotated[
        int, typer.Option(help="Write a .rel with the distances to this many nearest nodes; 0 for none.")
    ] = 0,
    task: TaskList = None,
) -> None:
    """LibCity atomic files: .geo, .dyna, config.json."""
    _report(export_libcity(_open(city, task), target, missing=missing, neighbours=neighbours, progress=_say), target)


def _open(path: Path, tasks: list[str] | None) -> City:
    city = open_city(path)
    return city.select(tasks=tasks) if tasks else city


def _report(notes: tuple[str, ...], target: Path) -> None:
    for note in notes:
        _say(f"note: {note}")
    typer.echo(f"wrote {target}")


def _say(text: str) -> None:
    typer.echo(text, err=True)
