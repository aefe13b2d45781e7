"""AGCRN: a convolution and a recurrent step in loops, the learned graph, its parameters added up."""

import math

import pytest
import torch

from cmust.baselines.agcrn import Layer, NodeWeights, convolve, make
from cmust.baselines.scene import Scene
from tests.baselines.scenes import parameters, scene, small_agcrn


def test_parameters_added_up_by_hand() -> None:
    layers = sum(10 * (2 * (inputs + 64) + 1) * 3 * 64 for inputs in (1, 64))
    assert parameters(make(Scene(69, 1, 12, 12, 48, torch.eye(69)))) == 69 * 10 + layers + 65 * 12


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


def test_the_graph_is_of_the_node_vectors() -> None:
    network = small_agcrn(scene())
    likeness = [max((network.vectors[1] @ network.vectors[j]).item(), 0.0) for j in range(5)]
    expected = [math.exp(value) / sum(map(math.exp, likeness)) for value in likeness]
    assert network.graph()[1].tolist() == pytest.approx(expected, rel=1e-5)
