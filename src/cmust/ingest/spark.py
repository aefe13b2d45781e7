"""Spark as the engine: the same expressions on a cluster, or in local mode.

Files may be named by address (``hdfs://``, ``s3a://``, ``file://``); what has no scheme is a path that the driver and
all workers see. Zip archives are for DuckDB only. A quoted line break ends the record here, which makes it unreadable.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.datatypes as dt
import pyarrow as pa
import pyarrow.parquet as pq
from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.types import BooleanType, DataType, StringType, StructField, StructType

from cmust.errors import IngestError
from cmust.ingest import sources
from cmust.ingest.engine import new_folder
from cmust.ingest.sources import HEAD_LINES, Layout, is_parquet
from cmust.ingest.timeformats import ISO_PATTERNS, PLAIN, to_spark

CORRUPT = "_unreadable_line"
DIGITS = "[0-9]+(_[0-9]+)*"
NUMBER = rf"^[+-]?({DIGITS}\.?({DIGITS})?|\.{DIGITS})([eE][+-]?{DIGITS})?$"
"""Texts that are numbers to DuckDB, which takes ``1_000``: Spark's own cast would not, but take ``2d`` and ``2f``."""


@ibis.udf.scalar.builtin(name="try_to_timestamp")
def _try_to_timestamp(text: dt.string, pattern: dt.string) -> dt.timestamp:
    """Spark's own function."""


