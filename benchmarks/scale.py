"""How a training step and a forecast grow with the nodes and the steps, and what a second process brings.

    python -m benchmarks.scale                              nodes to 8,600 (some minutes)
    python -m benchmarks.scale --nodes 69 206 --steps 12    a quick look
    python -m benchmarks.scale --steps 12 --modes 'train, sampled'

Every point is a process of its own: preset ``tuned``, one batch; forecasts of one window and training steps of a batch
of 16, as the trainer does them (windows in parts), also with ``training.recompute``, and of 256 nodes in an update
(``training.nodes_per_update``). Sizes that would take longer than ``--most-seconds`` or need more than ``--most-gib``
are left out, by the size before. Then the epochs of one process with two threads beside two processes with one thread
each, by ``cmust train`` under ``torchrun``. Results: benchmarks/results/scale.json.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import torch
from benchmarks.network import BATCH, SLOTS, peak_gib, random_windows

from cmust import __version__
from cmust.demo import demo_city
from cmust.machine import describe_machine
from cmust.model import Head, Trunk, forecast, model_config
from cmust.prompts import SummaryPrompt
from cmust.windows import ROWS_PER_PASS

RESULTS = Path(__file__).parent / "results" / "scale.json"
MODES = ("forecast", "train", "train, recomputed", "train, sampled")
SAMPLED = 256
"""Nodes of an update that draws some."""


def point(job: dict[str, Any]) -> dict[str, Any]:
    """Measure one size, in this process: seconds and peak memory."""
    torch.manual_seed(0)
    nodes, steps = job["nodes"], job["steps"]
    config = model_config("tuned", input_steps=steps, horizon=steps)
    trunk = Trunk(config, SLOTS, (1,))
    head = Head(config, SummaryPrompt(torch.rand(nodes, 64), config.d_p), torch.tensor([50.0]), torch.tensor([30.0]))
    optimizer = torch.optim.AdamW([*trunk.parameters(), *head.parameters()], foreach=True)
    trunk.recompute(job["mode"] == "train, recomputed")
    drawn = torch.randperm(nodes)[:SAMPLED] if job["mode"] == "train, sampled" else None
    size = max(1, ROWS_PER_PASS // (steps * (nodes if drawn is None else len(drawn))))
    seconds = []
    for _ in range(job["rounds"] + 1):
        began = time.perf_counter()
        if job["mode"] == "forecast":
            trunk.eval()
            with torch.no_grad():
                forecast(trunk, head, random_windows(1, steps, nodes))
        else:
            optimizer.zero_grad()
            for first in range(0, BATCH, size):
                part = random_windows(min(size, BATCH - first), steps, nodes)
                (forecast(trunk, head, part, nodes=drawn).abs().sum() / BATCH).backward()
            optimizer.step()
        seconds.append(time.perf_counter() - began)
    return {**job, "seconds": round(median(seconds[1:]), 3), "peak_gib": peak_gib()}


def measured(job: dict[str, Any]) -> dict[str, Any]:
    """The same in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.scale", "--point", json.dumps(job)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return {**job, "died": done.stderr.strip().splitlines()[-1:] or done.returncode}
    return dict(json.loads(done.stdout))


def growth(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """All sizes: nodes at the first number of steps, then steps at the first number of nodes."""
    sizes = [(nodes, arguments.steps[0]) for nodes in arguments.nodes]
    sizes += [(arguments.nodes[0], steps) for steps in arguments.steps[1:]]
    results = []
    for mode in arguments.modes:
        before: dict[str, Any] = {}
        for nodes, steps in sizes:
            if steps == arguments.steps[0] and before and _too_much(before, nodes, arguments):
                continue
            rounds = arguments.rounds if nodes < 2000 else 1
            found = measured({"mode": mode, "nodes": nodes, "steps": steps, "rounds": rounds})
            before = found if steps == arguments.steps[0] else before
            results.append(found)
            print(found, flush=True)
    return results


def _too_much(before: dict[str, Any], nodes: int, arguments: argparse.Namespace) -> bool:
    """Whether the next size would take too long or not fit, by the size before: memory linear, time with the
    square where all nodes attend to all.
    """
    grown = nodes / before["nodes"]
    slower = grown if before["mode"] == "train, sampled" else grown**2
    return bool(
        "died" in before
        or before["seconds"] * slower > arguments.most_seconds
        or before["peak_gib"] * grown > arguments.most_gib
    )


def processes(rounds: int) -> list[dict[str, Any]]:
    """Seconds of an epoch: one process with two threads, two processes with one each."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        city = demo_city(weeks=4).save(Path(folder) / "demo.zarr.zip")
        for count, threads in ((1, 2), (2, 1)):
            run = Path(folder) / f"run-{count}"
            command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={count}", "-m", "cmust"]
            command += ["train", str(city), str(run), "--scheme", "alone", "--tasks", "taxi_pickup"]
            command += ["--accelerator", "cpu"]
            more = ["updates_per_epoch=20", f"start_epochs={rounds + 1}", f"patience={rounds + 1}", "precision=32-true"]
            command += [word for each in more for word in ("--set", f"training.{each}")]
            environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
            subprocess.run(command, check=True, env=environment, capture_output=True)
            events = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
            seconds = [event["seconds"] for event in events if event["event"] == "epoch"][1:]
            results.append({"processes": count, "threads_each": threads, "epoch_seconds": round(median(seconds), 2)})
            print(results[-1], flush=True)
    return results


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--nodes", type=int, nargs="+", default=[69, 206, 512, 1024, 2048, 4096, 8600])
    parser.add_argument("--steps", type=int, nargs="+", default=[12, 24, 48, 96])
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES), metavar="MODE", help="of growth")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--most-gib", type=float, default=16.0)
    parser.add_argument("--most-seconds", type=float, default=120.0, help="of a training step or forecast")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--note", default="", help="about the machine, for the results")
    parser.add_argument("--point", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.point:
        print(json.dumps(point(json.loads(arguments.point))))
        return
    told = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join(["python -m benchmarks.scale", *sys.argv[1:]]),
        "machine": describe_machine(torch.device("cpu")),
        "note": arguments.note,
        "versions": {"cmust": __version__, "torch": torch.__version__},
        "growth": growth(arguments),
        "processes": processes(arguments.rounds),
    }
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
