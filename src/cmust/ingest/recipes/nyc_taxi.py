"""New York yellow taxis: the four tasks of Appendix C.1, taxi pickup, taxi drop-off, crowd out and crowd in.

What C.1 says: trips of January to March 2016; records with abnormal or missing longitude, latitude or other data are
left out; 30 x 15 cells over Manhattan and surroundings, those with at least 1,000 trips (206); 30 minutes.

What it leaves open, and what is done here:

- the box: :data:`BOX`, so that cells are about 0.7 km wide and high (a setting);
- what is abnormal: longitude and latitude zero, empty, or not on the globe; a trip with one such end is left out whole;
  an end outside the box only leaves out that end;
- whose trips are counted for the 1,000: pickups plus drop-offs of the cell;
- the crowd: passengers at the pickup leave the cell (crowd out), at the drop-off they arrive (crowd in). A driver's
  zero counts as zero, a trip without a number of passengers is left out.

The TLC withdrew longitudes and latitudes from its downloads in May 2022. Files of today hold zone ids only: give the
zones. With zones, trips of older files are in the zone that their coordinates lie in.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from cmust.errors import IngestError
from cmust.ingest.engine import Engine, Progress
from cmust.ingest.events import Event, EventPlan, Ingested, Measure, ingest_events
from cmust.ingest.places import Box, Grid, Zones
from cmust.ingest.sources import Reading, read_layouts

TIMEZONE = "America/New_York"
BOX: Box = (-74.03, 40.69, -73.91, 40.88)
ROWS, COLUMNS = 30, 15
MIN_TRIPS = 1000
INTERVAL = 1800

# all spellings of 2009 to June 2016; the newest first
PICKUP_TIME = ("tpep_pickup_datetime", "pickup_datetime", "Trip_Pickup_DateTime")
DROPOFF_TIME = ("tpep_dropoff_datetime", "dropoff_datetime", "Trip_Dropoff_DateTime")
PASSENGERS = ("passenger_count", "Passenger_Count")
PICKUP_LON = ("pickup_longitude", "Start_Lon")
PICKUP_ID = ("PULocationID", "pulocationid")
PICKUP = Event("pickup", PICKUP_TIME, PICKUP_LON, ("pickup_latitude", "Start_Lat"))
DROPOFF = Event("dropoff", DROPOFF_TIME, ("dropoff_longitude", "End_Lon"), ("dropoff_latitude", "End_Lat"))
PICKUP_ZONE = Event("pickup", PICKUP_TIME, zone=PICKUP_ID)
DROPOFF_ZONE = Event("dropoff", DROPOFF_TIME, zone=("DOLocationID", "dolocationid"))

MEASURES = (
    Measure("taxi_pickup", "pickup", None, "trips", "count", "yellow taxi trips that start here"),
    Measure("taxi_dropoff", "dropoff", None, "trips", "count", "yellow taxi trips that end here"),
    Measure("crowd_out", "pickup", "passengers", "people", "count", "taxi passengers who leave from here"),
    Measure("crowd_in", "dropoff", "passengers", "people", "count", "taxi passengers who arrive here"),
)


def nyc_taxi(
    inputs: Sequence[str | Path],
    engine: Engine,
    *,
    zones: Zones | None = None,
    box: Box = BOX,
    rows: int = ROWS,
    columns: int = COLUMNS,
    min_trips: int | None = None,
    interval: int = INTERVAL,
    start: str | None = None,
    stop: str | None = None,
    max_bad_share: float = 0.5,
    progress: Progress = lambda what, share: None,
) -> Ingested:
    """The city of yellow taxi files, on the grid, or on zones, which zone ids or coordinates tell.

    Args:
        inputs: ``yellow_tripdata_*`` files, CSV (gz, zip) or Parquet.
        engine: open.
        zones: the taxi zones; None: the grid.
        box: west, south, east, north of the grid.
        rows: of the grid.
        columns: of the grid.
        min_trips: pickups plus drop-offs a cell needs; 1,000 on the grid, 1 on zones when None.
        interval: seconds.
        start: first local time; the first month in the files' names when None, or else the first record.
        stop: local time after the last; after the last month in the files' names when None, or else the last record.
        max_bad_share: stop when more is thrown away.
        progress: told how far it is.

    Raises:
        IngestError: files hold zone ids and no zones are given, or others coordinates; see also
            :func:`cmust.ingest.events.ingest_events`.
    """
    files = engine.expand(inputs)
    by_id = _by_zone_id(files, engine, zones)
    named_start, named_stop = months_of([Path(file).name for file in files])
    plan = EventPlan(
        name="nyc-taxi",
        events=(PICKUP_ZONE, DROPOFF_ZONE) if by_id else (PICKUP, DROPOFF),
        measures=MEASURES,
        place=Grid(box, rows, columns) if zones is None else zones,
        timezone=TIMEZONE,
        interval=interval,
        weights={"passengers": PASSENGERS},
        start=start or named_start,
        stop=stop or named_stop,
        min_total=min_trips if min_trips is not None else (MIN_TRIPS if zones is None else 1),
        whole_records=True,
        max_bad_share=max_bad_share,
        source="NYC Taxi and Limousine Commission, yellow taxi trip records",
        description="Yellow taxi trips and their passengers, after Appendix C.1",
    )
    return ingest_events(files, plan, engine, progress=progress)


def _by_zone_id(files: Sequence[str], engine: Engine, zones: Zones | None) -> bool:
    """Whether the zones of trips are told by ids; else coordinates tell the cell, or the zone.

    Raises:
        IngestError: files hold zone ids only and no zones are given, or other files hold coordinates only.
    """
    places = {"lon": PICKUP_LON, "zone": PICKUP_ID}
    layouts = read_layouts(files, {"time": PICKUP_TIME}, Reading(), engine.head, optional=places)
    held = {layout.files[0]: places.keys() & layout.wanted.keys() for layout in layouts}
    ids, points = ([file for file, found in held.items() if found == {name}] for name in ("zone", "lon"))
    if ids and points:
        raise IngestError(
            f"{points[0]} holds coordinates, {ids[0]} zone ids: one city takes one or the other: leave out the files "
            "of one kind"
        )
    if ids and zones is None:
        raise IngestError(
            f"{ids[0]} holds zone ids, not coordinates: give the taxi zones (--zones FILE; in Python zones=); `cmust "
            "download nyc-taxi` fetches them, as taxi_zones.zip"
        )
    return zones is not None and not points


def months_of(names: Sequence[str]) -> tuple[str | None, str | None]:
    """First day, and day after the last, of the months in names such as ``yellow_tripdata_2016-01.csv``.

    Both are None unless every name holds exactly one month and they follow each other.
    """
    found = [re.findall(r"(?<!\d)(20\d\d)-(0[1-9]|1[0-2])(?!\d|-\d)", name) for name in names]
    if not names or any(len(months) != 1 for months in found):
        return None, None
    months = sorted({int(year) * 12 + int(month) - 1 for ((year, month),) in found})
    if months[-1] - months[0] != len(months) - 1:
        return None, None
    first, after = months[0], months[-1] + 1
    return f"{first // 12}-{first % 12 + 1:02d}-01", f"{after // 12}-{after % 12 + 1:02d}-01"
