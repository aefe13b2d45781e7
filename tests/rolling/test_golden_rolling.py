"""The ``reference`` preset reproduces the published rolling scheme's numbers on two tasks (tests/golden)."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from safetensors import safe_open

from cmust.clock import Calendar
from cmust.model import Head, Trunk, forecast
from cmust.model.reference import load_reference, trunk_name
from cmust.prompts import FreePrompt
from cmust.rolling import Trainer, rolling_plan, training_config
from cmust.windows import Scaler, Split, Windows
from tests.model.test_golden import published_config

GOLDEN = Path(__file__).parents[1] / "golden" / "reference_rolling.safetensors"
PHASES = {"start": "start 0", "roll_1": "roll 2 1", "roll_0": "roll 3 0", "fine_0": "refine 0", "fine_1": "refine 1"}


def read_golden():
    with safe_open(GOLDEN, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        meta = {key: value for key, value in file.metadata().items() if key != "torch"}
    return tensors, {key: json.loads(value) for key, value in meta.items()}


def golden_windows(tensors, task: int) -> Windows:
    features = tensors[f"task{task}.features"]
    values = tensors[f"task{task}.values"][..., None]
    mean, std = tensors[f"task{task}.mean_std"]
    starts = torch.arange(265)
    slot = (features[:, 0, 1] * 48).round().long()
    return Windows(
        name=str(task),
        values=values,
        valid=torch.ones_like(values, dtype=torch.bool),
        average=torch.zeros_like(values),
        profile=torch.zeros_like(values),
        clock=Calendar(slot, features[:, 0, 2].long(), features[:, 0, 5:11]),
        place=features[0, :, 3:5],
        scaler=Scaler(mean[None], std[None]),
        split=Split({"train": starts[:186], "validation": starts[186:212], "test": starts[212:]}, 209),
        steps_per_day=48,
        input_steps=12,
        horizon=12,
    )


class Played:
    """The whole scheme, played once with our trainer."""

    def __init__(self) -> None:
        self.tensors, self.meta = read_golden()
        tensors = self.tensors
        self.windows = {str(task): golden_windows(tensors, task) for task in (0, 1)}
        config = published_config(self.meta["config"])
        trunk = Trunk(config, 48, (1,))
        load_reference(trunk, {name[5:]: value for name, value in tensors.items() if name.startswith("init.")})
        heads = {
            name: Head(config, FreePrompt(tensors[f"task{name}.prompt"]), w.scaler.mean, w.scaler.std)
            for name, w in self.windows.items()
        }
        training = training_config(
            "reference",
            shuffle=False,
            rate=self.meta["learning_rate"],
            weight_decay=self.meta["weight_decay"],
            delta=self.meta["delta"],
            start_epochs=2,
            rolling_epochs=8,
            refine_epochs=2,
            precision="32-true",
        )
        self.events, self.final, self.variance, self.frozen = [], {}, {}, {}

        def on_event(event) -> None:
            self.events.append(event)
            if event["event"] == "phase" and event["kind"] == "roll":
                stability = self.trainer.stability
                self.variance[event["phase"]] = {name: stability.variance(name).clone() for name in stability.frozen}
                self.frozen[event["phase"]] = {name for name, mask in stability.frozen.items() if mask.all()}

        self.trainer = Trainer(
            Fabric(accelerator="cpu", devices=1),
            trunk,
            heads,
            self.windows,
            rolling_plan(["0", "1"], training),
            training,
            on_event=on_event,
            on_delivery=lambda task, weights: self.final.update({task: weights}),
        )
        self.trainer.run()

    def forecasts(self, task: str, part: str) -> torch.Tensor:
        head = self.trainer.heads[task]
        self.trainer.trunk.load_state_dict(self.final[task]["trunk"])
        head.load_state_dict(self.final[task]["head"])
        with torch.no_grad():
            return forecast(
                self.trainer.trunk.eval(), head.eval(), self.windows[task].inputs(self.windows[task].split.starts[part])
            )


@pytest.fixture(scope="module")
def played() -> Played:
    return Played()


def test_losses_of_every_epoch(played: Played) -> None:
    for published, ours in PHASES.items():
        expected = [
            tuple(float(number) for number in re.findall(r"Loss: ([\d.]+)", line))
            for line in played.meta["record"][published]["epochs"]
        ]
        found = [
            (e["train_loss"], e["validation_loss"])
            for e in played.events
            if e["event"] == "epoch" and e["phase"] == ours
        ]
        np.testing.assert_allclose(found, expected, atol=1e-3, err_msg=published)


def test_variances(played: Played) -> None:
    checked = 0
    for published in ("roll_1", "roll_0"):
        prefix = f"{published}.variance."
        for name, expected in played.tensors.items():
            # A key bias shifts all scores of a query alike, which softmax does not see: its gradient is rounding noise,
            # and what Adam makes of it differs from one number of threads to another.
            if name.startswith(prefix) and not name.endswith(("prompt", "Wk.bias")):
                found = played.variance[PHASES[published]][trunk_name(name.removeprefix(prefix))]
                large = expected > 1e-3 * expected.max()  # the smallest ones are rounding noise
                torch.testing.assert_close(
                    found[large].float(), expected[large], rtol=0.05, atol=1e-12, msg=lambda t, n=name: f"{n}: {t}"
                )
                checked += 1
    assert checked > 100


def test_frozen_names(played: Played) -> None:
    frozen_before: set[str] = set()
    for published in ("roll_1", "roll_0"):
        record = played.meta["record"][published]
        expected = {trunk_name(name) for name in record["frozen"]}
        borderline = {trunk_name(name) for name in record["borderline"] if name != "prompt"}
        found = played.frozen[PHASES[published]]
        assert expected and found >= frozen_before
        assert (found ^ (expected | frozen_before)) <= borderline
        frozen_before = found


def test_scores_and_forecasts_after_refinement(played: Played) -> None:
    for task in ("0", "1"):
        windows = played.windows[task]
        validation = played.forecasts(task, "validation")
        found = (validation - windows.scaler.mean) / windows.scaler.std
        torch.testing.assert_close(found, played.tensors[f"fine_{task}.val_output"], atol=0.02, rtol=0.02)
        truth, _ = windows.targets(windows.split.starts["validation"])
        counted = truth != 0
        error = (validation - truth)[counted]
        scores = {
            "mae": error.abs().mean().item(),
            "rmse": error.square().mean().sqrt().item(),
            "mape": (error / truth[counted]).abs().mean().item(),
        }
        assert scores == pytest.approx(played.meta["record"][f"fine_{task}"]["val_masked"], rel=0.01)
