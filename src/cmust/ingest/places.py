"""From a longitude and a latitude, or a zone id, to a cell: a regular grid, polygons, or a list of zones."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import ibis
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from cmust.city import City
from cmust.errors import IngestError
from cmust.ingest.engine import Engine

Box = tuple[float, float, float, float]
Geometry = dict[str, Any]
Floats = npt.NDArray[np.float64]

RASTER = 512
"""Raster lines per side over the polygons: inside one raster cell, most points need no geometry."""


@dataclass(frozen=True)
class Grid:
    """``rows`` x ``columns`` equal cells over a box; row 0 in the south, column 0 in the west.

    A point on the south or west edge of a cell is in it, one on the north or east edge is not.

    Attributes:
        box: west, south, east, north, degrees.
        rows: cells from south to north.
        columns: cells from west to east.
    """

    box: Box
    rows: int
    columns: int

    def __post_init__(self) -> None:
        """Check the numbers."""
        west, south, east, north = self.box
        if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
            raise IngestError(
                f"the box is {west},{south},{east},{north}, it has to be west,south,east,north in degrees, with "
                "west < east and south < north"
            )
        if self.rows < 1 or self.columns < 1:
            raise IngestError(f"the grid is {self.rows} x {self.columns}, it needs at least one row and one column")

    @property
    def step(self) -> tuple[float, float]:
        """Width and height of a cell, degrees."""
        west, south, east, north = self.box
        return (east - west) / self.columns, (north - south) / self.rows

    def __len__(self) -> int:
        """Number of cells."""
        return self.rows * self.columns

    @property
    def names(self) -> list[str]:
        """``r03c11``: row and column."""
        wide_row, wide_column = len(str(self.rows - 1)), len(str(self.columns - 1))
        return [f"r{at // self.columns:0{wide_row}d}c{at % self.columns:0{wide_column}d}" for at in range(len(self))]

    def centres(self) -> tuple[Floats, Floats]:
        """Longitudes and latitudes ``(cell,)``."""
        width, height = self.step
        at = np.arange(len(self))
        lon: Floats = self.box[0] + (at % self.columns + 0.5) * np.float64(width)
        lat: Floats = self.box[1] + (at // self.columns + 0.5) * np.float64(height)
        return lon, lat

    def geometry(self, cell: int) -> Geometry:
        """The cell as a GeoJSON polygon."""
        width, height = self.step
        west = self.box[0] + cell % self.columns * width
        south = self.box[1] + cell // self.columns * height
        east, north = west + width, south + height
        return {
            "type": "Polygon",
            "coordinates": [[[west, south], [east, south], [east, north], [west, north], [west, south]]],
        }

    def cell(self, lon: Any, lat: Any) -> Any:
        """The cell of a point as an expression, null outside the box."""
        return _cell(lon, lat, self.box, self.rows, self.columns)


@dataclass(frozen=True)
class Zones:
    """Named areas with polygons; a point on a common border is in the zone that comes first.

    Attributes:
        names: node names, unique.
        ids: what a zone-id column holds for each zone.
        shapes: shapely polygons, WGS84.
    """

    names: tuple[str, ...]
    ids: tuple[str, ...]
    shapes: tuple[Any, ...]

    def __len__(self) -> int:
        """Number of zones."""
        return len(self.names)

    def centres(self) -> tuple[Floats, Floats]:
        """Longitudes and latitudes of the centroids ``(zone,)``."""
        points = [shape.centroid for shape in self.shapes]
        return np.array([point.x for point in points]), np.array([point.y for point in points])

    def geometry(self, cell: int) -> Geometry:
        """The zone as GeoJSON."""
        from shapely.geometry import mapping

        geometry: Geometry = json.loads(json.dumps(mapping(self.shapes[cell])))
        return geometry

    @cached_property
    def box(self) -> Box:
        """The box around all zones, a hair wider so that the outermost points are inside."""
        bounds = np.array([shape.bounds for shape in self.shapes])
        west, south = bounds[:, :2].min(axis=0) - 1e-9
        east, north = bounds[:, 2:].max(axis=0) + 1e-9
        return float(west), float(south), float(east), float(north)

    def locate(self, lon: Floats, lat: Floats) -> npt.NDArray[np.int64]:
        """The zone of each point, -1 outside of all ``(point,)``."""
        import shapely

        tree = shapely.STRtree(self.shapes)
        point, zone = tree.query(shapely.points(lon, lat), predicate="intersects")
        out = np.full(len(lon), len(self), dtype=np.int64)
        np.minimum.at(out, point, zone)
        out[out == len(self)] = -1
        return out

    def raster(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Which raster cells lie in exactly one zone, and which need geometry.

        Returns:
            Cells and their zones, both ``(cell,)``; the zone is -1 where a border runs through the cell. Cells outside
            of all zones are left out.
        """
        import shapely

        west, south, east, north = self.box
        # a hair wider than the cells: a point that rounding puts on the other side of a line is still in its cell
        hair = 1e-9
        lon = west + np.arange(RASTER) * ((east - west) / RASTER)
        lat = south + np.arange(RASTER) * ((north - south) / RASTER)
        left, bottom = np.tile(lon, RASTER) - hair, np.repeat(lat, RASTER) - hair
        width, height = (east - west) / RASTER + 2 * hair, (north - south) / RASTER + 2 * hair
        tree = shapely.STRtree(shapely.box(left, bottom, left + width, bottom + height))
        owner = np.full(RASTER * RASTER, -2, dtype=np.int64)
        for zone, shape in enumerate(self.shapes):
            touched = tree.query(shape, predicate="intersects")
            inside = tree.query(shape, predicate="contains_properly")
            fresh = np.zeros(RASTER * RASTER, dtype=bool)
            fresh[inside] = True
            owner[touched] = np.where(fresh[touched] & (owner[touched] == -2), zone, -1)
        cells = np.flatnonzero(owner != -2)
        return cells, owner[cells]


