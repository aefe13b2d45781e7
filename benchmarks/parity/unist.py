"""UniST, whole: patches made up in pre-training and prompted forecasts, at a small and at the published size."""

import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch
from benchmarks.parity._transfer import transfer
from benchmarks.parity._weights import SLOTS, batch, difference, randomise, state
from torch import Tensor, nn

from cmust.baselines.unist import UniST

PUBLISHED = "tsinghua-fib-lab/UniST"
CELLS, STEPS, HORIZON, DAYS = (6, 8), 12, 12, 3
SIZES = {"1": {"width": 64, "depth": (2, 2), "heads": (4, 2)}, "middle": {}}


class Mlp(nn.Module):
    """In the place of timm's."""

    def __init__(self, in_features: int, hidden_features: int, act_layer: type[nn.Module], drop: float) -> None:
        super().__init__()
        self.fc1, self.act = nn.Linear(in_features, hidden_features), act_layer()
        self.fc2 = nn.Linear(hidden_features, in_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.act(self.fc1(x)))


def parity(repo: Path) -> dict[str, float]:
    """Largest differences."""
    for name in ("timm", "timm.models", "timm.models.layers", "timm.models.vision_transformer", "ConvLSTM"):
        sys.modules.setdefault(name, ModuleType(name))
    sys.modules["timm.models.layers"].to_2tuple = None
    sys.modules["timm.models.vision_transformer"].__dict__.update(Mlp=Mlp, DropPath=nn.Identity)
    sys.modules["ConvLSTM"].ConvLSTM = None
    sys.path.insert(0, str(repo / "src"))
    module = importlib.import_module("model")
    told = {}
    for size, sizes in SIZES.items():
        told |= compare(module, size, sizes)
    return told


def compare(module: ModuleType, size: str, sizes: dict[str, object]) -> dict[str, float]:
    arguments = SimpleNamespace(
        size=size, patch_size=2, t_patch_size=2, pos_emb="SinCos", no_qkv_bias=0, prompt_ST=1, his_len=STEPS,
        pred_len=HORIZON, num_memory_spatial=512, num_memory_temporal=512, conv_num=3, prompt_content="s_p_c",
        mode="training",
    )  # fmt: skip
    theirs = module.UniST_model(arguments)
    nodes = CELLS[0] * CELLS[1]
    ours = UniST(CELLS, torch.arange(nodes), STEPS, HORIZON, SLOTS, DAYS, **sizes)
    randomise(state(theirs))
    fill(theirs, ours)
    theirs.eval(), ours.eval()
    seen = batch(2, DAYS * SLOTS, HORIZON, nodes)
    ahead = torch.randn(2, HORIZON, nodes, 1)
    cells = torch.cat((ours.lay(seen.values)[:, -STEPS:], ours.lay(ahead)), dim=1)
    slot = torch.cat((seen.slot[:, -STEPS:], seen.slot_ahead), dim=1)
    mark = torch.stack((torch.cat((seen.dow[:, -STEPS:], seen.dow_ahead), dim=1), slot), dim=-1)
    before = torch.randn(2, STEPS, nodes, 1)  # of the period only the steps to be forecast are read
    series = torch.cat((before, seen.values, ahead), dim=1)
    back = [series[:, -STEPS - HORIZON - SLOTS * day :][:, : STEPS + HORIZON] for day in range(DAYS, 0, -1)]
    period = torch.stack([ours.lay(values) for values in back], dim=1)  # (B, P, K + F, H, W)
    images = (cells[:, None], mark, period)

    # With the strategy "temporal" theirs looks positions of tokens up by the numbers of moments; here they are right.
    tokens = ours.where.shape[0] * ours.where.shape[1]
    look_up = theirs.pos_embed_enc
    theirs.pos_embed_enc = lambda ids, n, size: look_up(torch.arange(ids.shape[1]).expand_as(ids), n, size)
    forecast = theirs(images, mask_strategy="temporal", data="none")[2]
    theirs.pos_embed_enc = look_up
    forecast = ours.cut_back(forecast)[:, STEPS:].flatten(2)[..., None]
    arguments.prompt_ST = 0
    torch.manual_seed(2)
    made = theirs(images, mask_strategy="random", data="none")[2]
    torch.manual_seed(2)
    keep = torch.rand(2, tokens).argsort(dim=1)[:, : tokens // 2]
    pieces = theirs.patchify(cells[:, None])
    return {
        f"patches, size {size}": difference(ours.cut(cells), pieces),
        f"patches made up, size {size}": difference(ours.rebuild(cells, ours.time(seen, 1), keep), made),
        f"forecast with prompts, size {size}": difference(ours(seen), forecast),
    }


def fill(theirs: nn.Module, ours: UniST) -> None:
    weights = dict(theirs.state_dict())
    for name in [name for name in weights if ".attn.q." in name]:
        parts = [weights.pop(name.replace(".q.", f".{part}.")) for part in "qkv"]
        weights[name.replace("q.", "in_proj_")] = torch.cat(parts)
    names = {
        "Embedding.value_embedding.tokenConv": "value",
        "Embedding.temporal_embedding.hour_embed": "slot",
        "Embedding.temporal_embedding.weekday_embed": "day",
        "Embedding.temporal_embedding.timeconv": "clock",
        "norm.": f"encoder.{len(theirs.blocks)}.",
        "decoder_norm.": f"decoder.{len(theirs.decoder_blocks)}.",
        "decoder_embed": "bridge",
        "mask_token": "mask",
        "decoder_pred": "head",
        "st_prompt.spatial_prompt.conv": "prompts.scales",
        "spatial_patch.conv": "prompts.patch",
        "st_prompt.temporal_prompt.c_encoder.layers.0": "prompts.nearby",
        "st_prompt.temporal_prompt.p_encoder.layers.0": "prompts.period",
    }
    for own, name in {
        "time_memory": "temporal_prompt.temporal_memory",
        "space_memory": "spatial_prompt.spatial_memory",
    }.items():
        parts = {"x_proj": "query", "keyMatrix": "keys", "memMatrix": "values"}
        names |= {f"st_prompt.{name}.{a}": f"prompts.{own}.{b}" for a, b in parts.items()}
    block = {
        "norm1": "norm", "norm2": "mlp.0", "mlp.fc1": "mlp.1", "mlp.fc2": "mlp.3", "attn.in_proj": "attention.in_proj",
        "attn.proj": "attention.out_proj",
    }  # fmt: skip
    for stack, own in {"blocks": "encoder", "decoder_blocks": "decoder"}.items():
        for i in range(len(getattr(theirs, stack))):
            names |= {f"{stack}.{i}.{a}": f"{own}.{i}.{b}" for a, b in block.items()}
    # Learned positions, and an embedding for hourly data sets.
    dead = ("Embedding_24.", "pos_embed_", "decoder_pos_embed_")
    transfer(weights, ours, names, dead)
