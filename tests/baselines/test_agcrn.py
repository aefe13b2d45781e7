"""AGCRN: a convolution and a recurrent step in loops, the learned graph, and the order of nodes."""

import math

import pytest
import torch

from cmust.baselines.agcrn import AGCRN, Layer, NodeWeights, chebyshev, convolve, make
from tests.baselines.scenes import batch, check_shape_and_gradients, manhattan, parameters, permuted, scene


@pytest.mark.parametrize("channels", [1, 2])
def test_shape_and_gradients(channels: int) -> None:
    network = AGCRN(5, channels, 3, vector=3, width=4, terms=3)
    check_shape_and_gradients(network, scene(channels=channels))


def test_size_for_manhattan() -> None:
    layers = sum(10 * (2 * (inputs + 64) + 1) * 3 * 64 for inputs in (1, 64))
    assert parameters(make(manhattan())) == 69 * 10 + layers + 65 * 12 == 746_430


def test_chebyshev_terms_are_cosines_of_multiples() -> None:
    angles = torch.tensor([0.3, 1.1, 2.5])
    terms = chebyshev(torch.diag(torch.cos(angles)), 4)
    for k in range(4):
        torch.testing.assert_close(terms[k], torch.diag(torch.cos(k * angles)))


def test_a_convolution_as_a_loop_makes_it() -> None:
    pool = NodeWeights(vector=2, terms=2, inputs=3, outputs=2)
    for p in pool.parameters():
        torch.nn.init.normal_(p)
    x, vectors, supports = torch.randn(1, 4, 3), torch.randn(4, 2), torch.randn(2, 4, 4)
    expected = torch.zeros(4, 2)
    for n in range(4):
        for o in range(2):
            for d in range(2):
                expected[n, o] += vectors[n, d] * pool.bias[d, o].detach()
                for k in range(2):
                    for i in range(3):
                        seen = sum(supports[k, n, m] * x[0, m, i] for m in range(4))
                        expected[n, o] += vectors[n, d] * pool.weight[d, k, i, o].detach() * seen
    torch.testing.assert_close(convolve(x, supports, pool.of(vectors))[0], expected)


def test_two_recurrent_steps_by_hand() -> None:
    layer = Layer(vector=1, terms=2, inputs=1, width=1)
    with torch.no_grad():
        layer.gates.weight.zero_()
        layer.gates.weight[0, 1, 0, 0] = 0.5  # the neighbour's input opens the first gate
        layer.gates.bias.copy_(torch.tensor([[0.0, 1.0]]))
        layer.candidate.weight.zero_()
        layer.candidate.weight[0, 0] = torch.tensor([[1.0], [2.0]])  # own input and own state
        layer.candidate.bias.fill_(0.25)
    swap = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    x = torch.tensor([[[[0.3], [-0.7]], [[0.9], [0.4]]]])
    states = layer(x, torch.ones(2, 1), torch.stack((torch.eye(2), swap)))
    keep = 1 / (1 + math.exp(-1.0))
    for n, (before, now, neighbour) in enumerate(((0.3, 0.9, 0.4), (-0.7, 0.4, 0.9))):
        first = (1 - keep) * math.tanh(before + 0.25)
        let_in = 1 / (1 + math.exp(-0.5 * neighbour))
        second = keep * first + (1 - keep) * math.tanh(now + 2 * let_in * first + 0.25)
        assert states[0, :, n, 0].tolist() == pytest.approx([first, second], rel=1e-5)


def test_the_graph_is_of_the_node_vectors_and_moves_with_them() -> None:
    of = scene()
    network, seen = make(of), batch(of)
    graph = network.graph()
    torch.testing.assert_close(graph.sum(dim=1), torch.ones(5))
    likeness = [max((network.vectors[1] @ network.vectors[j]).item(), 0.0) for j in range(5)]
    expected = [math.exp(value) / sum(map(math.exp, likeness)) for value in likeness]
    assert graph[1].tolist() == pytest.approx(expected, rel=1e-5)
    forecast, order = network(seen), torch.tensor([2, 0, 1, 4, 3])
    assert not torch.allclose(network(permuted(seen, order)), forecast[:, :, order])
    network.vectors.data = network.vectors[order].detach()
    torch.testing.assert_close(network(permuted(seen, order)), forecast[:, :, order])
