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
