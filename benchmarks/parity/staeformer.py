"""STAEformer beside XDZhelheim/STAEformer; its import of torchinfo, for a printed summary, is stood in for."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

from benchmarks.parity._compare import Once, compare, some_glimpse
from torch import Tensor

from cmust.baselines.clock_channels import with_clock
from cmust.baselines.staeformer import STAEformer

PUBLISHED = "XDZhelheim/STAEformer"


def parity(repo: Path) -> dict[str, float]:
    torchinfo = ModuleType("torchinfo")
    torchinfo.summary = None  # type: ignore[attr-defined]
    sys.modules.setdefault("torchinfo", torchinfo)
    small = _differences(nodes=5, steps=4, horizon=3, slots=8, width=4, adaptive=4, layers=2, heads=2, wide=6)
    published = _differences(
        nodes=6, steps=12, horizon=12, slots=288, width=24, adaptive=80, layers=3, heads=4, wide=256
    )
    return {
        "small, forecast": small[0],
        "small, gradients": small[1],
        "published sizes, forecast": published[0],
        "published sizes, gradients": published[1],
    }


def _differences(
    nodes: int, steps: int, horizon: int, slots: int, width: int, adaptive: int, layers: int, heads: int, wide: int
) -> tuple[float, float]:
    theirs = importlib.import_module("model.STAEformer").STAEformer(
        nodes, steps, horizon, slots, 3, 1, width, width, width, 0, adaptive, wide, heads, layers
    )
    ours = STAEformer(nodes, 1, steps, horizon, slots, width, adaptive, layers, heads, wide)
    theirs.eval()
    ours.eval()
    seen = some_glimpse(3, steps, nodes, 1, horizon, slots)

    def forecasts() -> tuple[Tensor, Tensor]:
        return theirs(with_clock(seen, slots, weekday=True)), ours(seen)

    def translate(weights: Once) -> dict[str, Tensor]:
        copies = {
            "adaptive": weights.take("adaptive_embedding"),
            "slot.weight": weights.take("tod_embedding.weight"),
            "day.weight": weights.take("dow_embedding.weight"),
            **weights.layer("input", "input_proj"),
            **weights.layer("output", "output_proj"),
        }
        for i in range(layers):
            for axis, published in (("over_steps", "attn_layers_t"), ("over_nodes", "attn_layers_s")):
                copies |= _layer(weights, f"{axis}.{i}", f"{published}.{i}")
        return copies

    return compare(theirs, ours, translate, forecasts)


def _layer(weights: Once, ours: str, theirs: str) -> dict[str, Tensor]:
    """Query, key and value lie one above the other in PyTorch's layer."""
    projections = {
        f"{ours}.self_attn.in_proj_{kind}": weights.take(*(f"{theirs}.attn.FC_{part}.{kind}" for part in "QKV"))
        for kind in ("weight", "bias")
    }
    return {
        **projections,
        **weights.layer(f"{ours}.self_attn.out_proj", f"{theirs}.attn.out_proj"),
        **weights.layer(f"{ours}.linear1", f"{theirs}.feed_forward.0"),
        **weights.layer(f"{ours}.linear2", f"{theirs}.feed_forward.2"),
        **weights.layer(f"{ours}.norm1", f"{theirs}.ln1"),
        **weights.layer(f"{ours}.norm2", f"{theirs}.ln2"),
    }
