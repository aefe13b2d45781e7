"""Weights of the published implementation, by their names there, into a ``reference`` trunk and prompt."""

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from cmust.errors import RunError, reason
from cmust.model.network import Trunk

_EMBEDDING = {
    "obser_mlp": "embedding.observation.{features}",
    "spatial_mlp": "embedding.space",
    "timestamp_mlp": "embedding.timestamp",
    "tod_embedding": "embedding.time_of_day",
    "dow_embedding": "embedding.day_of_week",
    "temporal_mlp": "embedding.time",
    "output_mlp": "fusion.{channels}.output",
}
# cross_attn_x_t: the observation slice, updated by temporal queries.
_INTERACTIONS = {
    "cross_attn_x_t": "tcci.to_observation",
    "cross_attn_t_x": "tcci.to_context",
    "cross_attn_x_s": "scci.to_observation",
    "cross_attn_s_x": "scci.to_context",
    "self_attn_t_t": "tsi.0",
    "self_attn_t_t1": "tsi.1",
    "self_attn_s_s": "ssi.0",
    "self_attn_s_s1": "ssi.1",
}
_PARTS = {
    "attn.Wq": "attention.query",
    "attn.Wk": "attention.key",
    "attn.Wv": "attention.value",
    "attn.dense": "attention.output",
    "ffn.fc1": "expand",
    "ffn.fc2": "contract",
    "ln1": "norm_attention",
    "ln2": "norm_ffn",
}
PROMPT = "prompt"


def trunk_name(published: str, channels: int = 1) -> str:
    """Our name of a published parameter, ``layers.0.cross_attn_x_t.attn.Wq.bias`` ->
    ``blocks.0.tcci.to_observation.attention.query.bias``.

    Raises:
        KeyError: the published implementation has no such parameter.
    """
    path, _, kind = published.rpartition(".")
    if path in _EMBEDDING:
        return _EMBEDDING[path].format(features=channels, channels=channels) + f".{kind}"
    layers, block, interaction, part = path.split(".", 3)
    if layers != "layers":
        raise KeyError(published)
    return f"blocks.{block}.{_INTERACTIONS[interaction]}.{_PARTS[part]}.{kind}"


def read_weights(path: Path | str) -> dict[str, Tensor]:
    """Tensors of a ``.safetensors`` or a ``.pt``/``.pth`` file (read with ``weights_only``: nothing in it can run).

    Raises:
        RunError: missing, damaged, or not a plain dictionary of tensors.
    """
    path = Path(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        weights = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise RunError(f"no weights at {path}; give a .safetensors or .pt file") from error
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError) as error:
        raise RunError(f"{path} cannot be read as weights ({reason(error)}); it may be truncated") from error
    except Exception as error:  # unpickling refuses unknown types with its own error class
        raise RunError(f"{path} holds more than tensors and was not opened: {reason(error)}") from error
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise RunError(f"{path} is not a dictionary of tensors; save the published model's state_dict")
    return weights


def load_reference(trunk: Trunk, weights: dict[str, Tensor], channels: int = 1) -> Tensor | None:
    """Copy published weights into a ``reference`` trunk; the published prompt ``(T, N, d_p)`` is returned where there
    is one.

    Raises:
        RunError: a weight is unknown, missing, or of another shape than the trunk's.
    """
    prompt = weights.get(PROMPT)
    own = trunk.state_dict()
    renamed: dict[str, Tensor] = {}
    for name, value in weights.items():
        if name == PROMPT:
            continue
        try:
            ours = trunk_name(name, channels)
        except (KeyError, ValueError) as error:
            raise RunError(f"weight {name!r} is not one of the published implementation") from error
        if ours not in own:
            raise RunError(
                f"weight {name!r} has no place in this trunk (preset {trunk.config.preset!r}); use preset 'reference'"
            )
        if own[ours].shape != value.shape:
            raise RunError(
                f"weight {name!r} is {tuple(value.shape)}, the trunk's is {tuple(own[ours].shape)}; set the same sizes"
            )
        renamed[ours] = value
    missing = sorted(set(own) - set(renamed))
    if missing:
        raise RunError(
            f"the published weights lack {len(missing)} of the trunk's, {missing[0]!r} first; use preset 'reference'"
        )
    trunk.load_state_dict(renamed)
    return prompt
