"""MTGNN: the learned graph, hops by hand, what convolutions over time reach, sizes by hand and as published."""

import pytest
import torch

from cmust.baselines.mtgnn import Inception, LearnedGraph, MixHop, make
from cmust.baselines.scene import Scene
from tests.baselines.scenes import batch, parameters, scene, small_mtgnn


@pytest.mark.parametrize(("steps", "growth"), [(4, 1), (13, 1), (20, 2)])
def test_histories_shorter_and_longer_than_it_reaches(steps: int, growth: int) -> None:
    of = scene(steps=steps)
    assert small_mtgnn(of, growth)(batch(of)).shape == (2, 4, 5, 1)


def test_parameters_added_up_by_hand_and_as_published_for_metr_la() -> None:
    graph = 2 * 69 * 40 + 2 * 41 * 40
    inceptions = 2 * (32 * 8 * (2 + 3 + 6 + 7) + 32)
    layers = [inceptions + 32 * 64 * left + 64 + 2 * (96 + 1) * 32 + 2 * 32 * 69 * left for left in (13, 7, 1)]
    ends = 3 * 32 + (2 * 19 + 1) * 64 + 33 * 64 + 65 * 128 + 129 * 12
    assert parameters(make(Scene(69, 1, 12, 12, 48, torch.eye(69)))) == graph + sum(layers) + ends
    never_used = 3 * (32 + 1) * 32  # layers that the published network has for the case without a graph
    assert parameters(make(Scene(207, 1, 12, 12, 288, torch.eye(207)))) + never_used == 405_452


def test_edges_are_one_way_and_few() -> None:
    graph = LearnedGraph(nodes=7, vector=3, neighbours=2).eval()
    edges = graph()
    assert ((edges > 0).sum(dim=1) <= 2).all() and (edges > 0).any() and (edges <= 1).all()
    assert (edges * edges.T == 0).all()
    graph.neighbours = 7
    full, strongest = graph(), edges > 0
    assert torch.equal(full[strongest], edges[strongest])
    assert (full.masked_fill(strongest, 0).amax(dim=1) <= edges.masked_fill(~strongest, 2).amin(dim=1)).all()


def test_noise_decides_between_ties_in_training_alone() -> None:
    graph = LearnedGraph(nodes=40, vector=3, neighbours=1)
    with torch.no_grad():
        graph.source.mul_(50)
        graph.target.mul_(50)
        graph.from_source.weight.mul_(50)
    assert not torch.equal(graph(), graph())
    assert torch.equal(graph.eval()(), graph())


def test_hops_by_hand() -> None:
    hop = MixHop(width=1, hops=2)
    graph = torch.tensor([[0.0, 1.0], [0.0, 0.0]])  # node 0 gathers half of itself and half of node 1
    x = torch.tensor([2.0, 10.0])
    first = [0.05 * 2 + 0.95 * (2 + 10) / 2, 10.0]
    second = [0.05 * 2 + 0.95 * (first[0] + 10) / 2, 10.0]
    for i, expected in enumerate((x.tolist(), first, second)):
        with torch.no_grad():
            hop.mix.weight.zero_()
            hop.mix.weight[0, i] = 1.0
            hop.mix.bias.zero_()
        assert hop(x.view(1, 1, 2, 1), graph).flatten().tolist() == pytest.approx(expected, rel=1e-6)


def test_convolutions_look_back_as_far_as_their_lengths() -> None:
    inception, x = Inception(width=4, dilation=2), torch.randn(1, 4, 1, 15)
    plain = inception(x)
    assert plain.shape == (1, 4, 1, 3)
    for part, kernel in enumerate((2, 3, 6, 7)):
        seen = []
        for t in range(15):
            other = x.clone()
            other[..., t] += 1
            if inception(other)[0, part, 0, -1] != plain[0, part, 0, -1]:
                seen.append(t)
        assert seen == [14 - 2 * back for back in reversed(range(kernel))]
