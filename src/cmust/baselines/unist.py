"""UniST: masked pre-training on patches of a grid over time, then prompts from memories of patterns.

Yuan, Ding, Feng, Jin, Li: "UniST: A Prompt-Empowered Universal Model for Urban Spatio-Temporal Prediction", KDD 2024;
published as tsinghua-fib-lab/UniST. The size "middle" of its scripts: width 128, 6 layers with 8 heads in the encoder,
4 with 4 in the decoder, patches of 2 steps by 2 by 2 cells, 512 slots in each memory, three convolutions for the
prompts of space.

The nodes are laid on a grid (``lay``). Every channel goes through the same network by itself. The input is the last
steps of the window; the steps before them give the same hours of the days before ("period").

Shapes: B batch (and channels, which are folded into it), K steps of the input, F forecast steps, N nodes, C channels,
H x W cells, M tokens of a moment, D width, P days of period.
"""

import math
from typing import Any

import torch
from torch import Tensor, nn

from cmust.baselines.parts import waves
from cmust.baselines.scene import Glimpse, Scene
from cmust.baselines.stages import Batch, Score, Stage
from cmust.errors import ConfigError

PATCH = 2
"""Steps and cells of a patch's side."""
RECENT, DAYS = 12, 3
TRAINING: dict[str, Any] = {"rate": 3e-4}


