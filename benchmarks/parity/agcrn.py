"""AGCRN beside LeiBAI/AGCRN."""

import importlib
from pathlib import Path
from types import SimpleNamespace

from benchmarks.parity._compare import Once, compare, some_glimpse
from torch import Tensor

from cmust.baselines.agcrn import AGCRN

PUBLISHED = "LeiBAI/AGCRN"


def parity(repo: Path) -> dict[str, float]:
    small = _differences(nodes=5, channels=2, steps=4, horizon=3, vector=3, width=4, layers=3, terms=4)
    published = _differences(nodes=9, channels=1, steps=12, horizon=12, vector=10, width=64, layers=2, terms=2)
    return {
        "small, forecast": small[0],
        "small, gradients": small[1],
        "published sizes, forecast": published[0],
        "published sizes, gradients": published[1],
    }


def _differences(
    nodes: int, channels: int, steps: int, horizon: int, vector: int, width: int, layers: int, terms: int
) -> tuple[float, float]:
    settings = SimpleNamespace(
        num_nodes=nodes, input_dim=channels, output_dim=channels, horizon=horizon, embed_dim=vector, rnn_units=width,
        num_layers=layers, cheb_k=terms, default_graph=True,
    )  # fmt: skip
    theirs = importlib.import_module("model.AGCRN").AGCRN(settings)
    ours = AGCRN(nodes, channels, horizon, vector, width, layers, terms)
    seen = some_glimpse(3, steps, nodes, channels, horizon, 8)

    def translate(weights: Once) -> dict[str, Tensor]:
        copies = {"vectors": weights.take("node_embeddings"), **weights.layer("output", "end_conv")}
        for i in range(layers):
            for part, published in (("gates", "gate"), ("candidate", "update")):
                pools = f"encoder.dcrnn_cells.{i}.{published}"
                copies[f"layers.{i}.{part}.weight"] = weights.take(f"{pools}.weights_pool")
                copies[f"layers.{i}.{part}.bias"] = weights.take(f"{pools}.bias_pool")
        return copies

    return compare(theirs, ours, translate, lambda: (theirs(seen.values, None), ours(seen)))
