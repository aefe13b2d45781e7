"""The numbers the page draws, as compact JSON: series quantised to 16 bits, each map stored once."""

import base64
import json
import math
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmust.report.citymap import draw_map
from cmust.report.coverage import levels_of, usual_level
from cmust.report.layout import IntervalScores, TaskBacktest, TaskEvaluation, TaskIntervals
from cmust.report.phases import Phase
from cmust.report.reading import RunFiles, Sample
from cmust.report.scores import NAIVE, OURS, in_order, label, ordered_systems

MISSING = 0xFFFF
"""The code of a value that does not exist."""


def pack(values: NDArray[np.float64]) -> dict[str, Any]:
    """Quantise ``(step, node)`` values to 16 bits.

    A value is ``offset + scale * code``, exact for whole numbers, else within half of 1/65534 of the range; NaN has
    the code 65535. Codes are little-endian, step by step, in base 64: 2.7 characters a value.
    """
    known = np.isfinite(values)
    low, high = (float(values[known].min()), float(values[known].max())) if known.any() else (0.0, 0.0)
    whole = bool((values[known] == np.round(values[known])).all()) and high - low < MISSING
    scale = 1.0 if whole or high == low else (high - low) / (MISSING - 1)
    codes = np.full(values.shape, MISSING, dtype="<u2")
    codes[known] = np.round((values[known] - low) / scale).astype("<u2")
    return {"scale": scale, "offset": low, "u16": base64.b64encode(codes.tobytes()).decode("ascii")}


def payload(run: RunFiles, phases: list[Phase]) -> dict[str, Any]:
    """Everything the page's script reads; see the functions below for the parts."""
    maps: list[dict[str, Any]] = []
    told = [record.tasks for record in (run.evaluation, run.backtest, run.intervals) if record is not None]
    names = dict.fromkeys(name for tasks in told for name in tasks)
    tasks = [_task(run, name, maps) for name in names]
    return {"tasks": tasks, "maps": maps, "phases": [_phase(phase) for phase in phases]}


def _task(run: RunFiles, name: str, maps: list[dict[str, Any]]) -> dict[str, Any]:
    """A task that something was measured on; what was not is null or empty."""
    evaluated = run.evaluation.tasks.get(name) if run.evaluation else None
    about = evaluated or (run.model.tasks[name] if run.model else None)
    assert about is not None  # reading has held the records against the model
    sample = run.samples.get(name)
    backtest = run.backtest.tasks.get(name) if run.backtest else None
    intervals = run.intervals.tasks.get(name) if run.intervals else None
    return {
        "name": name,
        "unit": about.unit,
        "kind": about.kind,
        "interval": about.interval or (backtest.interval if backtest else 0),
        "nodes": about.nodes,
        "map": _map_index(run, name, maps),
        "sample": _sample(sample) if sample is not None and len(sample.time) else None,
        "systems": _systems(evaluated) if evaluated else [],
        "backtest": _backtest(backtest, about.nodes) if backtest else None,
        "intervals": _intervals(intervals) if intervals else None,
    }


def embed(content: dict[str, Any]) -> str:
    """JSON that can stand inside a ``<script>`` element, whatever its strings hold; what is not finite becomes null."""
    text = json.dumps(_finite(content), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # Inside JSON these signs occur in strings only, and there an escape means the same.
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _map_index(run: RunFiles, name: str, maps: list[dict[str, Any]]) -> int | None:
    if run.model is None:
        return None
    drawn = draw_map(run.model.tasks[name], str(run.folder / "model" / "model.json"))
    if drawn is None:
        return None
    content = asdict(drawn)
    if content not in maps:
        maps.append(content)
    return maps.index(content)


def _sample(sample: Sample) -> dict[str, Any]:
    return {
        "time": sample.time.tolist(),
        "truth": pack(sample.truth),
        "first": pack(sample.first),
        "last": pack(sample.last),
    }


def _systems(task: TaskEvaluation) -> list[dict[str, Any]]:
    return [
        {
            **_named(name),
            "plain": _rounded(task.systems[name].per_horizon.plain_mae),
            "masked": _rounded(task.systems[name].per_horizon.masked_mae),
            "places": _rounded(task.systems[name].per_node.plain_mae),
        }
        for name in ordered_systems(task)
    ]


def _named(system: str) -> dict[str, Any]:
    return {
        "key": system,
        "label": label(system),
        "role": "ours" if system == OURS else "naive" if system in NAIVE else "learned",
    }


def _backtest(task: TaskBacktest, nodes: list[str]) -> dict[str, Any]:
    """Per table the names of its rows, and per system errors and biases in their order; places in that of ``nodes``."""
    tables = {by: task.by[by] for by in ("week", "weekday", "hour", "horizon") if by in task.by}
    places = {row.name: row for row in task.by.get("place", [])}
    return {
        "tables": {
            by: {
                "names": [row.name for row in rows],
                "targets": [row.targets for row in rows],
                "mean": _rounded([row.mean for row in rows]),
            }
            for by, rows in tables.items()
        },
        "systems": [
            {
                **_named(system),
                "mae": {by: _rounded([row.mae.get(system) for row in rows]) for by, rows in tables.items()},
                "bias": {by: _rounded([row.bias.get(system) for row in rows]) for by, rows in tables.items()},
                "places": _rounded([places[node].mae.get(system) if node in places else None for node in nodes])
                if places
                else [],
            }
            for system in in_order(task.whole.mae)
        ],
    }


def _intervals(task: TaskIntervals) -> dict[str, Any]:
    """Per system and level, coverage, width and interval score by forecast step and by group of nodes."""
    return {
        "levels": levels_of(task),
        "usual": usual_level(levels_of(task)),
        "groups": [group.model_dump() for group in task.groups],
        "systems": [
            {
                **_named(system),
                "levels": {level: _interval_scores(each) for level, each in task.systems[system].items()},
            }
            for system in in_order(task.systems)
        ],
    }


def _interval_scores(scores: IntervalScores) -> dict[str, Any]:
    parts = {"horizon": scores.per_horizon, "group": scores.per_group}
    return {
        part: {name: _rounded(getattr(means, name)) for name in ("coverage", "width", "interval_score")}
        for part, means in parts.items()
    }


def _phase(phase: Phase) -> dict[str, Any]:
    return {
        "name": phase.name,
        "kind": phase.kind,
        "epoch": [epoch.epoch for epoch in phase.epochs],
        "train": _rounded([epoch.train_loss for epoch in phase.epochs]),
        "validation": _rounded([epoch.validation_loss for epoch in phase.epochs]),
        "frozen": _rounded([epoch.frozen_share for epoch in phase.epochs]),
        "best": phase.best_epoch,
    }


def _rounded(values: list[float | None]) -> list[float | None]:
    """Five significant digits: more than a picture shows."""
    return [None if value is None else float(f"{value:.5g}") for value in values]


def _finite(content: Any) -> Any:
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, dict):
        return {key: _finite(value) for key, value in content.items()}
    return [_finite(value) for value in content] if isinstance(content, list) else content
