"""UniTime against the authors' code, whole, with a random GPT-2 that both read from the same folder.

Needs transformers and tokenizers. The width is not GPT-2's own; its layers and the published patches and room are.
"""

import importlib
import tempfile
from pathlib import Path
from types import SimpleNamespace

import torch
from benchmarks.parity._weights import Outputs, Weights, batch, compared, difference, redraw, renamed, state
from tokenizers import ByteLevelBPETokenizer
from torch import Tensor
from transformers import GPT2Config, GPT2LMHeadModel

from cmust.baselines.language import read_language
from cmust.baselines.unitime import UniTime

PUBLISHED = "liuxu77/UniTime"
TEXT = "taxi pickups, trips in 30 minutes with half hour sample rate."
WIDTH, HORIZON, NODES = 48, 12, 3
NAMES = {
    "feature_embedding": "value", "binary_indicator_embedding": "known", "gate_w1": "gate_value",
    "gate_w2": "gate_known", "feature_projection": "project", "pad_token": "filler",
    "dec_transformer.layers": "decoder", "dec_head.linear": "head.0", "words": "words",
    "backbone.transformer.wpe.weight": "reader.position", "backbone.transformer.ln_f": "reader.norm",
}  # fmt: skip
LAYER = {
    "attn.c_attn.weight": "self_attn.in_proj_weight", "attn.c_attn.bias": "self_attn.in_proj_bias",
    "attn.c_proj": "self_attn.out_proj", "mlp.c_fc": "linear1", "mlp.c_proj": "linear2", "ln_1": "norm1",
    "ln_2": "norm2",
}  # fmt: skip
LAYERS = 6
WORDS = "backbone.transformer.wte.weight"


def parity(repo: Path) -> dict[str, float]:
    """Whole patches and not, each with all of the input seen and half of it."""
    told = {}
    with tempfile.TemporaryDirectory() as folder:
        language_model(Path(folder))
        for steps in (96, 12, 40):
            told |= differences(folder, steps)
    return told


def language_model(folder: Path) -> None:
    """A GPT-2 of random weights, and pieces of words learnt from one text."""
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator([TEXT, "traffic speed in the morning"] * 4, vocab_size=300, min_frequency=2)
    tokenizer.save_model(str(folder))
    size = tokenizer.get_vocab_size()
    config = GPT2Config(
        vocab_size=size, n_positions=64, n_embd=WIDTH, n_layer=8, n_head=4, bos_token_id=0, eos_token_id=0
    )
    model = GPT2LMHeadModel(config)
    redraw(state(model))
    model.save_pretrained(folder)


def differences(folder: str, steps: int) -> dict[str, float]:
    arguments = SimpleNamespace(
        mask_rate=0.5, patch_len=16, max_token_num=64, max_backcast_len=steps, max_forecast_len=HORIZON, logger=None,
        model_path=folder, lm_layer_num=LAYERS, lm_ft_type="full", ts_embed_dropout=0.3, dec_trans_layer_num=2,
        dec_head_dropout=0.1,
    )  # fmt: skip
    theirs = importlib.import_module("models.unitime").UniTime(arguments).double().eval()
    # The present GPT-2 of transformers has fewer arguments than what the published class hands on.
    theirs.backbone.forward = lambda inputs_embeds: theirs.backbone.transformer(inputs_embeds=inputs_embeds)[0]
    language = read_language(Path(folder))
    used = sorted(set(language.pieces(TEXT)))
    ours = UniTime(language, (TEXT,), steps, HORIZON, room=64).double().eval()
    as_read = {name: weight.clone() for name, weight in ours.named_parameters() if name.startswith(("reader", "words"))}
    weights = state(theirs)
    redraw({name: weight for name, weight in weights.items() if not name.startswith("backbone.")})
    x = batch(2, steps, HORIZON, NODES).values[..., 0]
    half = (torch.rand_like(x) >= 0.5).to(x.dtype)

    def in_our_terms(weights: Weights) -> Weights:
        turned = {name: w.T if ".c_" in name and w.dim() == 2 else w for name, w in weights.items()}
        turned["words"] = turned.pop(WORDS)[used]
        names = dict(NAMES)
        for i in range(LAYERS):
            names |= {f"backbone.transformer.h.{i}.{a}": f"reader.layers.{i}.{b}" for a, b in LAYER.items()}
        return renamed(turned, names)

    def both(known: Tensor) -> tuple[Tensor, Tensor]:
        published = theirs(("", steps, 16, TEXT), x.masked_fill(known == 0, 0), known.clone())
        return ours.whole(x[..., None], known[..., None])[..., 0], published

    def outputs() -> Outputs:
        return {"all seen": both(torch.ones_like(x)), "half seen": both(half)}

    case = f"{steps} steps"
    told = compared(case, weights, ours, in_our_terms, outputs)
    read = max(difference(as_read[name], weight) for name, weight in ours.named_parameters() if name in as_read)
    return told | {f"{case}: language model as read": read}  # in single precision
