"""That freed memory stays: counted in pages that the system has to make."""

import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from cmust.memory import keep_freed_memory
kept = keep_freed_memory() if "keep" in sys.argv else None
def step():
    first = [np.ones(1 << 17) for _ in range(80)]  # 1 MiB each
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages(*arguments: str, **environment: str) -> tuple[str, int]:
    """Whether memory is kept, and the pages made in five steps that free 80 MiB each."""
    command = [sys.executable, "-c", PROGRAM, *arguments]
    kept, count = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.split()
    return kept, int(count)


def test_freed_memory_stays_for_the_next_step() -> None:
    kept, made = pages("keep")
    if kept == "False":
        pytest.skip("the C library has no mallopt")
    assert 5 * made < pages()[1]  # 5 times 80 MiB are 102,400 pages of 4 KiB, or far fewer large ones


def test_what_the_environment_says_holds() -> None:
    given = {"MALLOC_TRIM_THRESHOLD_": "131072"}
    kept, made = pages("keep", **given)
    assert kept == "False"
    assert made > 0.9 * pages(**given)[1]