class SparkEngine:
    """A Spark session."""

    def __init__(self, master: str | None = None, work: Path | str | None = None, memory: str = "2GB") -> None:
        """Use the running session, or start one.

        Args:
            master: for example ``local[2]``; None takes what ``spark-submit`` set, or else ``local[*]``.
            work: folder for unpacked files and Spark's own; the system's when None.
            memory: of the driver, if the session is started here: ``1500MB``, ``2g``.

        Raises:
            IngestError: there can be no such memory or folder.
        """
        running = SparkSession.getActiveSession()
        size = memory.lower().removesuffix("b")  # as Spark writes it
        if not re.fullmatch(r"[1-9]\d*[kmgt]", size):
            raise IngestError(f"the memory is '{memory}': write a size in whole MB or GB, such as 1500MB or 4GB")
        self._folder = new_folder("cmust-spark-", work)
        self._stop = running is None
        if running is None:
            os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
            build = SparkSession.builder.appName("cmust ingest").config("spark.ui.showConsoleProgress", "false")
            build = build.config("spark.sql.warehouse.dir", str(self._folder / "warehouse"))
            if "SPARK_ENV_LOADED" not in os.environ:  # not under spark-submit
                build = build.config("spark.driver.memory", size).config("spark.ui.enabled", "false")
                master = master or "local[*]"
                if master.startswith("local"):  # nobody else has to reach the driver
                    build = build.config("spark.driver.bindAddress", "127.0.0.1")
                    build = build.config("spark.driver.host", "127.0.0.1").config("spark.sql.shuffle.partitions", "8")
                build = build.master(master)
            elif master is not None:
                build = build.master(master)
            running = build.getOrCreate()
        self._session: Any = running
        # times without a zone are what they say; with one they are turned into UTC
        self._session.conf.set("spark.sql.session.timeZone", "UTC")
        # a line with too many or too few fields is only seen when all fields are split
        self._session.conf.set("spark.sql.csv.parser.columnPruning.enabled", "false")
        self._backend: Any = ibis.pyspark.connect(self._session)
        self._kept: list[DataFrame] = []
        self._made = 0

    def __enter__(self) -> SparkEngine:
        """The engine itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Let go of what is kept; stop the session if it was started here."""
        for frame in self._kept:
            frame.unpersist()
        if self._stop:
            self._session.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def expand(self, inputs: Sequence[str | Path]) -> list[str]:
        """All files the inputs name; patterns in addresses are looked up by Spark."""
        files = []
        for item in map(str, inputs):
            if "://" not in item:
                if item.lower().endswith(".zip"):
                    raise IngestError(f"{item}: Spark does not read zip archives: unpack it, or use DuckDB")
                files += [str(Path(file).resolve()) for file in sources.expand([item], self._folder)]
                continue
            try:
                names = self._found(item)
            except Py4JJavaError as error:
                raise IngestError(f"{item} cannot be looked up ({error.java_exception}): check the address") from error
            if not names:
                raise IngestError(f"there is no file {item}: check the address")
            files += [name.removeprefix("file:") if name.startswith("file:/") else name for name in names]
        return files

    def _found(self, address: str) -> list[str]:
        """The file of that address, or else those of the pattern."""
        path = self._session._jvm.org.apache.hadoop.fs.Path(address)
        system = path.getFileSystem(self._session._jsc.hadoopConfiguration())
        found = [system.getFileStatus(path)] if system.exists(path) else system.globStatus(path)
        return [status.getPath().toString() for status in found or ()]

    def head(self, file: str) -> list[str]:
        """The first lines of a text file; for a Parquet file at an address its column names."""
        if "://" not in file:
            return sources.local_head(file)
        if is_parquet(file):
            return list(self._read_parquet([file]).columns)
        return [row.value for row in self._session.read.text(_address(file)).head(HEAD_LINES)]

    def batches(self, layout: Layout) -> list[Layout]:
        """The whole layout: Spark cuts it itself."""
        return [layout]

    def scan(self, layout: Layout, plain: Mapping[str, str] | None = None) -> Any:
        """A view of the files; a line that does not have the fields of the header is marked unreadable.

        All fields of a CSV come as texts, ``plain`` or not: lines not plain could not be told from broken ones.
        """
        if layout.kind == "parquet":
            frame = self._parquet(layout)
            unreadable = "FALSE"
        else:
            fields = [StructField(name, StringType()) for name in (*layout.columns, CORRUPT)]
            options = {"mode": "PERMISSIVE", "columnNameOfCorruptRecord": CORRUPT, "quote": '"', "escape": '"'}
            reader = self._session.read.options(header=layout.header, sep=layout.delimiter, **options)
            frame = reader.schema(StructType(fields)).csv([_address(file) for file in layout.files])
            # bytes that are no UTF-8 come as U+FFFD, and different ones would be alike
            bad_bytes = (f"contains({_name(theirs)}, '\ufffd')" for theirs in layout.wanted.values())
            unreadable = " OR ".join([f"{CORRUPT} IS NOT NULL", *bad_bytes])
        columns = [f"{_name(theirs)} AS {_name(ours)}" for ours, theirs in layout.wanted.items()]
        return self._view(frame.selectExpr(*columns, f"{unreadable} AS unreadable"))

    def _parquet(self, layout: Layout) -> Any:
        """The wanted columns of Parquet files. Their types may differ from file to file: see :func:`_beside`.

        Raises:
            IngestError: types go together nowhere.
        """
        names = list(dict.fromkeys(layout.wanted.values()))
        alike: dict[tuple[str, ...], list[str]] = {}
        for file in layout.files:
            alike.setdefault(self._types(file, names), []).append(file)
        frames = [self._read_parquet(files).select(*map(_name, names)) for files in alike.values()]
        if len(frames) == 1:
            return frames[0]
        kinds = {name: {frame.schema[name].dataType for frame in frames} for name in names}
        parts = [
            frame.selectExpr(*[_beside(name, frame.schema[name].dataType, kinds[name]) for name in names])
            for frame in frames
        ]
        try:
            return functools.reduce(DataFrame.unionByName, parts)
        except PySparkException as error:
            raise IngestError(f"{_differences(names, alike)}: write it as one type in all files") from error

    def _read_parquet(self, files: Sequence[str]) -> Any:
        try:
            return self._session.read.parquet(*map(_address, files))
        except PySparkException as error:
            raise IngestError(
                f"Spark cannot read {files[0]} ({_reason(error)}): get it again, write times in microseconds and "
                "numbers in 32 or 64 bits, or use DuckDB"
            ) from error

    def _types(self, file: str, names: Sequence[str]) -> tuple[str, ...]:
        """The types of columns of a Parquet file."""
        if "://" in file:
            schema = self._read_parquet([file]).schema
            return tuple(schema[name].dataType.simpleString() for name in names)
        found = pq.read_schema(file)
        return tuple(str(found.field(name).type) for name in names)

    def left_over(self, layout: Layout) -> tuple[Layout | None, int]:
        """Nothing: unreadable lines stay in the table, marked."""
        return None, 0

    def text_to_time(self, column: Any, pattern: str) -> Any:
        """A timestamp or null."""
        text = column.strip()
        if pattern in ISO_PATTERNS:
            iso = text.re_search(f"^({ISO_PATTERNS[pattern]})$").ifelse(text, ibis.null("string"))
            return ibis.coalesce(self.text_to_time(text, PLAIN), iso.try_cast("timestamp"))
        # DuckDB takes several blanks for one
        return _try_to_timestamp(text.re_replace(r"[ \t-\r]+", " "), to_spark(pattern))

    def text_to_number(self, column: Any) -> Any:
        """A float64 or null."""
        text = column.strip()
        return text.re_search(NUMBER).ifelse(text.replace("_", ""), ibis.null("string")).try_cast("float64")

    def keep(self, parts: Iterable[Any]) -> Any:
        """A view of the rows, which Spark will compute once and hold, in memory or on disk."""
        self._kept.append(functools.reduce(DataFrame.unionByName, [self._frame(part) for part in parts]).persist())
        return self._view(self._kept[-1])

    def upload(self, name: str, table: pa.Table) -> Any:
        """A small table from memory."""
        return self._view(self._session.createDataFrame(table))

    def fetch(self, table: Any) -> Iterator[pa.RecordBatch]:
        """The rows, collected by the driver."""
        try:
            yield from self._frame(table).toArrow().to_batches()
        except (PySparkException, Py4JJavaError) as error:
            raise IngestError(
                f"Spark could not read the records ({_reason(error)}): look at the files named there"
            ) from error

    def _frame(self, table: Any) -> Any:
        try:
            return self._session.sql(self._backend.compile(table))
        except PySparkException as error:
            raise IngestError(f"Spark refused the query ({str(error).splitlines()[0][:300]})") from error

    def _view(self, frame: Any) -> Any:
        self._made += 1
        name = f"cmust_{id(self)}_{self._made}"
        frame.createOrReplaceTempView(name)
        return self._backend.table(name)


