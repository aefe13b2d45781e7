from pathlib import Path

import numpy as np
import pytest
import torch

from cmust.city import City, Task

DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Small products are quicker on one thread, and their sums the same on every machine with a given processor."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def nyc_quarter() -> City:
    """Manhattan, first quarter of 2019; the hour that does not exist is left as it stands in the file (zeros)."""
    path = DATA / "nyc-mobility" / "flows-2019h1.npz"
    if not path.exists():
        pytest.skip(f"needs the real data beside the checkout ({path})")
    names = ("taxi_pickup", "taxi_dropoff", "bike_pickup", "bike_dropoff")
    with np.load(path, allow_pickle=False) as file:
        time = np.asarray(file["time"]).astype("datetime64[s]")[:4320]
        zones = tuple(str(zone) for zone in file["zone_id"])
        tasks = {
            name: Task(
                name=name,
                values=file[name][:4320, :, None].astype(np.float32),
                time=time,
                nodes=zones,
                lon=file["lon"],
                lat=file["lat"],
                interval=1800,
                unit="trips / 30 min",
                kind="count",
            )
            for name in names
        }
    return City("nyc", tasks, timezone="UTC")
