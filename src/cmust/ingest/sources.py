"""Finding the input files and what is in them: kind, delimiter, columns. Nothing is read beyond the first lines.

Files that spell their columns differently (the same source over the years) are grouped into layouts; each layout is
then read in one go and its columns renamed to what the caller calls them.
"""

from __future__ import annotations

import csv
import difflib
import glob
import gzip
import io
import shutil
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from cmust.errors import IngestError

Column = str | tuple[str, ...]
"""A column name, or the spellings it is known by, most wanted first."""

DELIMITERS = (",", ";", "\t", "|")
HEAD_LINES = 400


@dataclass(frozen=True)
class Layout:
    """Files that are read alike.

    Attributes:
        files: their paths (or addresses, for Spark).
        kind: ``csv`` or ``parquet``.
        columns: all columns in file order.
        wanted: what the caller calls a column -> its name in these files; what is optional and not there is left out.
        delimiter: between fields; empty for Parquet.
        header: whether the first line of each file names the columns.
        sample: wanted column -> its first values, of all columns of a CSV and those of texts in a local Parquet file.
        as_texts: whether the fields of a CSV have to be read as texts, whatever the first records look like.
        blank_lines: how many of them stand before the first line of each file.
    """

    files: tuple[str, ...]
    kind: str
    columns: tuple[str, ...]
    wanted: dict[str, str]
    delimiter: str = ""
    header: bool = True
    sample: dict[str, list[str]] = field(default_factory=dict)
    as_texts: bool = False
    blank_lines: int = 0

    def where(self, name: str) -> str:
        """A wanted column and its first file, as messages name them."""
        return f"{self.files[0]}, column '{self.wanted.get(name, name)}'"


@dataclass(frozen=True)
class Reading:
    """How the files are to be read, as far as the user says so.

    Attributes:
        delimiter: between fields; found out when None.
        columns: names of the columns of files without a header line; None: the first line is the header.
    """

    delimiter: str | None = None
    columns: tuple[str, ...] | None = None


HeadReader = Callable[[str], list[str]]
"""Gives the first lines of a text file."""


def expand(inputs: Sequence[str | Path], work: Path) -> list[str]:
    """All files that ``inputs`` (paths, folders, globs) name; zip archives, and those in them, are unpacked into
    ``work``.

    Raises:
        IngestError: something names no file, or an archive is damaged or holds no table.
    """
    files: list[str] = []
    for item in map(str, inputs):
        if Path(item).is_dir():
            found = sorted(str(path) for path in Path(item).iterdir() if _is_table(path))
        else:
            found = [item] if Path(item).is_file() else sorted(glob.glob(item, recursive=True))
        if not found:
            raise IngestError(f"there is no file {item}: check the path (quote a pattern such as 'trips/*.csv')")
        for path in found:
            files.extend(_unpack(Path(path), work) if path.lower().endswith(".zip") else [path])
    seen: set[Path] = set()
    for file in files:
        if (one := Path(file).resolve()) in seen:
            raise IngestError(f"{file} is named twice: its records would count double")
        seen.add(one)
    return files


def read_layouts(
    files: Sequence[str],
    required: Mapping[str, Column],
    reading: Reading,
    head: HeadReader,
    optional: Mapping[str, Column] | None = None,
) -> list[Layout]:
    """Look at the first lines of every file and group the files by layout.

    Args:
        files: from :func:`expand`.
        required: what the caller calls a column -> its spellings.
        reading: what the user says about the files.
        head: gives the first lines of a text file.
        optional: further columns that may be absent.

    Raises:
        IngestError: a file is empty, damaged, of an unknown kind, or lacks a column; ``reading`` says how CSV files are
            written, and there is none.
    """
    if reading != Reading() and all(map(is_parquet, files)):
        raise IngestError(
            "all files are Parquet, which says itself what its columns are: leave out --delimiter and --columns (in "
            "Python reading=)"
        )
    groups: dict[tuple[object, ...], list[str]] = {}
    layouts: dict[tuple[object, ...], Layout] = {}
    for file in files:
        layout = (_parquet_layout if is_parquet(file) else _csv_layout)(file, required, optional or {}, reading, head)
        # files with the same columns in the same order are one layout, whatever their first records
        key = (layout.kind, layout.columns, layout.delimiter, layout.header, layout.blank_lines)
        groups.setdefault(key, []).append(file)
        if key not in layouts or not any(layouts[key].sample.values()):  # a file without records shows nothing
            layouts[key] = layout
    return [replace(layouts[key], files=tuple(group)) for key, group in groups.items()]


