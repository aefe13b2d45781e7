"""Weights of the published implementation: what does not fit is refused by name, what could run code is not opened."""

import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from cmust.errors import RunError
from cmust.model import Trunk
from cmust.model.reference import load_reference, read_weights
from tests.model.test_golden import Golden, published_config


@pytest.fixture(scope="module")
def golden() -> Golden:
    return Golden()


@pytest.fixture
def trunk(golden: Golden) -> Trunk:
    return Trunk(published_config(golden.config), golden.config["tod_size"], (1,))


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_both_kinds_of_files(golden: Golden, trunk: Trunk, tmp_path: Path, suffix: str) -> None:
    weights, path = golden.part("param."), tmp_path / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path)
    prompt = load_reference(trunk, read_weights(path))
    assert torch.equal(prompt, weights["prompt"])
    assert torch.equal(trunk.embedding.space.weight, weights["spatial_mlp.weight"])
    assert torch.equal(trunk.blocks[0].ssi[1].attention.output.bias, weights["layers.0.self_attn_s_s1.attn.dense.bias"])


def test_weights_without_a_prompt(golden: Golden, trunk: Trunk) -> None:
    weights = golden.part("param.")
    del weights["prompt"]
    assert load_reference(trunk, weights) is None


@pytest.mark.parametrize(
    "name", ["layers.0.other.attn.Wq.weight", "head.weight", "layers.0.weight", "spatial_mlp", "blocks.0.x.y.z"]
)
def test_unknown_weight(golden: Golden, trunk: Trunk, name: str) -> None:
    with pytest.raises(RunError, match=f"'{name}'"):
        load_reference(trunk, {**golden.part("param."), name: torch.zeros(1)})


def test_a_block_too_many(golden: Golden, trunk: Trunk) -> None:
    with pytest.raises(RunError, match=r"'layers\.1\.self_attn_t_t\.attn\.Wq\.weight' has no place"):
        load_reference(trunk, {**golden.part("param."), "layers.1.self_attn_t_t.attn.Wq.weight": torch.zeros(1)})


def test_missing_weight(golden: Golden, trunk: Trunk) -> None:
    weights = golden.part("param.")
    del weights["dow_embedding.weight"]
    with pytest.raises(RunError, match=r"lack 1 of the trunk's, 'embedding\.day_of_week\.weight'"):
        load_reference(trunk, weights)


def test_wrong_shape_leaves_the_trunk_alone(golden: Golden, trunk: Trunk) -> None:
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    weights = golden.part("param.")
    weights["spatial_mlp.weight"] = torch.zeros(3, 2)
    with pytest.raises(RunError, match=r"'spatial_mlp\.weight' is \(3, 2\), the trunk's is \("):
        load_reference(trunk, weights)
    assert all(torch.equal(value, before[name]) for name, value in trunk.state_dict().items())


class Attack:
    """Unpickling it would run a shell command."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


@pytest.mark.parametrize("how", ["torch", "pickle", "inside"])
def test_a_pickled_command_does_not_run(tmp_path: Path, how: str) -> None:
    path, trace = tmp_path / "weights.pt", tmp_path / "it ran".replace(" ", "-")
    if how == "torch":
        torch.save(Attack(trace), path)
    elif how == "inside":
        torch.save({"spatial_mlp.weight": torch.zeros(2), "more": Attack(trace)}, path)
    else:
        path.write_bytes(pickle.dumps(Attack(trace)))
    with pytest.raises(RunError, match=r"weights\.pt"):
        read_weights(path)
    assert not trace.exists()
    pickle.loads(pickle.dumps(Attack(trace)))  # the attack is one: opened carelessly, it runs
    assert trace.exists()


def test_damaged_and_missing_files(golden: Golden, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no weights at"):
        read_weights(tmp_path / "none.pt")
    for suffix in (".pt", ".safetensors"):
        path = tmp_path / f"weights{suffix}"
        torch.save(golden.part("param."), path) if suffix == ".pt" else save_file(golden.part("param."), path)
        content = path.read_bytes()
        for part in (b"", content[: len(content) // 2], content[:7], b"not weights at all"):
            path.write_bytes(part)
            with pytest.raises(RunError, match="weights"):
                read_weights(path)
    with pytest.raises(RunError):
        read_weights(tmp_path)


def test_a_list_of_tensors_is_not_weights(tmp_path: Path) -> None:
    torch.save([torch.zeros(2)], tmp_path / "weights.pt")
    with pytest.raises(RunError, match="not a dictionary of tensors"):
        read_weights(tmp_path / "weights.pt")
