"""ASTGCN: attention as the sums of its equation, what attention does to the convolution, the published size."""

import torch

from cmust.baselines import astgcn
from cmust.baselines.scene import Scene
from tests.baselines.scenes import parameters


def test_has_the_number_of_parameters_that_others_report_for_pems04() -> None:
    network = astgcn.make(Scene(307, 1, 12, 12, 288, torch.eye(307)))
    assert parameters(network) == 450_031  # Bai et al., "Adaptive Graph Convolutional Recurrent Network", NeurIPS 2020


def test_attention_as_the_sums_of_its_equation() -> None:
    items, features, over = 3, 2, 4
    attention, x = astgcn.Attention(items, features, over), torch.randn(1, items, features, over)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.normal_()
        found = attention(x)[0]
    score = torch.zeros(items, items)
    for i in range(items):
        for j in range(items):
            pooled = [sum(x[0, i, w, o] * attention.pool[o] for o in range(over)) for w in range(features)]
            left = [sum(pooled[w] * attention.left[w, o] for w in range(features)) for o in range(over)]
            right = [sum(attention.right[w] * x[0, j, w, o] for w in range(features)) for o in range(over)]
            inner = sum(a * b for a, b in zip(left, right, strict=True)) + attention.shift[i, j]
            score[i, j] = float(torch.sigmoid(torch.as_tensor(inner)).detach())
    expected = torch.exp(attention.mix.detach() @ score)
    torch.testing.assert_close(found, expected / expected.sum(0))


def test_a_convolution_weighted_by_attention_by_hand() -> None:
    block = astgcn.Block(2, nodes=2, steps=1, features=1, filters=1)
    with torch.no_grad():
        block.theta[0].fill_(1.0)
        block.theta[1].fill_(10.0)
        graphs = torch.stack((torch.eye(2), torch.tensor([[0.0, 3.0], [5.0, 0.0]])))
        attention = torch.tensor([[[0.5, 0.25], [0.5, 0.75]]])
        found = block.convolved(torch.tensor([2.0, 4.0]).view(1, 2, 1, 1), graphs, attention)
    # To node 0 comes half of its own 2 and, along the edge from 1 of weight 5 times 0.5, the 4.
    assert found.flatten().tolist() == [1 + 10 * 2.5 * 4, 3 + 10 * 0.75 * 2]
