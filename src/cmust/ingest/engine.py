"""What an engine has to do: the few things that DuckDB and Spark do differently. All else is one set of expressions."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from cmust.errors import IngestError
from cmust.ingest.reasons import Account, Reason
from cmust.ingest.sources import Layout

Progress = Callable[[str, float], None]
"""Called with what is being done and the share done, 0 to 1."""


class Engine(Protocol):
    """Runs the expressions. Use it as a context manager; tables are Ibis tables of its backend."""

    def expand(self, inputs: Sequence[str | Path]) -> list[str]:
        """All files the inputs name."""

    def head(self, file: str) -> list[str]:
        """The first lines of a text file (for a Parquet file at an address: its column names)."""

    def batches(self, layout: Layout) -> list[Layout]:
        """The layout cut into pieces to be read one after the other, for memory and progress."""

    def scan(self, layout: Layout, plain: Mapping[str, str] | None = None) -> Any:
        """A table of the wanted columns under the caller's names, and ``unreadable`` (bool).

        Args:
            layout: the files.
            plain: from :func:`cmust.ingest.typed.plain_columns`: what may be read as numbers and times at once. All
                other fields of a CSV come as texts.
        """

    def left_over(self, layout: Layout) -> tuple[Layout | None, int]:
        """Of the last :meth:`scan`, of ``layout``, once it is kept: what is in no row.

        Returns:
            The lines that were not as plain as said, to be read again as texts; the number of lines that cannot be
            read at all.
        """

    def text_to_time(self, column: Any, pattern: str) -> Any:
        """A timestamp, null where the text, without outer blanks, is not one in the pattern (``ISO_PATTERNS`` too)."""

    def text_to_number(self, column: Any) -> Any:
        """A float64 (may be infinite or NaN), null where the text is not a number; outer blanks are nothing."""

    def keep(self, parts: Iterable[Any]) -> Any:
        """A table of the rows of all ``parts``, computed once, one part after the other."""

    def upload(self, name: str, table: pa.Table) -> Any:
        """A small table from memory."""

    def fetch(self, table: Any) -> Iterator[pa.RecordBatch]:
        """The rows of a table, piece by piece."""

    def __enter__(self) -> Engine:
        """Open it."""

    def __exit__(self, *exception: object) -> None:
        """Close it and remove what it wrote."""


def read_pieces(
    engine: Engine,
    layouts: Sequence[Layout],
    read: Callable[[Layout], Any],
    accounts: Sequence[Account],
    progress: Progress,
) -> Iterator[Any]:
    """The tables that ``read`` makes of the pieces of the files, for :meth:`Engine.keep`.

    When the next one is asked for, the one before is taken to be computed: what it left over is read next, and the
    lines that could not be read go to the accounts.
    """
    pieces = [piece for layout in layouts for piece in engine.batches(layout)]
    for done, piece in enumerate(pieces):
        progress(f"reading {Path(piece.files[0]).name}", 0.8 * done / len(pieces))
        rest: Layout | None = piece
        while rest is not None:
            yield read(rest)
            rest, lost = engine.left_over(rest)
            for account in accounts:
                account.records += lost
                account.throw(Reason.UNREADABLE, lost)


def new_folder(prefix: str, work: Path | str | None) -> Path:
    """A new folder for temporary files in ``work``, which is made where it is not there; in the system's place if None.

    Raises:
        IngestError: ``work`` is a file, or nothing can be written there.
    """
    try:
        if work is not None:
            Path(work).mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=prefix, dir=work))
    except FileExistsError as error:
        raise IngestError(f"the folder for temporary files is {work}, which is a file: name a folder") from error
    except OSError as error:
        where = "the system's place for temporary files" if work is None else work
        raise IngestError(
            f"no folder can be made in {where} ({error}): give another (--work-dir; in Python work=)"
        ) from error


def open_engine(name: str = "duckdb", **settings: Any) -> Engine:
    """The engine of that name.

    Args:
        name: ``duckdb`` or ``spark``.
        settings: of :class:`cmust.ingest.duck.DuckEngine` (``threads``, ``memory``, ``work``) or
            :class:`cmust.ingest.spark.SparkEngine` (``master``, ``work``).

    Raises:
        IngestError: there is no such engine, its extra is not installed, or it does not open with these settings.
    """
    if name == "duckdb":
        try:
            from cmust.ingest.duck import DuckEngine
        except ImportError as error:
            raise IngestError(f"reading raw records needs '{error.name}': install cmust[ingest]") from error
        return DuckEngine(**settings)
    if name == "spark":
        try:
            from cmust.ingest.spark import SparkEngine
        except ImportError as error:
            raise IngestError(f"the Spark engine needs '{error.name}': install cmust[spark]") from error
        return SparkEngine(**settings)
    raise IngestError(f"there is no engine '{name}': use duckdb or spark")
