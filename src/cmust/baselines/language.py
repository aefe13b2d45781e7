"""GPT-2 as a part of another network: from a folder of weights that the user has, or random.

Radford, Wu, Child, Luan, Amodei, Sutskever: "Language Models are Unsupervised Multitask Learners", 2019. The folder is
as Hugging Face lays it out: ``config.json``, ``model.safetensors``, ``vocab.json`` and ``merges.txt`` (the pieces of a
text are found by ``tokenizers``, extra ``cmust[baselines]``).

Shapes: B batch, K tokens, D width.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from zlib import crc32

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from cmust.errors import ConfigError

LAYERS = 6
"""The first ones of GPT-2's, as UniTime takes them."""
WORDS = 4096
"""That a random language model tells apart."""


class GPT2(nn.Module):
    """Layers that look back only, on tokens that are already vectors.

    Args:
        width, heads, layers: D, heads of attention, number of layers.
        positions: the most tokens.
    """

    def __init__(self, width: int, heads: int, layers: int, positions: int) -> None:
        super().__init__()
        self.heads = heads
        self.position = nn.Parameter(torch.randn(positions, width) * 0.02)
        self.dropout = nn.Dropout(0.1)
        self.layers = nn.ModuleList(_layer(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, K, D)`` to the same shape."""
        count = x.shape[1]
        ahead = torch.ones(count, count, dtype=torch.bool, device=x.device).triu(1)
        x = self.dropout(x + self.position[:count])
        for layer in self.layers:
            x = layer(x, src_mask=ahead)
        states: Tensor = self.norm(x)
        return states


@dataclass(frozen=True)
class Language:
    """A language model and what it reads with.

    Attributes:
        network: the layers.
        words: ``(V, D)``, the vectors of its vocabulary.
        pieces: of a text, numbers from 0 to V - 1.
        source: where the weights are from, for the record.
    """

    network: GPT2
    words: Tensor
    pieces: Callable[[str], list[int]]
    source: str


def random_language(width: int = 128, heads: int = 4, layers: int = LAYERS, positions: int = 256) -> Language:
    """One that has never read: every word has a random vector of its own, about as many as GPT-2 makes of a text."""
    network = GPT2(width, heads, layers, positions)
    source = f"random, {layers} layers of {width}"

    def pieces(text: str) -> list[int]:
        return [crc32(word.encode()) % WORDS for word in re.findall(r"\w+|[^\w\s]", text)]

    return Language(network, torch.randn(WORDS, width) * 0.02, pieces, source)


def read_language(folder: Path, layers: int = LAYERS) -> Language:
    """GPT-2's first layers from ``folder``.

    Raises:
        ConfigError: a file is missing or is not GPT-2's, or ``tokenizers`` is not installed.
    """
    _complete(folder, ("config.json", "model.safetensors"))
    try:
        config = json.loads((folder / "config.json").read_text())
        weights = load_file(folder / "model.safetensors")
        width, heads, positions = int(config["n_embd"]), int(config["n_head"]), int(config["n_positions"])
        network = GPT2(width, heads, min(layers, int(config["n_layer"])), positions)
        words = _fill(network, {name.removeprefix("transformer."): weight for name, weight in weights.items()})
    except FileNotFoundError as error:
        raise ConfigError(
            f"{folder} has no {Path(str(error.filename)).name}: give a folder of GPT-2's weights"
        ) from error
    except KeyError as error:
        raise ConfigError(f"{folder} holds no GPT-2: {error.args[0]} is missing") from error
    except (OSError, ValueError, TypeError, RuntimeError, SafetensorError) as error:
        raise ConfigError(f"{folder} holds no GPT-2 that can be read: {str(error).splitlines()[0]}") from error
    return Language(
        network, words, _pieces(folder), f"GPT-2 from {folder.name}, {len(network.layers)} layers of {width}"
    )


def _layer(width: int, heads: int) -> nn.TransformerEncoderLayer:
    gelu = partial(functional.gelu, approximate="tanh")
    layer = nn.TransformerEncoderLayer(width, heads, 4 * width, 0.1, gelu, batch_first=True, norm_first=True)
    layer.dropout.p = 0.0  # GPT-2 has none within its feed-forward part
    return layer


def _fill(network: GPT2, weights: dict[str, Tensor]) -> Tensor:
    """Copy the weights into the network; the vectors of the words."""
    names = {"position": "wpe.weight", "norm.weight": "ln_f.weight", "norm.bias": "ln_f.bias"}
    parts = {
        "self_attn.in_proj_": "attn.c_attn.", "self_attn.out_proj.": "attn.c_proj.", "linear1.": "mlp.c_fc.",
        "linear2.": "mlp.c_proj.", "norm1.": "ln_1.", "norm2.": "ln_2.",
    }  # fmt: skip
    for i in range(len(network.layers)):
        for ours, published in parts.items():
            for kind in ("weight", "bias"):
                names[f"layers.{i}.{ours}{kind}"] = f"h.{i}.{published}{kind}"
    state = {name: weights[published].float() for name, published in names.items()}
    # GPT-2 multiplies from the left: its matrices are ours turned, the table of positions excepted.
    network.load_state_dict({name: x.T if x.dim() == 2 and name != "position" else x for name, x in state.items()})
    return weights["wte.weight"].float()


def _pieces(folder: Path) -> Callable[[str], list[int]]:
    try:
        from tokenizers import ByteLevelBPETokenizer
    except ImportError as error:
        raise ConfigError("reading texts with GPT-2 needs 'tokenizers': install cmust[baselines]") from error
    _complete(folder, ("vocab.json", "merges.txt"))
    tokenizer = ByteLevelBPETokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    return lambda text: list(tokenizer.encode(text).ids)


def _complete(folder: Path, names: tuple[str, ...]) -> None:
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise ConfigError(f"{folder} has no {missing[0]}: give a folder of GPT-2's weights as Hugging Face lays it out")
