"""Sensor readings to a city: sums, means or last values of fixed nodes per interval; gaps stay gaps."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import numpy.typing as npt
import pandas as pd

from cmust.city import City, Task
from cmust.city.checks import check_timezone
from cmust.city.ownership import hand_over
from cmust.errors import IngestError
from cmust.ingest import clock, typed
from cmust.ingest.engine import Engine, Progress, read_pieces
from cmust.ingest.events import HUGE, Ingested
from cmust.ingest.places import id_text, plain_id
from cmust.ingest.reasons import Account, Reason, Report, add_counts
from cmust.ingest.sources import Column, Layout, Reading, find_column, read_layouts

HOW = ("sum", "mean", "last")


@dataclass(frozen=True)
class Quantity:
    """A measured column and what becomes of its readings within an interval.

    Attributes:
        task: name of the task.
        column: the readings.
        how: ``sum``, ``mean`` or ``last`` (of two readings at the same last moment, the larger).
        unit: of the task.
        kind: of the task.
        negative: whether values below zero are good.
    """

    task: str
    column: Column
    how: str
    unit: str = ""
    kind: str = "other"
    negative: bool = False


@dataclass(frozen=True)
class SensorPlan:
    """Everything that decides what city the readings become.

    Attributes:
        name: of the city.
        node: column with the sensor's id.
        time: its column.
        quantities: the tasks.
        timezone: IANA name of the city's zone.
        interval: seconds.
        nodes: table with a row per sensor: its id, ``lon``, ``lat``; readings of others are thrown away.
        lon: longitude column of the readings; only where there is no table.
        lat: latitude column of the readings; only where there is no table.
        utc: whether the readings' times are UTC, or else local wall-clock time; None: epochs are UTC, all others local.
        time_format: see :mod:`cmust.ingest.timeformats`; found out when None.
        start: first local time that counts; the first found when None.
        stop: local time after the last; the last found when None.
        min_share: a node is kept if every quantity has a value in at least this share of the intervals.
        max_bad_share: stop when more than this share of the readings is thrown away.
        source: of the city.
        description: of the city.
    """

    name: str
    node: Column
    time: Column
    quantities: tuple[Quantity, ...]
    timezone: str
    interval: int
    nodes: Path | None = None
    lon: Column | None = None
    lat: Column | None = None
    utc: bool | None = None
    time_format: str | None = None
    start: str | None = None
    stop: str | None = None
    min_share: float = 0.0
    max_bad_share: float = 0.5
    source: str = ""
    description: str = ""

    @property
    def in_utc(self) -> bool:
        """:attr:`utc`, once it is settled by :func:`cmust.ingest.typed.in_utc`."""
        return bool(self.utc)


@dataclass
class _Cells:
    """What one quantity came to, per (node, slot): arrays ``(group,)``."""

    node: npt.NDArray[np.object_]
    slot: npt.NDArray[np.int64]
    count: npt.NDArray[np.int64]
    amount: npt.NDArray[np.float64]
    latest: npt.NDArray[np.int64]

    def only(self, which: npt.NDArray[np.bool_]) -> _Cells:
        """The groups where ``which`` holds."""
        return _Cells(self.node[which], self.slot[which], self.count[which], self.amount[which], self.latest[which])


def ingest_sensors(
    inputs: Sequence[str | Path],
    plan: SensorPlan,
    engine: Engine,
    reading: Reading | None = None,
    progress: Progress = lambda what, share: None,
) -> Ingested:
    """Make a city from sensor readings.

    Args:
        inputs: files, folders or patterns; CSV (also gz, zip) or Parquet; a row per sensor and moment.
        plan: what to make of them.
        engine: open; from :func:`cmust.ingest.engine.open_engine`.
        reading: delimiter and column names, where the files do not say.
        progress: told how far it is.

    Raises:
        CityError: the time zone is not known.
        IngestError: the files cannot be read as told, nothing is left, or too much would be thrown away.
    """
    _check_plan(plan)
    known = None if plan.nodes is None else read_nodes(plan.nodes)
    columns: dict[str, Column] = {"node": plan.node, "time0": plan.time}
    if known is None:
        columns |= {"lon": plan.lon or "lon", "lat": plan.lat or "lat"}
    columns |= {f"value{at}": quantity.column for at, quantity in enumerate(plan.quantities)}
    files = engine.expand(inputs)
    layouts = read_layouts(files, columns, reading or Reading(), engine.head)
    typed.check_files(files)
    plan = replace(plan, utc=typed.in_utc(engine, layouts, ["time0"], plan.time_format, plan.utc))
    accounts = [Account(quantity.task) for quantity in plan.quantities]
    table = engine.keep(
        read_pieces(engine, layouts, lambda piece: _readings(engine, piece, plan, known), accounts, progress)
    )
    found = []
    for at, quantity in enumerate(plan.quantities):
        progress(f"putting together: {quantity.task}", 0.85)
        add_counts(accounts[at], _count(engine, table, at).items())
        found.append(_gather(engine, table, plan, at))
    report = Report(accounts)
    for account in accounts:
        if not account.kept:
            raise IngestError(f"no reading is left: {account.summary()}: check columns, nodes and period")
    places = known if known is not None else _places(engine, table)
    city = _build(plan, found, places, report)
    for account in accounts:
        account.check()
    report.check_bad_share(plan.max_bad_share)
    progress("done", 1.0)
    return Ingested(city, report)


def read_nodes(path: Path | str) -> pd.DataFrame:
    """A table of nodes, indexed by id (text), with ``lon`` and ``lat``.

    The id is in a column called ``node``, ``id``, ``sensor`` or ``station``, or else in the first.

    Raises:
        IngestError: the file cannot be read, lacks a column, or names a node twice.
    """
    try:
        # "NA" may be the id of a node
        table = pd.read_csv(path, sep=None, engine="python", dtype=str, keep_default_na=False)
    except FileNotFoundError as error:
        raise IngestError(f"there is no file {path}: give the table of the nodes") from error
    except (OSError, ValueError, csv.Error) as error:
        raise IngestError(
            f"{path} cannot be read as a table of nodes ({error}): give a CSV with node, lon, lat"
        ) from error
    names = list(table.columns)
    lon = find_column(("lon", "longitude", "lng", "x"), names)
    lat = find_column(("lat", "latitude", "y"), names)
    if lon is None or lat is None:
        raise IngestError(f"{path} has the columns {', '.join(names)}: it needs lon and lat")
    node = find_column(("node", "id", "node_id", "sensor", "sensor_id", "station"), names) or names[0]
    ids = [plain_id(text) for text in table[node].fillna("")]
    try:
        degrees = table[[lon, lat]].replace(["", "NA"], "nan").astype(float)
        places = pd.DataFrame({"lon": degrees[lon].to_numpy(), "lat": degrees[lat].to_numpy()}, ids)
    except ValueError as error:
        raise IngestError(f"{path}: a longitude or latitude is not a number ({error})") from error
    if places.index.has_duplicates or "" in places.index:
        double = places.index[places.index.duplicated()].tolist() or [""]
        raise IngestError(f"{path}: node '{double[0]}' is there twice or has no id")
    return places


def _check_plan(plan: SensorPlan) -> None:
    clock.parse_interval(str(plan.interval))
    check_timezone(plan.timezone)
    for quantity in plan.quantities:
        if quantity.how not in HOW:
            raise IngestError(f"task '{quantity.task}': '{quantity.how}' is not known, use {', '.join(HOW)}")
    tasks = [quantity.task for quantity in plan.quantities]
    if double := next((task for task in tasks if tasks.count(task) > 1), None):
        raise IngestError(f"two quantities would be the task '{double}': give each a name of its own")
    if not plan.quantities:
        raise IngestError("no quantity is named: say which column becomes which task")
    if plan.nodes is None and (plan.lon is None or plan.lat is None):
        raise IngestError("where are the sensors? give a table of nodes, or longitude and latitude columns")
    if plan.nodes is not None and (plan.lon is not None or plan.lat is not None):
        raise IngestError(
            "both a table of nodes (--nodes) and a longitude or latitude column (--lon, --lat) are given: leave out "
            "one of the two"
        )
    for what, share in (("bad share allowed", plan.max_bad_share), ("least share of filled steps", plan.min_share)):
        if not 0 <= share <= 1:
            raise IngestError(f"the {what} is {share}, it has to be between 0 and 1")


def _readings(engine: Engine, piece: Layout, plan: SensorPlan, known: pd.DataFrame | None) -> Any:
    """The readings of one piece of the files: node, time, slot; per quantity value and minus the reason's code."""
    pattern = typed.time_pattern(piece, ["time0"], plan.time_format, plan.in_utc)
    numbers = [f"value{at}" for at in range(len(plan.quantities))] + ([] if known is not None else ["lon", "lat"])
    raw = engine.scan(piece, typed.plain_columns(piece, ["time0"], numbers, pattern))
    read = {name: typed.number(engine, raw[name], piece.where(name)) for name in numbers}
    time = typed.seconds(engine, raw.time0, pattern, plan.in_utc, piece.where("time0"))
    parsed = {"t": time, "name": id_text(raw.node).nullif("")}
    parsed |= {f"v{at}": read[f"value{at}"] for at in range(len(plan.quantities))}
    if known is None:
        parsed |= {"x": read["lon"], "y": read["lat"]}
    table = raw.mutate(**parsed)
    shared = [
        (table.unreadable, Reason.UNREADABLE),
        (table.t.isnull(), typed.unread(table.time0, Reason.NO_TIME, Reason.BAD_TIME)),
        *typed.outside_period(table.t, plan.start, plan.stop, plan.timezone, plan.in_utc),
        (table.name.isnull(), Reason.NO_PLACE),
    ]
    if known is None:
        nowhere = typed.blank(table.lon) | typed.blank(table.lat) | ((table.x == 0) & (table.y == 0))
        on_earth = (table.x.abs() <= 180) & (table.y.abs() <= 90)
        shared += [(nowhere, Reason.NO_PLACE), (~on_earth | on_earth.isnull(), Reason.BAD_PLACE)]
    else:
        shared.append((~table.name.isin(list(known.index)), Reason.UNKNOWN_ZONE))
    base = clock.base_seconds(plan.interval, plan.in_utc)
    out = {"node": table.name, "t": table.t, "slot": (table.t // base).cast("int64")}
    for at, quantity in enumerate(plan.quantities):
        value = table[f"v{at}"]
        own = [
            (value.isnull(), typed.unread(table[f"value{at}"], Reason.NO_VALUE, Reason.BAD_VALUE)),
            (value.abs() > HUGE, Reason.BAD_VALUE),
        ]
        if not quantity.negative:
            own.append((value < 0, Reason.NEGATIVE))
        out |= {f"v{at}": value, f"r{at}": typed.first_reason(*shared, *own)}
    if known is None:
        out |= {"x": table.x, "y": table.y}
    return table.select(**out)


def _count(engine: Engine, table: Any, at: int) -> dict[int, int]:
    counted = table.group_by(reason=table[f"r{at}"]).aggregate(n=table.count())
    rows = [batch.to_pydict() for batch in engine.fetch(counted)]
    return {-reason: n for row in rows for reason, n in zip(row["reason"], row["n"], strict=True)}


def _gather(engine: Engine, table: Any, plan: SensorPlan, at: int) -> _Cells:
    """The readings of a quantity per node and local slot."""
    good = table.filter(table[f"r{at}"] == int(Reason.KEPT))
    value = good[f"v{at}"]
    grouped = good.group_by(node=good.node, slot=good.slot).aggregate(
        n=good.count(), total=value.sum(), latest=good.t.max()
    )
    if plan.quantities[at].how == "last":
        last = good.join(
            grouped.select(node_of=grouped.node, slot_of=grouped.slot, latest=grouped.latest, n=grouped.n),
            [("node", "node_of"), ("slot", "slot_of"), ("t", "latest")],
        )
        grouped = last.group_by(node=last.node, slot=last.slot).aggregate(
            n=last.n.max(), total=last[f"v{at}"].max(), latest=last.t.max()
        )
    grouped = grouped.select(**{name: grouped[name] for name in ("node", "slot", "n", "total", "latest")})
    rows = [batch.to_pandas() for batch in engine.fetch(grouped)]
    frame = pd.concat(rows) if rows else pd.DataFrame(columns=["node", "slot", "n", "total", "latest"])
    base = clock.base_seconds(plan.interval, plan.in_utc)
    slot = clock.to_local_slots(frame["slot"].to_numpy(np.int64), base, plan.interval, plan.timezone, plan.in_utc)
    return _Cells(
        frame["node"].to_numpy(object),
        slot,
        frame["n"].to_numpy(np.int64),
        frame["total"].to_numpy(np.float64),
        frame["latest"].to_numpy(np.int64),
    )


def _places(engine: Engine, table: Any) -> pd.DataFrame:
    """Where the nodes are, from the readings: their median would hide a sensor that moved, so that is refused."""
    good = table.filter(ibis.or_(*[table[name] == int(Reason.KEPT) for name in table.columns if name.startswith("r")]))
    where = good.group_by(node=good.node).aggregate(
        west=good.x.min(), east=good.x.max(), south=good.y.min(), north=good.y.max()
    )
    frame = pd.concat([batch.to_pandas() for batch in engine.fetch(where)]).set_index("node").sort_index()
    moved = (frame.east - frame.west > 0.01) | (frame.north - frame.south > 0.01)
    if moved.any():
        raise IngestError(
            f"node {frame.index[moved.to_numpy()][0]} is in several places, more than 0.01 degrees apart: give a table "
            "of nodes"
        )
    return pd.DataFrame({"lon": (frame.west + frame.east) / 2, "lat": (frame.south + frame.north) / 2}, frame.index)


def _build(plan: SensorPlan, found: list[_Cells], places: pd.DataFrame, report: Report) -> City:
    """Lay out the tasks and settle the accounts for nodes and steps that fall out."""
    first, steps = clock.period(
        np.concatenate([one.slot for one in found]),
        np.concatenate([one.count for one in found]),
        plan.start,
        plan.stop,
        plan.interval,
        plan.timezone,
    )
    time = clock.axis(first, steps, plan.interval)
    skipped = clock.skipped(time, plan.interval, plan.timezone)
    position = {name: at for at, name in enumerate(places.index)}
    layers, counts = [], []
    for quantity, account, one in zip(plan.quantities, report.accounts, found, strict=True):
        lost = skipped[one.slot - first]
        account.throw(Reason.SKIPPED_HOUR, int(one.count[lost].sum()))
        account.kept -= int(one.count[lost].sum())
        rest = one.only(~lost)
        node = np.array([position[name] for name in rest.node], dtype=np.int64)
        layers.append(_fold(quantity.how, rest, node, first, (steps, len(places))))
        per_node = np.zeros(len(places), dtype=np.int64)
        np.add.at(per_node, node, rest.count)
        counts.append(per_node)
    filled = np.min([np.isfinite(layer).mean(axis=0) for layer in layers], axis=0)
    keep = np.flatnonzero((filled >= plan.min_share) & (np.sum(counts, axis=0) > 0))
    if not len(keep):
        raise IngestError(
            f"no node has values in {plan.min_share:.0%} of the {steps} steps, the best has {filled.max():.1%}: a "
            "lower share, a longer interval or a shorter period"
        )
    gone = np.setdiff1d(np.arange(len(places)), keep)
    for account, per_node in zip(report.accounts, counts, strict=True):
        account.throw(Reason.FEW_IN_CELL, int(per_node[gone].sum()))
        account.kept -= int(per_node[gone].sum())
    report.notes.append(f"{len(keep)} of {len(places)} nodes kept")
    tasks = {
        quantity.task: Task(
            name=quantity.task,
            values=hand_over(layer[:, keep, None].astype(np.float32)),
            time=time,
            nodes=tuple(places.index[keep]),
            lon=places["lon"].to_numpy()[keep],
            lat=places["lat"].to_numpy()[keep],
            interval=plan.interval,
            unit=quantity.unit,
            kind=quantity.kind,
            description=f"{quantity.how} of the readings within the interval",
        )
        for quantity, layer in zip(plan.quantities, layers, strict=True)
    }
    return City(plan.name, tasks, timezone=plan.timezone, source=plan.source, description=plan.description)


def _fold(
    how: str, cells: _Cells, node: npt.NDArray[np.int64], first: int, shape: tuple[int, int]
) -> npt.NDArray[np.float64]:
    """Values ``(time, node)``, NaN where nothing was read; slots that came in several pieces are put together."""
    at = (cells.slot - first, node)
    values = np.full(shape, np.nan)
    if how == "last":
        order = np.argsort(cells.latest, kind="stable")  # the last to be written is the latest
        values[at[0][order], at[1][order]] = cells.amount[order]
        return values
    total, count = np.zeros(shape), np.zeros(shape)
    np.add.at(total, at, cells.amount)
    np.add.at(count, at, cells.count)
    there = count > 0
    values[there] = total[there] / count[there] if how == "mean" else total[there]
    return values
