"""UniTime, whole, with a random GPT-2 that both read from the same folder. Needs transformers and tokenizers.

The width is not GPT-2's own, its layers and the published patches and room are.
"""

import importlib
import tempfile
from pathlib import Path
from types import ModuleType, SimpleNamespace

import torch
from benchmarks.parity._transfer import transfer
from benchmarks.parity._weights import batch, difference, randomise, state
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel

from cmust.baselines.language import read_language
from cmust.baselines.unitime import UniTime

PUBLISHED = "liuxu77/UniTime"
TEXT = "taxi pickups, trips in 30 minutes with half hour sample rate."
WIDTH, HORIZON, NODES = 48, 12, 3


def parity(repo: Path) -> dict[str, float]:
    """Largest differences: of the whole network, all of the input seen and half of it, whole patches and not."""
    module = importlib.import_module("models.unitime")
    told = {}
    with tempfile.TemporaryDirectory() as folder:
        language_model(Path(folder))
        for steps in (96, 12, 40):
            told |= compare(module, folder, steps)
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
    randomise(state(model))
    model.save_pretrained(folder)


def compare(module: ModuleType, folder: str, steps: int) -> dict[str, float]:
    arguments = SimpleNamespace(
        mask_rate=0.5, patch_len=16, max_token_num=64, max_backcast_len=steps, max_forecast_len=HORIZON, logger=None,
        model_path=folder, lm_layer_num=6, lm_ft_type="full", ts_embed_dropout=0.3, dec_trans_layer_num=2,
        dec_head_dropout=0.1,
    )  # fmt: skip
    theirs = module.UniTime(arguments).eval()
    # The present GPT-2 of transformers has fewer arguments than what the published class hands on.
    theirs.backbone.forward = lambda inputs_embeds: theirs.backbone.transformer(inputs_embeds=inputs_embeds)[0]
    ours = UniTime(read_language(Path(folder)), (TEXT,), steps, HORIZON, room=64).eval()
    weights = state(theirs)
    randomise({name: weight for name, weight in weights.items() if not name.startswith("backbone.")})
    read = ours.reader.state_dict()
    words = ours.words.clone()
    weights = {name: weight for name, weight in weights.items() if not name.startswith("backbone.")}
    weights |= {"words": words} | {f"reader.{name}": weight for name, weight in read.items()}
    names = {
        "words": "words", "reader.": "reader.", "feature_embedding": "value", "binary_indicator_embedding": "known",
        "gate_w1": "gate_value", "gate_w2": "gate_known", "feature_projection": "project", "pad_token": "filler",
        "dec_transformer.layers": "decoder", "dec_head.linear": "head.0",
    }  # fmt: skip
    transfer(weights, ours, names)
    seen = batch(2, steps, HORIZON, NODES)
    x = seen.values[..., 0]
    half = (torch.rand_like(x) >= 0.5).float()
    told = {}
    for case, known in {"all seen": torch.ones_like(x), "half seen": half}.items():
        published = theirs(("", steps, 16, TEXT), x.masked_fill(known == 0, 0), known.clone())
        told[f"{steps} steps, {case}"] = difference(ours.whole(x[..., None], known[..., None])[..., 0], published)
    return told