def is_parquet(file: str) -> bool:
    """Whether the name says Parquet."""
    return file.lower().endswith((".parquet", ".pq"))


def local_head(file: str) -> list[str]:
    """The first lines of a local text file, plain or gzipped.

    Raises:
        IngestError: it cannot be opened or is not what its name says.
    """
    lines: list[str] = []
    try:
        with (gzip.open if file.lower().endswith(".gz") else open)(file, "rb") as stream:
            for _ in range(HEAD_LINES):
                line = stream.readline(1_000_000)
                if not line:
                    break
                lines.append(line.decode("utf-8-sig" if not lines else "utf-8", errors="replace").rstrip("\r\n"))
    except EOFError:
        return lines  # a damaged end is found when the file is read
    except (OSError, zlib.error) as error:
        raise IngestError(f"{file} cannot be read ({error}): get it again") from error
    return lines


def find_column(column: Column, columns: Sequence[str]) -> str | None:
    """The name in ``columns`` that is one of the spellings: as written, or apart from case and outer blanks."""
    spellings = (column,) if isinstance(column, str) else column
    for spelling in spellings:
        if spelling in columns:
            return spelling
    plain = {name.strip().casefold(): name for name in reversed(columns)}
    for spelling in spellings:
        if spelling.strip().casefold() in plain:
            return plain[spelling.strip().casefold()]
    return None


def _is_table(path: Path) -> bool:
    name = path.name.lower()
    return not name.startswith(".") and name.endswith((".csv", ".csv.gz", ".tsv", ".txt", ".zip", ".parquet", ".pq"))


def _unpack(archive: Path, work: Path) -> list[str]:
    folder = work / "unpacked" / f"{archive.name}-{zlib.crc32(str(archive).encode()):08x}"
    try:
        with zipfile.ZipFile(archive) as packed:
            members = [m for m in packed.infolist() if not m.is_dir() and _is_table(Path(m.filename))]
            members = [m for m in members if not m.filename.startswith("__MACOSX")]
            if not members:
                raise IngestError(f"{archive} holds no CSV or Parquet file: unpack it and name the table")
            out = []
            for number, member in enumerate(members):
                target = folder / f"{number}-{Path(member.filename).name}"  # never the member's own path
                target.parent.mkdir(parents=True, exist_ok=True)
                with packed.open(member) as source, target.open("wb") as sink:
                    shutil.copyfileobj(source, sink, 1 << 20)
                out.extend(_unpack(target, work) if target.suffix.lower() == ".zip" else [str(target)])
            return out
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError) as error:
        raise IngestError(f"{archive} cannot be unpacked ({error}): get it again") from error


def _parquet_layout(
    file: str, required: Mapping[str, Column], optional: Mapping[str, Column], reading: Reading, head: HeadReader
) -> Layout:
    if "://" in file:
        columns = tuple(head(file))
        return Layout((file,), "parquet", columns, _match(file, required, optional, columns))
    try:
        with pq.ParquetFile(file) as parquet:
            columns = tuple(parquet.schema_arrow.names)
            wanted = _match(file, required, optional, columns)
            return Layout((file,), "parquet", columns, wanted, sample=_first_texts(parquet, wanted))
    except (OSError, ValueError, pa.ArrowException) as error:
        raise IngestError(f"{file} is not a readable Parquet file ({error}): get it again") from error


def _first_texts(parquet: pq.ParquetFile, wanted: Mapping[str, str]) -> dict[str, list[str]]:
    """The first values of the wanted columns that hold texts; nulls are empty ones."""
    kinds = dict(zip(parquet.schema_arrow.names, parquet.schema_arrow.types, strict=True))
    texts = {ours: theirs for ours, theirs in wanted.items() if _is_text(kinds[theirs])}
    if not texts or not parquet.num_row_groups:
        return {}
    for batch in parquet.iter_batches(HEAD_LINES, row_groups=[0], columns=list(texts.values())):
        first = dict(zip(batch.schema.names, batch.columns, strict=True))
        return {ours: [text or "" for text in first[theirs].to_pylist()] for ours, theirs in texts.items()}
    return {}


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return kind in (pa.string(), pa.large_string(), pa.string_view())