def _address(file: str) -> str:
    """A file as Spark takes it: no character of it is a pattern."""
    return re.sub(r"[\\{}\[\]*?]", r"\\\g<0>", file if "://" in file else f"file://{file}")


def _beside(name: str, kind: DataType, kinds: Collection[DataType]) -> str:
    """A column that has several types, as DuckDB unites them: beside texts a text, a truth beside numbers 1 or 0."""
    if StringType() in kinds:
        kind_there = "STRING"
    elif kind == BooleanType() and len(kinds) > 1:
        kind_there = "INT"
    else:
        return _name(name)
    return f"CAST({_name(name)} AS {kind_there}) AS {_name(name)}"


def _differences(names: Sequence[str], alike: Mapping[tuple[str, ...], Sequence[str]]) -> str:
    """Which columns have which types in which files."""
    said = []
    for at, name in enumerate(names):
        files = {types[at]: group[0] for types, group in alike.items()}
        if len(files) > 1:
            said.append(f"the column '{name}' is " + ", ".join(f"{kind} in {file}" for kind, file in files.items()))
    return "; ".join(said)


def _reason(error: Exception) -> str:
    """The line of a long message that bears one of Spark's codes, such as ``[FAILED_READ_FILE]``, or else the first."""
    lines = str(error).strip().splitlines()
    return next((line for line in lines if re.search(r"\[[A-Z_.]+\]", line)), lines[0])[:300]


def _name(value: str) -> str:
    return "`" + value.replace("`", "``") + "`"
