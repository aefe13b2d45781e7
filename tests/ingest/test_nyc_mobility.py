import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmust.city import open_city
from cmust.errors import CityError, IngestError
from cmust.ingest.recipes.nyc_mobility import nyc_mobility

FOLDER = Path(__file__).parents[3] / "shared" / "data" / "nyc-mobility"
shared = [
    pytest.mark.shared,
    pytest.mark.skipif(not FOLDER.exists(), reason="needs the New York mobility data beside the checkout"),
]
NAMES = ["taxi_pickup", "taxi_dropoff", "bike_pickup", "bike_dropoff"]


class TestRealData:
    pytestmark = shared

    def test_first_quarter(self, tmp_path: Path) -> None:
        city = nyc_mobility(FOLDER, start="2019-01-01", stop="2019-04-01")
        assert list(city.tasks) == NAMES and city.timezone == "America/New_York" and not city.synthetic
        with np.load(FOLDER / "flows-2019h1.npz", allow_pickle=False) as raw:
            for name, task in city.tasks.items():
                assert task.values.shape == (4320, 69, 1) and task.interval == 1800 and task.kind == "count"
                assert (task.time[0], task.time[-1]) == (np.datetime64("2019-01-01"), np.datetime64("2019-03-31T23:30"))
                missing = np.isnan(task.values).all(axis=(1, 2))
                assert task.time[missing].astype(str).tolist() == ["2019-03-10T02:00:00", "2019-03-10T02:30:00"]
                assert np.isnan(task.values).sum() == 2 * 69
                np.testing.assert_array_equal(task.values[~missing, :, 0], raw[name][:4320][~missing])
                assert raw[name][:4320][missing].sum() == 0  # the source says zero where nothing could be
        opened = open_city(city.save(tmp_path / "nyc.zarr.zip"))
        assert opened.fingerprint() == city.fingerprint()

    def test_half_year_and_places(self) -> None:
        city = nyc_mobility(FOLDER)
        task = city.task("taxi_pickup")
        assert task.n_steps == 8688 and task.nodes[:3] == ("Alphabet City", "Battery Park", "Battery Park City")
        assert task.geometry is not None
        for lon, lat, shape in zip(task.lon, task.lat, task.geometry, strict=True):
            assert shape is not None
            rings = shape["coordinates"] if shape["type"] == "Polygon" else [r for p in shape["coordinates"] for r in p]
            corners = np.concatenate([np.asarray(ring) for ring in rings])
            assert (corners.min(axis=0) <= [lon, lat]).all() and (corners.max(axis=0) >= [lon, lat]).all()

    def test_time_outside_the_data(self) -> None:
        with pytest.raises(CityError, match="no step lies in"):
            nyc_mobility(FOLDER, start="2020-01-01")

    def test_a_checkout_of_the_repository_holds_the_same_counts(self, tmp_path: Path) -> None:
        with np.load(FOLDER / "flows-2019h1.npz", allow_pickle=False) as raw:
            counts, zones, names = {name: raw[name] for name in NAMES}, raw["zone_id"], raw["zone_name"]
        shapes = [each["geometry"] for each in json.loads((FOLDER / "zones.geojson").read_text())["features"]]
        checkout(tmp_path, counts, zones.tolist(), names.tolist(), shapes, np.datetime64("2019-01", "M"))
        compact, cloned = nyc_mobility(FOLDER), nyc_mobility(tmp_path)
        for name, task in compact.tasks.items():
            same = cloned.task(name)
            np.testing.assert_array_equal(same.values, task.values)
            np.testing.assert_array_equal(same.time, task.time)
            assert same.nodes == task.nodes and same.geometry == task.geometry
            np.testing.assert_allclose(np.stack([same.lon, same.lat]), np.stack([task.lon, task.lat]), atol=5e-6)


def checkout(
    folder: Path,
    counts: dict[str, Any],
    zones: list[int],
    names: list[str],
    shapes: list[Any],
    first: np.datetime64,
) -> None:
    """The repository's files: for each month and mode 31 days of counts, as its ``data-processing`` writes them."""
    places = folder / "data-NYCZones" / "zones"
    for part in (places, folder / "data-NYCTaxi" / "30min", folder / "data-NYCBike" / "30min"):
        part.mkdir(parents=True, exist_ok=True)
    lines = [f"{zone},{at},{name}" for at, (zone, name) in enumerate(zip(zones, names, strict=True))]
    (places / "manhattan_zones.csv").write_text("\n".join(["zone_id,graph_id,zone_name", *lines]) + "\n")
    features = [
        {"type": "Feature", "properties": {"LocationID": zone, "zone": name}, "geometry": shape}
        for zone, name, shape in zip(zones, names, shapes, strict=True)
    ]
    (places / "reprojected_manhattan_data.json").write_text(json.dumps({"features": features}))
    at, month = 0, first
    while at < len(counts["taxi_pickup"]):
        steps = 48 * int(((month + 1).astype("datetime64[D]") - month.astype("datetime64[D]")).astype(int))
        taxi, bike = (np.zeros((2, 31 * 48, len(zones))) for _ in range(2))
        taxi[0, :steps], taxi[1, :steps] = (counts[name][at : at + steps] for name in ("taxi_dropoff", "taxi_pickup"))
        bike[0, :steps], bike[1, :steps] = (counts[name][at : at + steps] for name in ("bike_pickup", "bike_dropoff"))
        np.savez_compressed(folder / "data-NYCTaxi/30min" / f"yellow_tripdata_{month}-graph-inoutflow.npz", taxi)
        name = f"{str(month).replace('-', '')}-citibike-tripdata-graph-inoutflow-30.npz"
        np.savez_compressed(folder / "data-NYCBike/30min" / name, bike)
        at, month = at + steps, month + 1


