"""What an engine has to do: the few things that DuckDB and Spark do differently. All else is one set of expressions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from cmust.errors import IngestError
from cmust.ingest.sources import Layout


class Engine(Protocol):
    """Runs the expressions. Use it as a context manager; tables are Ibis tables of its backend."""

    def expand(self, inputs: Sequence[str | Path]) -> list[str]:
        """All files the inputs name."""

    def head(self, file: str) -> list[str]:
        """The first lines of a text file (for a Parquet file at an address: its column names)."""

    def batches(self, layout: Layout) -> list[Layout]:
        """The layout cut into pieces to be read one after the other, for memory and progress."""

    def scan(self, layout: Layout) -> Any:
        """A table of the wanted columns under the caller's names, and ``unreadable`` (bool); CSV fields as texts."""

    def lost_lines(self) -> int:
        """Lines of the last :meth:`scan` that could not be read and are in no row, once the scan has been kept."""

    def text_to_time(self, column: Any, pattern: str) -> Any:
        """A timestamp, null where the text (outer blanks apart) is not one in the ``strptime`` pattern or ISO."""

    def text_to_number(self, column: Any) -> Any:
        """A float64, null where the text, apart from outer blanks, is not a number (it may be infinite or NaN)."""

    def keep(self, name: str, table: Any) -> None:
        """Compute ``table`` once and append it to the kept table ``name``."""

    def kept(self, name: str) -> Any:
        """The kept table ``name``."""

    def upload(self, name: str, table: pa.Table) -> Any:
        """A small table from memory."""

    def fetch(self, table: Any) -> Iterator[pa.RecordBatch]:
        """The rows of a table, piece by piece."""

    def __enter__(self) -> Engine:
        """Open it."""

    def __exit__(self, *exception: object) -> None:
        """Close it and remove what it wrote."""


def open_engine(name: str = "duckdb", **settings: Any) -> Engine:
    """The engine of that name.

    Args:
        name: ``duckdb`` or ``spark``.
        settings: of :class:`cmust.ingest.duck.DuckEngine` (``threads``, ``memory``, ``work``) or
            :class:`cmust.ingest.spark.SparkEngine` (``master``, ``work``).

    Raises:
        IngestError: there is no such engine, or its extra is not installed.
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
