"""The exported program agrees with the forecaster, for any number of windows and places, and holds no pickle."""

import json
import zipfile
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from cmust import Forecaster
from cmust.bundle import export_graph, graph_inputs
from cmust.errors import CmustError
from cmust.model import Head, Inputs, ModelConfig, Trunk, forecast, model_config
from cmust.prompts import FreePrompt, NoPrompt, SummaryPrompt
from cmust.recent import with_missing
from tests.bundle.conftest import DEMO, EXPECTED, recent_city
from tests.full_disk import file_size_limit
from tests.rolling.tiny import SIZES

SLOTS = 12


def random_network(preset: str, **changes: Any) -> tuple[Trunk, Head]:
    """A network whose every weight matters, of a task with two channels and three places."""
    config = model_config(preset, **{**SIZES, **changes})
    prompt: torch.nn.Module = FreePrompt(torch.zeros(config.input_steps, 3, config.d_p))
    if not config.prompts:
        prompt = NoPrompt(config.d_p)
    elif config.prompt == "summary":
        prompt = SummaryPrompt(torch.zeros(3, 8), config.d_p)
    trunk = Trunk(config, SLOTS, (1, 2))
    head = Head(config, prompt, torch.tensor([3.0, 5.0]), torch.tensor([2.0, 4.0]), 0.5, torch.tensor([1.0, 3.0]))
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in [*trunk.parameters(), *head.parameters()]:
            weight.copy_(0.3 * torch.randn(weight.shape, generator=draw))
    return trunk.eval(), head.eval()


def random_inputs(config: ModelConfig, batch: int, nodes: int) -> Inputs:
    draw = torch.Generator().manual_seed(100 * batch + nodes)

    def counts(steps: int) -> torch.Tensor:
        return 9 * torch.rand(batch, steps, nodes, 2, generator=draw)

    return Inputs(
        values=counts(config.input_steps),
        slot=torch.randint(SLOTS, (batch, config.input_steps), generator=draw),
        dow=torch.randint(7, (batch, config.input_steps), generator=draw),
        stamp=torch.rand(batch, config.input_steps, 6, generator=draw),
        place=torch.randn(nodes, 2, generator=draw),
        average=counts(config.input_steps),
        average_ahead=counts(config.horizon),
    )


@pytest.mark.parametrize("preset", ["tuned", "reference"])
def test_it_agrees_over_batches_and_places(tmp_path: Path, preset: str) -> None:
    trunk, head = random_network(preset)
    config = trunk.config
    export_graph(trunk, head, tmp_path / "two.pt2")
    program = torch.export.load(tmp_path / "two.pt2").module()
    steps = config.input_steps if config.prompt == "free" else 1
    for batch, nodes in ((1, 1), (1, 5), (2, 3), (7, 2), (16, 11)):
        inputs = random_inputs(config, batch, nodes)
        prompt = torch.randn(steps, nodes, config.d_p)
        found = program(**inputs._asdict(), prompt=prompt)
        assert found.shape == (batch, config.horizon, nodes, 2)
        torch.testing.assert_close(found, forecast(trunk, head, inputs, prompt), rtol=1e-5, atol=1e-5)
        assert not torch.allclose(found, forecast(trunk, head, inputs, -prompt), rtol=1e-4)
    inputs = random_inputs(config, 4, 3)
    found = program(**graph_inputs(head, inputs))
    torch.testing.assert_close(found, forecast(trunk, head, inputs), rtol=1e-5, atol=1e-5)


def test_autocast_around_the_export_has_no_say(tmp_path: Path) -> None:
    trunk, head = random_network("tuned")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        export_graph(trunk, head, tmp_path / "cast.pt2")
    program = torch.export.load(tmp_path / "cast.pt2")
    noted = [node.meta["val"] for node in program.graph.nodes if isinstance(node.meta.get("val"), torch.Tensor)]
    assert {tensor.dtype for tensor in noted} == {torch.float32, torch.int64, torch.bool}
    inputs, prompt = random_inputs(trunk.config, 4, 5), torch.ones(1, 5, trunk.config.d_p)
    found = program.module()(**inputs._asdict(), prompt=prompt)
    torch.testing.assert_close(found, forecast(trunk, head, inputs, prompt), rtol=1e-5, atol=1e-5)


