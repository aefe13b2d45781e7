"""STAEformer against the authors' code; its import of torchinfo, for a printed summary, is stood in for."""

import importlib
from pathlib import Path

from benchmarks.parity._stand_ins import stand_in
from benchmarks.parity._weights import SLOTS, Outputs, Weights, batch, compared, joined, redraw, renamed, state

from cmust.baselines.clock_channels import with_clock
from cmust.baselines.staeformer import STAEformer

PUBLISHED = "XDZhelheim/STAEformer"
NAMES = {
    "adaptive_embedding": "adaptive", "tod_embedding": "slot", "dow_embedding": "day", "input_proj": "input",
    "output_proj": "output",
}  # fmt: skip
LAYER = {
    "attn.in_proj": "self_attn.in_proj", "attn.out_proj": "self_attn.out_proj", "feed_forward.0": "linear1",
    "feed_forward.2": "linear2", "ln1": "norm1", "ln2": "norm2",
}  # fmt: skip


def parity(repo: Path) -> dict[str, float]:
    """Published sizes and small ones."""
    stand_in("torchinfo", summary=None)
    return differences(
        "published sizes", nodes=6, steps=12, horizon=12, width=24, adaptive=80, layers=3, heads=4, wide=256
    ) | differences("small", nodes=5, steps=4, horizon=3, width=4, adaptive=4, layers=2, heads=2, wide=6)


def differences(
    case: str, nodes: int, steps: int, horizon: int, width: int, adaptive: int, layers: int, heads: int, wide: int
) -> dict[str, float]:
    theirs = importlib.import_module("model.STAEformer").STAEformer(
        nodes, steps, horizon, SLOTS, 3, 1, width, width, width, 0, adaptive, wide, heads, layers
    )
    ours = STAEformer(nodes, 1, steps, horizon, SLOTS, width, adaptive, layers, heads, wide).eval()
    redraw(weights := state(theirs.eval()))
    seen = batch(3, steps, horizon, nodes)

    def in_our_terms(weights: Weights) -> Weights:
        names = dict(NAMES)
        for i in range(layers):
            for axis, published in (("over_steps", "attn_layers_t"), ("over_nodes", "attn_layers_s")):
                names |= {f"{published}.{i}.{a}": f"{axis}.{i}.{b}" for a, b in LAYER.items()}
        return renamed(joined(weights, ("FC_Q.", "FC_K.", "FC_V."), "in_proj_"), names)

    def outputs() -> Outputs:
        return {"forecast": (ours(seen), theirs(with_clock(seen, SLOTS, weekday=True)))}

    return compared(case, weights, ours, in_our_terms, outputs)
