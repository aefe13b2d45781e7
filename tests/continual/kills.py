"""Adapts and updates copies of a tiny run in children that are killed at random instants; looks at what each leaves.

A program of its own: it forks after everything is imported, so that a child costs little. Prints a JSON object: how
many were killed while the run was as before, and how many after the new version had come into force.
"""

import json
import os
import random
import shutil
import signal
import sys
from pathlib import Path

import torch

from cmust import Forecaster, adapt, update
from cmust.continual.versions import list_versions
from cmust.rolling import state as store
from tests.continual.conftest import QUICK, old_city, snapshot, whole_city
from tests.deaths import forked, killed
from tests.rolling.tiny import quick_prompts, tiny_city, tiny_fit, tiny_settings, tiny_task

CPU = {"accelerator": "cpu", "refine_epochs": 1}


def change(kind: str, run: Path) -> None:
    with quick_prompts():
        if kind == "adapt":
            adapt(run, tiny_city(tiny_task("bikes", steps=84)), "bikes", **CPU)
        else:
            update(run, whole_city(), **CPU, rolling_epochs=1)


def die_at(operation: int, counter: Path) -> None:
    """Die within that one of the operations that change the disk: a rename, a link, a removal, a file half written. The
    file ``counter`` grows by a byte with each.
    """
    write = store.save_file

    def count() -> bool:
        with counter.open("ab") as file:
            file.write(b".")
        return counter.stat().st_size == operation

    def counted(function):
        def call(*arguments, **keywords):
            if count():
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **keywords)

        return call

    def half(tensors, path, metadata=None) -> None:
        write(tensors, path, metadata=metadata)
        if count():
            os.truncate(path, os.path.getsize(path) // 2)
            os.kill(os.getpid(), signal.SIGKILL)

    store.save_file = half
    for name in ("replace", "rename", "link", "rmdir", "unlink"):
        setattr(os, name, counted(getattr(os, name)))


def child(kind: str, run: Path, operation: int = 0) -> bool:
    """Change the run in a child that dies at an operation (0: never); whether it died."""
    counter = run.with_suffix(".operations")
    counter.unlink(missing_ok=True)

    def die() -> None:
        die_at(operation, counter)
        change(kind, run)

    return killed(forked(die))


def forecasts(run: Path) -> list[bytes]:
    forecaster = Forecaster.load(run)
    windows = forecaster.windows(whole_city().tasks["trips"])
    return [forecaster.forecast(windows, torch.arange(200)).numpy().tobytes()]


def check(run: Path, before: dict[str, bytes], expected: list[bytes]) -> bool:
    """Whether the new version is in force; all that was there before is there unchanged in any case."""
    now = snapshot(run)
    assert {name: now[name] for name in before} == before
    new = {name for name in now if name not in before}
    versions = list_versions(run)
    if len(versions) == 1:
        assert all(name.startswith(("versions/", "current.json", ".current.json.")) for name in new), new
        assert forecasts(run) == expected
    for version in versions:
        Forecaster.load(run, version.number)
    return len(versions) == 2


def main(base: Path, kind: str, seed: int) -> None:
    torch.set_num_threads(1)
    rng = random.Random(seed)
    run, peace, other = base / "run", base / "peace", base / "killed"
    with quick_prompts():
        tiny_fit(run, old_city(), **tiny_settings("tuned", training=QUICK))
    shutil.copytree(run, peace)
    assert not child(kind, peace)
    operations = peace.with_suffix(".operations").stat().st_size
    before, expected = snapshot(run), forecasts(run)
    outcome = {"before": 0, "after": 0}
    # Some in training, the others at the end, where the new version comes into force.
    for operation in [rng.randint(1, operations - 12) for _ in range(3)] + [
        operations - back for back in (9, 5, 2, 1, 0)
    ]:
        shutil.rmtree(other, ignore_errors=True)
        shutil.copytree(run, other)
        assert child(kind, other, operation)
        outcome["after" if check(other, before, expected) else "before"] += 1
    # What one that died leaves is no hindrance, and the result is that of a change left in peace.
    shutil.rmtree(other)
    shutil.copytree(run, other)
    assert child(kind, other, operations // 2)
    assert not child(kind, other)
    model = Path("versions") / "0002" / "model"
    same = snapshot(other / model) == snapshot(peace / model)
    left = [str(path) for path in other.rglob("*") if path.suffix == ".tmp" or path.name in (".work", "state")]
    print(json.dumps({**outcome, "operations": operations, "same": same, "left": left}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
