"""STID beside zezhishao/STID."""

import importlib
from pathlib import Path

from benchmarks.parity._compare import Once, compare, some_glimpse
from torch import Tensor

from cmust.baselines.clock_channels import with_clock
from cmust.baselines.stid import STID

PUBLISHED = "zezhishao/STID"


def parity(repo: Path) -> dict[str, float]:
    small = _differences(nodes=5, steps=4, horizon=3, slots=8, width=4, layers=2)
    published = _differences(nodes=7, steps=12, horizon=12, slots=288, width=32, layers=3)
    return {
        "small, forecast": small[0],
        "small, gradients": small[1],
        "published sizes, forecast": published[0],
        "published sizes, gradients": published[1],
    }


def _differences(nodes: int, steps: int, horizon: int, slots: int, width: int, layers: int) -> tuple[float, float]:
    published = importlib.import_module("stid.stid_arch")
    theirs = published.STID(
        num_nodes=nodes, node_dim=width, input_len=steps, input_dim=3, embed_dim=width, output_len=horizon,
        num_layer=layers, temp_dim_tid=width, temp_dim_diw=width, time_of_day_size=slots, day_of_week_size=7,
        if_T_i_D=True, if_D_i_W=True, if_node=True,
    ).eval()  # fmt: skip
    ours = STID(nodes, 1, steps, horizon, slots, width, layers).eval()
    seen = some_glimpse(6, steps, nodes, 1, horizon, slots)

    def forecasts() -> tuple[Tensor, Tensor]:
        history = with_clock(seen, slots, weekday=True)
        return theirs(history, history, 0, 0, False), ours(seen)

    def translate(weights: Once) -> dict[str, Tensor]:
        copies = {
            "node": weights.take("node_emb"),
            "slot": weights.take("time_in_day_emb"),
            "day": weights.take("day_in_week_emb"),
            **weights.layer("series", "time_series_emb_layer"),
            **weights.layer("output", "regression_layer"),
        }
        for i in range(layers):
            copies |= weights.layer(f"layers.{i}.layers.0", f"encoder.{i}.fc1")
            copies |= weights.layer(f"layers.{i}.layers.3", f"encoder.{i}.fc2")
        return copies

    return compare(theirs, ours, translate, forecasts)
