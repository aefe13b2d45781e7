"""An experiment rendered from what is stored in its folder alone: JSON lines, Markdown, LaTeX, a picture."""

import json
from pathlib import Path
from typing import Any

from cmust.errors import RunError
from cmust.experiments.engine import records
from cmust.experiments.fig3 import FIG3
from cmust.experiments.fig4a import FIG4A
from cmust.experiments.fig4b import FIG4B
from cmust.experiments.fig6 import FIG6
from cmust.experiments.schemes import SCHEMES
from cmust.experiments.sheet import latex, markdown
from cmust.experiments.study import Experiment
from cmust.experiments.table1 import TABLE1
from cmust.experiments.table2 import TABLE2
from cmust.experiments.table5 import TABLE5
from cmust.experiments.table6 import TABLE6
from cmust.files import write_text
from cmust.run import read_json

EXPERIMENTS = {
    experiment.name: experiment for experiment in (TABLE1, TABLE2, TABLE5, TABLE6, FIG3, FIG4A, FIG4B, FIG6, SCHEMES)
}


def stored(folder: Path) -> tuple[Experiment, dict[str, Any]]:
    """The experiment of a folder, and what makes it (``config.json``).

    Raises:
        RunError: the folder holds none.
    """
    missing = f"{folder} holds no experiment: it has no config.json; run `cmust experiment table1` first"
    config = read_json(folder / "config.json", missing)
    name = config.get("experiment")
    if name not in EXPERIMENTS:
        raise RunError(f"{folder / 'config.json'} is of no experiment that is rendered here (found {name!r})")
    return EXPERIMENTS[name], config


def render(folder: Path) -> str:
    """Write ``results.jsonl``, ``NAME.md``, ``NAME.tex`` and ``NAME.png`` of an experiment; its Markdown.

    Raises:
        RunError: the folder holds no experiment, or none of its cells is finished.
    """
    experiment, config = stored(folder)
    found = records(folder)
    made = experiment.table(config, found)
    text = markdown(made.sheet())
    write_text(folder / "results.jsonl", "".join(f"{json.dumps(record)}\n" for record in found))
    write_text(folder / f"{experiment.name}.md", text)
    write_text(folder / f"{experiment.name}.tex", latex(made.sheet()))
    made.picture(folder / f"{experiment.name}.png")
    return text
