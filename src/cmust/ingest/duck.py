"""DuckDB as the engine: inside this process, memory bounded, what does not fit goes to disk."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import ibis
import ibis.expr.datatypes as dt
import pyarrow as pa
import pyarrow.parquet as pq

from cmust.errors import IngestError, reason
from cmust.ingest import sources
from cmust.ingest.engine import new_folder
from cmust.ingest.sources import Layout
from cmust.ingest.timeformats import ISO_PATTERNS, PLAIN, fixed_width

BATCH_BYTES = 1 << 28
READ_AS = {
    "TIMESTAMP_NS": "make_timestamp(epoch_ns({0}) // 1000)",
    "TIMESTAMPTZ_NS": "make_timestamptz(epoch_ns({0}) // 1000)",
    '"NULL"': "CAST({0} AS VARCHAR)",
}
"""Types of Parquet columns that Ibis has no name for, or that DuckDB's own cast rounds up into the next second."""


@ibis.udf.scalar.builtin(name="try_strptime")
def _try_strptime(text: dt.string, pattern: dt.string) -> dt.timestamp:
    """DuckDB's own function."""


class DuckEngine:
    """DuckDB on a temporary folder."""

    def __init__(self, threads: int | None = None, memory: str = "1500MB", work: Path | str | None = None) -> None:
        """Open it.

        Args:
            threads: at most; all processors when None.
            memory: at most, as DuckDB writes it; what is beyond is written to disk.
            work: folder for temporary files; the system's when None.

        Raises:
            IngestError: there can be no such number of threads, memory or folder.
        """
        if threads is not None and threads < 1:
            raise IngestError(f"the number of threads is {threads}: give 1 or more, or leave it out for all processors")
        # DuckDB takes a negative size for no limit at all, and opens with none
        if not re.match(r"\s*0*\.?0*[1-9]", memory):
            raise IngestError(f"the memory is '{memory}': write a size such as 1500MB or 4GB")
        self._folder = new_folder("cmust-ingest-", work)
        self._backend = self._connected(threads or os.cpu_count() or 1, memory)
        self._sql: Any = self._backend.con
        self._sql.execute("SET TimeZone = 'UTC'")
        self._made = 0
        self._rejects = ""
        self._files = ""

    def _connected(self, threads: int, memory: str) -> Any:
        try:
            return ibis.duckdb.connect(
                threads=threads,
                memory_limit=memory,
                temp_directory=str(self._folder / "spill"),
                preserve_insertion_order=False,
            )
        except duckdb.Error as error:
            shutil.rmtree(self._folder, ignore_errors=True)
            raise IngestError(
                f"DuckDB does not open with a memory of '{memory}' and {threads} threads ({reason(error)}): write a "
                "size such as 1500MB or 4GB"
            ) from error

    def __enter__(self) -> DuckEngine:
        """The engine itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Close the connection and remove the temporary files."""
        self._backend.disconnect()
        shutil.rmtree(self._folder, ignore_errors=True)

    def expand(self, inputs: Sequence[str | Path]) -> list[str]:
        """All files the inputs name."""
        return sources.expand(inputs, self._folder)

    def head(self, file: str) -> list[str]:
        """The first lines of a text file."""
        return sources.local_head(file)

    def batches(self, layout: Layout) -> list[Layout]:
        """Pieces of whole files, up to :data:`BATCH_BYTES` each where files are small."""
        pieces: list[list[str]] = []
        size = BATCH_BYTES + 1
        for file in layout.files:
            bytes_here = os.path.getsize(file)
            if size + bytes_here > BATCH_BYTES:
                pieces.append([])
                size = 0
            pieces[-1].append(file)
            size += bytes_here
        return [replace(layout, files=tuple(piece)) for piece in pieces]

    def scan(self, layout: Layout, plain: Mapping[str, str] | None = None) -> Any:
        """A view of the files; nothing is read yet. A line that is not ``plain`` where said is put aside."""
        self._made += 1
        self._files = ", ".join(layout.files[:3]) + (" ..." if len(layout.files) > 3 else "")
        files = "[" + ", ".join(_text(_literally(file)) for file in layout.files) + "]"
        if layout.kind == "parquet":
            self._rejects = ""
            # the types of a column may differ from file to file; folders such as zone=5 are no columns
            source = f"read_parquet({files}, union_by_name=true, hive_partitioning=false)"
            kinds = {row[0]: row[1] for row in self._run(f"DESCRIBE SELECT * FROM {source}").fetchall()}
            others = [
                f"{READ_AS[kind].format(_name(name))} AS {_name(name)}"
                for name, kind in kinds.items()
                if kind in READ_AS
            ]
            source = f"(SELECT * REPLACE ({', '.join(others)}) FROM {source})" if others else source
        else:
            self._rejects = f"rejects_{self._made}"
            types, form = _types(layout, plain or {})
            source = (
                f"read_csv({files}, auto_detect=false, hive_partitioning=false, header={str(layout.header).lower()}, "
                f"skip={layout.blank_lines}, delim={_text(layout.delimiter)}, quote='\"', escape='\"', "
                f"columns={{{types}}}, {form}"
                f"store_rejects=true, rejects_limit=0, rejects_table='{self._rejects}', "
                f"rejects_scan='{self._rejects}_scan')"
            )
        columns = ", ".join(f"{_name(theirs)} AS {_name(ours)}" for ours, theirs in layout.wanted.items())
        self._run(f"CREATE TEMP VIEW scan_{self._made} AS SELECT {columns}, FALSE AS unreadable FROM {source}")
        return self._backend.table(f"scan_{self._made}")

    def left_over(self, layout: Layout) -> tuple[Layout | None, int]:
        """The lines DuckDB put aside: to be read again where only a number or a time was not plain, else lost."""
        if not self._rejects:
            return None, 0
        # an open quote swallows lines, which are counted one by one
        swallowed = r"greatest(1, len(regexp_extract_all(csv_line, '[^\r\n]+')))"
        lines = (
            f"SELECT any_value(csv_line) AS csv_line, bool_and(error_type = 'CAST') AS again, max(CASE WHEN error_type "
            f"= 'UNQUOTED VALUE' THEN {swallowed} ELSE 1 END) AS n FROM {self._rejects} GROUP BY scan_id, file_id, line"
        )
        [(again, lost)] = self._run(
            f"SELECT count(*) FILTER (again), coalesce(sum(n) FILTER (NOT again), 0) FROM ({lines})"
        ).fetchall()
        rest = None
        if again:
            path = self._folder / f"{self._rejects}.csv"
            self._write_lines(f"SELECT csv_line FROM ({lines}) WHERE again", path)
            rest = replace(layout, files=(str(path),), header=False, as_texts=True, blank_lines=0)
        self._run(f"DROP TABLE {self._rejects}")
        self._run(f"DROP TABLE {self._rejects}_scan")
        self._rejects = ""
        return rest, int(lost)

    def text_to_time(self, column: Any, pattern: str) -> Any:
        """A timestamp or null."""
        none = ibis.null("string")
        if pattern in ISO_PATTERNS:
            # most times are written like this, and the regular expression takes longer than all the rest
            plain = self.text_to_time(column, PLAIN)
            other = column.re_search(rf"^[ \t-\r]*({ISO_PATTERNS[pattern]})[ \t-\r]*$").ifelse(column.strip(), none)
            # only the cast to an instant heeds an offset; the zone of the session is UTC
            return ibis.coalesce(plain, other.try_cast("timestamp('UTC')").cast("timestamp"))
        width = fixed_width(pattern)
        if width is not None:
            column = (column.strip().length() == width).ifelse(column, none)
        return _try_strptime(column, pattern)

    def text_to_number(self, column: Any) -> Any:
        """A float64 or null."""
        return column.try_cast("float64")

    def keep(self, parts: Iterable[Any]) -> Any:
        """A temporary table; what of it does not fit into memory goes to disk."""
        self._made += 1
        name = f"kept_{self._made}"
        start = f"CREATE TEMP TABLE {name} AS"
        for part in parts:
            self._run(f"{start} {self._backend.compile(part)}")
            start = f"INSERT INTO {name}"
        return self._backend.table(name)

    def upload(self, name: str, table: pa.Table) -> Any:
        """A small table, by way of a file."""
        self._made += 1
        path = self._folder / f"{name}_{self._made}.parquet"
        pq.write_table(table, path)
        return self._view(f"read_parquet({_text(str(path))})")

    def fetch(self, table: Any) -> Iterator[pa.RecordBatch]:
        """The rows, by way of a file: never all in memory."""
        self._made += 1
        path = self._folder / f"fetched_{self._made}.parquet"
        self._copy(table, path)
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches()
        path.unlink()

    def _view(self, source: str) -> Any:
        self._made += 1
        self._run(f"CREATE TEMP VIEW view_{self._made} AS SELECT * FROM {source}")
        return self._backend.table(f"view_{self._made}")

    def _write_lines(self, query: str, path: Path) -> None:
        """The texts of a query as they are, line by line."""
        rows = self._run(query)
        with path.open("w", encoding="utf-8", newline="") as sink:
            while chunk := rows.fetchmany(10_000):
                sink.writelines(f"{text.rstrip(chr(13) + chr(10))}\n" for (text,) in chunk)

    def _copy(self, table: Any, path: Path) -> None:
        # the SQL is run by DuckDB directly: not all versions of both go together beyond compiling
        self._run(f"COPY ({self._backend.compile(table)}) TO {_text(str(path))} (FORMAT parquet)")

    def _run(self, sql: str) -> Any:
        try:
            return self._sql.execute(sql)
        except duckdb.Error as error:
            said = re.sub(r"\s+", " ", str(error).split("\nLINE")[0]).strip()[:300]
            if "disk" in said.lower() or "OutOfMemory" in type(error).__name__:
                raise IngestError(
                    f"not enough room to read the records ({said}): give more memory, or "
                    "another folder for temporary files (--memory, --work-dir; in Python memory=, work=)"
                ) from error
            if "state machine" in said:
                raise IngestError(
                    f"{self._files} cannot be read: lines end in different ways, with CR LF and with LF or CR alone: "
                    "make them alike"
                ) from error
            raise IngestError(
                f"{self._files or 'a file'} cannot be read ({said}): get it again or leave it out"
            ) from error


def _types(layout: Layout, plain: Mapping[str, str]) -> tuple[str, str]:
    """The types of all columns of a CSV, and the option that says how times are written, in DuckDB's words."""
    forms = {
        name: {plain.get(ours, "") for ours, theirs in layout.wanted.items() if theirs == name}
        for name in layout.columns
    }
    # a column that is wanted twice, as a text and as a number, is a text
    one = {name: next(iter(found)) if len(found) == 1 else "" for name, found in forms.items()}
    kinds = {"": "VARCHAR", "number": "DOUBLE"}
    types = ", ".join(f"{_text(name)}: '{kinds.get(form, 'TIMESTAMP')}'" for name, form in one.items())
    pattern = next((form for form in one.values() if form not in kinds), None)
    return types, "" if pattern is None else f"timestampformat={_text(pattern)}, "


def _literally(file: str) -> str:
    """A path of which DuckDB takes no character for a pattern."""
    return re.sub(r"[*?\[]", r"[\g<0>]", file)


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def _name(value: str) -> str:
    return '"' + value.replace('"', '""') + '"'
