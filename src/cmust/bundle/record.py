"""How a model came to be, read from its run folder, for its card."""

from pathlib import Path
from typing import Any

from cmust.errors import RunError
from cmust.report.checking import check_evaluation
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
                        "model": True,
                        "nodes": True,
                        "windows": True,
                        "systems": {"__all__": {"plain", "masked"}},
                    }
                },
            },
        ),
    }


def of_these_models(record: dict[str, Any], identities: dict[str, str]) -> dict[str, Any]:
    """The record with the scores of these very models, and of no earlier or later weights of the same tasks.

    Args:
        record: of a run or a bundle.
        identities: by task (see :meth:`cmust.forecaster.Forecaster.identity`).
    """
    scores = record.get("scores") or {"tasks": {}}
    own = {name: task for name, task in scores["tasks"].items() if task["model"] == identities.get(name)}
    rest = {key: value for key, value in record.items() if key != "scores"}
    return {**rest, "scores": {**scores, "tasks": own}} if own else rest
