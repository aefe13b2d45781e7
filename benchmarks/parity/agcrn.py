"""AGCRN against the authors' code."""

import importlib
from pathlib import Path
from types import SimpleNamespace

from benchmarks.parity._weights import Outputs, Weights, batch, compared, redraw, renamed, state

from cmust.baselines.agcrn import AGCRN

PUBLISHED = "LeiBAI/AGCRN"


def parity(repo: Path) -> dict[str, float]:
    """Published sizes and small ones with more layers and Chebyshev terms."""
    return differences(
        "published sizes", nodes=9, channels=1, steps=12, horizon=12, vector=10, width=64, layers=2, terms=2
    ) | differences("small", nodes=5, channels=2, steps=4, horizon=3, vector=3, width=4, layers=3, terms=4)


def differences(
    case: str, nodes: int, channels: int, steps: int, horizon: int, vector: int, width: int, layers: int, terms: int
) -> dict[str, float]:
    settings = SimpleNamespace(
        num_nodes=nodes, input_dim=channels, output_dim=channels, horizon=horizon, embed_dim=vector, rnn_units=width,
        num_layers=layers, cheb_k=terms, default_graph=True,
    )  # fmt: skip
    theirs = importlib.import_module("model.AGCRN").AGCRN(settings).double()
    ours = AGCRN(nodes, channels, horizon, vector, width, layers, terms)
    redraw(weights := state(theirs))
    seen = batch(3, steps, horizon, nodes, channels)

    def in_our_terms(weights: Weights) -> Weights:
        names = {"node_embeddings": "vectors", "end_conv": "output"}
        for i in range(layers):
            for part, published in (("gates", "gate"), ("candidate", "update")):
                cell = f"encoder.dcrnn_cells.{i}.{published}."
                names |= {f"{cell}weights_pool": f"layers.{i}.{part}.weight"}
                names |= {f"{cell}bias_pool": f"layers.{i}.{part}.bias"}
        return renamed(weights, names)

    def outputs() -> Outputs:
        return {"forecast": (ours(seen), theirs(seen.values, None))}

    return compared(case, weights, ours, in_our_terms, outputs)
