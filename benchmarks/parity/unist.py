"""UniST against the authors' code: patches made up in pre-training and forecasts with prompts, in two sizes."""

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from benchmarks.parity._stand_ins import stand_in
from benchmarks.parity._weights import SLOTS, Outputs, Weights, batch, compared, joined, redraw, renamed, state
from torch import Tensor, nn

from cmust.baselines.unist import UniST

PUBLISHED = "tsinghua-fib-lab/UniST"
CELLS, STEPS, HORIZON, DAYS = (6, 8), 12, 12, 3
NAMES = {
    "Embedding.value_embedding.tokenConv": "value",
    "Embedding.temporal_embedding.hour_embed": "slot",
    "Embedding.temporal_embedding.weekday_embed": "day",
    "Embedding.temporal_embedding.timeconv": "clock",
    "decoder_embed": "bridge",
    "mask_token": "mask",
    "decoder_pred": "head",
    "st_prompt.spatial_prompt.conv": "prompts.scales",
    "spatial_patch.conv": "prompts.patch",
    "st_prompt.temporal_prompt.c_encoder.layers.0": "prompts.nearby",
    "st_prompt.temporal_prompt.p_encoder.layers.0": "prompts.period",
}
MEMORY = {"x_proj": "query", "keyMatrix": "keys", "memMatrix": "values"}
MEMORIES = {
    "st_prompt.temporal_prompt.temporal_memory": "prompts.time_memory",
    "st_prompt.spatial_prompt.spatial_memory": "prompts.space_memory",
}
BLOCK = {
    "norm1": "norm", "norm2": "mlp.0", "mlp.fc1": "mlp.1", "mlp.fc2": "mlp.3", "attn.in_proj": "attention.in_proj",
    "attn.proj": "attention.out_proj",
}  # fmt: skip
UNREAD = ("Embedding_24.", "pos_embed_", "decoder_pos_embed_")  # for hourly data sets; learned positions


class Mlp(nn.Module):
    """In the place of timm's."""

    def __init__(self, in_features: int, hidden_features: int, act_layer: type[nn.Module], drop: float) -> None:
        super().__init__()
        self.fc1, self.act = nn.Linear(in_features, hidden_features), act_layer()
        self.fc2 = nn.Linear(hidden_features, in_features)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.fc2(self.act(self.fc1(x)))
        return found


def parity(repo: Path) -> dict[str, float]:
    """The published sizes "middle" and "1"."""
    stand_in("timm.models.layers", to_2tuple=None)
    stand_in("timm.models.vision_transformer", Mlp=Mlp, DropPath=nn.Identity)
    stand_in("ConvLSTM", ConvLSTM=None)
    sys.path.insert(0, str(repo / "src"))
    return differences("middle") | differences("1", width=64, depth=(2, 2), heads=(4, 2))


def differences(size: str, **sizes: Any) -> dict[str, float]:
    arguments = SimpleNamespace(
        size=size, patch_size=2, t_patch_size=2, pos_emb="SinCos", no_qkv_bias=0, prompt_ST=1, his_len=STEPS,
        pred_len=HORIZON, num_memory_spatial=512, num_memory_temporal=512, conv_num=3, prompt_content="s_p_c",
        mode="training",
    )  # fmt: skip
    theirs = importlib.import_module("model").UniST_model(arguments).eval()
    nodes = CELLS[0] * CELLS[1]
    ours = UniST(CELLS, torch.arange(nodes), STEPS, HORIZON, SLOTS, DAYS, **sizes).eval()
    redraw(weights := {name: weight for name, weight in state(theirs).items() if weight.requires_grad})
    seen, ahead = batch(2, DAYS * SLOTS, HORIZON, nodes), torch.randn(2, HORIZON, nodes, 1)
    cells = torch.cat((ours.lay(seen.values)[:, -STEPS:], ours.lay(ahead)), dim=1)
    slot = torch.cat((seen.slot[:, -STEPS:], seen.slot_ahead), dim=1)
    mark = torch.stack((torch.cat((seen.dow[:, -STEPS:], seen.dow_ahead), dim=1), slot), dim=-1)
    before = torch.randn(2, STEPS, nodes, 1)  # of the period only the steps to be forecast are read
    series = torch.cat((before, seen.values, ahead), dim=1)
    back = [series[:, -STEPS - HORIZON - SLOTS * day :][:, : STEPS + HORIZON] for day in range(DAYS, 0, -1)]
    images = (cells[:, None], mark, torch.stack([ours.lay(values) for values in back], dim=1))
    tokens = ours.where.shape[0] * ours.where.shape[1]
    look_up = theirs.pos_embed_enc

    def outputs() -> Outputs:
        # With "temporal" theirs looks positions up by the numbers of moments, not of tokens: put right here.
        theirs.pos_embed_enc = lambda ids, n, size: look_up(torch.arange(ids.shape[1]).expand_as(ids), n, size)
        arguments.prompt_ST = 1
        forecast = theirs(images, mask_strategy="temporal", data="none")[2]
        forecast = ours.cut_back(forecast)[:, STEPS:].flatten(2)[..., None]
        theirs.pos_embed_enc, arguments.prompt_ST = look_up, 0
        torch.manual_seed(2)
        made = theirs(images, mask_strategy="random", data="none")[2]
        torch.manual_seed(2)
        keep = torch.rand(2, tokens).argsort(dim=1)[:, : tokens // 2]
        return {
            "patches": (ours.cut(cells), theirs.patchify(cells[:, None])),
            "patches made up": (ours.rebuild(cells, ours.time(seen, 1), keep), made),
            "forecast with prompts": (ours(seen), forecast),
        }

    depths = len(theirs.blocks), len(theirs.decoder_blocks)
    return compared(f'size "{size}"', weights, ours, lambda found: in_our_terms(found, depths), outputs, UNREAD)


def in_our_terms(weights: Weights, depths: tuple[int, int]) -> Weights:
    encoder, decoder = depths
    names = NAMES | {"norm.": f"encoder.{encoder}.", "decoder_norm.": f"decoder.{decoder}."}
    names |= {f"{a}.{b}": f"{mine}.{own}" for a, mine in MEMORIES.items() for b, own in MEMORY.items()}
    for stack, mine, depth in (("blocks", "encoder", encoder), ("decoder_blocks", "decoder", decoder)):
        names |= {f"{stack}.{i}.{a}": f"{mine}.{i}.{b}" for i in range(depth) for a, b in BLOCK.items()}
    return renamed(joined(weights, (".attn.q.", ".attn.k.", ".attn.v."), ".attn.in_proj_"), names, UNREAD)