class Block(nn.Module):
    """A layer of a vision transformer."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm = _norm(width)
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(_norm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, tokens, D)`` to the same shape."""
        y = self.norm(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        out: Tensor = x + self.mlp(x)
        return out


class Memory(nn.Module):
    """Section 4.3: a query finds the patterns alike among those that training has left."""

    def __init__(self, slots: int, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width)
        self.keys = nn.Parameter(torch.randn(slots, width) * 0.02)
        self.values = nn.Parameter(torch.randn(slots, width) * 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., D)`` to the same shape: a mean of the slots, weighted by how well their keys answer."""
        return torch.softmax(torch.tanh(self.query(x)) @ self.keys.T, dim=-1) @ self.values


class Prompts(nn.Module):
    """What the tokens to be forecast are told: nearby time, the same hour of other days, space in several scales."""

    def __init__(self, steps: int, width: int, slots: int) -> None:
        super().__init__()
        self.nearby, self.period = (
            nn.TransformerEncoderLayer(width, 4, width, dropout=0.1, batch_first=True) for _ in range(2)
        )
        self.time_memory, self.space_memory = Memory(slots, width), Memory(slots, width)
        self.scales = nn.ModuleList(nn.Conv2d(steps, width, side, padding="same") for side in (1, 3, 5))
        self.patch = nn.Conv2d(width, width, PATCH, PATCH)

    def of_time(self, tokens: Tensor, layer: nn.TransformerEncoderLayer) -> Tensor:
        """``(B, times, M, D)`` to ``(B, M, D)``: what the memory knows of the mean over time."""
        states = layer(tokens.transpose(1, 2).flatten(0, 1)).mean(1)
        found: Tensor = self.time_memory(states.unflatten(0, (len(tokens), -1)))
        return found

    def of_space(self, cells: Tensor) -> Tensor:
        """``(B, K, H, W)`` to ``(B, M, D)``."""
        found = [self.space_memory(scale(cells).movedim(1, -1)).movedim(-1, 1) for scale in self.scales]
        return torch.stack([self.patch(one).flatten(2).mT for one in found]).mean(0)


class UniST(nn.Module):
    """The network of figure 3.

    Args:
        cells: H, W, both even.
        spots: ``(N,)`` int64, the cell of each node, counted along the rows.
        steps, horizon, slots_per_day: K, F, L; K and F even.
        days: P, of the period.
        width, depth, heads: D, and of encoder and decoder.
        memory: slots of each memory.
    """

    spots: Tensor
    where: Tensor

    def __init__(
        self,
        cells: tuple[int, int],
        spots: Tensor,
        steps: int,
        horizon: int,
        slots_per_day: int,
        days: int,
        width: int = 128,
        depth: tuple[int, int] = (6, 4),
        heads: tuple[int, int] = (8, 4),
        memory: int = 512,
    ) -> None:
        super().__init__()
        self.cells, self.steps, self.horizon, self.slots_per_day, self.days = cells, steps, horizon, slots_per_day, days
        rows, columns = cells[0] // PATCH, cells[1] // PATCH
        moment = waves(torch.arange((steps + horizon) // PATCH), width)
        self.register_buffer("spots", spots, persistent=False)
        self.register_buffer("where", moment[:, None] + grid_waves(rows, columns, width), persistent=False)
        self.value = nn.Conv3d(1, width, PATCH, PATCH)
        self.slot, self.day = nn.Embedding(slots_per_day, width), nn.Embedding(7, width)
        self.clock = nn.Conv1d(width, width, PATCH, PATCH)
        self.dropout = nn.Dropout(0.1)
        self.encoder = nn.Sequential(*(Block(width, heads[0]) for _ in range(depth[0])), _norm(width))
        self.bridge = nn.Linear(width, width)
        self.mask = nn.Parameter(torch.randn(width) * 0.02)
        self.decoder = nn.Sequential(*(Block(width, heads[1]) for _ in range(depth[1])), _norm(width))
        hidden = (nn.Linear(width, width), nn.GELU(), nn.Linear(width, width), nn.GELU())
        self.head = nn.Sequential(*hidden, nn.Linear(width, PATCH**3))
        self.prompts = Prompts(steps, width, memory)

    def forward(self, seen: Glimpse) -> Tensor:
        """``(B, F, N, C)``, with prompts."""
        return self.forecast(seen, prompted=True)

    def forecast(self, seen: Glimpse, prompted: bool) -> Tensor:
        """``(B, F, N, C)``; without prompts it is what pre-training alone has learnt."""
        channels = seen.values.shape[3]
        cells = self.lay(seen.values)
        past, clock = cells[:, -self.steps :], self.time(seen, channels)
        tokens = self.tokens(past)
        known = tokens.shape[1] * tokens.shape[2]
        keep = torch.arange(known, device=cells.device).expand(len(cells), -1)
        x = self.restore(self.encode(self.dropout(tokens + clock[:, : tokens.shape[1]]), keep), keep, clock)
        if prompted:
            x = torch.cat((x[:, :known], x[:, known:] + self.prompt(x, cells, clock)), dim=1)
        ahead = self.cut_back(self.head(self.decoder(x)))[:, self.steps :].flatten(2)[..., self.spots]
        forecast: Tensor = ahead.unflatten(0, (-1, channels)).movedim(1, -1)
        return forecast

    def lay(self, values: Tensor) -> Tensor:
        """Values ``(B, T, N, C)`` on the grid, ``(B * C, T, H, W)``; cells without a node are 0."""
        series = values.movedim(-1, 1).flatten(0, 1)
        cells = series.new_zeros(*series.shape[:2], self.cells[0] * self.cells[1])
        cells[..., self.spots] = series
        return cells.view(*series.shape[:2], *self.cells)

    def tokens(self, cells: Tensor) -> Tensor:
        """``(B, T, H, W)`` in patches, ``(B, T / 2, M, D)``."""
        tokens: Tensor = self.value(cells[:, None]).flatten(3).permute(0, 2, 3, 1)
        return tokens

    def time(self, seen: Glimpse, channels: int) -> Tensor:
        """Of input and forecast steps, ``(B * C, moments, 1, D)``."""
        slot = torch.cat((seen.slot[:, -self.steps :], seen.slot_ahead), dim=1)
        day = torch.cat((seen.dow[:, -self.steps :], seen.dow_ahead), dim=1)
        clock: Tensor = self.clock((self.slot(slot) + self.day(day)).mT).mT
        return clock.repeat_interleave(channels, dim=0)[:, :, None]

    def encode(self, tokens: Tensor, keep: Tensor) -> Tensor:
        """States of the tokens ``keep`` ``(B, k)`` of ``tokens`` ``(B, moments, M, D)``: ``(B, k, D)``."""
        x = (tokens + self.where[: tokens.shape[1]]).flatten(1, 2)
        states: Tensor = self.encoder(x.gather(1, keep[..., None].expand(-1, -1, x.shape[-1])))
        return states

    def restore(self, states: Tensor, keep: Tensor, clock: Tensor) -> Tensor:
        """All tokens ``(B, moments * M, D)``, the same mask where none is kept, each with its time and place."""
        states = self.bridge(states)
        x = self.mask.expand(len(states), self.where.shape[0] * self.where.shape[1], -1)
        return x.scatter(1, keep[..., None].expand_as(states), states) + (self.where + clock).flatten(1, 2)

    def prompt(self, x: Tensor, cells: Tensor, clock: Tensor) -> Tensor:
        """What is added to the tokens to be forecast, ``(B, F / 2 * M, D)``: section 4.3's three prompts."""
        moments, first = self.where.shape[0], self.steps // PATCH
        day = [cells.shape[1] - self.slots_per_day * back for back in range(self.days, 0, -1)]
        days = torch.stack([cells[:, start : start + self.horizon] for start in day], dim=1)
        period = self.tokens(days.flatten(0, 1)).flatten(1, 2).unflatten(0, (-1, self.days))
        nearby = self.prompts.of_time(x.unflatten(1, (moments, -1)), self.prompts.nearby)
        space = self.prompts.of_space(cells[:, -self.steps :])
        ahead = (nearby + space)[:, None] + self.where[first:] + clock[:, first:]
        return ahead.flatten(1, 2) + self.prompts.of_time(period, self.prompts.period)

    def cut(self, cells: Tensor) -> Tensor:
        """``(B, T, H, W)`` in patches, ``(B, moments * M, 8)``."""
        for axis in (1, 2, 3):
            cells = cells.unfold(axis, PATCH, PATCH)
        return cells.flatten(4).flatten(1, 3)

    def cut_back(self, patches: Tensor) -> Tensor:
        """The reverse of ``cut``."""
        rows, columns = self.cells[0] // PATCH, self.cells[1] // PATCH
        x = patches.unflatten(1, (-1, rows, columns)).unflatten(-1, (PATCH, PATCH, PATCH))
        cells: Tensor = x.permute(0, 1, 4, 2, 5, 3, 6).flatten(5, 6).flatten(3, 4).flatten(1, 2)
        return cells

    def stages(self) -> list[Stage]:
        """Patches made up from others; then forecasts with prompts. As published the second trains all weights."""
        common = [weight for name, weight in self.named_parameters() if not name.startswith("prompts.")]
        return [
            Stage("pre-training", common, loss=self.made_up),
            Stage("prompt tuning", list(self.parameters()), self),
        ]

    def made_up(self, batch: Batch, score: Score) -> Tensor:
        """Mean squared error of the hidden patches of input and future, cells without a node left out."""
        past = self.lay(batch.seen.values)[:, -self.steps :]
        cells = torch.cat((past, self.lay(batch.ahead)), dim=1)
        keep = kept(str(STRATEGIES[int(torch.randint(len(STRATEGIES), ()))]), len(cells), *self.where.shape[:2])
        keep = keep.to(cells.device)
        real = self.cut(self.lay(torch.ones_like(batch.ahead[:1, :1, :, :1])).expand(1, cells.shape[1], -1, -1))
        counted = real.expand(len(cells), -1, -1).scatter(1, keep[..., None].expand(-1, -1, PATCH**3), 0.0)
        error = (self.rebuild(cells, self.time(batch.seen, batch.ahead.shape[3]), keep) - self.cut(cells)) ** 2
        return (error * counted).sum() / counted.sum()

    def rebuild(self, cells: Tensor, clock: Tensor, keep: Tensor) -> Tensor:
        """Patches ``(B, moments * M, 8)`` from those that are kept."""
        states = self.encode(self.dropout(self.tokens(cells) + clock), keep)
        made: Tensor = self.head(self.decoder(self.restore(states, keep, clock)))
        return made


STRATEGIES = ("random", "tube", "block", "temporal")


def kept(strategy: str, batch: int, moments: int, places: int) -> Tensor:
    """Half of the tokens, ``(batch, k)`` int64: any, all times of any places or of half of the grid, or the past."""
    token = torch.arange(moments * places).view(moments, places)
    if strategy == "random":
        return torch.rand(batch, moments * places).argsort(dim=1)[:, : moments * places // 2]
    half = places // 2
    if strategy == "tube":
        chosen = token[:, torch.randperm(places)[:half]]
    elif strategy == "block":
        chosen = token[:, :half] if torch.rand(()) < 0.5 else token[:, half : 2 * half]
    else:
        chosen = token[: moments // 2]
    return chosen.flatten().expand(batch, -1)


def grid_waves(rows: int, columns: int, width: int) -> Tensor:
    """``(rows * columns, width)``: half of it tells the column, half the row."""
    place = torch.arange(rows * columns)
    return torch.cat((waves(place % columns, width // 2), waves(place // columns, width // 2)), dim=1)


def lay_out(place: Tensor) -> tuple[tuple[int, int], Tensor]:
    """A grid for scattered nodes: even sides H and W, and each node's cell.

    Rows from north to south hold equally many nodes, each row from west to east, spread over its columns: neighbours on
    the map stay near on the grid.

    Args:
        place: ``(N, 2)``, longitude and latitude.
    """
    nodes = len(place)
    columns = 2 * math.ceil(math.sqrt(nodes) / 2)
    rows = 2 * math.ceil(nodes / columns / 2)
    spots = torch.empty(nodes, dtype=torch.long)
    for row, members in enumerate(place[:, 1].argsort(descending=True, stable=True).tensor_split(rows)):
        ordered = members[place[members, 0].argsort(stable=True)]
        column = (2 * torch.arange(len(ordered)) + 1) * columns // max(2 * len(ordered), 1)
        spots[ordered] = row * columns + column
    return (rows, columns), spots


def _norm(width: int) -> nn.LayerNorm:
    return nn.LayerNorm(width, eps=1e-6)


def make(scene: Scene) -> UniST:
    """In the published size "middle"; the period is as many whole days, up to 3, as the input steps reach back.

    Raises:
        ConfigError: the scene has no places, its input is shorter than a day, or its horizon is odd or over a day.
    """
    if scene.place is None:
        raise ConfigError("UniST lays the nodes on a grid: the scene has no places")
    days = min(DAYS, scene.input_steps // scene.slots_per_day)
    if days == 0:
        raise ConfigError(f"UniST looks at the days before: {scene.input_steps} input steps are less than a day")
    if scene.horizon % PATCH or scene.horizon > scene.slots_per_day:
        raise ConfigError(f"UniST forecasts an even number of steps up to a day, not {scene.horizon}")
    cells, spots = lay_out(scene.place)
    steps = min(RECENT, scene.slots_per_day // PATCH * PATCH)
    return UniST(cells, spots, steps, scene.horizon, scene.slots_per_day, days)
