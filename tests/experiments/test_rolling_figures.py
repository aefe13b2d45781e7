"""Table 6 and Figure 4a on a tiny city: what they compute, and what is drawn from what is stored."""

import json
import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cmust import Forecaster
from cmust.assembly import load_trunk
from cmust.errors import ConfigError
from cmust.experiments import fig4a, table6
from cmust.experiments.attention import INTERACTIONS, _map, attention_maps, change
from cmust.experiments.budget import Budget, Pace, Part
from cmust.experiments.engine import Cell, records
from cmust.experiments.rendering import render
from cmust.experiments.study import make_terms, run
from cmust.experiments.work import Terms
from cmust.naive import LABELS
from cmust.windows import make_windows
from tests.experiments.kills import SETTINGS
from tests.rolling.tiny import quick_prompts, small_city, tiny_city, tiny_task


class Stops:
    """A watcher that ends training at an update, as a kill would; it notes the phases of all updates."""

    def __init__(self, left: int) -> None:
        self.left, self.phases = left, list[str]()

    def plan(self, phases: Any, updates: Any) -> None:
        """Nothing to do."""

    def update(self, phase: Any, epoch: int) -> None:
        self.left -= 1
        self.phases.append(phase.name)
        if not self.left:
            raise KeyboardInterrupt

    def event(self, event: Any) -> None:
        """Nothing to do."""


@pytest.fixture(scope="module")
def cold(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiment") / "table6"
    terms = make_terms(small_city(), "smoke", SETTINGS, "cpu")
    with quick_prompts():
        run(table6.TABLE6, table6.cells(("trips", "visits"), "cmust_tuned", (0,))[1:], terms, folder)
    return folder


def test_the_last_task_is_adapted_and_trained_alone(cold: Path) -> None:
    (record,) = records(cold)
    assert record["cell"]["tasks"] == ["trips", "visits"] and list(record["tasks"]) == ["visits"]
    assert set(record["tasks"]["visits"]["systems"]) == {"single_task", "cold_start", *LABELS}
    costs = record["later"]["costs"]
    # Three updates of every phase: alone there is one, adapting has the head's and the rest's.
    assert (costs["single_task"]["updates"], costs["cold_start"]["updates"]) == (3, 6)
    (place,) = (cold / "runs").iterdir()
    before = Forecaster.load(place / "before" / "run")
    adaptation = json.loads((place / "last" / "adapt.json").read_text())
    assert list(before.tasks) == ["trips"]
    # The test part begins after 0.8 of 14 days from 4 March: on the 15th, at 4:48.
    assert adaptation["history"]["until"] == "2024-03-15T04:00:00" < adaptation["tasks"]["visits"]["from"]
    assert before.tasks["trips"].about["seen"]["until"] <= "2024-03-15T04:00:00"
    test = make_windows(small_city(), "purged", 4, 3)["visits"].split.starts["test"]
    assert record["tasks"]["visits"]["windows"] == len(test)


def test_the_last_task_is_cut_where_the_city_is(tmp_path: Path) -> None:
    """Whichever task is last, and however much longer its data goes on than that of the others."""
    city = tiny_city(tiny_task("trips", steps=252), tiny_task("visits", steps=168))
    parts = make_windows(city, "purged", 4, 3)
    with quick_prompts():
        terms = make_terms(city, "smoke", SETTINGS, "cpu")
        run(table6.TABLE6, table6.cells(("trips", "visits"), "cmust_tuned", (0,)), terms, tmp_path)
    for record in records(tmp_path):
        ((last, entry),) = record["tasks"].items()
        assert entry["windows"] == len(parts[last].split.starts["test"])


def test_interrupted_it_goes_on_where_it_was(tmp_path: Path) -> None:
    cell = table6.cells(("trips", "visits"), "cmust_tuned", (0,))[1]
    terms = make_terms(small_city(), "smoke", SETTINGS, "cpu")
    again = Stops(99)
    with quick_prompts():
        with pytest.raises(KeyboardInterrupt):
            table6.work(cell, tmp_path, terms, Stops(11))  # nine for trips, then the second of the head of visits
        record = table6.work(cell, tmp_path, terms, again)
    assert list(dict.fromkeys(again.phases)) == ["head visits", "adapt visits", "alone visits"]
    assert record["later"]["costs"]["cold_start"]["updates"] == 6


def test_table6_tells_errors_and_seconds(cold: Path) -> None:
    text = render(cold)
    (record,) = records(cold)
    assert "| visits MAE | visits MAPE | visits seconds |" in text
    rows = {line.split(" | ")[0]: line for line in text.splitlines()}
    for system in ("single_task", "cold_start"):
        scores = record["tasks"]["visits"]["systems"][system]
        assert f"{scores['masked']['mae']:.2f} ({scores['plain']['mae']:.2f})" in text
        assert f"| {record['later']['costs'][system]['seconds']:.2f} |" in text
    assert rows["| last value"].endswith("|  |") and "Preset: tuned." in text
    assert (cold / "table6.png").stat().st_size > 5000 and "visits seconds" in (cold / "table6.tex").read_text()


def test_the_last_task_ends_by_itself_within_its_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table6, "timed", lambda cell, place, terms, scheme, batch: Pace(0.5, 1.0))
    training = {"start_epochs": 20, "refine_epochs": 10, "head_epochs": 4, "patience": 8, "batch_size": 1}
    terms = Terms(small_city(), Budget("minutes", 0.5), {**SETTINGS, "training": training}, "cpu")
    settled = table6._settled(Cell("cmust_tuned", ("visits",), 0), tmp_path, terms)
    # A quarter of 30 s for validations of a second: 7.5 of 20 epochs, and as much of everything else; the other 22 s
    # are 44 updates in 8 epochs.
    changes = {"start_epochs": 8, "refine_epochs": 4, "head_epochs": 2, "updates_per_epoch": 5, "patience": 3}
    assert settled["training"] == changes and settled["seconds"] == 30
    assert Part("refine_epochs", table6.UNCOUNTED).pace == Pace(0, 0)


