"""The study of updates: what a cut at which nothing was kept tells."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cmust.experiments.updating as study
from cmust import Forecaster
from cmust.city import City
from cmust.continual.update import Update
from tests.continual.conftest import CUT, QUICK, whole_city
from tests.rolling.tiny import tiny_settings

CUTS = (CUT, "2024-03-24", "2024-03-28")


def test_a_cut_that_kept_nothing_tells_its_own_costs(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, made = tmp_path / "study", study.update

    def fit(city: City, run: Path, **options: Any) -> None:
        if not run.exists():
            shutil.copytree(trained, run)

    def update(run: Path, city: City, **options: Any) -> Update:
        if city.tasks["trips"].time[-1] < np.datetime64(CUTS[1]):
            return made(run, city, **options)
        tasks = {name: {"kept": "before"} for name in city.tasks}
        return Update(Forecaster.load(run), {"tasks": tasks, "costs": {"updates": 3, "seconds": 1234.5}}, None)

    monkeypatch.setattr(study, "update", update)
    monkeypatch.setattr(study, "fit", fit)
    study.run_study(whole_city(), folder, tiny_settings("tuned", training=QUICK), cuts=CUTS, accelerator="cpu")
    first, second = (json.loads((folder / f"after-{cut}.json").read_text()) for cut in CUTS[1:])
    assert first["version"] == second["version"] == 2 and "updated" in first["kept"].values()
    assert second["costs"] == {"updates": 3, "seconds": 1234.5} and first["costs"] != second["costs"]
    assert second["kept"] == {"trips": "before", "visits": "before"}
    # Killed after an update, before it was scored: what its version tells.
    (folder / f"after-{CUTS[1]}.json").unlink()
    monkeypatch.setattr(study, "update", None)
    study.run_study(whole_city(), folder, tiny_settings("tuned", training=QUICK), cuts=CUTS, accelerator="cpu")
    assert json.loads((folder / f"after-{CUTS[1]}.json").read_text()) == first
