"""How a model came to be, read from its run folder, for its card."""

from pathlib import Path
from typing import Any

from cmust.errors import RunError
from cmust.report.reading import check_evaluation
from cmust.run import Run, read_json


def read_record(folder: Path | str) -> dict[str, Any]:
    """The fields of :class:`~cmust.bundle.schema.Record` that a run folder knows.

    Scores only once it is evaluated; nothing where only the model was kept.

    Raises:
        RunError: ``config.json`` or ``evaluation.json`` is damaged.
    """
    run = Run(folder)
    record: dict[str, Any] = {}
    if run.config_file.exists():
        config = run.config()
        try:
            record = {
                "source": config["city"].get("source"),
                "settings": config["settings"],
                "versions": config["made"]["versions"],
            }
        except (AttributeError, KeyError, TypeError) as error:
            raise RunError(f"{run.config_file} is damaged: it lacks {error}; restore it from a copy") from error
    if run.evaluation_file.exists():
        record["scores"] = _scores(read_json(run.evaluation_file, ""), str(run.evaluation_file))
    return record


def _scores(evaluation: dict[str, Any], where: str) -> dict[str, Any]:
    """An evaluation without what it says per place and per horizon."""
    checked = check_evaluation(evaluation, where)
    return {
        "schema": evaluation["schema"],
        **checked.model_dump(
            mode="json",
            include={
                "made": {"when", "versions"},
                "city": True,
                "protocol": True,
                "part": True,
                "tasks": {
                    "__all__": {
                        "unit": True,
                        "kind": True,
                        "interval": True,
                        "nodes": True,
                        "windows": True,
                        "systems": {"__all__": {"plain", "masked"}},
                    }
                },
            },
        ),
    }
