"""Multi-head attention along the space axis or the time axis of a representation (Eq. 2-5, 7).

Shapes: B batch, T steps, N nodes, D width, H heads, E = D / H. Every tensor is ``(B, T, N, D)``; an axis along which
a slice does not vary yet may have length 1 (the temporal context is the same at all nodes, the spatial one at all
steps), and is projected once.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from cmust.model.dropout import Dropout
from cmust.model.linear import linear
from cmust.model.mixing import Axis, attention_weights, mix


class Attention(nn.Module):
    """``softmax(Q K^T / sqrt(E)) V W_O``, queries from one slice, keys and values from another (or the same).

    Attributes:
        listener: called with the weights ``(B, ..., H, L, L)`` of every forward pass, when set (see
            ``record_attention``).
    """

    def __init__(self, d_query: int, d_target: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(d_query, width)
        self.key = nn.Linear(d_target, width)
        self.value = nn.Linear(d_target, width)
        self.output = nn.Linear(width, d_target)
        self.listener: Callable[[Tensor], None] | None = None

    def forward(self, query: Tensor, target: Tensor, axis: Axis) -> Tensor:
        """Attend from ``query`` ``(B, T, N, d_query)`` to ``target`` ``(B, T, N, d_target)`` along ``axis``; ``(B, T,
        N, d_target)``.
        """
        # The scale of Eq. 3 goes into the weights of the queries: they are fewer than the queries.
        scale = (self.query.out_features // self.heads) ** -0.5
        ask, ask_bias = self.query.weight * scale, self.query.bias * scale
        if query is target:
            weight = torch.cat((ask, self.key.weight, self.value.weight))
            bias = torch.cat((ask_bias, self.key.bias, self.value.bias))
            packed: tuple[Tensor, ...] = (self._split(linear(target, weight, bias), 3),)
        else:
            weight = torch.cat((self.key.weight, self.value.weight))
            bias = torch.cat((self.key.bias, self.value.bias))
            answers = linear(target, weight, bias)
            packed = (self._split(linear(query, ask, ask_bias), 1), self._split(answers, 2))
        if self.listener is not None:
            self.listener(attention_weights(axis, *(x.detach() for x in packed)))
        mixed = mix(axis, *packed).flatten(-2)
        return self.output(mixed)  # type: ignore[no-any-return]

    def _split(self, x: Tensor, parts: int) -> Tensor:
        """``(B, T, N, parts * D)`` to ``(B, T, N, parts, H, E)``."""
        return x.unflatten(-1, (parts, self.heads, -1))  # type: ignore[no-any-return]


class Interaction(nn.Module):
    """One interaction: attention, then a feed-forward network, post-norm (Eq. 6).

    ``u = LN(attention + target)``; ``out = LN(FFN(u) + u)``, with dropout on the attention output and inside the FFN.
    """

    def __init__(self, d_query: int, d_target: int, width: int, heads: int, ffn_width: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(d_query, d_target, width, heads)
        self.expand = nn.Linear(d_target, ffn_width)
        self.contract = nn.Linear(ffn_width, d_target)
        self.norm_attention = nn.LayerNorm(d_target)
        self.norm_ffn = nn.LayerNorm(d_target)
        self.dropout = Dropout(dropout)

    def forward(self, query: Tensor, target: Tensor, axis: Axis) -> Tensor:
        """Update ``target`` ``(B, T, N, d_target)`` by what ``query`` ``(B, T, N, d_query)`` asks of it along
        ``axis``.
        """
        u = _normed_sum(self.norm_attention, self.dropout(self.attention(query, target, axis)), target)
        hidden = self.dropout.after_relu(linear(u, self.expand.weight, self.expand.bias))
        return _normed_sum(self.norm_ffn, self.contract(hidden), u)


def _normed_sum(norm: nn.Module, change: Tensor, target: Tensor) -> Tensor:
    """Their sum, normalised; under autocast in fp32, which is more exact, and takes PyTorch's norm half the time."""
    if change.dtype == torch.bfloat16 and norm.weight.dtype == torch.float32 and not torch.compiler.is_compiling():
        change = change.float().add_(target)  # sums of two precisions are slow unless one of them is the place
    else:
        change = change + target
    return norm(change)  # type: ignore[no-any-return]


@contextmanager
def record_attention(network: nn.Module) -> Iterator[dict[str, list[Tensor]]]:
    """Collect attention weights of every forward pass inside the ``with`` block, by interaction.

    Yields:
        A dictionary from the interaction's name (``blocks.0.scci.to_observation``, ...) to one tensor per forward pass,
        ``(B, T, H, N, N)`` in space and ``(B, N, H, T, T)`` in time (axes of length 1 where the weights do not vary).
    """
    maps: dict[str, list[Tensor]] = {}
    listening = [(name, module) for name, module in network.named_modules() if isinstance(module, Attention)]
    for name, module in listening:
        module.listener = maps.setdefault(name.removesuffix(".attention"), []).append
    try:
        yield maps
    finally:
        for _, module in listening:
            module.listener = None
