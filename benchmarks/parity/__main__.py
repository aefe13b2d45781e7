"""Compare a system of ``cmust.baselines`` with a checkout of its published implementation.

    python -m benchmarks.parity dcrnn DIR        DIR is a checkout that you have; nothing of it is in this repository
    python -m benchmarks.parity                  the largest difference of every system, from the last comparisons

Each system has a file here with ``parity(repo)``: the published network with random weights, ours with the same ones,
both on the same random inputs, in double precision, dropout off; per part the largest difference, relative to the
largest value. Results go to benchmarks/results/parity/NAME.json.
"""

import argparse
import importlib
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import torch

from cmust import __version__

HERE = Path(__file__).parent
RESULTS = HERE.parent / "results" / "parity"
BAR = 1e-5


def main() -> None:
    """Compare, print, write; exits with 1 where a part differs by more than ``BAR``."""
    names = sorted(file.stem for file in HERE.glob("[a-z]*.py"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("system", nargs="?", choices=names)
    parser.add_argument("repo", nargs="?", type=Path, help="a checkout of the published implementation")
    arguments = parser.parse_args()
    if arguments.system is None:
        return show()
    if arguments.repo is None or not arguments.repo.is_dir():
        parser.error("give the folder of a checkout")
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    module = importlib.import_module(f"benchmarks.parity.{arguments.system}")
    sys.path.insert(0, str(arguments.repo))
    with torch.no_grad():
        differences: dict[str, float] = module.parity(arguments.repo)
    git = ["git", "-C", str(arguments.repo)]
    told = {
        "system": arguments.system,
        "published": module.PUBLISHED,
        "commit": subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip() or None,
        "differences": {part: float(f"{value:.2g}") for part, value in differences.items()},
        "bar": BAR,
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"cmust": __version__, "torch": torch.__version__},
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{arguments.system}.json").write_text(json.dumps(told, indent=1) + "\n")
    print(json.dumps(told, indent=1))
    if any(value > BAR for value in differences.values()):
        sys.exit(1)


def show() -> None:
    """A line for each comparison that has been made."""
    for file in sorted(RESULTS.glob("*.json")):
        told = json.loads(file.read_text())
        print(
            f"{told['system']:12}{told['published']:34}{told['commit'][:8]:10}{max(told['differences'].values()):.0e}"
        )


if __name__ == "__main__":
    main()
