"""Made-up records of what comes after training: a backtest, calibrated intervals, an adapted and an updated version."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

SYSTEMS = ("cmust", "last_value", "weekly_average")


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def row(name: str, ours: float, other: float) -> dict[str, Any]:
    """CMuST errs by ``ours``, the weekly average by ``other``, the last value by 9."""
    mae = dict(zip(SYSTEMS, (ours, 9.0, other), strict=True))
    return {"name": name, "targets": 120, "mean": 31.25, "mae": mae, "bias": {"cmust": -0.75, "weekly_average": 1.5}}


def add_backtest(run: Path, version: int = 1) -> dict[str, Any]:
    """CMuST loses on the last task only; on the first its share of the weekly average's error goes from 50 to 80 %."""
    tasks = read(run / "model" / "model.json")["tasks"]
    stored: dict[str, Any] = {}
    for name, task in tasks.items():
        ours = 6.5 if name == list(tasks)[-1] else 4.125
        stored[name] = {
            "unit": task["unit"],
            "interval": 1800,
            "from": "2019-03-11T00:00:00",
            "until": "2019-03-24T23:30:00",
            "origins": 660,
            "by": {
                "whole": [row("all", ours, 5.5)],
                "horizon": [row("1", 3.0, 5.5), row("2", 4.0, 5.5)],
                "place": [row(node, 2 + at, 3 + at) for at, node in enumerate(task["nodes"])][1:],
                "week": [row("2019-03-11", 2.5, 5.0), row("2019-03-18", 4.0, 5.0)],
                "weekday": [row("Monday", 3.5, 5.5), row("Sunday", 4.5, 5.5)],
                "hour": [row("00", 1.5, 2.5), row("17", 7.5, 8.5)],
                "holiday": [row("no", 4.25, 5.5), row("yes", 8.75, 5.5)],
            },
        }
    first, second = list(tasks)[:2]
    backtest = {
        "schema": 1,
        "made": {"when": "2024-05-02T12:00:00", "command": "cmust evaluate", "version": "0.1.0"},
        "city": {"name": "demo city", "synthetic": True},
        "version": version,
        "tasks": stored,
        "forgetting": [
            {"phase": f"roll 1 {first}", "losses": {first: 0.125}, "change": {first: 0.0}},
            {
                "phase": f"roll 2 {second}",
                "losses": {first: 0.14, second: 0.25},
                "change": {first: 0.12, second: 0.0},
            },
        ],
    }
    (run / "backtest.json").write_text(json.dumps(backtest))
    return backtest


def interval_scores(covered: float, width: float) -> dict[str, Any]:
    def means(count: int) -> dict[str, Any]:
        steps = range(count)
        return {
            "coverage": [covered - 0.01 * at for at in steps],
            "width": [width + at for at in steps],
            "interval_score": [2 * width + at for at in steps],
        }

    return {
        "coverage": covered,
        "width": width,
        "interval_score": 2 * width,
        "count": 5000,
        "per_horizon": means(3),
        "per_group": means(2),
    }


def seal(path: Path, content: dict[str, Any]) -> None:
    """Write intervals with the checksum that the format asks for: of the content, its keys in order."""
    content = {key: value for key, value in content.items() if key != "checksum"}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    path.write_text(json.dumps({**content, "checksum": digest}))


def add_intervals(run: Path, version: int = 1) -> dict[str, Any]:
    tasks = read(run / "model" / "model.json")["tasks"]
    content = {
        "schema": 1,
        "made": {"when": "2024-05-02T12:00:00"},
        "version": version,
        "tasks": {
            name: {
                "unit": task["unit"],
                "from": "2019-03-11T00:00:00",
                "until": "2019-03-24T23:30:00",
                "origins": 660,
                "groups": [
                    {"channel": "value", "nodes": task["nodes"][:6]},
                    {"channel": "value", "nodes": task["nodes"][6:]},
                ],
                "systems": {
                    "cmust": {"0.5": interval_scores(0.512, 7.5), "0.9": interval_scores(0.897, 21.5)},
                    "weekly_average": {"0.5": interval_scores(0.45, 9.5), "0.9": interval_scores(0.85, 27.5)},
                },
            }
            for name, task in tasks.items()
        },
        "states": {},
    }
    seal(run / "intervals.json", content)
    return content


