"""Downloads against a server on this machine that breaks off, stalls and answers errors."""

import io
import threading
import time
import zipfile
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cmust.errors import IngestError
from cmust.ingest.download import Item, Manners, chicago_items, download, nyc_taxi_items, parse_months


def parquet_bytes():
    sink = io.BytesIO()
    pq.write_table(pa.table({"n": list(range(50_000))}), sink)
    return sink.getvalue()


CONTENT = parquet_bytes()


class Server:
    """Answers requests one by one as told by ``script``; then the whole file."""

    def __init__(self, content=CONTENT, script=(), tag='"v1"', ranges=True, kind="application/octet-stream"):
        self.content, self.script, self.tag, self.ranges, self.kind = content, list(script), tag, ranges, kind
        self.requests = []

    def answer(self, handler):
        self.requests.append(dict(handler.headers) | {"path": handler.path})
        step = self.script.pop(0) if self.script else {}
        status = step.get("status", 200)
        start = 0
        asked = handler.headers.get("Range")
        if asked and self.ranges and handler.headers.get("If-Range") == self.tag and status == 200:
            status, start = 206, int(asked.removeprefix("bytes=").removesuffix("-"))
        body = self.content[start:] if status in (200, 206) else b"no"
        handler.send_response(status)
        if status == 206:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        if self.tag:
            handler.send_header("ETag", self.tag)
        handler.send_header("Content-Type", self.kind)
        for name, value in step.get("headers", {}).items():
            handler.send_header(name, value)
        if step.get("length", True):
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: step.get("cut", len(body))])
        handler.wfile.flush()
        time.sleep(step.get("stall", 0))


@contextmanager
def serving(server):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            with suppress(BrokenPipeError):
                server.answer(self)

        def log_message(self, *arguments):
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}"
    finally:
        http.shutdown()
        http.server_close()


def fetch(server, tmp_path, waits=None, kind="parquet", **manners):
    waits = [] if waits is None else waits
    with serving(server) as address:
        item = Item(f"{address}/a.{kind}", f"a.{kind}", kind)
        settings = {"timeout": 5.0, "pause": 0.5} | manners
        return download([item], tmp_path, Manners(sleep=waits.append, **settings))


def leftovers(folder):
    return sorted(path.name for path in folder.iterdir())


def test_plain(tmp_path):
    server = Server()
    (path,) = fetch(server, tmp_path)
    assert path.read_bytes() == CONTENT
    assert leftovers(tmp_path) == ["a.parquet"]
    assert server.requests[0]["User-Agent"].startswith("cmust/")
    assert fetch(server, tmp_path) == [path] and len(server.requests) == 1  # what is complete is left alone


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(IngestError, match=r"folder .*file cannot be made .*name another"):
        fetch(Server(), tmp_path / "file")


def test_goes_on_where_the_connection_broke(tmp_path):
    waits = []
    server = Server(script=[{"cut": 10_000}, {"cut": 5_000}, {}])
    (path,) = fetch(server, tmp_path, waits)
    assert path.read_bytes() == CONTENT
    assert [request.get("Range") for request in server.requests] == [None, "bytes=10000-", "bytes=15000-"]
    assert {request.get("If-Range") for request in server.requests[1:]} == {'"v1"'}
    assert waits == [2.0, 2.0]  # bytes came, so the patience starts anew


def test_goes_on_in_another_run(tmp_path):
    with pytest.raises(IngestError, match="start the same command later"):
        fetch(Server(script=[{"cut": 10_000}]), tmp_path, attempts=1)
    assert leftovers(tmp_path) == ["a.parquet.part", "a.parquet.part.json"]
    server = Server()
    with serving(server) as address:
        # the note names the address: another one would not be resumed
        note = tmp_path / "a.parquet.part.json"
        note.write_text(f'{{"url": "{address}/a.parquet", "tag": "\\"v1\\""}}')
        (path,) = download([Item(f"{address}/a.parquet", "a.parquet", "parquet")], tmp_path, Manners())
    assert path.read_bytes() == CONTENT
    assert server.requests[0]["Range"] == "bytes=10000-"


def test_a_file_that_changed_meanwhile_is_fetched_anew(tmp_path):
    server = Server(script=[{"cut": 10_000}])
    real = server.answer

    def change(handler):
        real(handler)
        server.tag = '"v2"'

    server.answer = change
    (path,) = fetch(server, tmp_path)
    assert path.read_bytes() == CONTENT
    assert len(server.requests) == 2


