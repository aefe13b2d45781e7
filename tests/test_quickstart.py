"""The quickstart on a tiny city; the comparison it makes, by hand."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from cmust import demo_city
from cmust.comparison import add_system
from cmust.errors import RunError
from cmust.quickstart import alone_settings, beaten, quickstart
from cmust.settings import make_settings

SETTINGS: dict[str, Any] = {
    "model": {
        "input_steps": 4,
        "horizon": 3,
        **dict.fromkeys(("d_obs", "d_s", "d_t", "d_p", "d_ts", "d_tod", "d_dow"), 4),
        **dict.fromkeys(("cross_width", "self_width", "ffn_width"), 8),
        "heads": 2,
        "prompts": False,
    },
    "training": {"updates_per_epoch": 1, "start_epochs": 2, "rolling_epochs": 1, "refine_epochs": 1, "batch_size": 8},
}


class Silent:
    """Hears of training and says nothing."""

    def plan(self, phases: Any, updates: Any) -> None: ...

    def update(self, phase: Any, epoch: int) -> None: ...

    def event(self, event: Any) -> None: ...


def evaluation(folder: Path, errors: dict[str, dict[str, float]], windows: int = 9, **about: Any) -> Path:
    tasks = {
        task: {"windows": windows, "systems": {name: {"plain": {"mae": mae}} for name, mae in systems.items()}}
        for task, systems in errors.items()
    }
    folder.mkdir()
    base = {"city": {"name": "x"}, "protocol": "purged", "part": "test", "tasks": tasks}
    (folder / "evaluation.json").write_text(json.dumps({**base, **about}))
    return folder


def test_quickstart_can_be_repeated(tmp_path: Path) -> None:
    said: list[str] = []
    made = 0

    def city() -> Any:
        nonlocal made
        made += 1
        return demo_city(weeks=2, places=16).select(tasks=["taxi_pickup", "risk"])

    def again() -> Any:
        return quickstart(
            tmp_path,
            say=said.append,
            training=lambda: nullcontext(Silent()),
            scoring=lambda: nullcontext(lambda task, done, windows: None),
            settings=SETTINGS,
            city=city,
        )

    first = again()
    assert [line[:6] for line in said] == ["1 of 4", "2 of 4", "3 of 4", "4 of 4"]
    for task in ("taxi_pickup", "risk"):
        systems = first.evaluation["tasks"][task]["systems"]
        alone = json.loads((tmp_path / "alone" / "evaluation.json").read_text())["tasks"][task]["systems"]["cmust"]
        assert systems["alone"] == alone
        assert {"cmust", "alone", "weekly_average"} <= set(systems)
    assert "same network, each task alone" in first.report.read_text()
    counted = [json.loads(line) for line in (tmp_path / "alone" / "history.jsonl").read_text().splitlines()]
    assert {e["tasks"][0]: e["updates"] for e in counted if e["event"] == "phase"} == {"taxi_pickup": 4, "risk": 2}

    assert again().evaluation["tasks"] == first.evaluation["tasks"]
    assert made == 1


def test_alone_has_the_epochs_of_the_rolling_plan() -> None:
    training = {"start_epochs": 5, "rolling_epochs": 2, "refine_epochs": 3}
    alone = alone_settings({"training": training}, ["a", "b"])
    assert alone["scheme"] == "alone" and "rolling_epochs" not in alone["training"]
    make_settings(**alone)
    assert alone["training"]["epochs_by_task"] == {
        "a": 5 + 2 + 3,
        "b": 2 + 3,
    }  # the first task is rolled over at the end
    assert training == {"start_epochs": 5, "rolling_epochs": 2, "refine_epochs": 3}


def test_beaten_is_strict() -> None:
    tasks = {"a": (1.0, 2.0), "b": (2.0, 2.0), "c": (3.0, 2.0)}
    scored = {
        name: {"systems": {"cmust": {"plain": {"mae": ours}}, "weekly_average": {"plain": {"mae": theirs}}}}
        for name, (ours, theirs) in tasks.items()
    }
    assert beaten({"tasks": scored}) == ("a",)


def test_add_system_takes_the_other_runs_network_only(tmp_path: Path) -> None:
    ours = evaluation(tmp_path / "ours", {"a": {"cmust": 1.0, "last_value": 5.0}})
    theirs = evaluation(tmp_path / "theirs", {"a": {"cmust": 2.0, "last_value": 7.0}})
    merged = add_system(ours, "alone", theirs)
    errors = {name: scores["plain"]["mae"] for name, scores in merged["tasks"]["a"]["systems"].items()}
    assert errors == {"cmust": 1.0, "last_value": 5.0, "alone": 2.0}
    assert json.loads((ours / "evaluation.json").read_text()) == merged


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"part": "validation"}, "different part"),
        ({"windows": 8}, "9 windows of a"),
        ({"tasks": {}}, "different tasks"),
    ],
)
def test_add_system_refuses_what_does_not_compare(other: dict[str, Any], message: str, tmp_path: Path) -> None:
    ours = evaluation(tmp_path / "ours", {"a": {"cmust": 1.0}})
    theirs = evaluation(tmp_path / "theirs", {"a": {"cmust": 1.0}}, **other)
    with pytest.raises(RunError, match=message):
        add_system(ours, "alone", theirs)
    with pytest.raises(RunError, match="not evaluated yet"):
        add_system(ours, "alone", tmp_path / "nothing")


@pytest.mark.parametrize("name", ["cmust", "last_value", "alone"])
def test_add_system_replaces_no_scores(name: str, tmp_path: Path) -> None:
    ours = evaluation(tmp_path / "ours", {"b": {"cmust": 1.0}, "a": {"cmust": 1.0, "last_value": 5.0, "alone": 3.0}})
    theirs = evaluation(tmp_path / "theirs", {"b": {"cmust": 2.0}, "a": {"cmust": 2.0}})
    before = (ours / "evaluation.json").read_text()
    with pytest.raises(RunError, match=f"has scores of '{name}' for [ab] already"):
        add_system(ours, name, theirs)
    assert (ours / "evaluation.json").read_text() == before


def test_add_system_refuses_forecasts_of_another_length(tmp_path: Path) -> None:
    runs = [evaluation(tmp_path / name, {"a": {"cmust": 1.0}}) for name in ("ours", "theirs")]
    for steps, run in zip((12, 6), runs, strict=True):
        content = json.loads((run / "evaluation.json").read_text())
        content["tasks"]["a"]["systems"]["cmust"]["per_horizon"] = {"plain_mae": [1.0] * steps}
        (run / "evaluation.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"forecasts 12 steps of a, .* forecasts 6; their scores do not compare"):
        add_system(runs[0], "alone", runs[1])
