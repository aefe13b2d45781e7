"""Fetching public files: resumed after a break, checked when complete, and never in a hurry.

A file is written to ``NAME.part`` beside its place, with what the server said about it in ``NAME.part.json``, and gets
its name only when its size is the one announced and it reads as what it should be. A further call goes on where the
last one stopped, if the server confirms by ETag or date that the file is still the same.
"""

from __future__ import annotations

import csv
import email.utils
import json
import os
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pyarrow as pa
import pyarrow.parquet as pq

from cmust import __version__
from cmust.errors import IngestError
from cmust.files import write_text

USER_AGENT = f"cmust/{__version__} (data download; one connection)"
TLC = "https://d37ci6vzurychx.cloudfront.net"
CHICAGO = "https://data.cityofchicago.org/resource"
TAXI_TO_2023, TAXI_FROM_2024, CRASHES, PEOPLE = "wrvz-psew", "ajtu-isnz", "85ca-t3if", "u6pd-qa9d"

TYPES = {
    "parquet": ("application/vnd.apache.parquet", "application/octet-stream", "binary/octet-stream", "application/x-"),
    "csv": ("text/csv", "text/plain", "application/csv", "application/octet-stream"),
    "zip": ("application/zip", "application/x-zip", "application/octet-stream", "binary/octet-stream"),
}
"""Content types that each kind of file may come as (beginnings)."""


@dataclass(frozen=True)
class Item:
    """A file to fetch.

    Attributes:
        url: where from.
        name: what it is called here.
        kind: ``parquet``, ``csv`` or ``zip``.
    """

    url: str
    name: str
    kind: str


@dataclass(frozen=True)
class Manners:
    """How patient and how polite to be; seconds.

    Attributes:
        pause: between two files.
        attempts: per file without any progress, before giving up.
        backoff: before the second attempt; doubled before each further one.
        longest: wait at most, also when the server asks for more (then it is an error).
        timeout: without a byte, after which the connection counts as stalled.
        sleep: waits; tests pass their own.
    """

    pause: float = 1.0
    attempts: int = 5
    backoff: float = 2.0
    longest: float = 300.0
    timeout: float = 60.0
    sleep: Callable[[float], None] = field(default=time.sleep)


Watch = Callable[[str, int, int | None], None]
"""Called with the file's name, the bytes that are here and those there will be (None: not said)."""


def nyc_taxi_items(months: Sequence[str], base: str = TLC) -> list[Item]:
    """The yellow taxi files of today (zone ids, no coordinates) and the zones."""
    trips = [
        Item(f"{base}/trip-data/{name}", name, "parquet") for name in (f"yellow_tripdata_{m}.parquet" for m in months)
    ]
    return [*trips, Item(f"{base}/misc/taxi_zones.zip", "taxi_zones.zip", "zip")]


def chicago_items(months: Sequence[str], base: str = CHICAGO) -> list[Item]:
    """Taxi trips month by month, and the crashes and people of the whole period."""
    taxi = "trip_start_timestamp,trip_end_timestamp,pickup_centroid_latitude,pickup_centroid_longitude,"
    taxi += "dropoff_centroid_latitude,dropoff_centroid_longitude"
    items = []
    for month in months:
        table = TAXI_TO_2023 if month < "2024" else TAXI_FROM_2024
        query = _period("trip_start_timestamp", month, month)
        items.append(_portal(base, table, taxi, query, "trip_start_timestamp,trip_id", f"taxi-{month}.csv"))
    whole = _period("crash_date", months[0], months[-1])
    span = f"{months[0]}-to-{months[-1]}.csv"
    crash = "crash_record_id,crash_date,latitude,longitude"
    items.append(_portal(base, CRASHES, crash, whole, "crash_record_id", f"crashes-{span}"))
    person = "person_id,crash_record_id,crash_date,injury_classification"
    items.append(_portal(base, PEOPLE, person, whole, "person_id", f"people-{span}"))
    return items


