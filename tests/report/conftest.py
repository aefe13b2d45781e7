"""Made-up run folders: every file of the contract, with numbers that follow from a fixed seed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SYSTEMS = ("cmust", "alone", "last_value", "yesterday", "last_week", "weekly_average", "scaled_weekly_average")
LAYERS = [
    f"msti.0.{part}.{tensor}" for part in ("scci", "tcci", "tsi", "ssi") for tensor in ("attention", "ffn", "norm")
]


def places(count: int) -> dict[str, Any]:
    """``count`` places on a slanted grid, each a four-sided polygon around its centre, in longitude and latitude."""
    rng = np.random.default_rng(1)
    across = max(int(count**0.5 * 0.7), 1)
    column, row = np.arange(count) % across, np.arange(count) // across
    lon = -74.02 + 0.011 * column + 0.004 * row
    lat = 40.70 + 0.010 * row - 0.003 * column
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [-1, -1]]) * [0.005, 0.0045]
    geometry = []
    for x, y in zip(lon, lat, strict=True):
        ring = corners + np.array([x, y]) + rng.normal(0, 0.0003, corners.shape)
        ring[-1] = ring[0]
        geometry.append({"type": "Polygon", "coordinates": [ring.tolist()]})
    names = [f"Zone {i + 1}" for i in range(count)]
    return {"nodes": names, "lon": lon.tolist(), "lat": lat.tolist(), "geometry": geometry}


def scores(rng: np.random.Generator, level: float, nodes: int, horizons: int = 12) -> dict[str, Any]:
    per_node = level * rng.gamma(2.0, 0.5, nodes)
    ramp = level * np.linspace(0.75, 1.2, horizons)
    return {
        "plain": {"mae": level, "rmse": level * 1.6, "wape": level / 60},
        "masked": {"mae": level * 1.15, "rmse": level * 1.7, "mape": level / 40},
        "per_horizon": {"plain_mae": ramp.tolist(), "masked_mae": (1.15 * ramp).tolist()},
        "per_node": {"plain_mae": per_node.tolist()},
    }


def make_evaluation(tasks: dict[str, dict[str, Any]], synthetic: bool = True) -> dict[str, Any]:
    """CMuST is best everywhere, except on the last task, where two naive forecasts beat it."""
    rng = np.random.default_rng(2)
    evaluated = {}
    for number, (name, task) in enumerate(tasks.items()):
        last = number == len(tasks) - 1
        levels = dict(zip(SYSTEMS, (4.0, 4.2, 12.0, 7.0, 5.2, 5.0, 3.5 if last else 4.8), strict=True))
        levels["weekly_average"] = 3.9 if last else 5.0
        evaluated[name] = {
            "unit": task["unit"],
            "kind": task["kind"],
            "interval": task["interval"],
            "nodes": task["nodes"],
            "windows": 850,
            "systems": {
                system: scores(rng, level * (1 + number), len(task["nodes"])) for system, level in levels.items()
            },
        }
    return {
        "schema": 1,
        "made": {
            "when": "2024-05-01T12:00:00",
            "command": "cmust evaluate runs/demo",
            "versions": {"cmust": "0.1.0", "torch": "2.5.1"},
            "machine": "x86_64, 2 CPU cores",
        },
        "city": {"name": "demo city", "fingerprint": "ab" * 32, "synthetic": synthetic},
        "protocol": "purged",
        "part": "test",
        "tasks": evaluated,
    }


def make_sample(tasks: dict[str, dict[str, Any]], steps: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(3)
    arrays = {}
    for name, task in tasks.items():
        time = np.datetime64("2019-03-18T00:00:00", "s").astype(np.int64) + task["interval"] * np.arange(steps)
        hour = (time % 86400) / 3600
        level = rng.gamma(1.2, 25, len(task["nodes"]))
        shape = 1.05 + np.sin((hour - 9) / 24 * 2 * np.pi) + 0.4 * np.sin((hour - 3) / 6 * np.pi)
        mean = np.clip(shape, 0.05, None)[:, None] * level
        truth = rng.poisson(mean).astype(np.float32)
        truth[5:9, 2] = np.nan
        first = (mean * rng.normal(1, 0.08, mean.shape)).astype(np.float32)
        last = (mean * rng.normal(1, 0.2, mean.shape)).astype(np.float32)
        last[:11] = np.nan
        arrays |= {
            f"{name}.time": time,
            f"{name}.truth": truth,
            f"{name}.forecast_first": first,
            f"{name}.forecast_last": last,
        }
    return arrays


def make_history(names: list[str]) -> list[dict[str, Any]]:
    rng = np.random.default_rng(4)
    plan = (
        [("start", names[0])]
        + [("roll", name) for name in [*names[1:], names[0]]]
        + [("refine", name) for name in names]
    )
    lines: list[dict[str, Any]] = []
    frozen = 0.0
    for number, (kind, name) in enumerate(plan):
        phase, epochs = f"{kind} {number + 1} {name}", 6 if kind == "start" else 4
        best = epochs - 2
        for epoch in range(1, epochs + 1):
            loss = 0.12 + 0.3 * np.exp(-epoch / 1.5) / (number + 1) + rng.normal(0, 0.003)
            line = {
                "event": "epoch",
                "phase": phase,
                "kind": kind,
                "tasks": [name],
                "epoch": epoch,
                "train_loss": loss * 0.93,
            }
            line |= {
                "validation_loss": loss,
                "rate": 1e-3,
                "updates": 190,
                "frozen_share": frozen,
                "seconds": 12.5,
                "best": epoch == best,
            }
            lines.append(line)
        if kind == "roll":
            frozen += (1 - frozen) * 0.25
        layers = {layer: min(1.0, frozen * (0.5 + i / len(LAYERS))) for i, layer in enumerate(LAYERS)}
        end = {"event": "phase", "phase": phase, "kind": kind, "tasks": [name], "epochs": epochs, "best_epoch": best}
        lines.append(
            end | {"updates": 190 * epochs, "frozen_share": frozen, "frozen_by_layer": layers, "seconds": 12.5 * epochs}
        )
    return lines


def build_run(
    folder: Path, nodes: int = 12, names: tuple[str, ...] = ("crowd_in", "taxi", "risk"), steps: int = 60
) -> Path:
    """A whole run folder. The second task has no geometry: its places are circles."""
    tasks: dict[str, dict[str, Any]] = {}
    for number, name in enumerate(names):
        tasks[name] = places(nodes) | {"unit": "trips / 30 min", "kind": "count", "interval": 1800}
        if number == 1:
            tasks[name]["geometry"] = None
    (folder / "model").mkdir(parents=True)
    config = {
        "settings": {"preset": "tuned", "scheme": "rolling", "tasks": list(names), "training": {"seed": 7}},
        "city": {"name": "demo city", "fingerprint": "ab" * 32},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in make_history(list(names))))
    (folder / "model" / "model.json").write_text(json.dumps({"schema": 1, "tasks": tasks}))
    (folder / "evaluation.json").write_text(json.dumps(make_evaluation(tasks), indent=1))
    np.savez_compressed(folder / "evaluation_sample.npz", **make_sample(tasks, steps))
    return folder


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Path]:
    """Makes a run folder: ``(folder, nodes, names, steps)``."""
    return build_run


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A finished, evaluated run of three tasks at twelve places."""
    return build_run(tmp_path / "run")


@pytest.fixture
def edit() -> Callable[[Path, Callable[[dict[str, Any]], None]], None]:
    """Changes a JSON file in place."""

    def change(path: Path, how: Callable[[dict[str, Any]], None]) -> None:
        content = json.loads(path.read_text())
        how(content)
        path.write_text(json.dumps(content))

    return change
