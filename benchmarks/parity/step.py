"""STEP in the published sizes of PEMS08: TSFormer, the graph learner and the whole forecast."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import torch
from benchmarks.parity._transfer import transfer
from benchmarks.parity._weights import SLOTS, adjacency, batch, difference, randomise, state
from torch import nn
from torch.nn import functional

from cmust.baselines.gwnet import GraphWaveNet, transitions
from cmust.baselines.step import STEP, GraphLearner, TSFormer

PUBLISHED = "zezhishao/STEP"
NODES, SERIES = 170, 14284  # of PEMS08: the published sizes hang on the names of data sets
STEPS = 336


def parity(repo: Path) -> dict[str, float]:
    """Largest differences; ``repo`` is on the path."""
    torch.set_default_dtype(torch.float64)  # the nearest neighbours are a matter of the last digits
    series = torch.randn(SERIES, NODES, 1)
    stand_in("timm.models.vision_transformer", trunc_normal_=nn.init.trunc_normal_)
    stand_in("basicts.utils", load_pkl=lambda _: {"processed_data": series.numpy()})
    theirs = published()
    ours = STEP(
        TSFormer(1, 12, STEPS // 12),
        GraphLearner(series),
        GraphWaveNet(transitions(adjacency(NODES)), 1, 12, SLOTS),
    )
    fill(theirs, ours)
    return compare(theirs.eval(), ours.eval())


def stand_in(name: str, **content: object) -> None:
    """A module in the place of one that is not needed."""
    parts = name.split(".")
    for i in range(1, len(parts) + 1):
        sys.modules.setdefault(".".join(parts[:i]), ModuleType(parts[i - 1]))
    sys.modules[name].__dict__.update(content)


def published() -> nn.Module:
    package = importlib.import_module("step.step_arch")
    learning = importlib.import_module("step.step_arch.discrete_graph_learning")
    # PyTorch's draw in the place of theirs: the same formula on other random numbers.
    learning.gumbel_softmax = lambda logits, temperature, hard: functional.gumbel_softmax(logits, temperature, hard)
    package.STEP.load_pre_trained_model = lambda _: None
    former = {
        "patch_size": 12, "in_channel": 1, "embed_dim": 96, "num_heads": 4, "mlp_ratio": 4, "dropout": 0.1,
        "num_token": STEPS / 12, "mask_ratio": 0.75, "encoder_depth": 4, "decoder_depth": 1, "mode": "forecasting",
    }  # fmt: skip
    back = {"num_nodes": NODES, "support_len": 2, "in_dim": 2, "out_dim": 12}
    learner = {"dataset_name": "PEMS08", "k": 10, "input_seq_len": 12, "output_seq_len": 12}
    step = package.STEP("PEMS08", "", former, back, learner)
    for name in ("node_feats", "rel_rec", "rel_send"):  # made in single precision, and no buffers
        setattr(step.discrete_graph_learning, name, getattr(step.discrete_graph_learning, name).double())
    return step


def fill(theirs: nn.Module, ours: STEP) -> None:
    """The same random weights in both."""
    randomise(state(theirs))
    names = {
        "tsformer.patch_embedding.input_embedding.weight": "former.value.weight",
        "tsformer.patch_embedding.input_embedding.bias": "former.value.bias",
        "tsformer.positional_encoding.position_embedding": "former.position",
        "tsformer.encoder.transformer_encoder.layers": "former.encoder",
        "tsformer.encoder_norm": "former.encoder_norm",
        "tsformer.enc_2_dec_emb": "former.bridge",
        "tsformer.mask_token": "former.mask",
        "tsformer.decoder.transformer_encoder.layers.0": "former.decoder",
        "tsformer.decoder_norm": "former.decoder_norm",
        "tsformer.output_layer": "former.head",
        "backend.nodevec1": "wavenet.source",
        "backend.nodevec2": "wavenet.target",
        "backend.start_conv": "wavenet.start",
        "backend.end_conv_1": "wavenet.end.1",
        "backend.end_conv_2": "wavenet.end.3",
        "backend.fc_his": "hint",
        "discrete_graph_learning.fc_cat": "learner.edge",
        "discrete_graph_learning.fc_out": "learner.pair",
    }
    learner = {"conv1": 0, "bn1": 2, "conv2": 3, "bn2": 5, "fc": 7, "bn3": 9}
    names |= {f"discrete_graph_learning.{a}.": f"learner.convolve.{i}." for a, i in learner.items()}
    layer = {
        "filter_convs.{}.": "gated.{}.signal.", "gate_convs.{}.": "gated.{}.gate.", "skip_convs.{}.": "skips.{}.",
        "gconv.{}.mlp.mlp.": "diffusion.{}.mix.", "bn.{}.": "norm.{}.",
    }  # fmt: skip
    names |= {"backend." + a.format(i): "wavenet." + b.format(i) for i in range(8) for a, b in layer.items()}
    dead = ("backend.residual_convs.", "backend.gconv.7.", "backend.bn.7.", "discrete_graph_learning.fc_mean.")
    given = ours.wavenet.graphs
    del ours.wavenet.graphs  # no weight
    transfer(theirs.state_dict(), ours, names, dead, {"former.position": lambda x: x[: STEPS // 12]})
    ours.wavenet.register_buffer("graphs", given)


def compare(theirs: nn.Module, ours: STEP) -> dict[str, float]:
    seen = batch(2, STEPS, 12, NODES)
    order = torch.randperm(STEPS // 12)
    masked, kept = order[: ours.former.hidden], order[ours.former.hidden :]
    former = theirs.tsformer
    former.mask.forward = lambda: (kept.tolist(), masked.tolist())
    former.mode = "pre-train"
    made, _ = former(seen.values)  # (B, hidden * L, N)
    former.mode = "forecasting"
    mine = ours.former.reconstruct(ours.former.cut(seen.values), order)

    time = (seen.slot / SLOTS)[:, :, None, None].expand(-1, -1, NODES, 1)
    x = torch.cat((seen.values, time, time), dim=-1)  # the third is cut off by the back end
    torch.manual_seed(1)
    forecast, edge, near, _ = theirs(x[:, -12:], x, None, 0, 0)
    torch.manual_seed(1)
    states, logits = ours.states(seen), ours.learner()
    print(f"probability of edges: {edge.min():.3f} to {edge.max():.3f}; edges of the neighbours: {near.mean():.3f}")
    return {
        "TSFormer, masked patches made up": difference(mine.flatten(2).transpose(1, 2), made),
        "graph learner, probability of edges": difference(logits.softmax(-1)[..., 0].expand_as(edge), edge),
        "nearest neighbours": difference(ours.nearest(states), near),
        "forecast": difference(ours.forecast(seen, states, logits), forecast),
    }
