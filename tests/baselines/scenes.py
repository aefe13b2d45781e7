"""Scenes and batches for the tests of other systems, and every system in a small size."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cmust.baselines import (
    agcrn,
    astgcn,
    dcrnn,
    gman,
    gwnet,
    mtgnn,
    promptst,
    staeformer,
    step,
    stgcn,
    stid,
    sttn,
    unist,
    unitime,
)
from cmust.baselines.graphs import gaussian_kernel, polynomials, transitions
from cmust.baselines.language import random_language
from cmust.baselines.scene import Glimpse, Scene
from cmust.baselines.stages import Batch, Stage

STEPS, HORIZON, SLOTS = 24, 4, 8


def scene(nodes: int = 5, channels: int = 1, steps: int = STEPS, horizon: int = HORIZON, slots: int = SLOTS) -> Scene:
    """Nodes at random places; edges between those that are near."""
    draw = torch.Generator().manual_seed(5)
    place, training = torch.rand(nodes, 2, generator=draw), torch.randn(60, nodes, channels, generator=draw)
    return Scene(nodes, channels, steps, horizon, slots, gaussian_kernel(torch.cdist(place, place)), place, training)


def batch(of: Scene, size: int = 2) -> Glimpse:
    """Random values; windows that start at random times of the week."""
    time = torch.randint(7 * of.slots_per_day, (size, 1)) + torch.arange(of.input_steps + of.horizon)
    slot, dow = time % of.slots_per_day, time // of.slots_per_day % 7
    values, cut = torch.randn(size, of.input_steps, of.nodes, of.channels), of.input_steps
    return Glimpse(values, slot[:, :cut], dow[:, :cut], slot[:, cut:], dow[:, cut:])


def lesson(of: Scene) -> Batch:
    """A batch and what came after."""
    return Batch(batch(of), torch.randn(2, of.horizon, of.nodes, of.channels), 0)


def changed(seen: Glimpse, step: int | slice = slice(None), node: int | slice = slice(None)) -> Glimpse:
    """Other values at a step and a node, or at all."""
    values = seen.values.clone()
    values[:, step, node] += 1
    return seen._replace(values=values)


def stages(network: nn.Module) -> list[Stage]:
    """The network's own, or one on forecasts alone."""
    own = getattr(network, "stages", None)
    return own() if own else [Stage("forecasting", list(network.parameters()), network)]


def teach(stage: Stage, batch: Batch) -> None:
    """The gradients of one batch's loss, as the epoch loop takes it."""

    def score(forecast: Tensor) -> Tensor:
        assert forecast.shape == batch.ahead.shape
        return ((forecast - batch.ahead) ** 2).mean()

    if stage.loss is None:
        assert stage.forecast is not None
        score(stage.forecast(batch.seen)).backward()  # type: ignore[no-untyped-call]
    else:
        stage.loss(batch, score).backward()  # type: ignore[no-untyped-call]


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def small_agcrn(of: Scene) -> agcrn.AGCRN:
    return agcrn.AGCRN(of.nodes, of.channels, of.horizon, vector=3, width=4, terms=3)


def small_astgcn(of: Scene) -> astgcn.ASTGCN:
    graphs = polynomials(of.adjacency, 3, normalised=False)
    return astgcn.ASTGCN(graphs, of.channels, of.input_steps, of.horizon, filters=3)


def small_dcrnn(of: Scene) -> dcrnn.DCRNN:
    return dcrnn.DCRNN(of.adjacency, of.channels, of.horizon, of.slots_per_day, width=4)


def small_gman(of: Scene) -> gman.GMAN:
    return gman.GMAN(gman.places(of.adjacency, 3), of.channels, of.slots_per_day, heads=2, head_width=4)


def small_gwnet(of: Scene) -> gwnet.GraphWaveNet:
    graphs = transitions(of.adjacency)
    return gwnet.GraphWaveNet(graphs, of.channels, of.horizon, of.slots_per_day, 4, 6, 8, 2, 2, rank=2, dropout=0.0)


def small_mtgnn(of: Scene, growth: int = 1) -> mtgnn.MTGNN:
    sizes = {"width": 4, "skip": 3, "end": 6, "layers": 2, "vector": 3, "neighbours": 3, "growth": growth}
    return mtgnn.MTGNN(of.nodes, of.channels, of.input_steps, of.horizon, of.slots_per_day, **sizes)


def small_promptst(of: Scene) -> promptst.PromptST:
    return promptst.PromptST(of.nodes, of.channels, of.input_steps, of.horizon, width=8)


def small_staeformer(of: Scene) -> staeformer.STAEformer:
    sizes = {"width": 2, "adaptive": 2, "layers": 2, "heads": 2, "feed_forward": 6}
    return staeformer.STAEformer(of.nodes, of.channels, of.input_steps, of.horizon, of.slots_per_day, **sizes)


def small_step(of: Scene) -> step.STEP:
    assert of.training is not None
    former = step.TSFormer(of.channels, patch=6, patches=of.input_steps // 6, width=8, depth=1)
    learner = step.GraphLearner(of.training, width=6, kernel=3)
    return step.STEP(former, learner, small_gwnet(of), width=8, skip=6, neighbours=2)


def small_stgcn(of: Scene) -> stgcn.STGCN:
    graphs = polynomials(of.adjacency, 3, normalised=True)
    return stgcn.STGCN(graphs, of.channels, of.input_steps, of.horizon, ((3, 7), (3, 6)))


def small_stid(of: Scene) -> stid.STID:
    return stid.STID(of.nodes, of.channels, of.input_steps, of.horizon, of.slots_per_day, width=4)


def small_sttn(of: Scene) -> sttn.STTN:
    graphs = polynomials(of.adjacency, 3, normalised=True)
    return sttn.STTN(
        graphs, of.adjacency, of.channels, of.input_steps, of.horizon, lifted=3, width=6, inner=7, blocks=2, end=6,
        dropout=0.0, last_dropout=0.0,
    )  # fmt: skip


def small_unist(of: Scene) -> unist.UniST:
    assert of.place is not None
    cells, spots = unist.lay_out(of.place)
    days = of.input_steps // of.slots_per_day
    sizes = {"width": 8, "depth": (1, 1), "heads": (2, 2), "memory": 3}
    return unist.UniST(cells, spots, 4, of.horizon, of.slots_per_day, days, **sizes)  # type: ignore[arg-type]


def small_unitime(of: Scene) -> unitime.UniTime:
    language, texts = random_language(8, 2, 2, 16), ("a b", "")[: of.channels]
    return unitime.UniTime(language, texts, of.input_steps, of.horizon, patch=5, layers=1, room=8)


SMALL: dict[str, Callable[[Scene], nn.Module]] = {
    "agcrn": small_agcrn,
    "astgcn": small_astgcn,
    "dcrnn": small_dcrnn,
    "gman": small_gman,
    "gwnet": small_gwnet,
    "mtgnn": small_mtgnn,
    "promptst": small_promptst,
    "staeformer": small_staeformer,
    "step": small_step,
    "stgcn": small_stgcn,
    "stid": small_stid,
    "sttn": small_sttn,
    "unist": small_unist,
    "unitime": small_unitime,
}