def test_without_prompts_there_is_an_input_all_the_same() -> None:
    trunk, head = random_network("paper", prompts=False)
    inputs = random_inputs(trunk.config, 2, 3)
    prompt = graph_inputs(head, inputs)["prompt"]
    assert prompt.shape == (1, 3, trunk.config.d_p)
    torch.testing.assert_close(forecast(trunk, head, inputs, prompt), forecast(trunk, head, inputs))


@pytest.fixture(scope="module")
def crowd(tmp_path_factory) -> Path:
    """A task of the shipped bundle, exported."""
    path = tmp_path_factory.mktemp("graph") / "crowd.pt2"
    model = Forecaster.from_pretrained(DEMO).model("crowd_in")
    export_graph(model.trunk, model.head, path)
    return path


def test_the_shipped_bundle_exported_forecasts_what_it_did(crowd: Path) -> None:
    forecaster = Forecaster.from_pretrained(DEMO)
    model = forecaster.model("crowd_in")
    program = torch.export.load(crowd).module()
    windows = forecaster.windows(with_missing(recent_city().tasks["crowd_in"], 12))
    found = program(**graph_inputs(model.head, windows.inputs(torch.tensor([0]))))[0, :, :, 0]
    torch.testing.assert_close(found.detach(), torch.from_numpy(EXPECTED["crowd_in.forecast"]), rtol=1e-5, atol=1e-5)


def test_the_file_holds_no_pickle_no_folder_name_and_nothing_of_single_places(crowd: Path) -> None:
    with zipfile.ZipFile(crowd) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    shapes = [
        [size["as_int"] for size in payload["tensor_meta"]["sizes"]]
        for name, content in contents.items()
        if name.endswith("_config.json")
        for payload in json.loads(content)["config"].values()
    ]
    assert shapes and not any(16 in shape and 64 in shape for shape in shapes)  # no summary of the sixteen places
    for name, content in contents.items():
        assert not content.startswith((b"PK\x03\x04", b"\x80\x02", b"\x80\x04")), name
        assert b"/cmust/" not in content and str(crowd.parent).encode() not in content, name


def test_what_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Forecaster.from_pretrained(DEMO).model("crowd_in")
    with pytest.raises(CmustError, match=r"crowd\.onnx: an exported graph is a \.pt2 file"):
        export_graph(model.trunk, model.head, tmp_path / "crowd.onnx")
    with pytest.raises(CmustError, match=r"cannot export this network: a reason$"):
        monkeypatch.setattr(torch.export, "export", Mock(side_effect=RuntimeError("a reason\nand more")))
        export_graph(model.trunk, model.head, tmp_path / "crowd.pt2")
    monkeypatch.setattr(torch.export, "export", Mock())

    def as_before(program: Any, file: Any) -> None:
        """As PyTorch saved until 2.8: the weights one pickle."""
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("serialized_state_dict.pt", b"\x80\x02")

    monkeypatch.setattr(torch.export, "save", as_before)
    monkeypatch.setattr(torch.export.export.return_value.graph, "nodes", [])
    with pytest.raises(CmustError, match=r"writes pickles into \.pt2 files"):
        export_graph(model.trunk, model.head, tmp_path / "crowd.pt2")
    (tmp_path / "file").write_text("")
    with pytest.raises(CmustError, match="cannot write"):
        export_graph(model.trunk, model.head, tmp_path / "file" / "crowd.pt2")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    with file_size_limit(20_000), pytest.raises(CmustError, match=r"cannot write .*crowd\.pt2: File too large"):
        export_graph(*random_network("tuned"), tmp_path / "crowd.pt2")
    assert not list(tmp_path.iterdir())
