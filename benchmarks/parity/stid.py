"""STID against the authors' code."""

import importlib
from pathlib import Path

from benchmarks.parity._weights import SLOTS, Outputs, Weights, batch, compared, redraw, renamed, state

from cmust.baselines.clock_channels import with_clock
from cmust.baselines.stid import STID

PUBLISHED = "zezhishao/STID"
NAMES = {
    "node_emb": "node", "time_in_day_emb": "slot", "day_in_week_emb": "day", "time_series_emb_layer": "series",
    "regression_layer": "output",
}  # fmt: skip


def parity(repo: Path) -> dict[str, float]:
    """Published sizes and small ones."""
    return differences("published sizes", nodes=7, steps=12, horizon=12, width=32, layers=3) | differences(
        "small", nodes=5, steps=4, horizon=3, width=4, layers=2
    )


def differences(case: str, nodes: int, steps: int, horizon: int, width: int, layers: int) -> dict[str, float]:
    theirs = importlib.import_module("stid.stid_arch").STID(
        num_nodes=nodes, node_dim=width, input_len=steps, input_dim=3, embed_dim=width, output_len=horizon,
        num_layer=layers, temp_dim_tid=width, temp_dim_diw=width, time_of_day_size=SLOTS, day_of_week_size=7,
        if_T_i_D=True, if_D_i_W=True, if_node=True,
    ).eval()  # fmt: skip
    ours = STID(nodes, 1, steps, horizon, SLOTS, width, layers).eval()
    redraw(weights := state(theirs))
    seen = batch(6, steps, horizon, nodes)

    def in_our_terms(weights: Weights) -> Weights:
        names = dict(NAMES)
        for i in range(layers):
            names |= {f"encoder.{i}.fc1": f"layers.{i}.layers.0", f"encoder.{i}.fc2": f"layers.{i}.layers.3"}
        return renamed(weights, names)

    def outputs() -> Outputs:
        history = with_clock(seen, SLOTS, weekday=True)
        return {"forecast": (ours(seen), theirs(history, history, 0, 0, False))}

    return compared(case, weights, ours, in_our_terms, outputs)
