import re
from pathlib import Path

import pytest


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "city.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 5
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in blocks:  # one after the other, as a reader would type them
        exec(block, names)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first-day.zarr.zip", "two-places.zarr.zip"]
