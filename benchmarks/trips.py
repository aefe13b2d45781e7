"""Trips of the demo city in the column layout of the TLC's yellow taxi files of 2016, of any size, CSV or Parquet.

    python -m benchmarks.trips --rows 1000000 trips.parquet

The trips are made up and lie in the demo city's sea. About one in fifty records has something wrong, as real ones have.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from cmust.demo import DemoProcess, Trips, demo_process

WEEKS = 13  # as long as the paper's New York data set
BLOCK = 500_000
DIRT = 0.02
CELL = (0.004, 0.003)  # trips spread around the middle of their place, degrees


def tables(rows: int, seed: int = 7) -> Iterator[pa.Table]:
    """About ``BLOCK`` trips at a time, sorted by pickup; ``rows`` in all. The same numbers give the same trips."""
    process = demo_process(seed=seed, weeks=WEEKS)
    rng = np.random.Generator(np.random.PCG64(seed))
    expected = sum(process.departures(flow, "taxi").sum(axis=1) for flow in process.flows)
    scale = 1.01 * rows / expected.sum() + 1000 / expected.sum()  # a little too many: the last are cut off
    due = np.cumsum(expected) * scale
    made, start = 0, 0
    while made < rows and start < len(due):
        stop = max(start + 1, int(np.searchsorted(due, (due[start - 1] if start else 0) + BLOCK)))
        batches = list(process.trips("taxi", rng, scale=float(scale), start=start, stop=stop))
        table = _table(process, batches, rng)
        table = table.slice(0, min(len(table), rows - made))
        made += len(table)
        start = stop
        yield table
    if made < rows:
        raise RuntimeError(f"{made} trips were made instead of {rows}")


def write(path: Path, rows: int, seed: int = 7) -> Path:
    """Write ``rows`` trips; the name's ending says whether as CSV or as Parquet."""
    writer: pq.ParquetWriter | pc.CSVWriter | None = None
    with path.open("wb") as sink:
        for table in tables(rows, seed):
            if writer is None:
                parquet = path.suffix == ".parquet"
                options = pc.WriteOptions(quoting_style="none")
                writer = (
                    pq.ParquetWriter(sink, table.schema)
                    if parquet
                    else pc.CSVWriter(sink, table.schema, write_options=options)
                )
            writer.write_table(table)
        if writer is not None:
            writer.close()
    return path


def _table(process: DemoProcess, batches: list[Trips], rng: np.random.Generator) -> pa.Table:
    passengers = np.concatenate([batch.passengers(rng) for batch in batches])
    origin, destination, pickup, dropoff = (
        np.concatenate([getattr(batch, field) for batch in batches])
        for field in ("origin", "destination", "pickup", "dropoff")
    )
    order = np.argsort(pickup, kind="stable")
    origin, destination, pickup, dropoff = (column[order] for column in (origin, destination, pickup, dropoff))
    rows = len(order)

    def spread(middle: np.ndarray, width: float) -> np.ndarray:
        # single precision written out in full, as the TLC's files have it
        return (middle + rng.uniform(-width, width, rows)).astype(np.float32).astype(np.float64)

    places = process.places
    ends = {
        "pickup_longitude": spread(places.lon[origin], CELL[0]),
        "pickup_latitude": spread(places.lat[origin], CELL[1]),
        "dropoff_longitude": spread(places.lon[destination], CELL[0]),
        "dropoff_latitude": spread(places.lat[destination], CELL[1]),
    }
    wrong = rng.random(rows)
    for column in ends.values():
        column[wrong < 0.6 * DIRT] = 0.0  # no signal
    ends["dropoff_latitude"][(wrong >= 0.6 * DIRT) & (wrong < 0.8 * DIRT)] += 3.0
    backwards = (wrong >= 0.8 * DIRT) & (wrong < DIRT)
    dropoff = np.where(backwards, pickup - 60, dropoff)
    began = process.time[0]
    minutes = (dropoff - pickup) / 60
    fare = np.round(2.5 + np.abs(minutes) * 0.9, 1)
    return pa.table(
        {
            "VendorID": rng.integers(1, 3, rows),
            "tpep_pickup_datetime": pa.array(began + pickup, pa.timestamp("s")),
            "tpep_dropoff_datetime": pa.array(began + dropoff, pa.timestamp("s")),
            "passenger_count": passengers[order],
            "trip_distance": np.round(np.abs(minutes) * 0.25, 2),
            "pickup_longitude": ends["pickup_longitude"],
            "pickup_latitude": ends["pickup_latitude"],
            "RatecodeID": np.ones(rows, dtype=np.int64),
            "store_and_fwd_flag": np.full(rows, "N"),
            "dropoff_longitude": ends["dropoff_longitude"],
            "dropoff_latitude": ends["dropoff_latitude"],
            "payment_type": rng.integers(1, 3, rows),
            "fare_amount": fare,
            "extra": np.full(rows, 0.5),
            "mta_tax": np.full(rows, 0.5),
            "tip_amount": np.round(fare * 0.2, 2),
            "tolls_amount": np.zeros(rows),
            "improvement_surcharge": np.full(rows, 0.3),
            "total_amount": np.round(fare * 1.2 + 1.3, 2),
        }
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path, help="ends with .csv or .parquet")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    print(write(arguments.path, arguments.rows, arguments.seed))
