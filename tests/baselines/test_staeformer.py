"""STAEformer: a layer as a loop, where dropout is, its parameters added up."""

import math

import torch
from torch import Tensor, nn

from cmust.baselines.scene import Scene
from cmust.baselines.staeformer import layer, make
from tests.baselines.scenes import parameters


def test_parameters_added_up_by_hand() -> None:
    width = 3 * 24 + 80
    attention, feed_forward = 4 * (width + 1) * width, (width + 1) * 256 + 257 * width
    embeddings, output = 4 * 24 + (48 + 7) * 24 + 12 * 69 * 80, (12 * width + 1) * 12
    layers = 6 * (attention + feed_forward + 4 * width)
    assert parameters(make(Scene(69, 1, 12, 12, 48, torch.eye(69)))) == embeddings + layers + output


def test_a_layer_as_a_loop_makes_it() -> None:
    block, x = layer(4, 2, 6, dropout=0.1).eval(), torch.randn(1, 3, 4)
    weight, bias = block.self_attn.in_proj_weight, block.self_attn.in_proj_bias
    q, k, v = ((x[0] @ weight[i : i + 4].T + bias[i : i + 4]).detach() for i in (0, 4, 8))
    mixed = torch.zeros(3, 4)
    for head in (slice(0, 2), slice(2, 4)):
        for i in range(3):
            scores = [math.exp(float(q[i, head] @ k[j, head]) / math.sqrt(2)) for j in range(3)]
            for j in range(3):
                mixed[i, head] += scores[j] / sum(scores) * v[j, head]
    u = normed(x[0] + block.self_attn.out_proj(mixed), block.norm1)
    expected = normed(u + block.linear2(torch.relu(block.linear1(u))), block.norm2)
    torch.testing.assert_close(block(x)[0], expected)


def normed(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    away = x - x.mean(-1, keepdim=True)
    return away / (away.square().mean(-1, keepdim=True) + norm.eps).sqrt() * norm.weight + norm.bias


def test_dropout_is_on_the_two_additions_alone() -> None:
    block, x = layer(4, 2, 6, dropout=0.5), torch.randn(2, 3, 4)
    assert not torch.allclose(block(x), block(x))
    block.dropout1.p = block.dropout2.p = 0.0
    assert torch.equal(block(x), block(x))
    torch.testing.assert_close(block(x), block.eval()(x))
