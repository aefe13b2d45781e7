"""What the tests of the ingest room share: small files, plans, and the slow obvious way."""

import csv
import gzip
import math
from pathlib import Path

import numpy as np

from cmust.ingest.engine import open_engine
from cmust.ingest.events import Event, EventPlan, Ingested, Measure, ingest_events
from cmust.ingest.places import Grid

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
BOX = (-74.0, 40.0, -73.0, 41.0)
GRID_OF_FOUR = Grid((0.0, 0.0, 2.0, 2.0), 2, 2)
HEADER = ("time", "lon", "lat")


def write_csv(path, rows, header=HEADER, delimiter=","):
    with (gzip.open if str(path).endswith(".gz") else open)(path, "wt", newline="") as stream:
        writer = csv.writer(stream, delimiter=delimiter)
        if header is not None:
            writer.writerow(header)
        writer.writerows(rows)
    return path


def plan_of(**changes):
    settings = {
        "name": "test",
        "events": (Event("seen", "time", "lon", "lat"),),
        "measures": (Measure("seen", "seen"),),
        "place": Grid(BOX, 4, 5),
        "timezone": "America/New_York",
        "interval": 1800,
        "weights": {},
        "max_bad_share": 1.0,
    }
    return EventPlan(**(settings | changes))


def run(files, plan, reading=None) -> Ingested:
    with open_engine("duckdb", threads=2, memory="500MB") as engine:
        return ingest_events([files] if isinstance(files, str | Path) else files, plan, engine, reading)


def slow_cell(lon, lat, box, rows, columns):
    """The cell of a point by walking over all cells; None outside."""
    west, south, east, north = box
    if not (west <= lon < east and south <= lat < north):
        return None
    width, height = (east - west) / columns, (north - south) / rows
    row = min(math.floor((lat - south) / height), rows - 1)
    column = min(math.floor((lon - west) / width), columns - 1)
    return row * columns + column


def values_by_node(task):
    """``{(node, ISO time): value}`` of what is not zero."""
    step, node = np.nonzero(np.nan_to_num(task.values[:, :, 0]))
    times = np.datetime_as_string(task.time)
    return {(task.nodes[n], str(times[s])): float(task.values[s, n, 0]) for s, n in zip(step, node, strict=True)}
