"""Fills a table on a tiny city in children that are killed again and again at an update, until one ends.

A program of its own: it forks after everything is imported and before anything was computed. Prints a JSON object: how
often children were killed, the updates made of every cell, and the records that were ever written again.
"""

import json
import os
import signal
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import torch

from cmust.experiments import table1
from cmust.experiments.study import make_terms, run
from tests.deaths import forked, killed
from tests.rolling.tiny import SIZES, quick_prompts, small_city

SYSTEMS = ("naive", "stid", "mtgnn", "cmust_tuned")
SETTINGS = {"model": SIZES, "training": {"batch_size": 32}}
LIFE = 5  # updates


class Dies:
    """A watcher that counts updates in a file, and ends its process after so many."""

    def __init__(self, log: Path) -> None:
        self.log, self.left = log, LIFE

    def plan(self, phases, updates) -> None:
        self.phase = ""

    def update(self, phase, epoch: int) -> None:
        with self.log.open("a") as file:
            file.write(f"{phase.name}\n")
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def event(self, event) -> None:
        """Nothing to tell."""


def fill(folder: Path, log: Path) -> None:
    watcher = Dies(log)

    @contextmanager
    def watching():
        yield watcher

    with quick_prompts():
        terms = make_terms(small_city(), "smoke", SETTINGS, "cpu")
        run(table1.TABLE1, table1.cells(tuple(terms.city.tasks), SYSTEMS, [0]), terms, folder, watching=watching)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    log, seen, again, deaths = folder.with_suffix(".log"), {}, [], 0
    while killed(forked(lambda: fill(folder, log))):
        deaths += 1
        now = {file.name: file.stat().st_mtime_ns for file in (folder / "cells").glob("*.json")}
        again += [name for name, time in seen.items() if now.get(name) != time]
        seen = now
        assert deaths < 20
    print(json.dumps({"deaths": deaths, "again": again, "updates": Counter(log.read_text().splitlines())}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
