"""STAEformer: attention against a loop, where dropout is, and what nodes see of each other."""

import math

import pytest
import torch
from torch import Tensor, nn

from cmust.baselines.staeformer import STAEformer, layer, make
from tests.baselines.scenes import batch, check_shape_and_gradients, manhattan, parameters, permuted, scene


def tiny(channels: int = 1) -> STAEformer:
    return STAEformer(5, channels, 4, 3, 8, width=2, adaptive=2, layers=2, heads=2, feed_forward=6, dropout=0.5).eval()


@pytest.mark.parametrize("channels", [1, 2])
def test_shape_and_gradients(channels: int) -> None:
    check_shape_and_gradients(tiny(channels), scene(channels=channels))


def test_size_for_manhattan() -> None:
    width = 3 * 24 + 80
    attention, feed_forward = 4 * (width + 1) * width, (width + 1) * 256 + 257 * width
    embeddings = 4 * 24 + (48 + 7) * 24 + 12 * 69 * 80
    output = (12 * width + 1) * 12
    assert parameters(make(manhattan())) == embeddings + 6 * (attention + feed_forward + 4 * width) + output
    assert parameters(make(manhattan())) == 1_120_740


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


def test_nodes_and_clock() -> None:
    of = scene()
    network, seen = tiny(), batch(of)
    forecast = network(seen)
    with torch.no_grad():
        torch.testing.assert_close(network(seen), forecast)  # PyTorch's fused layer
    other = seen.values.clone()
    other[:, :, 0] += 1
    assert not torch.allclose(network(seen._replace(values=other))[:, :, 1:], forecast[:, :, 1:])
    assert not torch.allclose(network(seen._replace(slot=(seen.slot + 1) % 8)), forecast)
    assert not torch.allclose(network(seen._replace(dow=(seen.dow + 1) % 7)), forecast)
    order = torch.tensor([2, 0, 1, 4, 3])
    assert not torch.allclose(network(permuted(seen, order)), forecast[:, :, order])
    network.adaptive.data = network.adaptive[:, order].detach()
    torch.testing.assert_close(network(permuted(seen, order)), forecast[:, :, order])
