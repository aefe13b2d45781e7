"""An experiment rendered from what is stored in its folder alone: JSON lines, Markdown, LaTeX, a picture."""

import json
from pathlib import Path

from cmust.errors import RunError
from cmust.experiments.engine import records
from cmust.experiments.fig3 import FIG3
from cmust.experiments.fig4b import FIG4B
from cmust.experiments.fig6 import FIG6
from cmust.experiments.table import latex, markdown, picture
from cmust.experiments.table1 import TABLE1
from cmust.experiments.table2 import TABLE2
from cmust.files import write_text
from cmust.run import read_json

EXPERIMENTS = {experiment.name: experiment for experiment in (TABLE1, TABLE2, FIG3, FIG4B, FIG6)}


def render(folder: Path) -> str:
    """Write ``results.jsonl``, ``NAME.md``, ``NAME.tex`` and ``NAME.png`` of an experiment; its Markdown.

    Raises:
        RunError: the folder holds no experiment, or none of its cells is finished.
    """
    missing = f"{folder} holds no experiment: it has no config.json; run `cmust experiment table1` first"
    config = read_json(folder / "config.json", missing)
    name = config.get("experiment")
    if name not in EXPERIMENTS:
        raise RunError(f"{folder / 'config.json'} is of no experiment that is rendered here (found {name!r})")
    found = records(folder)
    made = EXPERIMENTS[name].table(config, found)
    text = markdown(made)
    write_text(folder / "results.jsonl", "".join(f"{json.dumps(record)}\n" for record in found))
    write_text(folder / f"{name}.md", text)
    write_text(folder / f"{name}.tex", latex(made))
    picture(made, folder / f"{name}.png")
    return text
