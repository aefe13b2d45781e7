"""The trained bundle that ships with the tests, and what it forecast when it was made."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file

from cmust.bundle.schema import digest
from cmust.city import City, Task

HERE = Path(__file__).parent
DEMO = HERE / "demo"
EXPECTED = load_file(HERE / "expected.safetensors")
DOCUMENT = json.loads((DEMO / "model.json").read_text())


def recent_city(**values: np.ndarray) -> City:
    """The last twelve steps the stored forecasts were made from, built from what the bundle says of its places."""
    with safe_open(HERE / "expected.safetensors", "np") as file:
        start = np.datetime64(file.metadata()["start"], "s")
    tasks = {}
    for name, about in DOCUMENT["tasks"].items():
        tasks[name] = Task(
            name=name,
            values=values.get(name, EXPECTED[f"{name}.recent"]),
            time=start + np.arange(12) * np.timedelta64(about["interval"], "s"),
            nodes=tuple(about["nodes"]),
            lon=np.array(about["lon"]),
            lat=np.array(about["lat"]),
            interval=about["interval"],
            unit=about["unit"],
            kind=about["kind"],
        )
    return City("demo", tasks, synthetic=True)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(DEMO, tmp_path / "copy"))


Change = Callable[[Callable[[dict[str, Any]], Any]], None]


@pytest.fixture
def change(copy: Path) -> Change:
    """Change ``model.json`` of the copy and give it the digest of its new content: a hand that knows the layout."""

    def apply(edit: Callable[[dict[str, Any]], Any]) -> None:
        document = json.loads((copy / "model.json").read_text())
        edit(document)
        document["digest"] = digest(document)
        (copy / "model.json").write_text(json.dumps(document))

    return apply
