"""PromptST against the authors' code: ``ttnet`` and ``prompt_ttnet`` whole, at a small and at the published width."""

import importlib
from pathlib import Path

from benchmarks.parity._weights import Outputs, Weights, batch, compared, redraw, renamed, state

from cmust.baselines.promptst import PromptST

PUBLISHED = "Zhang-Zijian/PromptST"
NAMES = {
    "start_conv": "value",
    "start_embedding.1.transformer_encoder.layers": "over_time",
    "network.trans.layers": "over_nodes",
    "end_conv": "head",
    "st_prompt_tokens": "prompt.0",
    "single_end_conv": "prompted_head.0",
}


def parity(repo: Path) -> dict[str, float]:
    """Both stages."""
    return differences("published sizes", 32) | differences("small", 16)


def differences(case: str, width: int) -> dict[str, float]:
    nodes, steps, horizon = 7, 12, 12
    module = importlib.import_module("promptST")
    arguments = {"in_dim": 1, "out_dim": horizon, "hid_dim": width, "ts_depth_spa": 2, "ts_depth_tem": 2}
    theirs, plain = module.prompt_ttnet(0.0, 0, 0, 2, nodes, **arguments), module.ttnet(0.0, **arguments)
    theirs.init_pmt("xnor")
    weights = state(theirs)
    redraw(weights)
    for name in state(plain):  # one network in two classes
        owner, _, last = name.rpartition(".")
        setattr(plain.get_submodule(owner), last, weights[name])
    plain.network.pos = theirs.network.pos
    ours = PromptST(nodes, 1, steps, horizon, width)
    # Positions are read past autograd, so they are no weights of ours.
    ours.time_position.copy_(weights.pop("start_embedding.0.weight")[:steps])
    ours.node_position.copy_(theirs.network.pos.pe[:nodes, 0] + weights.pop("network.lpos.weight")[:nodes])
    seen = batch(3, steps, horizon, nodes)
    for network in (theirs, plain, ours):
        network.eval()

    def in_our_terms(weights: Weights) -> Weights:
        return renamed(weights, NAMES)

    def outputs() -> Outputs:
        return {
            "pre-training": (ours.common(seen), plain(seen.values)),
            "prompt tuning": (ours(seen), theirs(seen.values)),
        }

    return compared(case, weights, ours, in_our_terms, outputs)