@pytest.mark.parametrize("settings", [{"ranges": False}, {"tag": ""}, {"tag": 'W/"weak"'}])
def test_a_server_without_ranges_or_tags_begins_again(tmp_path, settings):
    server = Server(script=[{"cut": 10_000}], **settings)
    (path,) = fetch(server, tmp_path)
    assert path.read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_stall(tmp_path):
    server = Server(script=[{"cut": 1000, "stall": 1.0}])
    (path,) = fetch(server, tmp_path, timeout=0.2)
    assert path.read_bytes() == CONTENT
    assert server.requests[1]["Range"] == "bytes=1000-"


def test_errors_of_the_server_are_waited_for(tmp_path):
    waits = []
    script = [{"status": 500}, {"status": 503}, {"status": 429, "headers": {"Retry-After": "17"}}]
    (path,) = fetch(Server(script=script), tmp_path, waits)
    assert path.read_bytes() == CONTENT
    assert waits == [2.0, 4.0, 17.0]
    for step, said in (
        ({"status": 404}, "not there .*404"),
        ({"status": 400}, "answers 400"),
        ({"status": 429, "headers": {"Retry-After": "4000"}}, "asks to wait 4000 s"),
    ):
        folder = tmp_path / str(len(said))
        with pytest.raises(IngestError, match=said):
            fetch(Server(script=[step]), folder)
        assert leftovers(folder) == []
    waits.clear()
    server = Server(script=[{"status": 500}] * 9)
    with pytest.raises(IngestError, match="answers 500; 3 attempts"):
        fetch(server, tmp_path / "never", waits, attempts=3)
    assert len(server.requests) == 3 and waits == [2.0, 4.0]


def test_what_is_not_the_file_is_refused(tmp_path):
    with pytest.raises(IngestError, match="says 'text/html'"):
        fetch(Server(b"<html>", kind="text/html"), tmp_path)
    with pytest.raises(IngestError, match=r"not a readable parquet file"):
        fetch(Server(b"PAR1 and nothing else"), tmp_path)
    with pytest.raises(IngestError, match="not a readable csv file"):
        fetch(Server(b"<html>,\n", kind="text/csv"), tmp_path, kind="csv")
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as packed:
        packed.writestr("a.shp", b"x" * 1000)
    damaged = sink.getvalue().replace(b"x" * 1000, b"x" * 999 + b"y")
    with pytest.raises(IngestError, match="is damaged"):
        fetch(Server(damaged, kind="application/zip"), tmp_path, kind="zip")
    assert leftovers(tmp_path) == []
    assert fetch(Server(b"a,b\n1,2\n", kind="text/csv; charset=UTF-8"), tmp_path, kind="csv")[0].stat().st_size == 8


def test_one_file_after_the_other_with_a_pause(tmp_path):
    waits = []
    server = Server()
    with serving(server) as address:
        items = [Item(f"{address}/{n}.parquet", f"{n}.parquet", "parquet") for n in range(3)]
        download(items, tmp_path, Manners(pause=0.7, sleep=waits.append))
        assert waits == [0.7, 0.7]
        download(items, tmp_path, Manners(sleep=waits.append))
    assert len(server.requests) == 3 and len(waits) == 2


def test_months_and_addresses():
    assert parse_months("2015-11:2016-02,2014-01") == ["2014-01", "2015-11", "2015-12", "2016-01", "2016-02"]
    for wrong in ("2016", "2016-13", "2016-03:2016-01", ""):
        with pytest.raises(IngestError, match="months"):
            parse_months(wrong)
    assert [item.url.rsplit("/", 1)[1] for item in nyc_taxi_items(["2023-01"])] == [
        "yellow_tripdata_2023-01.parquet",
        "taxi_zones.zip",
    ]
    names = [item.name for item in chicago_items(["2023-12", "2024-01"])]
    assert names == [
        "taxi-2023-12.csv",
        "taxi-2024-01.csv",
        "crashes-2023-12-to-2024-01.csv",
        "people-2023-12-to-2024-01.csv",
    ]
    december, january, crashes, _ = (item.url for item in chicago_items(["2023-12", "2024-01"]))
    assert "wrvz-psew" in december and "ajtu-isnz" in january
    assert "2024-01-01T00%3A00%3A00" in december and "2024-02-01T00%3A00%3A00" in crashes
