"""UniTime: a language model reads what a series is, then its patches, and a transformer makes the forecast.

Liu, Hu, Li, Diao, Liang, Hooi, Zimmermann: "UniTime: A Language-Empowered Unified Model for Cross-Domain Time Series
Forecasting", WWW 2024; published as liuxu77/UniTime. The first 6 layers of GPT-2 (small, width 768), all trained,
patches of 16 steps, a decoder of 2 layers, room for 17 tokens, half of the input hidden in training.

The language model is ``language.read_language`` of a folder of the user, or a random one; ``UniTime.language`` tells
which. Every series of every channel goes through by itself, standardised by its own window, the channel's text before
it. No clock, no graph.

Shapes: B batch (with nodes, which are folded into it), T input steps, F forecast steps, N nodes, C channels, L steps of
a patch, P patches, K tokens, D width.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmust.baselines.language import Language, random_language, read_language
from cmust.baselines.scene import Glimpse, Scene
from cmust.baselines.stages import Batch, Score, Stage
from cmust.errors import ConfigError

TRAINING: dict[str, Any] = {
    "rate": 1e-4,
    "clip": 5.0,
    "batch_size": 32,
    "windows_per_pass": 2,  # every series of every channel is a sequence: 32 windows of a city at once need tens of GiB
    "start_epochs": 10,
    "patience": 10,
}


class UniTime(nn.Module):
    """The network of figure 2.

    Args:
        language: the language model; its layers and the words that the texts use become part of this network.
        texts: what each of the C channels is; empty for nothing.
        input_steps, horizon: T, F.
        patch: L, and the distance of patches.
        layers: of the decoder.
        room: K, more tokens than text and patches are filled up by a learned one.
        hidden: share of the input that training hides.
    """

    def __init__(
        self,
        language: Language,
        texts: tuple[str, ...],
        input_steps: int,
        horizon: int,
        patch: int = 16,
        layers: int = 2,
        room: int = 17,
        hidden: float = 0.5,
    ) -> None:
        super().__init__()
        self.steps, self.horizon, self.patch, self.hidden = input_steps, horizon, patch, hidden
        self.language, self.reader = language.source, language.network
        pieces = [language.pieces(text) for text in texts]
        # Of the vocabulary only the words of the texts are kept: no other would ever get a gradient.
        used = sorted({piece for text in pieces for piece in text})
        width = language.words.shape[1]
        self.words = nn.Parameter(language.words[used].clone())
        self.texts = [torch.tensor([used.index(piece) for piece in text], dtype=torch.long) for text in pieces]
        self.room = max(room, max(map(len, pieces)) + -(-input_steps // patch))
        self.value, self.known = nn.Linear(patch, width), nn.Linear(patch, width)
        self.gate_value, self.gate_known = nn.Linear(width, width), nn.Linear(width, width)
        self.project = nn.Linear(width, width)
        self.dropout = nn.Dropout(0.3)
        self.filler = nn.Parameter(torch.randn(width))
        self.decoder = nn.Sequential(*(_layer(width, self.reader.heads) for _ in range(layers)))
        self.head = nn.Sequential(nn.Linear(width * self.room, input_steps + horizon), nn.Dropout(0.1))

    def forward(self, seen: Glimpse) -> Tensor:
        """``(B, F, N, C)``."""
        return self.whole(seen.values, torch.ones_like(seen.values))[:, self.steps :]

    def whole(self, values: Tensor, known: Tensor) -> Tensor:
        """Input and forecast ``(B, T + F, N, C)`` from values ``(B, T, N, C)`` as far as ``known`` is 1."""
        nodes = values.shape[2]
        made = [
            self.continued(values[..., c].mT.flatten(0, 1), known[..., c].mT.flatten(0, 1), self.words[text])
            for c, text in enumerate(self.texts)
        ]
        whole: Tensor = torch.stack(made, dim=-1).unflatten(0, (-1, nodes)).transpose(1, 2)
        return whole

    def continued(self, series: Tensor, known: Tensor, text: Tensor) -> Tensor:
        """``(B, T + F)`` from series ``(B, T)`` where ``known`` is 1, after a text ``(words, D)``."""
        count = known.sum(1, keepdim=True).clamp_min(1)
        mean = (series * known).sum(1, keepdim=True) / count
        series = (series - mean) * known
        std = ((series**2).sum(1, keepdim=True) / count + 1e-5).sqrt()
        tokens = self.tokens(series / std, known)
        states = self.reader(torch.cat((text.expand(len(tokens), -1, -1), tokens), dim=1))
        filler = self.filler.expand(len(states), self.room - states.shape[1], -1)
        decoded = self.decoder(torch.cat((states, filler), dim=1))
        made: Tensor = self.head(decoded.mT.flatten(1))
        return made * std + mean

    def tokens(self, series: Tensor, known: Tensor) -> Tensor:
        """``(B, P, D)``: a gate weighs what a patch holds against what of it is known; the last step fills it up."""
        short = -series.shape[1] % self.patch
        cut = [functional.pad(x[:, None], (0, short), "replicate")[:, 0] for x in (series, known)]
        value, seen = (x.unfold(1, self.patch, self.patch) for x in cut)
        value, seen = self.value(value), self.known(seen)
        gate = torch.sigmoid(self.gate_value(value) + self.gate_known(seen))
        tokens: Tensor = self.dropout(self.project(gate * value + (1 - gate) * seen))
        return tokens

    def stages(self) -> list[Stage]:
        """One: forecasts and the input itself from half of it."""
        return [Stage("forecasting", list(self.parameters()), self, self.from_half)]

    def from_half(self, batch: Batch, score: Score) -> Tensor:
        """The forecast's loss and the mean absolute error of the input, weighted by their steps."""
        values = batch.seen.values
        known = (torch.rand_like(values) >= self.hidden).to(values.dtype)
        made = self.whole(values, known)
        back = (made[:, : self.steps] - values).abs().mean()
        return (self.steps * back + self.horizon * score(made[:, self.steps :])) / (self.steps + self.horizon)


def _layer(width: int, heads: int) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.1, batch_first=True, norm_first=True)


def make(scene: Scene, language: Language | Path | str | None = None) -> UniTime:
    """In the published sizes, with ``language``, that of a folder, or a small random one.

    Raises:
        ConfigError: the scene has texts, but not one per channel, or too long ones.
    """
    if scene.texts and len(scene.texts) != scene.channels:
        raise ConfigError(f"UniTime reads a text per channel: {len(scene.texts)} for {scene.channels} channels")
    if isinstance(language, Path | str):
        language = read_language(Path(language))
    language = language or random_language()
    system = UniTime(language, scene.texts or ("",) * scene.channels, scene.input_steps, scene.horizon)
    if system.room > (most := len(language.network.position)):
        raise ConfigError(
            f"texts and patches are {system.room} tokens, the language model reads {most}: shorten the texts"
        )
    return system
