"""DCRNN: walks and diffusion by hand, a recurrent step in numbers, and what reaches what over the graph."""

import math
from dataclasses import replace

import pytest
import torch

from cmust.baselines.dcrnn import DCRNN, Cell, Diffusion, make, transitions
from tests.baselines.scenes import batch, check_shape_and_gradients, manhattan, parameters, permuted, scene


@pytest.mark.parametrize("channels", [1, 2])
def test_shape_and_gradients(channels: int) -> None:
    of = scene(channels=channels)
    check_shape_and_gradients(DCRNN(of.adjacency, channels, 3, 8, width=4), of)


def test_size_for_manhattan() -> None:
    cells = [5 * (inputs + 64) * 192 + 192 for inputs in (2, 64, 1, 64)]
    assert parameters(make(manhattan())) == sum(cells) + 65 == 372_353


def test_walks_along_and_against_the_edges() -> None:
    along, against = transitions(torch.tensor([[1.0, 3.0], [0.0, 1.0]]))
    # from 0: a quarter stays, three quarters go to 1; from 1 all stays
    torch.testing.assert_close(along @ torch.tensor([1.0, 0.0]), torch.tensor([0.25, 0.75]))
    torch.testing.assert_close(along @ torch.tensor([0.0, 1.0]), torch.tensor([0.0, 1.0]))
    # against: what is at 1 goes back to 0 by three quarters
    torch.testing.assert_close(against @ torch.tensor([0.0, 1.0]), torch.tensor([0.75, 0.25]))
    torch.testing.assert_close(against @ torch.tensor([1.0, 0.0]), torch.tensor([1.0, 0.0]))


def test_the_five_terms_of_a_diffusion_by_hand() -> None:
    along, against = torch.tensor([[[0.5, 0.0], [0.5, 1.0]], [[1.0, 0.5], [0.0, 0.5]]])
    x = torch.tensor([8.0, 0.0])
    terms = [x, torch.tensor([4.0, 4.0]), torch.tensor([-4.0, 12.0])]  # 2 P (4, 4) = (4, 12), less (8, 0)
    terms += [torch.tensor([6.0, 2.0]), torch.tensor([10.0, -2.0])]  # from (4, 4): 2 P (6, 2) = (14, 2), less (4, 4)
    for i, expected in enumerate(terms):
        diffusion = Diffusion(1, 1, steps=2, bias=0.5)
        with torch.no_grad():
            diffusion.mix.weight.zero_()
            diffusion.mix.weight[0, i] = 1.0
        found = diffusion(x.view(1, 2, 1), torch.stack((along, against)))
        torch.testing.assert_close(found.flatten(), expected + 0.5)


def test_a_step_of_a_cell_by_hand() -> None:
    cell = Cell(inputs=1, width=1, steps=1)
    with torch.no_grad():
        cell.gates.mix.weight.zero_()
        cell.gates.mix.weight[0, 0] = 2.0  # the input resets
        cell.gates.mix.weight[1, 3] = -1.0  # the state keeps less of itself
        cell.candidate.mix.weight.zero_()
        cell.candidate.mix.weight[0, 0], cell.candidate.mix.weight[0, 3] = 0.5, 3.0
    x, state = 0.3, -0.6
    reset = 1 / (1 + math.exp(-(2 * x + 1)))
    keep = 1 / (1 + math.exp(-(-state + 1)))
    expected = keep * state + (1 - keep) * math.tanh(0.5 * x + 3 * reset * state)
    found = cell(torch.full((1, 1, 1), x), torch.full((1, 1, 1), state), torch.zeros(2, 1, 1))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_the_graph_alone_tells_nodes_apart() -> None:
    of = scene()
    network, seen, order = make(of), batch(of), torch.tensor([2, 0, 1, 4, 3])
    forecast = network(seen)
    moved = make(replace(of, adjacency=of.adjacency[order][:, order]))
    moved.load_state_dict(network.state_dict())
    torch.testing.assert_close(moved(permuted(seen, order)), forecast[:, :, order])
    assert not torch.allclose(network(permuted(seen, order)), forecast[:, :, order])
    assert not torch.allclose(network(seen._replace(slot=(seen.slot + 1) % 8)), forecast)
    assert torch.equal(network(seen._replace(dow=(seen.dow + 1) % 7)), forecast)


def test_nothing_passes_between_parts_without_an_edge() -> None:
    of = scene()
    of = replace(of, adjacency=torch.block_diag(torch.ones(2, 2), torch.ones(3, 3)))
    network, seen = make(of), batch(of)
    other = seen.values.clone()
    other[:, :, 0] += 1
    difference = (network(seen._replace(values=other)) - network(seen)).abs().amax(dim=(0, 1, 3))
    assert (difference[:2] > 0).all() and (difference[2:] == 0).all()