def parse_months(text: str) -> list[str]:
    """``2016-01``, ``2016-01,2016-03`` or ``2016-01:2016-03`` (both ends included) as a list of months.

    Raises:
        IngestError: it is none of these.
    """
    months: list[str] = []
    for part in text.split(","):
        first, _, last = (piece.strip() for piece in part.partition(":"))
        try:
            low, high = (datetime.strptime(end, "%Y-%m") for end in (first, last or first))
        except ValueError as error:
            raise IngestError(f"the months are '{text}': write 2016-01, 2016-01,2016-02 or 2016-01:2016-03") from error
        if high < low:
            raise IngestError(f"the months {part.strip()} end before they begin")
        numbers = range(low.year * 12 + low.month - 1, high.year * 12 + high.month)
        months += [f"{number // 12}-{number % 12 + 1:02d}" for number in numbers]
    return sorted(set(months))


def download(
    items: Sequence[Item],
    folder: Path | str,
    manners: Manners | None = None,
    watch: Watch = lambda name, here, size: None,
) -> list[Path]:
    """Fetch files one after the other; those that are complete are left alone.

    Args:
        items: what to fetch.
        folder: where to.
        manners: patience and politeness.
        watch: told how far a file is.

    Returns:
        The files, in order.

    Raises:
        IngestError: the folder cannot be made; a file cannot be had, or is not what it should be. What is complete
            stays, and what has begun is resumed by the next call.
    """
    manners = manners or Manners()
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise IngestError(f"the folder {folder} cannot be made ({error}): name another") from error
    timeout = httpx.Timeout(manners.timeout)
    limits = httpx.Limits(max_connections=1)
    paths = []
    asked = False
    with httpx.Client(
        headers={"User-Agent": USER_AGENT, "Accept-Encoding": "identity"},
        timeout=timeout,
        limits=limits,
        follow_redirects=True,
    ) as client:
        for item in items:
            target = folder / item.name
            if not target.exists():
                if asked:
                    manners.sleep(manners.pause)
                asked = True
                _fetch(client, item, target, manners, watch)
            paths.append(target)
    return paths


def check_readable(path: Path, kind: str) -> None:
    """Refuse a file that is not what it should be.

    Raises:
        IngestError: it is not a Parquet file with rows, not a table of texts with a header, or a damaged archive.
    """
    try:
        if kind == "parquet":
            if pq.read_metadata(path).num_rows == 0:
                raise ValueError("it holds no rows")
        elif kind == "zip":
            with zipfile.ZipFile(path) as packed:
                if (damaged := packed.testzip()) is not None:
                    raise ValueError(f"{damaged} in it is damaged")
        else:
            with path.open(newline="", encoding="utf-8") as stream:
                lines = [line for _, line in zip(range(2), csv.reader(stream), strict=False)]
            if not lines or len(lines[0]) < 2 or lines[0][0].lstrip().startswith(("<", "{")):
                raise ValueError("it does not begin with the names of columns")
    except (ValueError, OSError, zipfile.BadZipFile, pa.ArrowException) as error:
        raise IngestError(f"{path.name} is not a readable {kind} file ({error}): try again later") from error


class _LaterError(Exception):
    """An attempt failed in a way that another may mend."""

    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(why)
        self.wait = wait


def _fetch(client: httpx.Client, item: Item, target: Path, manners: Manners, watch: Watch) -> None:
    """Attempt until complete; an attempt that brought bytes does not count as failed."""
    part = target.with_name(f"{target.name}.part")
    failed = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _attempt(client, item, part, watch)
            break
        except _LaterError as reason:
            wait = reason.wait
            why = str(reason)
        except httpx.TransportError as error:
            wait = None
            why = f"{type(error).__name__}: {error}".rstrip(": ")
        after = part.stat().st_size if part.exists() else 0
        failed = 1 if after > before else failed + 1
        if failed >= manners.attempts:
            raise IngestError(
                f"{item.url} could not be fetched ({why}; {failed} attempts): start the same command later"
            )
        wait = manners.backoff * 2 ** (failed - 1) if wait is None else wait
        if wait > manners.longest:
            raise IngestError(f"{item.url}: the server asks to wait {wait:.0f} s: start the same command then")
        manners.sleep(wait)
    try:
        check_readable(part, item.kind)
    except IngestError:
        _forget(part)
        raise
    os.replace(part, target)
    _note(part).unlink(missing_ok=True)


