"""GPT-2 from a folder: by its formulas, and folders that hold none."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from cmust.baselines.language import random_language, read_language
from cmust.errors import ConfigError


def gpt2_folder(folder: Path) -> dict[str, Tensor]:
    """A GPT-2 of width 4, one head, two layers, without text pieces."""
    width, state = 4, {"wte.weight": torch.randn(9, 4), "wpe.weight": torch.randn(5, 4)}
    sizes = {"attn.c_attn": (width, 12), "attn.c_proj": (width, 4), "mlp.c_fc": (width, 16), "mlp.c_proj": (16, width)}
    for i in range(2):
        for name, size in sizes.items():
            state |= {f"h.{i}.{name}.weight": torch.randn(size), f"h.{i}.{name}.bias": torch.randn(size[1])}
        for name in ("ln_1", "ln_2"):
            state |= {f"h.{i}.{name}.weight": torch.rand(width), f"h.{i}.{name}.bias": torch.randn(width)}
    state |= {"ln_f.weight": torch.rand(width), "ln_f.bias": torch.randn(width)}
    save_file({f"transformer.{name}": weight for name, weight in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"n_embd": 4, "n_head": 1, "n_layer": 2, "n_positions": 5}))
    (folder / "vocab.json").write_text(json.dumps({"a": 0, "b": 1, "c": 2, "ab": 3}))
    (folder / "merges.txt").write_text("#version: 0.2\na b\n")
    return state


def test_gpt2_from_a_folder_by_its_formulas(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    w = gpt2_folder(tmp_path)
    language = read_language(tmp_path, layers=1)
    assert language.pieces("abc") == [3, 2] and "GPT-2" in language.source and "1 layers of 4" in language.source

    def norm(x: Tensor, name: str) -> Tensor:
        mean, variance = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
        return (x - mean) / (variance + 1e-5).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]

    def times(x: Tensor, name: str) -> Tensor:
        return x @ w[f"h.0.{name}.weight"] + w[f"h.0.{name}.bias"]

    tokens = torch.randn(3, 4)
    x = tokens + w["wpe.weight"][:3]
    q, k, v = times(norm(x, "h.0.ln_1"), "attn.c_attn").split(4, dim=1)
    rows = [torch.softmax(q[i] @ k[: i + 1].T / 2, 0) @ v[: i + 1] for i in range(3)]
    x = x + times(torch.stack(rows), "attn.c_proj")
    y = times(norm(x, "h.0.ln_2"), "mlp.c_fc")
    y = 0.5 * y * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (y + 0.044715 * y**3)))
    x = x + times(y, "mlp.c_proj")
    assert torch.allclose(language.network.eval()(tokens[None])[0], norm(x, "ln_f"), atol=1e-5)


def test_a_folder_that_holds_no_gpt2_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        read_language(tmp_path)
    gpt2_folder(tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match="holds no GPT-2"):
        read_language(tmp_path)
    save_file({"transformer.wte.weight": torch.zeros(9, 4)}, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=r"wpe\.weight is missing"):
        read_language(tmp_path)


def test_a_random_language_tells_words_apart() -> None:
    pieces = random_language(width=8, heads=2, layers=1).pieces
    taxis, bikes = pieces("taxi pickup, trips / 30 min"), pieces("bike pickup, trips / 30 min")
    assert len(taxis) == 7 and taxis[0] != bikes[0] and taxis[1:] == bikes[1:]
    assert len(set(taxis)) == 7 and pieces("") == []
