"""How ``demo`` (a bundle), ``model-schema-1.json`` and ``expected.safetensors`` beside this file were made.

    OMP_NUM_THREADS=1 python -m tests.bundle.make_tiny

Two tasks of a small demo city, a network far too narrow to be good, ten seconds of training on one core. The same
machine and PyTorch give the same weights again. They are not made anew when the code changes: the tests load them and
compare forecasts with the stored ones, so that what was written once can be read for ever.
"""

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import save_file

from cmust import City, Forecaster, demo_city, evaluate, fit

HERE = Path(__file__).parent
TASKS = ("crowd_in", "taxi_pickup")
SETTINGS: dict[str, Any] = {
    "preset": "tuned",
    "model": {
        **{name: 4 for name in ("d_obs", "d_s", "d_t", "d_p")},
        **{name: 3 for name in ("d_ts", "d_tod", "d_dow")},
        "cross_width": 8,
        "self_width": 8,
        "ffn_width": 16,
        "heads": 2,
        "horizon": 6,
    },
    "training": {
        "batch_size": 8,
        "updates_per_epoch": 20,
        "start_epochs": 2,
        "rolling_epochs": 1,
        "refine_epochs": 1,
        "rate": 2e-3,
        "warmup_updates": 5,
        "precision": "32-true",
    },
}


def tiny_demo() -> City:
    """The city it is trained on: three weeks, sixteen places."""
    return demo_city(weeks=3, places=16).select(tasks=list(TASKS))


def main() -> None:
    torch.set_num_threads(1)
    city = tiny_demo()
    shutil.rmtree(HERE / "demo", ignore_errors=True)
    with TemporaryDirectory() as place:
        run = Path(place) / "run"
        fit(city, run, accelerator="cpu", command="tests/bundle/make_tiny.py", **SETTINGS)
        evaluate(run, city, command="tests/bundle/make_tiny.py")
        Forecaster.load(run).save_pretrained(HERE / "demo", license="apache-2.0")
    forecaster = Forecaster.load(HERE / "demo")
    stored = {}
    for name, task in city.tasks.items():
        stored[f"{name}.recent"] = torch.from_numpy(task.values[-12:])
        stored[f"{name}.forecast"] = torch.from_numpy(forecaster.predict(city, name).values)
    save_file(stored, HERE / "expected.safetensors", metadata={"start": str(city.tasks[TASKS[0]].time[-12])})
    write_schema_1()


def write_schema_1() -> None:
    """``model.json`` as the first layout had it: no format, no training, no record, no digest, no data seen."""
    document = json.loads((HERE / "demo" / "model.json").read_text())
    first = {key: value for key, value in document.items() if key not in ("format", "training", "record", "digest")}
    later = {"seen", "fingerprint", "cuts", "validation"}
    tasks = {name: {key: task[key] for key in task if key not in later} for name, task in document["tasks"].items()}
    (HERE / "model-schema-1.json").write_text(json.dumps({**first, "schema": 1, "tasks": tasks}) + "\n")


if __name__ == "__main__":
    main()