def _attempt(client: httpx.Client, item: Item, part: Path, watch: Watch) -> None:
    """One request: the whole file, or what is missing of it."""
    here, tag = _resume_point(part, item.url)
    headers = {"Range": f"bytes={here}-", "If-Range": tag} if here and tag else {}
    if not headers:
        here = 0
    with client.stream("GET", item.url, headers=headers) as answer:
        if answer.status_code == 416 or (answer.status_code == 206 and not _continues(answer, here)):
            _forget(part)
            raise _LaterError("the part that is here does not fit the file", 0.0)
        _check_status(answer, item)
        _check_type(answer, item)
        resumed = answer.status_code == 206
        size = _size(answer, here if resumed else 0)
        if not resumed:
            here = 0
            tag = answer.headers.get("ETag") or answer.headers.get("Last-Modified") or ""
            tag = "" if tag.startswith("W/") else tag  # a weak tag does not vouch for every byte
            _forget(part)
            write_text(_note(part), json.dumps({"url": item.url, "tag": tag}))
        with part.open("ab" if resumed else "wb") as sink:
            for chunk in answer.iter_raw():  # as it comes: what is in a buffer would be lost by a break
                sink.write(chunk)
                here += len(chunk)
                watch(item.name, here, size)
            sink.flush()
            os.fsync(sink.fileno())
    if size is not None and here != size:
        if here > size:
            _forget(part)
        raise _LaterError(f"{here} bytes came instead of {size}")


def _resume_point(part: Path, url: str) -> tuple[int, str]:
    """Bytes that are here and the tag of the file they are of; nothing where that is not known."""
    try:
        note = json.loads(_note(part).read_text(encoding="utf-8"))
        if note["url"] == url:
            return part.stat().st_size, str(note["tag"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    return 0, ""


def _continues(answer: httpx.Response, here: int) -> bool:
    return bool(answer.headers.get("Content-Range", "").startswith(f"bytes {here}-"))


def _size(answer: httpx.Response, here: int) -> int | None:
    """Bytes of the whole file, if the server says so."""
    total = answer.headers.get("Content-Range", "").rpartition("/")[2]
    if total.isdigit():
        return int(total)
    length = answer.headers.get("Content-Length", "")
    return here + int(length) if length.isdigit() else None


def _check_status(answer: httpx.Response, item: Item) -> None:
    code = answer.status_code
    if code in (200, 206):
        return
    if code == 429 or code >= 500:
        raise _LaterError(f"the server answers {code}", _retry_after(answer))
    if code in (403, 404):
        raise IngestError(f"{item.url} is not there (the server answers {code}): this month may not be published (yet)")
    raise IngestError(f"{item.url}: the server answers {code}: look at the address with a browser")


def _check_type(answer: httpx.Response, item: Item) -> None:
    kind = answer.headers.get("Content-Type", "").lower()
    if kind and not kind.startswith(TYPES[item.kind]):
        raise IngestError(f"{item.url} is not a {item.kind} file, the server says '{kind}': look at it with a browser")


def _retry_after(answer: httpx.Response) -> float | None:
    """Seconds the server asks to wait: given as such, or as a date."""
    text = answer.headers.get("Retry-After", "").strip()
    if text.isdigit():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def _note(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _note(part).unlink(missing_ok=True)


def _period(column: str, first: str, last: str) -> str:
    year, month = (int(piece) for piece in last.split("-"))
    after = f"{year + month // 12}-{month % 12 + 1:02d}"
    return f"{column} >= '{first}-01T00:00:00' AND {column} < '{after}-01T00:00:00'"


def _portal(base: str, table: str, select: str, where: str, order: str, name: str) -> Item:
    query = {"$select": select, "$where": where, "$order": order, "$limit": 50_000_000}
    return Item(f"{base}/{table}.csv?{urlencode(query)}", name, "csv")