def test_a_cold_start_needs_other_tasks_and_one_cut(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="the city has trips only"):
        table6.cells(("trips",), "cmust_tuned", (0,))
    assert [cell.tasks[-1] for cell in table6.cells(("a", "b", "c"), "cmust_tuned", (0,))] == ["a", "b", "c"]
    terms = make_terms(small_city(), "smoke", {**SETTINGS, "protocol": "published"}, "cpu")
    with pytest.raises(ConfigError, match="cuts all tasks at one time"):
        run(table6.TABLE6, [Cell("cmust_tuned", ("trips", "visits"), 0)], terms, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interrupted within the second phase of rolling, and begun again."""
    folder = tmp_path_factory.mktemp("experiment") / "fig4a"
    cell = fig4a.cells(("trips", "visits"), "cmust_tuned", (0,))[0]
    fast = {**SETTINGS, "training": {"batch_size": 32, "rate": 0.05, "rolling_factor": 1, "warmup_updates": 0}}
    terms = make_terms(small_city(), "smoke", fast, "cpu")
    with quick_prompts():
        with pytest.raises(KeyboardInterrupt):
            run(fig4a.FIG4A, [cell], terms, folder, watching=lambda: nullcontext(Stops(5)))
        run(fig4a.FIG4A, [cell], terms, folder)
    return folder


def test_attention_is_of_the_weights_that_each_phase_ended_with(seen: Path) -> None:
    (record,) = records(seen)
    phases = record["attention"]["phases"]
    assert [each["phase"] for each in phases] == ["start trips", "roll 2 visits", "roll 3 trips"]
    (place,) = (seen / "runs").iterdir()
    assert not (place / "phases").exists()
    forecaster, city = Forecaster.load(place / "run"), small_city()
    # The last phase of rolling gives W*, which the run has kept otherwise.
    star = forecaster.star
    assert star is not None
    starts = make_windows(city, "purged", 4, 3)["trips"].split.starts["validation"]
    chosen = starts[[round(place * (len(starts) - 1) / 7) for place in range(8)]]
    trunk, model = load_trunk(forecaster.config, 12, star.weights), forecaster.tasks["trips"]
    again = attention_maps(trunk, model.head, forecaster.windows(city.tasks["trips"]), chosen)
    near = {label: np.abs(again[label].parts - np.array(phases[2]["maps"][label]["parts"])).max() for label in again}
    far = {label: np.abs(again[label].parts - np.array(phases[0]["maps"][label]["parts"])).max() for label in again}
    # Those of context and observation know no prompt but for rounding; weights of another phase would differ.
    crossed = [label for label in INTERACTIONS.values() if "observation" in label]
    assert set(again) == set(INTERACTIONS.values()) and max(near[label] for label in crossed) < 2e-5
    assert min(far[label] for label in crossed) > 1e-3
    for each in phases:
        for shown in each["maps"].values():
            np.testing.assert_allclose(np.array(shown["parts"]).sum(1), 1, atol=1e-3)
            assert 0 <= shown["focus"] <= 1


def test_fig4a_is_drawn_from_what_is_stored(seen: Path) -> None:
    text = render(seen)
    (record,) = records(seen)
    first, second, _ = record["attention"]["phases"]
    label = "space → observation"
    before, after = (np.array(each["maps"][label]["parts"]) for each in (first, second))
    moved = sum(abs(after[i, j] - before[i, j]) for i in range(3) for j in range(3)) / 2 / 3
    rows = {line.split(" | ")[0][2:]: line for line in text.splitlines() if line.startswith("| ")}
    focus = second["maps"][label]["focus"]
    assert f"| {focus:.2%} | {moved:.2%} |" in rows["roll 2 visits"] and f"{label}, focus" in text
    assert "Preset: tuned. Always on the same 8 windows of the validation part of trips" in text
    assert (seen / "fig4a.png").stat().st_size > 5000 and r"space $\to$ observation" in (seen / "fig4a.tex").read_text()


def test_maps_by_hand() -> None:
    even, one = torch.full((1, 4, 4), 0.25).double(), torch.eye(4).double()[None]
    order = torch.arange(4)
    assert _map(even, order).focus == pytest.approx(0) and _map(one, order).focus == pytest.approx(1)
    half = torch.tensor([[[0.5, 0.5, 0, 0]] * 4]).double()
    assert _map(half, order).focus == pytest.approx(1 - math.log(2) / math.log(4))
    turned = _map(half, torch.tensor([3, 2, 1, 0])).parts
    np.testing.assert_allclose(turned, [[0, 0, 0.5, 0.5]] * 4)
    assert change(turned, _map(half, order).parts) == pytest.approx(1)
    wide = torch.zeros(1, 24, 24)
    wide[:, :, 5] = 1  # all look at the sixth of 24: the third pair of 12
    np.testing.assert_allclose(_map(wide[:, :18, :18], torch.arange(18)).even, [2 / 18] * 6 + [1 / 18] * 6)
    np.testing.assert_allclose(_map(wide, torch.arange(24)).parts, [[0, 0, 1] + [0] * 9] * 12)
