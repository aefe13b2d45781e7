"""STEP against the authors' code, in its sizes for PEMS08: TSFormer, the graph learner and the whole forecast."""

import importlib
from pathlib import Path

import torch
from benchmarks.parity import gwnet
from benchmarks.parity._stand_ins import stand_in
from benchmarks.parity._weights import SLOTS, Outputs, Weights, adjacency, batch, compared, redraw, renamed, state
from torch import Tensor, nn
from torch.nn import functional

from cmust.baselines.graphs import transitions
from cmust.baselines.gwnet import GraphWaveNet
from cmust.baselines.step import STEP, GraphLearner, TSFormer

PUBLISHED = "zezhishao/STEP"
NODES, SERIES = 170, 14284  # of PEMS08: the published sizes hang on the names of data sets
STEPS, LAYERS = 336, 8
POSITION = "tsformer.positional_encoding.position_embedding"
NAMES = {
    "tsformer.patch_embedding.input_embedding": "former.value",
    POSITION: "former.position",
    "tsformer.encoder.transformer_encoder.layers": "former.encoder",
    "tsformer.encoder_norm": "former.encoder_norm",
    "tsformer.enc_2_dec_emb": "former.bridge",
    "tsformer.mask_token": "former.mask",
    "tsformer.decoder.transformer_encoder.layers.0": "former.decoder",
    "tsformer.decoder_norm": "former.decoder_norm",
    "tsformer.output_layer": "former.head",
    "backend.fc_his": "hint",
    "discrete_graph_learning.conv1": "learner.convolve.0",
    "discrete_graph_learning.bn1": "learner.convolve.2",
    "discrete_graph_learning.conv2": "learner.convolve.3",
    "discrete_graph_learning.bn2": "learner.convolve.5",
    "discrete_graph_learning.fc.": "learner.convolve.7.",
    "discrete_graph_learning.bn3": "learner.convolve.9",
    "discrete_graph_learning.fc_out": "learner.pair",
    "discrete_graph_learning.fc_cat": "learner.edge",
} | {f"backend.{theirs}": f"wavenet.{ours}" for theirs, ours in gwnet.names(LAYERS).items()}
UNREAD = ("discrete_graph_learning.fc_mean.", *(f"backend.{name}" for name in gwnet.unread(LAYERS)))


def parity(repo: Path) -> dict[str, float]:
    """Published sizes."""
    series = torch.randn(SERIES, NODES, 1).float().double()  # theirs is rounded to single precision
    stand_in("timm.models.vision_transformer", trunc_normal_=nn.init.trunc_normal_)
    stand_in("basicts.utils", load_pkl=lambda _: {"processed_data": series.numpy()})
    theirs = published().eval()
    back = GraphWaveNet(transitions(adjacency(NODES)), 1, 12, SLOTS)
    ours = STEP(TSFormer(1, 12, STEPS // 12), GraphLearner(series), back).eval()
    redraw(weights := state(theirs))
    seen, order = batch(2, STEPS, 12, NODES), torch.randperm(STEPS // 12)

    def in_our_terms(weights: Weights) -> Weights:
        return renamed(weights | {POSITION: weights[POSITION][: STEPS // 12]}, NAMES, UNREAD)

    def outputs() -> Outputs:
        mine = ours.former.reconstruct(ours.former.cut(seen.values), order).flatten(2).mT
        made = made_up(theirs.tsformer, seen.values, order)
        time = (seen.slot / SLOTS)[:, :, None, None].expand(-1, -1, NODES, 1)
        x = torch.cat((seen.values, time, time), dim=-1)  # the third is cut off by the back end
        theirs.tsformer.requires_grad_(False)  # it stands still in this stage
        torch.manual_seed(1)
        forecast, edge, near, _ = theirs(x[:, -12:], x, None, 0, 0)
        theirs.tsformer.requires_grad_(True)
        torch.manual_seed(1)
        states, logits = ours.states(seen), ours.learner()
        return {
            "patches made up by TSFormer": (mine, made),
            "probability of edges": (logits.softmax(-1)[..., 0].expand_as(edge), edge),
            "nearest neighbours": (ours.nearest(states), near),
            "forecast": (ours.forecast(seen, states, logits), forecast),
        }

    return compared("published sizes", weights, ours, in_our_terms, outputs, UNREAD)


def made_up(former: nn.Module, values: Tensor, order: Tensor) -> Tensor:
    """``(B, hidden * L, N)``: the first three quarters of the patches in ``order``, by their network."""
    hidden = len(order) * 3 // 4
    former.mask.forward = lambda: (order[hidden:].tolist(), order[:hidden].tolist())
    former.mode = "pre-train"
    made: Tensor = former(values)[0]
    former.mode = "forecasting"
    return made


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
