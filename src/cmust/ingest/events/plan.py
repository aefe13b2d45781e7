"""What city event records become: events, measures, and everything else that decides it."""

from __future__ import annotations

from dataclasses import dataclass

from cmust.city import City
from cmust.city.checks import check_timezone
from cmust.errors import IngestError
from cmust.ingest import clock
from cmust.ingest.places import Grid, Zones
from cmust.ingest.reasons import Report
from cmust.ingest.sources import Column


@dataclass(frozen=True)
class Event:
    """A time and a place in a record; a trip has two.

    Attributes:
        name: for reports: ``pickup``.
        time: its column.
        lon: longitude column, with ``lat``; not with ``zone``.
        lat: latitude column.
        zone: zone-id column.
    """

    name: str
    time: Column
    lon: Column | None = None
    lat: Column | None = None
    zone: Column | None = None


@dataclass(frozen=True)
class Measure:
    """What becomes a task: the number of events, or the sum of a weight over them.

    Attributes:
        task: its name; with categories, the part in front of the category's name (may be empty).
        event: whose time and place count.
        weight: a name in :attr:`EventPlan.weights`; None counts events.
        unit: without the interval: ``trips``.
        kind: of the task.
        description: of the task.
    """

    task: str
    event: str
    weight: str | None = None
    unit: str = "events"
    kind: str = "count"
    description: str = ""


@dataclass(frozen=True)
class EventPlan:
    """Everything that decides what city the records become.

    Attributes:
        name: of the city.
        events: one, or two for trips: the start and the end.
        measures: the tasks.
        place: grid or zones.
        timezone: IANA name of the city's zone.
        interval: seconds.
        weights: weight name -> column.
        category: column; a task per category and measure.
        categories: those wanted; all that are found when empty. One of no record is refused, or zero everywhere where
            ``cells`` are named.
        utc: whether the records' times are UTC, or else local wall-clock time; None: epochs are UTC, all others local.
        time_format: see :mod:`cmust.ingest.timeformats`; found out when None.
        start: first local time that counts; the first found when None.
        stop: local time after the last; the last found when None.
        min_total: a cell is kept with at least this many events, over all events and categories.
        cells: names of the cells to keep instead of by ``min_total``.
        whole_records: throw both ends of a trip away when one has no usable time or place.
        max_bad_share: stop when more than this share of the records is thrown away.
        source: of the city.
        description: of the city.
    """

    name: str
    events: tuple[Event, ...]
    measures: tuple[Measure, ...]
    place: Grid | Zones
    timezone: str
    interval: int
    weights: dict[str, Column]
    category: Column | None = None
    categories: tuple[str, ...] = ()
    utc: bool | None = None
    time_format: str | None = None
    start: str | None = None
    stop: str | None = None
    min_total: int = 1
    cells: tuple[str, ...] | None = None
    whole_records: bool = False
    max_bad_share: float = 0.5
    source: str = ""
    description: str = ""

    @property
    def in_utc(self) -> bool:
        """:attr:`utc`, once it is settled by :func:`cmust.ingest.typed.in_utc`."""
        return bool(self.utc)

    @property
    def located_late(self) -> bool:
        """Whether points are looked up in polygons, which is done when all are read."""
        return isinstance(self.place, Zones) and self.events[0].zone is None


@dataclass(frozen=True)
class Ingested:
    """A city and the account of the records it was made from."""

    city: City
    report: Report


def check_plan(plan: EventPlan) -> None:
    """Refuse a plan that contradicts itself.

    Raises:
        CityError: the time zone is not known.
        IngestError: says what.
    """
    clock.parse_interval(str(plan.interval))
    check_timezone(plan.timezone)
    names = {event.name for event in plan.events}
    for event in plan.events:
        by_zone, by_point = event.zone is not None, event.lon is not None and event.lat is not None
        if by_zone == by_point:
            raise IngestError(f"{event.name}: give either a longitude and a latitude column, or a zone column")
        if by_zone and not isinstance(plan.place, Zones):
            raise IngestError(f"{event.name}: a zone column needs zones: give the file of the zones, not a grid")
    for measure in plan.measures:
        if measure.event not in names or (measure.weight is not None and measure.weight not in plan.weights):
            raise IngestError(f"task '{measure.task}' names an event or a weight that the plan does not have")
    tasks = [measure.task for measure in plan.measures]
    if double := next((task for task in tasks if tasks.count(task) > 1), None):
        raise IngestError(
            f"two measures would be the task '{double}': give each a name of its own (--prefix names trips, --weight "
            "the sums)"
        )
    if not 0 <= plan.max_bad_share <= 1:
        raise IngestError(f"the bad share allowed is {plan.max_bad_share}, it has to be between 0 and 1")


def columns_of(plan: EventPlan) -> dict[str, Column]:
    """What the plan calls a column -> its spellings in the files."""
    columns: dict[str, Column] = {}
    for at, event in enumerate(plan.events):
        for field in ("time", "lon", "lat", "zone"):
            spelling = getattr(event, field)
            if spelling is not None:
                columns[f"{field}{at}"] = spelling
    if plan.category is not None:
        columns["category"] = plan.category
    columns |= {f"weight_{name}": column for name, column in plan.weights.items() if column}
    return columns