def read_zones(path: Path | str, id_column: str | None = None, name_column: str | None = None) -> Zones:
    """Zones from a GeoJSON file or a shapefile (zipped or not), put into WGS84.

    Args:
        path: the file, or a zip archive that holds it.
        id_column: property that a zone-id column of the records refers to; when None, the first that is known
            (``LocationID``, ``zone_id``, ``id`` ...), or else the position.
        name_column: property that names the nodes; the id when None.

    Raises:
        IngestError: the file cannot be read, holds no polygons, none in degrees, or no such property.
    """
    import geopandas
    from shapely.errors import GEOSException

    source = _in_archive(Path(path))
    try:
        frame = geopandas.read_file(source)
    except Exception as error:  # the readers below raise many kinds
        raise IngestError(f"{path} cannot be read as zones ({error}): give GeoJSON or a shapefile") from error
    if frame.crs is not None:
        frame = frame.to_crs(4326)
    frame = frame[frame.geometry.notna() & ~frame.geometry.is_empty]
    if frame.empty or not set(frame.geom_type) <= {"Polygon", "MultiPolygon"}:
        raise IngestError(
            f"{path} holds {', '.join(sorted(set(frame.geom_type))) or 'nothing'}: zones have to be polygons"
        )
    if (abs(frame.total_bounds) > [180, 90, 180, 90]).any():
        raise IngestError(
            f"{path} is not in degrees (x from {frame.total_bounds[0]:g} to {frame.total_bounds[2]:g}) and does not "
            "say which reference system it is in: a shapefile needs its .prj, GeoJSON has to be in WGS84"
        )
    if id_column is None:
        known = ("LocationID", "location_id", "zone_id", "zone", "id", "area_numbe", "area_num_1", "name")
        id_column = next((name for name in known if name in frame.columns), None)
    ids = [str(at) for at in range(len(frame))] if id_column is None else _labels(path, frame, id_column)
    # a zone in several features (the taxi zones have such) is one zone of all of them
    names = ids if name_column is None else _labels(path, frame, name_column)
    merged: dict[str, list[int]] = {}
    for at, key in enumerate(ids):
        merged.setdefault(key, []).append(at)
    firsts = [group[0] for group in merged.values()]
    try:
        shapes = [frame.geometry.iloc[group].union_all() for group in merged.values()]
    except GEOSException as error:
        raise IngestError(f"{path}: polygons of one zone cannot be put together ({error}): repair them") from error
    node_names = _distinct([names[at] for at in firsts], [ids[at] for at in firsts])
    return Zones(tuple(node_names), tuple(merged), tuple(shapes))


def _in_archive(path: Path) -> str | Path:
    """The file in a zip archive, wherever it lies there, as GDAL names it; what is no archive stays as it is."""
    if not zipfile.is_zipfile(path):
        return path
    with zipfile.ZipFile(path) as packed:
        found = [name for name in packed.namelist() if name.lower().endswith((".shp", ".geojson", ".json", ".gpkg"))]
    found = [name for name in found if not name.startswith("__MACOSX")]
    if len(found) > 1:
        raise IngestError(f"{path} holds {', '.join(found[:5])}: unpack it and name the file of the zones")
    return f"/vsizip/{path}/{found[0]}" if found else path


def cells_of(city: City, place: Grid | Zones) -> tuple[str, ...]:
    """The cells that a city has, of the same grid or zones, for :attr:`cmust.ingest.events.EventPlan.cells`: records
    of a few days then become a city of the same places.

    Raises:
        IngestError: no task of the city has its places among the cells.
    """
    at = {name: cell for cell, name in enumerate(place.names)}
    lon, lat = place.centres()
    for task in city.tasks.values():
        cells = [at[name] for name in task.nodes if name in at]
        here = np.stack([lon, lat])[:, cells]
        if len(cells) == task.n_nodes and np.allclose(here, [task.lon, task.lat], rtol=0, atol=1e-6):
            return task.nodes
    raise IngestError(
        f"city {city.name!r} has no task whose places are cells of this grid or these zones: give the box and grid, or "
        "the zones, that it was made with"
    )


