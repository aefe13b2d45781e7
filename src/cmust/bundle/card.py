"""The model card: README.md in the hub's form, written from ``model.json`` alone."""

import json
import re
from collections.abc import Mapping
from typing import Any

from cmust.report.checking import check_evaluation
from cmust.report.console import markdown_text, score_markdown
from cmust.report.layout import Evaluation
from cmust.report.scores import METRICS, OURS

TAGS = ("cmust", "spatio-temporal", "multi-task", "traffic", "forecasting")
TASK_TYPE = "time-series-forecasting"


Calibrated = Mapping[str, tuple[tuple[float, ...], str]]
"""By task: the levels of its intervals, and the last step whose truth they have seen."""


def render_card(document: dict[str, Any], calibrated: Calibrated | None = None) -> str:
    """README.md: front matter and text.

    Args:
        document: what :func:`~cmust.bundle.folder.read_model` returns.
        calibrated: the intervals that lie beside it.
    """
    before, after = (_front, _intro, _data, _scores), (_settings, _loading, _limits)
    sections = [section(document) for section in before]
    sections += [_intervals(calibrated)] if calibrated else []
    return "\n".join([*sections, *(section(document) for section in after)])


def _front(document: dict[str, Any]) -> str:
    """YAML front matter; every value is JSON, which is YAML too, so that no name can break out of its place."""
    city, record = document["city"], document["record"]
    fields: dict[str, Any] = {
        "library_name": "cmust",
        "pipeline_tag": TASK_TYPE,
        "tags": [*TAGS, "synthetic"] if city["synthetic"] else list(TAGS),
    }
    if record.get("license"):
        fields["license"] = record["license"]
    if record.get("scores"):
        results = _results(check_evaluation(record["scores"]), city["fingerprint"])
        fields["model-index"] = [{"name": f"CMuST for {city['name']}", "results": results}]
    return "\n".join(["---", *(f"{key}: {_yaml(value)}" for key, value in fields.items()), "---", ""])


def _results(evaluation: Evaluation, fingerprint: str) -> list[dict[str, Any]]:
    """Scores as the hub indexes them."""
    slug = re.sub(r"[^a-z0-9]+", "-", evaluation.city.name.lower()).strip("-") or "city"
    return [
        {
            "task": {"type": TASK_TYPE, "name": name},
            "dataset": {
                "type": slug,
                "name": f"{evaluation.city.name}, {name}",
                "split": evaluation.part,
                "revision": fingerprint,
            },
            "metrics": [
                {"type": f"{metric.family}_{metric.name}", "name": metric.title, "value": value}
                for metric in METRICS
                if (value := metric.of(task.systems[OURS])) is not None
            ],
        }
        for name, task in evaluation.tasks.items()
        if OURS in task.systems
    ]


def _intro(document: dict[str, Any]) -> str:
    city, tasks, network = document["city"], document["tasks"], document["model"]
    lines = [
        f"# CMuST for {markdown_text(city['name'])}",
        "",
        f"Forecasts of one city: {', '.join(tasks)}. From the last {network['input_steps']} steps of every place, the "
        f"next {network['horizon']}. Trained with `cmust`, an implementation of *Get Rid of Isolation: A Continuous "
        "Multi-task Spatio-Temporal Learning Framework* (NeurIPS 2024).",
    ]
    if city["synthetic"]:
        lines += ["", "**The city is synthetic: simulated, no real place, no real people.**"]
    return "\n".join([*lines, ""])


def _data(document: dict[str, Any]) -> str:
    city, source = document["city"], document["record"].get("source")
    lines = [
        "## Data",
        "",
        f"City: {markdown_text(city['name'])}. Times: local, {markdown_text(city['timezone'])}. "
        f"Source: {markdown_text(source) if source else 'not stated'}.",
        "",
        f"Fingerprint of the data: `{re.sub(r'[^0-9a-f]', '', city['fingerprint'])}`.",
        "",
        "| task | kind | unit | step | places | channels | learned from data up to |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, task in document["tasks"].items():
        cells = (
            name,
            task["kind"],
            task["unit"],
            f"{task['interval'] / 60:g} min",
            str(len(task["nodes"])),
            ", ".join(task["channels"]),
            task["trained_until"],
        )
        lines.append(f"| {' | '.join(markdown_text(cell) for cell in cells)} |")
    return "\n".join([*lines, ""])


def _scores(document: dict[str, Any]) -> str:
    scores = document["record"].get("scores")
    text = score_markdown(scores) if scores else "The model was not evaluated before it was bundled.\n"
    return f"## Scores\n\n{text}"


def _intervals(calibrated: Calibrated) -> str:
    lines = ["## Intervals", "", "Calibrated on truth the model had not seen (`cmust forecast --level`):", ""]
    for name, (levels, until) in calibrated.items():
        shown = ", ".join(f"{100 * level:g} %" for level in levels)
        lines.append(f"- {markdown_text(name)}: {shown}; for forecasts from after {until}")
    return "\n".join([*lines, ""])


def _settings(document: dict[str, Any]) -> str:
    record = document["record"]
    shown = record.get("settings") or {"protocol": document["protocol"], "model": document["model"]}
    versions = ", ".join(f"{name} {version}" for name, version in (record.get("versions") or {}).items())
    lines = ["## Settings", "", *([f"Trained with {markdown_text(versions)}.", ""] if versions else [])]
    return "\n".join([*lines, "```json", json.dumps(shown, indent=1), "```", ""])


def _loading(document: dict[str, Any]) -> str:
    task = next(iter(document["tasks"]))
    return f"""## How to load

```python
import cmust

forecaster = cmust.Forecaster.from_pretrained("FOLDER")  # or OWNER/NAME of the hub, with cmust[hub]
city = cmust.open_city("city.zarr.zip")  # the same places, with recent data
forecaster.predict(city, "{task}")
```

or `cmust forecast FOLDER city.zarr.zip --out forecast.csv`. The files are safetensors and JSON; loading them runs no
code. Their checksums tell of damage; they are no signature.
"""


def _limits(document: dict[str, Any]) -> str:
    limits = [
        "It knows the places, steps and channels of the table above, and the clock of that city.",
        f"A forecast needs the last {document['model']['input_steps']} steps; a missing one is replaced by the weekly "
        "average of its place.",
        "What changed after the last column of that table, it has not learned.",
    ]
    if document["record"].get("scores"):
        limits.append("Where a naive forecast is better, the section on scores says so.")
    if not document["record"].get("license"):
        limits.append("No licence is stated: ask who made it before passing it on.")
    return "\n".join(["## Limits", "", *(f"- {limit}" for limit in limits), ""])


def _yaml(value: Any) -> str:
    """JSON of printable characters."""
    text = json.dumps(value, ensure_ascii=False)
    return "".join(letter if letter.isprintable() else " " for letter in text)
