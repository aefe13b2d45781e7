"""The network: embeddings, interactions (MSTI), fusion, losses, presets."""

from cmust.model.attention import record_attention
from cmust.model.config import PRESETS, ModelConfig, model_config
from cmust.model.msti import MSTI, Slices
from cmust.model.network import Head, Inputs, Trunk, at_nodes, channel_counts, forecast

__all__ = [
    "MSTI",
    "PRESETS",
    "Head",
    "Inputs",
    "ModelConfig",
    "Slices",
    "Trunk",
    "at_nodes",
    "channel_counts",
    "forecast",
    "model_config",
    "record_attention",
]