def id_text(column: Any) -> Any:
    """An id of a zone or node, or a category, as a text expression: 4, 4.0 and '4' are the same id; '04' is another."""
    if column.type().is_floating():
        # what has no whole number stays as it is; the casts of the others must not meet it
        held = (column.abs() < 1e15) & ~column.isnan()
        number = held.ifelse(column, ibis.null("float64"))
        whole = (number == number.floor()).fill_null(False)
        text = whole.ifelse(number.cast("int64").cast("string"), column.cast("string"))
        return column.isnan().ifelse(ibis.null("string"), text)
    text = column.cast("string").strip()
    # without a reference to a group, which engines write differently
    return text.re_search(r"^-?[0-9]+\.0+$").ifelse(text.re_replace(r"\.0+$", ""), text)


def plain_id(text: str) -> str:
    """A zone or node id of a table, as :func:`id_text` gives those of the records."""
    return re.sub(r"^(-?[0-9]+)\.0+$", r"\1", text.strip())


def inside(lon: Any, lat: Any, box: Box) -> Any:
    """Whether a point lies in a box, on its west or south edge counted, as an expression."""
    west, south, east, north = box
    return (lon >= west) & (lon < east) & (lat >= south) & (lat < north)


def locate_points(engine: Engine, table: Any, zones: Zones, pairs: Sequence[tuple[str, str, str]]) -> Any:
    """Add cells by polygons to a kept table.

    Points in a raster cell that lies in one zone take the zone from a table; the distinct points near borders are
    located exactly, here, and looked up by their coordinates.

    Args:
        engine: that holds ``table``.
        table: a kept table.
        zones: the polygons.
        pairs: longitude column, latitude column and the name of the cell column to add.
    """
    cells, owners = zones.raster()
    raster = engine.upload("raster", pa.table({"raster_cell": cells, "raster_zone": owners}))
    for lon, lat, _ in pairs:
        table = table.mutate(**{f"{lon}_at": _cell(table[lon], table[lat], zones.box, RASTER, RASTER).cast("int64")})
        mine = raster.rename({f"{lon}_at": "raster_cell", f"{lon}_zone": "raster_zone"})
        table = table.left_join(mine, f"{lon}_at").drop(f"{lon}_at_right")
    near = None
    for lon, lat, _ in pairs:
        border = table.filter(table[f"{lon}_zone"] == -1)
        points = border.select(point_lon=border[lon], point_lat=border[lat])
        near = points if near is None else near.union(points)
    assert near is not None  # there is at least one event
    exact = engine.upload("border", _locate_all(zones, engine.fetch(near.distinct())))
    for lon, lat, name in pairs:
        mine = exact.rename({f"{lon}_key": "point_lon", f"{lat}_key": "point_lat", f"{lon}_exact": "point_zone"})
        table = table.left_join(mine, [table[lon] == mine[f"{lon}_key"], table[lat] == mine[f"{lat}_key"]])
        zone = (table[f"{lon}_zone"] == -1).ifelse(table[f"{lon}_exact"], table[f"{lon}_zone"])
        table = table.mutate(**{name: zone.nullif(-1).cast("int32")})
    return table


def _locate_all(zones: Zones, batches: Iterator[pa.RecordBatch]) -> pa.Table:
    schema = pa.schema([("point_lon", pa.float64()), ("point_lat", pa.float64()), ("point_zone", pa.int64())])
    pieces = []
    for batch in batches:
        lon, lat = (batch.column(at).to_numpy(zero_copy_only=False) for at in (0, 1))
        pieces.append(pa.record_batch([pa.array(lon), pa.array(lat), pa.array(zones.locate(lon, lat))], schema=schema))
    return pa.Table.from_batches(pieces, schema=schema)


def _cell(lon: Any, lat: Any, box: Box, rows: int, columns: int) -> Any:
    west, south, east, north = box
    width, height = (east - west) / columns, (north - south) / rows
    # rounding can push a point just below the edge into the next row
    row = ibis.least(((lat - south) / height).floor(), rows - 1)
    column = ibis.least(((lon - west) / width).floor(), columns - 1)
    return inside(lon, lat, box).ifelse((row * columns + column).cast("int32"), ibis.null("int32"))


def _labels(path: Path | str, frame: Any, column: str) -> list[str]:
    if column not in frame.columns:
        have = ", ".join(name for name in frame.columns if name != "geometry")
        raise IngestError(f"{path} has no property '{column}'; it has {have}")
    values = frame[column].astype(object).where(frame[column].notna(), "")
    labels = [plain_id(str(value)) for value in values]
    if empty := labels.count(""):
        raise IngestError(f"{path}: '{column}' is empty for {empty} zones: use another property")
    return labels


def _distinct(names: list[str], ids: list[str]) -> list[str]:
    """Names that are shared by several zones get their id appended."""
    return [name if names.count(name) == 1 else f"{name} ({key})" for name, key in zip(names, ids, strict=True)]