def _csv_layout(
    file: str, required: Mapping[str, Column], optional: Mapping[str, Column], reading: Reading, head: HeadReader
) -> Layout:
    first_lines = head(file)
    lines = [line for line in first_lines if line.strip()]
    if not lines:
        raise IngestError(f"{file} is empty: leave it out or get it again")
    blank = first_lines.index(lines[0])
    if lines[0].startswith("PAR1"):
        raise IngestError(f"{file} is a Parquet file: give it a name that ends with .parquet")
    if "\0" in lines[0]:
        raise IngestError(f"{file} is no CSV in UTF-8, but in UTF-16 or of another kind: save it as 'CSV UTF-8'")
    if lines[0].strip('"').startswith("sep="):
        raise IngestError(f"{file} begins with '{lines[0]}', which is for Excel only: take that line out")
    choices = (reading.delimiter,) if reading.delimiter else DELIMITERS
    try:
        tables = {mark: list(csv.reader(io.StringIO("\n".join(lines)), delimiter=mark)) for mark in choices}
    except csv.Error as error:
        raise IngestError(
            f"{file} cannot be read as CSV ({error}): it has lines that end with CR only, an open quote, or is of "
            "another kind"
        ) from error
    if reading.columns is not None:
        names = list(reading.columns)
        fitting = [mark for mark, rows in tables.items() if len(rows[0]) == len(names)]
        if not fitting:
            widths = ", ".join(f"{len(rows[0])} with {mark!r}" for mark, rows in tables.items())
            raise IngestError(
                f"{file}: {len(names)} columns were named, but its first line has {widths}: name all columns, "
                "or give the delimiter"
            )
        wanted = _match(file, required, optional, names)
        sample = _first_values(tables[fitting[0]], names, wanted)
        return Layout((file,), "csv", tuple(names), wanted, fitting[0], False, sample, blank_lines=blank)
    headers = {mark: [name.strip() for name in rows[0]] for mark, rows in tables.items()}
    fits = (
        mark for mark, names in headers.items() if all(find_column(c, names) is not None for c in required.values())
    )
    # where none fits, what is missing is said with the delimiter that makes the most columns
    mark = next(fits, max(headers, key=lambda mark: len(headers[mark])))
    header, rows = headers[mark], tables[mark]
    wanted = _match(file, required, optional, header, "its first line names")
    columns = _unique(header + _extra_fields(rows, len(header)))
    sample = _first_values(rows[1:], columns, wanted)
    return Layout((file,), "csv", tuple(columns), wanted, mark, True, sample, blank_lines=blank)


def _extra_fields(rows: list[list[str]], width: int) -> list[str]:
    """Names for empty fields behind the last named one (some releases end each record with spare delimiters)."""
    if len(rows) < 2 or len(rows[1]) <= width or any(rows[1][width:]):
        return []
    return [f"unnamed_{at}" for at in range(width, len(rows[1]))]


def _unique(names: list[str]) -> list[str]:
    """The names with empty and repeated ones numbered, as an index column without a name makes them."""
    seen: set[str] = set()
    out = []
    for at, name in enumerate(names):
        free = name if name and name.casefold() not in seen else f"unnamed_{at}"
        seen.add(free.casefold())
        out.append(free)
    return out


def _first_values(rows: list[list[str]], columns: list[str], wanted: Mapping[str, str]) -> dict[str, list[str]]:
    whole = [row for row in rows if len(row) == len(columns)]
    return {ours: [row[columns.index(theirs)] for row in whole] for ours, theirs in wanted.items()}


def _match(
    file: str,
    required: Mapping[str, Column],
    optional: Mapping[str, Column],
    columns: Sequence[str],
    found: str = "its columns are",
) -> dict[str, str]:
    wanted = {}
    for name, column in (*required.items(), *optional.items()):
        match = find_column(column, columns)
        if match is not None:
            if sum(other.casefold() == match.casefold() for other in columns) > 1:  # engines take them for one
                raise IngestError(
                    f"{file} has two columns '{match}' (upper and lower case are one): rename one of them"
                )
            wanted[name] = match
        elif name in required:
            spelled = column if isinstance(column, str) else " / ".join(column)
            close = difflib.get_close_matches(spelled, list(columns), n=1)
            hint = f" (did you mean '{close[0]}'?)" if close else ""
            shown = ", ".join(columns[:30]) + (", ..." if len(columns) > 30 else "")
            raise IngestError(
                f"{file} has no column '{spelled}'{hint}: {found} {shown}. Name the right column, or the delimiter "
                "if the line is not split where it should be; a recipe takes neither, but files as its "
                "help describes them"
            )
    return wanted
