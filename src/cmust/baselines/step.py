"""STEP: a transformer pre-trained on masked patches of a long history helps a Graph WaveNet with a learned graph.

Shao, Zhang, Wang, Xu: "Pre-training Enhanced Spatial-temporal Graph Neural Network for Multivariate Time Series
Forecasting", KDD 2022; published as zezhishao/STEP, whose sizes these are: patches of 12 steps, width 96, 4 heads, 4
layers in the encoder and one in the decoder, 3 of 4 patches masked; the back end is Graph WaveNet on the last 12 steps.

The scene's input steps are the long history (published: a week). A patch holds all channels of its node.

Shapes: B batch, T input steps, F forecast steps, N nodes, C channels, L steps of a patch, P = T / L patches, D width,
S steps of the training part.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from cmust.baselines.graphs import transitions
from cmust.baselines.gwnet import GraphWaveNet
from cmust.baselines.scene import Glimpse, Scene
from cmust.baselines.stages import Batch, Score, Stage
from cmust.errors import ConfigError

RECENT = 12
"""Steps that the back end sees."""
TRAINING: dict[str, Any] = {
    "loss": "masked_mae",
    "rate": 2e-3,
    "milestones": (1, 18, 36, 54, 72),
    "milestone_factor": 0.5,
    "weight_decay": 1e-5,
    "clip": 3.0,
    "batch_size": 8,
    "patience": 100,
}  # of the second stage, for both


class TSFormer(nn.Module):
    """Section 3.1: each node's history in patches; most are hidden and have to be made up from the rest.

    Args:
        channels, patch, patches: C, L, P.
        width: D.
        depth: layers of the encoder; the decoder has one.
        masked: share of the patches that are hidden.
    """

    def __init__(
        self, channels: int, patch: int, patches: int, width: int = 96, depth: int = 4, masked: float = 0.75
    ) -> None:
        super().__init__()
        self.patch, self.patches, self.hidden = patch, patches, int(patches * masked)
        self.value = nn.Linear(channels * patch, width)
        self.position = nn.Parameter(torch.empty(patches, width).uniform_(-0.02, 0.02))
        self.dropout = nn.Dropout(0.1)
        self.encoder = nn.ModuleList(_layer(width) for _ in range(depth))
        self.encoder_norm = nn.LayerNorm(width)
        self.bridge = nn.Linear(width, width)
        self.mask = nn.Parameter(torch.randn(width) * 0.02)
        self.decoder = _layer(width)
        self.decoder_norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, channels * patch)

    def cut(self, values: Tensor) -> Tensor:
        """``(B, T, N, C)`` to ``(B, N, P, C * L)``."""
        return values.unfold(1, self.patch, self.patch).transpose(1, 2).flatten(3)

    def encode(self, patches: Tensor, which: Tensor | None = None) -> Tensor:
        """States ``(B, N, P, D)`` of all patches ``(B, N, P, C * L)``, or of those ``which`` are seen."""
        x = self.dropout(self.value(patches) + self.position)
        x = x if which is None else x[:, :, which]
        states = x.flatten(0, 1) * math.sqrt(x.shape[-1])  # so does the published code, before each stack of layers
        for layer in self.encoder:
            states = layer(states)
        encoded: Tensor = self.encoder_norm(states).view_as(x)
        return encoded

    def reconstruct(self, patches: Tensor, order: Tensor) -> Tensor:
        """The hidden patches, ``(B, N, hidden, C * L)``: the first ones of the permutation ``order`` ``(P,)``."""
        masked, kept = order[: self.hidden], order[self.hidden :]
        states = self.bridge(self.encode(patches, kept))
        blank = self.dropout(self.mask + self.position[masked].expand(*states.shape[:2], -1, -1))
        x = torch.cat((states, blank), dim=2)
        decoded = self.decoder_norm(self.decoder(x.flatten(0, 1) * math.sqrt(x.shape[-1]))).view_as(x)
        made: Tensor = self.head(decoded[:, :, len(kept) :])
        return made


class GraphLearner(nn.Module):
    """Section 3.2: how probable an edge is, from the whole training part of its two nodes.

    Args:
        series: ``(S, N, C)``, standardised.
        width: of a node's features.
        kernel: of both convolutions over time.
    """

    def __init__(self, series: Tensor, width: int = 100, kernel: int = 10) -> None:
        super().__init__()
        steps, _, channels = series.shape
        if steps <= 2 * (kernel - 1):
            raise ConfigError(f"STEP learns its graph from the training part, {steps} steps: it takes {2 * kernel - 1}")
        self.register_buffer("series", series.permute(1, 2, 0), persistent=False)
        self.convolve = nn.Sequential(
            *(nn.Conv1d(channels, 8, kernel), nn.ReLU(), nn.BatchNorm1d(8)),
            *(nn.Conv1d(8, 16, kernel), nn.ReLU(), nn.BatchNorm1d(16)),
            *(nn.Flatten(), nn.Linear((steps - 2 * (kernel - 1)) * 16, width), nn.ReLU(), nn.BatchNorm1d(width)),
        )
        self.pair = nn.Linear(2 * width, width)
        self.edge = nn.Linear(width, 2)

    def forward(self) -> Tensor:
        """Logits of edge and no edge, ``(N, N, 2)``."""
        node = self.convolve(self.get_buffer("series"))
        n = len(node)
        pairs = torch.cat((node.expand(n, -1, -1), node[:, None].expand(-1, n, -1)), dim=-1)
        logits: Tensor = self.edge(torch.relu(self.pair(pairs)))
        return logits


class STEP(nn.Module):
    """The whole of figure 2.

    Args:
        former: TSFormer.
        learner: of the graph.
        wavenet: the back end; the graphs it was given are not used, the sampled ones take their place.
        width, skip: of TSFormer's states and the back end's skip connections.
        neighbours: k of the graph of nearest neighbours that guides the learned one.
    """

    def __init__(
        self, former: TSFormer, learner: GraphLearner, wavenet: GraphWaveNet, width: int = 96, skip: int = 256,
        neighbours: int = 10,
    ) -> None:  # fmt: skip
        super().__init__()
        self.former, self.learner, self.wavenet, self.neighbours = former, learner, wavenet, neighbours
        self.hint = nn.Sequential(nn.Linear(width, 2 * skip), nn.ReLU(), nn.Linear(2 * skip, skip), nn.ReLU())

    def forward(self, seen: Glimpse) -> Tensor:
        """``(B, F, N, C)``, over a graph drawn anew; the published code draws one in tests, too."""
        return self.forecast(seen, self.states(seen), self.learner())

    def states(self, seen: Glimpse) -> Tensor:
        """What TSFormer, which stands still by now, makes of the long history: ``(B, N, P, D)``."""
        with torch.no_grad():
            return self.former.encode(self.former.cut(seen.values))

    def forecast(self, seen: Glimpse, states: Tensor, logits: Tensor) -> Tensor:
        """``(B, F, N, C)``."""
        drawn = functional.gumbel_softmax(logits.expand(len(states), -1, -1, -1), tau=0.5, hard=True)[..., 0]
        loops = torch.eye(drawn.shape[-1], device=drawn.device)
        hint = self.hint(states[:, :, -1]).transpose(1, 2)[..., None]
        graphs = transitions(drawn * (1 - loops) + loops)
        values, slot, dow = (part[:, -RECENT:] for part in (seen.values, seen.slot, seen.dow))
        return self.wavenet.forecast(seen._replace(values=values, slot=slot, dow=dow), graphs, hint)

    def nearest(self, states: Tensor) -> Tensor:
        """The ``k * N`` most similar pairs of nodes of each window, ``(B, N, N)`` of 0 and 1, no loops."""
        unit = functional.normalize(states.flatten(2), dim=-1)
        alike = unit @ unit.mT
        n = alike.shape[-1]
        top = alike.flatten(1).topk(min(self.neighbours, n) * n).indices
        edges = torch.zeros_like(alike).flatten(1).scatter(1, top, 1.0).view_as(alike)
        return edges * (1 - torch.eye(n, device=edges.device))

    def stages(self) -> list[Stage]:
        """TSFormer on masked patches; then everything else on forecasts, with TSFormer as it is."""
        rest = [weight for name, weight in self.named_parameters() if not name.startswith("former.")]
        return [
            Stage("pre-training", list(self.former.parameters()), loss=self.made_up),
            Stage("forecasting", rest, self, self.guided),
        ]

    def made_up(self, batch: Batch, score: Score) -> Tensor:
        """Mean absolute error of the hidden patches."""
        patches = self.former.cut(batch.seen.values)
        order = torch.randperm(self.former.patches, device=patches.device)
        truth = patches[:, :, order[: self.former.hidden]]
        return (self.former.reconstruct(patches, order) - truth).abs().mean()

    def guided(self, batch: Batch, score: Score) -> Tensor:
        """The forecast's loss, and the learned graph's distance from the nearest neighbours: less every 6 epochs."""
        states, logits = self.states(batch.seen), self.learner()
        near = self.nearest(states)
        edge = (logits[..., 0] - logits[..., 1]).expand_as(near)  # its sigmoid is the softmax of both
        distance = functional.binary_cross_entropy_with_logits(edge, near)
        return score(self.forecast(batch.seen, states, logits)) + distance / (batch.epoch // 6 + 1)


def _layer(width: int) -> nn.TransformerEncoderLayer:
    return nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.1, batch_first=True)


def make(scene: Scene, patch: int = 12) -> STEP:
    """In the published sizes.

    Raises:
        ConfigError: the scene has no training part, or its input steps are no whole number of patches.
    """
    if scene.training is None:
        raise ConfigError("STEP learns its graph from the whole training part: the scene has none")
    if scene.input_steps % patch or scene.input_steps < max(2 * patch, RECENT):
        raise ConfigError(f"STEP takes two or more patches of {patch} input steps, not {scene.input_steps} steps")
    return STEP(
        TSFormer(scene.channels, patch, scene.input_steps // patch),
        GraphLearner(scene.training),
        GraphWaveNet(transitions(scene.adjacency), scene.channels, scene.horizon, scene.slots_per_day),
    )
