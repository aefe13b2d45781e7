"""Fits a tiny city in children that are killed again and again, until one ends; compares with a run left in peace.

A program of its own: it forks after everything is imported and before anything was computed, so that restarts are
    cheap.
Prints a JSON object: how often and where the children were killed, and what differs.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

import cmust.files
import cmust.fitting
from cmust.rolling import state as store
from tests.deaths import forked, killed
from tests.rolling.tiny import small_city, tiny_fit

SETTINGS = {
    "training": {
        "weight_decay": 0.1,
        "delta": 3e-8,
        "batch_size": 32,
        "nodes_per_update": 2,
        "start_epochs": 3,
        "rolling_epochs": 4,
        "refine_epochs": 3,
    }
    | {"precision": "32-true", "rolling_factor": 0.1, "clip": 1.0}
}


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class DiesAtUpdate:
    """A watcher that ends its process after so many optimiser steps."""

    def __init__(self, updates: int) -> None:
        self.left = updates

    def plan(self, phases, updates) -> None:
        """Nothing to prepare."""

    def update(self, phase, epoch: int) -> None:
        self.left -= 1
        if self.left == 0:
            die()

    def event(self, event) -> None:
        """Nothing to tell."""


def die_while_saving(kind: str, after: int) -> None:
    """The ``after``-th save of a safetensors file dies: half written, written and not yet renamed, or just renamed."""
    left = after
    write, replace = store.save_file, os.replace

    def half(tensors, path, metadata=None) -> None:
        nonlocal left
        write(tensors, path, metadata=metadata)
        left -= 1
        if left == 0:
            with open(path, "r+b") as file:
                file.truncate(os.path.getsize(path) // 2)
            die()

    def rename(source, target) -> None:
        nonlocal left
        left -= str(target).endswith(".safetensors")
        if left == 0 and kind == "renamed":
            replace(source, target)
        if left == 0:
            die()
        replace(source, target)

    if kind == "half":
        store.save_file = half
    else:
        cmust.files.os.replace = rename


def child(folder: Path, kind: str, number: int) -> int:
    """Fork a fit; its process id."""

    def fit() -> None:
        watcher = DiesAtUpdate(number) if kind == "update" else None
        if kind in ("half", "written", "renamed"):
            die_while_saving(kind, number)
        tiny_fit(folder, small_city(), watcher=watcher, **SETTINGS)

    return forked(fit)


def history(folder: Path) -> list[dict]:
    """Events without how long they took."""
    lines = (folder / "history.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


def main(base: Path, seed: int) -> None:
    torch.set_num_threads(1)
    rng = random.Random(seed)
    begun = time.monotonic()
    assert not killed(child(base / "peace", "none", 0))
    duration = time.monotonic() - begun
    kinds = ["update", "half", "update", "written", "delay", "half", "renamed"]
    deaths = {kind: 0 for kind in kinds}
    attempt = 0
    while True:
        kind = kinds[attempt % len(kinds)] if sum(deaths.values()) < 24 else "none"
        pid = child(base / "killed", kind, rng.randint(1, 5) if kind == "update" else 1)
        attempt += 1
        if kind == "delay":
            time.sleep(duration * rng.uniform(0.05, 0.3))
            os.kill(pid, signal.SIGKILL)
        if not killed(pid):
            break
        deaths[kind] += 1
    peace, other = base / "peace", base / "killed"
    differing = []
    names = sorted(str(path.relative_to(peace)) for path in (peace / "model").rglob("*.safetensors"))
    assert names == sorted(str(path.relative_to(other)) for path in (other / "model").rglob("*.safetensors"))
    for name in names:
        one, two = load_file(peace / name), load_file(other / name)
        assert one.keys() == two.keys()
        differing += [f"{name}: {key}" for key in one if one[key].numpy().tobytes() != two[key].numpy().tobytes()]
    print(
        json.dumps(
            {
                "deaths": deaths,
                "files": names,
                "differing": differing,
                "same_history": history(peace) == history(other),
                "events": len(history(peace)),
                "shares": sorted({event["frozen_share"] for event in history(peace)}),
                "leftovers": [str(path) for path in other.rglob("*.tmp")],
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
