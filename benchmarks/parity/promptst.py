"""PromptST: ``ttnet`` and ``prompt_ttnet`` whole, at a small and at the published width."""

import importlib
from pathlib import Path
from types import ModuleType

from benchmarks.parity._transfer import transfer
from benchmarks.parity._weights import batch, difference, randomise, state

from cmust.baselines.promptst import PromptST

PUBLISHED = "Zhang-Zijian/PromptST"


def parity(repo: Path) -> dict[str, float]:
    """Largest differences of both stages' forecasts."""
    module = importlib.import_module("promptST")
    told = {}
    for width in (16, 32):
        told |= _compare(module, width)
    return told


def _compare(module: ModuleType, width: int) -> dict[str, float]:
    nodes, steps, horizon = 7, 12, 12
    arguments = {"in_dim": 1, "out_dim": horizon, "hid_dim": width, "ts_depth_spa": 2, "ts_depth_tem": 2}
    theirs = module.prompt_ttnet(0.0, 0, 0, 2, nodes, **arguments)
    theirs.init_pmt("xnor")
    randomise(state(theirs))
    plain = module.ttnet(0.0, **arguments)
    plain.load_state_dict(theirs.state_dict(), strict=False)
    ours = PromptST(nodes, 1, steps, horizon, width)
    # Two tables of positions are one sum here: the fixed waves in ``pos.pe``, the fixed random ones in ``lpos``.
    waves, noise = theirs.network.pos.pe[:nodes, 0], theirs.network.lpos.weight[:nodes]
    names = {
        "start_conv": "value",
        "start_embedding.0.weight": "time_position",
        "start_embedding.1.transformer_encoder.layers": "over_time",
        "network.lpos.weight": "node_position",
        "network.trans.layers": "over_nodes",
        "end_conv": "head",
        "st_prompt_tokens": "prompt.0",
        "single_end_conv": "prompted_head.0",
    }
    turn = {"time_position": lambda x: x[:steps], "node_position": lambda _: waves + noise}
    transfer(theirs.state_dict(), ours, names, ("network.pos.pe",), turn)
    seen = batch(3, steps, horizon, nodes)
    for network in (theirs, plain, ours):
        network.eval()
    return {
        f"pre-training, width {width}": difference(ours.common(seen), plain(seen.values)),
        f"prompt tuning, width {width}": difference(ours(seen), theirs(seen.values)),
    }
