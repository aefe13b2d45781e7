"""The numbers the page draws, as compact JSON: series quantised to 16 bits, each map stored once."""

import base64
import json
import math
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cmust.report.citymap import draw_map
from cmust.report.phases import Phase
from cmust.report.reading import RunFiles, Sample, TaskEvaluation
from cmust.report.scores import NAIVE, OURS, label, ordered_systems

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
    tasks = []
    for name, task in (run.evaluation.tasks if run.evaluation else {}).items():
        sample = run.samples.get(name)
        tasks.append(
            {
                "name": name,
                "unit": task.unit,
                "kind": task.kind,
                "interval": task.interval,
                "nodes": task.nodes,
                "map": _map_index(run, name, maps),
                "sample": _sample(sample) if sample is not None and len(sample.time) else None,
                "systems": _systems(task),
            }
        )
    return {"tasks": tasks, "maps": maps, "phases": [_phase(phase) for phase in phases]}


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
            "key": name,
            "label": label(name),
            "role": "ours" if name == OURS else "naive" if name in NAIVE else "learned",
            "plain": _rounded(task.systems[name].per_horizon.plain_mae),
            "masked": _rounded(task.systems[name].per_horizon.masked_mae),
            "places": _rounded(task.systems[name].per_node.plain_mae),
        }
        for name in ordered_systems(task)
    ]


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