def small_checkout(folder: Path) -> dict[str, Any]:
    """Two zones of one name, January to March 2020, whose February has 29 days."""
    rng = np.random.default_rng(0)
    counts = {name: rng.integers(1, 9, (91 * 48, 2)) for name in NAMES}
    shape = {"type": "Polygon", "coordinates": [[[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]]]}
    checkout(folder, counts, [7, 9], ["Park", "Park"], [shape, shape], np.datetime64("2020-01", "M"))
    return counts


def test_small_checkout(tmp_path: Path) -> None:
    counts = small_checkout(tmp_path)
    city = nyc_mobility(tmp_path)
    for name, task in city.tasks.items():
        assert (task.time[0], task.time[-1]) == (np.datetime64("2020-01-01"), np.datetime64("2020-03-31T23:30"))
        gone = np.isnan(task.values).all(axis=(1, 2))
        assert task.time[gone].astype(str).tolist() == ["2020-03-08T02:00:00", "2020-03-08T02:30:00"]
        np.testing.assert_array_equal(task.values[~gone, :, 0], counts[name][~gone])
        assert task.nodes == ("Park (7)", "Park (9)") and task.lon.tolist() == [1, 1] and task.lat.tolist() == [1, 1]


def test_bad_checkouts(tmp_path: Path) -> None:
    small_checkout(tmp_path)
    bike = tmp_path / "data-NYCBike/30min/202002-citibike-tripdata-graph-inoutflow-30.npz"
    taxi = tmp_path / "data-NYCTaxi/30min/yellow_tripdata_2020-02-graph-inoutflow.npz"
    counts = np.load(bike)["arr_0"]
    counts[0, 29 * 48, 0] = 1
    np.savez_compressed(bike, counts)
    with pytest.raises(IngestError, match=r"202002-.* counts trips after the last day of 2020-02"):
        nyc_mobility(tmp_path)
    np.savez_compressed(bike, counts[:, :, :1])
    with pytest.raises(IngestError, match=r"202002-.* has counts of shape \(2, 1488, 1\), not \(2, 1488, 2\)"):
        nyc_mobility(tmp_path)
    bike.unlink()
    with pytest.raises(IngestError, match="has the month 2020-02 of one mode and not of the other"):
        nyc_mobility(tmp_path)
    taxi.unlink()
    with pytest.raises(IngestError, match="lack a month between 2020-01 and 2020-03"):
        nyc_mobility(tmp_path)
    zones = tmp_path / "data-NYCZones/zones/manhattan_zones.csv"
    zones.write_text("zone_id,graph_id,zone_name\n9,0,Park\n7,1,Garden\n")
    with pytest.raises(IngestError, match=r"reprojected_manhattan_data\.json lists 2 zones, not the 2 of the counts"):
        nyc_mobility(tmp_path)
    zones.write_text("zone_id,graph_id\n9,0\n")
    with pytest.raises(IngestError, match=r"manhattan_zones\.csv is no list of zones"):
        nyc_mobility(tmp_path)
    zones.unlink()
    with pytest.raises(IngestError, match=r"there is no file .*manhattan_zones\.csv: give a checkout of https"):
        nyc_mobility(tmp_path)


def write(folder: Path, **changes: Any) -> None:
    """The two files in small: two zones that share a name, four half hours around the skipped hour."""
    arrays: dict[str, Any] = {
        "time": np.datetime64("2019-03-10T01:30", "m") + 30 * np.arange(4),
        "zone_id": np.array([7, 9]),
        "zone_name": np.array(["Park", "Park"]),
        "lon": np.array([-73.9, -74.0]),
        "lat": np.array([40.7, 40.8]),
        **{name: np.array([[1, 2], [0, 0], [0, 0], [3, 4]], np.uint16) for name in NAMES},
        **changes,
    }
    np.savez(folder / "flows-2019h1.npz", **{key: array for key, array in arrays.items() if array is not None})
    shape = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}
    features = [{"type": "Feature", "properties": {"zone_id": zone}, "geometry": shape} for zone in (7, 9)]
    (folder / "zones.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))


def test_small_files(tmp_path: Path) -> None:
    write(tmp_path)
    task = nyc_mobility(tmp_path).task("bike_pickup")
    np.testing.assert_array_equal(task.values[:, :, 0], [[1, 2], [np.nan, np.nan], [np.nan, np.nan], [3, 4]])
    assert task.nodes == ("Park (7)", "Park (9)")


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(IngestError, match=r"there is no file .*flows-2019h1\.npz"):
        nyc_mobility(tmp_path)
    write(tmp_path, bike_pickup=None)
    with pytest.raises(IngestError, match="has no array 'bike_pickup'"):
        nyc_mobility(tmp_path)
    write(tmp_path, zone_name=np.array(["a", None], object))
    with pytest.raises(IngestError, match=r"cannot be read as a numpy archive .*allow_pickle=False"):
        nyc_mobility(tmp_path)
    write(tmp_path, zone_id=np.array([9, 7]))
    with pytest.raises(IngestError, match=r"zones\.geojson lists 2 zones, not the 2 of the counts in their order"):
        nyc_mobility(tmp_path)
    write(tmp_path)
    (tmp_path / "zones.geojson").write_text("{}")
    with pytest.raises(IngestError, match=r"zones\.geojson is not GeoJSON"):
        nyc_mobility(tmp_path)
    (tmp_path / "flows-2019h1.npz").write_bytes((tmp_path / "flows-2019h1.npz").read_bytes()[:-30])
    with pytest.raises(IngestError, match="cannot be read as a numpy archive"):
        nyc_mobility(tmp_path)