def add_version(
    run: Path, number: int, made_by: str, weights: dict[str, str], record: dict[str, Any], history: bool = True
) -> None:
    """A version from the one before, in force; ``weights`` are checksums by task, those of the first are made up."""
    first = run / "model" / "model.json"
    model = read(first)
    if "checksums" not in model:
        model["checksums"] = {f"tasks/{name}.safetensors": f"first {name}" for name in model["tasks"]}
        first.write_text(json.dumps(model))
    folder = run / "versions" / f"{number:04d}"
    (folder / "model").mkdir(parents=True)
    some = next(iter(model["tasks"].values()))
    tasks = {name: model["tasks"].get(name, some) for name in weights}
    sums = {f"tasks/{name}.safetensors": digest for name, digest in weights.items()}
    (folder / "model" / "model.json").write_text(json.dumps({"schema": 2, "tasks": tasks, "checksums": sums}))
    about = {
        "schema": 1,
        "number": number,
        "parent": number - 1,
        "made_by": made_by,
        "made": {"when": f"2024-06-0{number}T08:00:00+00:00", "command": f"cmust {made_by} {run}", "versions": {}},
        "city": {"name": "new city", "fingerprint": "cd" * 32, "synthetic": True},
        "tasks": [name for name in weights if name not in model["tasks"]] or list(weights)[:1],
    }
    (folder / "version.json").write_text(json.dumps(about))
    (folder / f"{made_by}.json").write_text(json.dumps({"schema": 1, **record}))
    if history:
        shutil.copyfile(run / "history.jsonl", folder / "history.jsonl")
    (run / "current.json").write_text(json.dumps({"schema": 1, "current": number, "last": number}))


def adapt_record() -> dict[str, Any]:
    def cost(epochs: int, seconds: float) -> dict[str, Any]:
        return {
            "epochs": epochs,
            "most_epochs": 30,
            "best_epoch": 4,
            "updates": 40 * epochs,
            "trained_weights": 54321,
            "seconds": seconds,
        }

    def scores(mae: float) -> dict[str, Any]:
        return {
            "plain": {"mae": mae, "rmse": 2 * mae, "wape": 0.25},
            "masked": {"mae": mae + 1, "rmse": 2 * mae + 1, "mape": 0.5},
        }

    return {
        "adapted": {"task": "bikes", "name": "bikes", "like": None, "train": "prompt", "until": "2024-05-01"},
        "city": {"name": "new city", "fingerprint": "cd" * 32, "synthetic": True},
        "protocol": "after the history",
        "part": "test",
        "history": {"from": "2024-04-20T00:00:00", "until": "2024-04-30T23:30:00", "steps": 528, "trained_steps": 432},
        "tasks": {
            "bikes": {
                "unit": "trips / 30 min",
                "kind": "count",
                "interval": 1800,
                "nodes": ["a", "b"],
                "windows": 77,
                "systems": {"cmust": scores(3.25), "from_scratch": scores(4.75), "weekly_average": scores(5.25)},
            }
        },
        "costs": {"cmust": cost(7, 12.0), "from_scratch": cost(29, 66.0)},
        "training": {},
    }


def update_record(name: str, left_out: str) -> dict[str, Any]:
    def fresh(mae: float) -> dict[str, Any]:
        return {"plain_mae": mae, "from": "2024-06-01T00:00:00", "until": "2024-06-07T23:30:00"}

    return {
        "tasks": {
            name: {
                "kept": "new_profile",
                "fresh": {"before": fresh(6.25), "new_profile": fresh(5.75), "updated": fresh(5.875)},
                "new_from": "2024-05-25T00:00:00",
            }
        },
        "costs": {"updates": 480, "seconds": 75.0},
        "frozen_share": 0.375,
        "left_out": {left_out: f"task {left_out!r} has no new data"},
    }
