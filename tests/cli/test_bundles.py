"""``cmust bundle`` and ``cmust export-model``, and that the commands of a run take a bundle."""

import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.bundle.conftest import DEMO, recent_city
from tests.cli.test_commands import error, run


@pytest.fixture
def city(tmp_path: Path) -> Path:
    recent_city().save(tmp_path / "recent.zarr.zip")
    return tmp_path / "recent.zarr.zip"


def test_a_run_bundled_and_used(city: Path, tmp_path: Path) -> None:
    shutil.copytree(DEMO, tmp_path / "run" / "model")  # a run whose model alone was kept
    output = run("bundle", tmp_path / "run", tmp_path / "bundle", "--license", "mit")
    assert output == f"wrote {tmp_path / 'bundle'}: crowd_in, taxi_pickup; 0.3 MB; its card is README.md\n"
    assert 'license: "mit"' in (tmp_path / "bundle" / "README.md").read_text()
    tables = []
    for place in ("run", "bundle"):
        run("forecast", tmp_path / place, city, "--out", tmp_path / f"{place}.csv")
        tables.append(pd.read_csv(tmp_path / f"{place}.csv"))
    pd.testing.assert_frame_equal(*tables)
    assert "exists already" in error("bundle", tmp_path / "run", tmp_path / "bundle")


def test_export_model(tmp_path: Path) -> None:
    target = tmp_path / "crowd.pt2"
    assert (
        run("export-model", DEMO, target, "--task", "crowd_in") == f"wrote {target}: load it with torch.export.load\n"
    )
    assert target.stat().st_size > 10_000
    assert "no task 'metro'; it has crowd_in, taxi_pickup" in error("export-model", DEMO, target, "--task", "metro")
    assert "is a .pt2 file" in error("export-model", DEMO, tmp_path / "crowd.onnx", "--task", "crowd_in")


def test_pushing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert "--push OWNER/NAME" in error("bundle", DEMO, tmp_path / "a", "--private")
    assert "pip install 'cmust[hub]'" in error("bundle", DEMO, tmp_path / "b", "--push", "me/demo")
    assert not list(tmp_path.iterdir())
    pushed: dict[str, object] = {}

    def upload(folder: Path, repo_id: str, **options: object) -> str:
        pushed.update(options, to=repo_id, files=len(list(folder.iterdir())))
        return "at"

    monkeypatch.setitem(sys.modules, "huggingface_hub", object())
    monkeypatch.setattr("cmust.bundle.hub.push", upload)
    assert run("bundle", DEMO, tmp_path / "c", "--push", "me/demo", "--private").endswith("pushed: at\n")
    assert pushed == {"private": True, "to": "me/demo", "files": 4}


def test_what_a_bundle_cannot_do_says_so(city: Path, tmp_path: Path) -> None:
    assert "is a bundle: it has no history" in error("report", DEMO)
    assert "city 'demo' has no window to score" in error("evaluate", DEMO, city)
    assert "not a run folder or a bundle" in error("bundle", tmp_path, tmp_path / "bundle")
