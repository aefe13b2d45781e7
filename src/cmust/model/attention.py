"""Multi-head attention along the space axis or the time axis of a representation (Eq. 2-5, 7).

Shapes: B batch, T steps, N nodes, D width, H heads, E = D / H. Every tensor is ``(B, T, N, D)``; an axis along which
a slice does not vary yet may have length 1 (the temporal context is the same at all nodes, the spatial one at all
steps), and is projected once.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmust.model.dropout import Dropout

Axis = Literal["space", "time"]

FEW_NODES = 256
"""Up to here all weights at once take less time than tiles where gradients are wanted (fp32, CPU)."""


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
        if query is target:
            weight = torch.cat((self.query.weight, self.key.weight, self.value.weight))
            bias = torch.cat((self.query.bias, self.key.bias, self.value.bias))
            q, k, v = F.linear(target, weight, bias).chunk(3, dim=-1)
        else:
            q = self.query(query)
            weight = torch.cat((self.key.weight, self.value.weight))
            bias = torch.cat((self.key.bias, self.value.bias))
            k, v = F.linear(target, weight, bias).chunk(2, dim=-1)
        q, k, v = (self._split(part, axis) for part in (q, k, v))
        pays = axis == "space" and (not torch.is_grad_enabled() or target.shape[2] > FEW_NODES)
        if pays and self.listener is None:
            mixed = _mix_by_tiles(q, k, v)
        else:
            weights = torch.softmax((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2), dim=-1)
            if self.listener is not None:
                self.listener(weights.detach())
            mixed = weights @ v
        return self.output(self._join(mixed, axis))  # type: ignore[no-any-return]

    def _split(self, x: Tensor, axis: Axis) -> Tensor:
        """``(B, T, N, D)`` to ``(B, T, H, N, E)`` in space, ``(B, N, H, T, E)`` in time."""
        x = x.unflatten(-1, (self.heads, -1))
        return x.permute(0, 1, 3, 2, 4) if axis == "space" else x.permute(0, 2, 3, 1, 4)

    def _join(self, x: Tensor, axis: Axis) -> Tensor:
        """The inverse of ``_split``."""
        x = x.permute(0, 1, 3, 2, 4) if axis == "space" else x.permute(0, 3, 1, 2, 4)
        return x.flatten(-2)


def _mix_by_tiles(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """``softmax(q k^T / sqrt(E)) v``, each ``(B, T, H, N, E)``, with a few attention weights in memory at a time.

    Memory grows with the nodes, not with their square; gradients compute the weights again.
    """
    lead = torch.broadcast_shapes(q.shape[:2], k.shape[:2])
    q, k, v = (part.expand(*lead, -1, -1, -1).flatten(0, 1) for part in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v).unflatten(0, lead)  # type: ignore[no-any-return]


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
        u = self.norm_attention(self.dropout(self.attention(query, target, axis)) + target)
        return self.norm_ffn(self.contract(self.dropout(torch.relu(self.expand(u)))) + u)  # type: ignore[no-any-return]


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
