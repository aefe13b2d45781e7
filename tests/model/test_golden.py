"""The ``reference`` network reproduces the published implementation's numbers (tests/golden, made as its README
says).
"""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from cmust.model import Head, Inputs, Trunk, forecast, model_config
from cmust.model.losses import loss_terms
from cmust.model.reference import load_reference, trunk_name
from cmust.prompts import FreePrompt

GOLDEN = Path(__file__).parents[1] / "golden" / "reference_model.safetensors"


class Golden:
    def __init__(self) -> None:
        with safe_open(GOLDEN, "pt") as file:
            self.tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            meta = file.metadata()
        self.config = json.loads(meta["config"])
        self.scaler = json.loads(meta["scaler"])
        self.metrics = json.loads(meta["metrics"])

    def part(self, prefix: str) -> dict[str, Tensor]:
        return {name.removeprefix(prefix): value for name, value in self.tensors.items() if name.startswith(prefix)}


def published_config(config: dict, **overrides):
    """Our configuration with the published sizes."""
    return model_config(
        "reference",
        input_steps=config["input_len"],
        horizon=config["output_len"],
        d_obs=config["d_obser"],
        d_s=config["d_s"],
        d_t=config["d_t"],
        d_p=config["d_p"],
        d_ts=config["d_ts"],
        d_tod=config["d_tod"],
        d_dow=config["d_dow"],
        cross_width=config["cross_atten_dim"],
        self_width=config["self_atten_dim"],
        ffn_width=config["ffn_dim"],
        heads=config["n_heads"],
        dropout=config["dropout"],
        **overrides,
    )


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden()


@pytest.fixture
def model(golden: Golden) -> tuple[Trunk, Head, Inputs]:
    config = published_config(golden.config)
    trunk = Trunk(config, golden.config["tod_size"], (1,))
    prompt = load_reference(trunk, golden.part("param."))
    head = Head(config, FreePrompt(prompt), torch.tensor([golden.scaler["mean"]]), torch.tensor([golden.scaler["std"]]))
    x = golden.tensors["x"]
    values = x[..., :1] * golden.scaler["std"] + golden.scaler["mean"]
    slot = (x[:, :, 0, 1] * golden.config["tod_size"]).round().long()
    zeros = torch.zeros_like(values)
    inputs = Inputs(values, slot, x[:, :, 0, 2].long(), x[:, :, 0, 5:11], x[0, 0, :, 3:5], zeros, zeros)
    return trunk, head, inputs


def masked_mae(trunk: Trunk, head: Head, inputs: Inputs, y: Tensor) -> Tensor:
    total, count = loss_terms(
        "masked_mae", forecast(trunk, head, inputs), y, torch.ones_like(y, dtype=torch.bool), head.std
    )
    return total / count


def test_output(golden: Golden, model) -> None:
    trunk, head, inputs = model
    standardised = (forecast(trunk, head, inputs) - head.mean) / head.std
    torch.testing.assert_close(standardised, golden.tensors["output"], atol=1e-5, rtol=0)


def test_gradients(golden: Golden, model) -> None:
    trunk, head, inputs = model
    loss = masked_mae(trunk, head, inputs, golden.tensors["y"])
    assert loss.item() == pytest.approx(golden.metrics["masked_mae"], abs=1e-5)
    loss.backward()
    grads = golden.part("grad.")
    torch.testing.assert_close(head.prompt.weight.grad, grads.pop("prompt"), atol=1e-5, rtol=0)
    ours = {name: parameter.grad for name, parameter in trunk.named_parameters()}
    assert {trunk_name(name) for name in grads} == set(ours)
    for name, grad in grads.items():
        torch.testing.assert_close(
            ours[trunk_name(name)], grad, atol=1e-5, rtol=0, msg=lambda text, name=name: f"{name}: {text}"
        )


def test_ten_adam_steps(golden: Golden, model) -> None:
    trunk, head, inputs = model
    parameters = [*trunk.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-3, weight_decay=3e-4, eps=1e-8)
    losses = []
    for _ in range(10):
        loss = masked_mae(trunk, head, inputs, golden.tensors["y"])
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(torch.tensor(losses), golden.tensors["losses_10_adam_steps"], atol=1e-4, rtol=0)
    output = (forecast(trunk, head, inputs) - head.mean) / head.std
    torch.testing.assert_close(output, golden.tensors["output_after_10_steps"], atol=1e-3, rtol=0)
