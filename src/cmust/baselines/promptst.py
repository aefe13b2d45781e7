"""PromptST: a spatio-temporal transformer shared by all attributes, then a prompt for each of them.

Zhang, Zhao, Liu, Zhang, Ma, Wang, Zhao, Wang, Liu: "PromptST: Prompt-Enhanced Spatio-Temporal Multi-Attribute
Prediction", CIKM 2023; published as Zhang-Zijian/PromptST, whose ``ttnet`` (pre-training) and ``prompt_ttnet`` (prompt
tuning, as its scripts run it) are followed. Width 32, two layers over time with 4 heads, two over the nodes with 8, two
prompt tokens per node and layer.

Each channel is an attribute: it goes through the same network by itself, without clock and graph.
"""

from typing import Any

import torch
from torch import Tensor, nn

from cmust.baselines.parts import waves
from cmust.baselines.scene import Glimpse, Scene
from cmust.baselines.stages import Stage

TRAINING: dict[str, Any] = {"weight_decay": 1e-6, "start_epochs": 300, "patience": 40}


class PromptST(nn.Module):
    """Shapes: B batch, T input steps, F forecast steps, N nodes, C channels, D width, P prompt tokens.

    Args:
        nodes, channels, input_steps, horizon: N, C, T, F.
        width: D.
        layers: over time, and as many over the nodes.
        prompts: P per node and layer over time.
    """

    time_position: Tensor
    node_position: Tensor

    def __init__(
        self,
        nodes: int,
        channels: int,
        input_steps: int,
        horizon: int,
        width: int = 32,
        layers: int = 2,
        prompts: int = 2,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.value = nn.Linear(1, width)
        # The published code draws its positions at random and reads them past autograd: they are never trained.
        self.register_buffer("time_position", torch.randn(input_steps, width))
        self.register_buffer("node_position", sinusoid(nodes, width) + torch.randn(nodes, width))
        self.over_time = _layers(width, 4, layers)
        self.over_nodes = _layers(width, 8, layers)
        self.head = nn.Linear(width, horizon)
        self.prompt = nn.ParameterList(torch.empty(layers, prompts, nodes, width) for _ in range(channels))
        self.prompted_head = nn.ModuleList(nn.Linear(width, horizon) for _ in range(channels))
        for prompt, head in zip(self.prompt, self.prompted_head, strict=True):
            assert isinstance(head, nn.Linear)
            nn.init.xavier_normal_(prompt)
            nn.init.xavier_normal_(head.weight)
            nn.init.zeros_(head.bias)

    def forward(self, seen: Glimpse) -> Tensor:
        """``(B, F, N, C)``, each channel with its own prompt and head."""
        forecasts = [
            head(self.states(seen.values[..., c], prompt))
            for c, (prompt, head) in enumerate(zip(self.prompt, self.prompted_head, strict=True))
        ]
        return torch.stack(forecasts, dim=-1).transpose(1, 2)

    def common(self, seen: Glimpse) -> Tensor:
        """``(B, F, N, C)`` before prompt tuning: one head for all channels, no prompt."""
        forecasts = [self.head(self.states(seen.values[..., c], None)) for c in range(self.channels)]
        return torch.stack(forecasts, dim=-1).transpose(1, 2)

    def states(self, values: Tensor, prompt: Tensor | None) -> Tensor:
        """``(B, N, D)`` from one attribute's ``values`` ``(B, T, N)`` and its ``prompt`` ``(layers, P, N, D)``."""
        batch, steps, nodes = values.shape
        x = self.value(values[..., None]) + self.time_position[:, None]
        for i, layer in enumerate(self.over_time):
            if prompt is not None:
                x = torch.cat((x, prompt[i].expand(batch, -1, -1, -1)), dim=1)
            series = x.transpose(1, 2).flatten(0, 1)  # (B * N, T + P, D)
            x = layer(series).unflatten(0, (batch, nodes)).transpose(1, 2)[:, :steps]
        x = x[:, -1] + self.node_position
        for layer in self.over_nodes:
            x = layer(x)
        states: Tensor = x
        return states

    def stages(self) -> list[Stage]:
        """The network on all attributes at once; then, with the network frozen, each attribute's prompt and head."""
        tuned = [*self.prompt.parameters(), *self.prompted_head.parameters()]
        shared = [self.value, self.over_time, self.over_nodes, self.head]
        return [
            Stage("pre-training", [weight for part in shared for weight in part.parameters()], self.common),
            Stage("prompt tuning", tuned, self),
        ]


def sinusoid(positions: int, width: int) -> Tensor:
    """``(positions, width)``: sines at even places, cosines at odd ones."""
    pairs: Tensor = waves(torch.arange(positions), width).unflatten(1, (2, -1))
    return pairs.mT.flatten(1)


def _layers(width: int, heads: int, count: int) -> nn.ModuleList:
    return nn.ModuleList(
        nn.TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, batch_first=True) for _ in range(count)
    )


def make(scene: Scene) -> PromptST:
    """In the published sizes; the graph is not used."""
    return PromptST(scene.nodes, scene.channels, scene.input_steps, scene.horizon)
