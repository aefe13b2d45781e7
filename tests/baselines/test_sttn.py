"""STTN: embeddings, the transformer by its formula, the share of the graph, its parameters added up."""

import torch
from torch import Tensor

from cmust.baselines import sttn
from cmust.baselines.scene import Scene
from tests.baselines.scenes import batch, parameters, scene, small_sttn


def test_parameters_added_up_by_hand() -> None:
    nodes, steps = 69, 12
    entry, later = 32 + nodes + steps, 64 + steps

    def transformer(width: int) -> int:
        return width * 64 + 4 * (64 * 64 + 64) + (64 * 128 + 128) + (128 * 64 + 64) + 4 * 64

    block = nodes**2 + 2 * steps**2 + entry * 64 + (3 * entry * 64 + 64) + transformer(entry)
    block += later * 64 + transformer(later) + 2 * nodes * 64
    end = (64 * 64 * steps + 64) + 2 * nodes * 64 + (64 + nodes) * 512 + (512 + nodes) * 12
    assert parameters(sttn.make(Scene(nodes, 1, steps, 12, 48, torch.eye(nodes)))) == 2 * 32 + block + end


def test_embeddings_start_as_edges_and_positions_and_go_behind_each_item() -> None:
    of = scene()
    block = small_sttn(of).blocks[0]
    assert torch.equal(block.place, of.adjacency)
    assert torch.equal(block.step, torch.eye(24)) and torch.equal(block.step_again, torch.eye(24))
    x = torch.zeros(2, 24, 5, 3)
    assert torch.equal(sttn.with_embedding(x, block.place)[1, 7, 2], torch.cat((torch.zeros(3), of.adjacency[2])))
    assert sttn.with_embedding(x.transpose(1, 2), block.step)[0, 1, 7].tolist() == [0.0] * 10 + [1.0] + [0.0] * 16


def test_each_embedding_and_the_graph_have_their_own_effect() -> None:
    network, seen = small_sttn(scene()).eval(), batch(scene())
    before = network(seen)
    for part in ("place", "step", "step_again"):
        embedding = network.blocks[0].get_parameter(part)
        kept = embedding.detach().clone()
        embedding.data.mul_(2)
        assert not torch.allclose(network(seen), before)
        embedding.data.copy_(kept)
    network.graphs.mul_(2)
    assert not torch.allclose(network(seen), before)


def test_transformer_attends_within_a_set_as_the_formula_says() -> None:
    module, x = sttn.Transformer(3, 3, 5, 0.0).eval(), torch.randn(1, 2, 4, 3)

    def normed(y: Tensor) -> Tensor:
        return (y - y.mean(-1, keepdim=True)) / y.var(-1, correction=0, keepdim=True).sqrt()

    with torch.no_grad():
        layer, items = module.layer, x[0, 1]
        q, k, v = (items @ layer.self_attn.in_proj_weight.T).chunk(3, dim=-1)
        weight = torch.exp(q @ k.T / 3**0.5)
        attended = normed(items + (weight / weight.sum(1, keepdim=True)) @ v @ layer.self_attn.out_proj.weight.T)
        expected = normed(attended + layer.linear2(torch.relu(layer.linear1(attended))))
        torch.testing.assert_close(module(x)[0, 1], expected)
