"""DCRNN: a diffusion by hand, a recurrent step in numbers, what reaches what over the graph."""

import math
from dataclasses import replace

import pytest
import torch

from cmust.baselines.dcrnn import Cell, Diffusion, make
from cmust.baselines.scene import Scene
from tests.baselines.scenes import batch, changed, parameters, scene, small_dcrnn


def test_parameters_added_up_by_hand() -> None:
    cells = [5 * (inputs + 64) * 192 + 192 for inputs in (2, 64, 1, 64)]
    assert parameters(make(Scene(69, 1, 12, 12, 48, torch.eye(69)))) == sum(cells) + 65


def test_walks_bring_to_a_node_what_goes_along_and_against_the_edges() -> None:
    along, against = small_dcrnn(replace(scene(2), adjacency=torch.tensor([[1.0, 3.0], [0.0, 1.0]]))).walks
    # from 0: a quarter stays, three quarters go to 1; against: what is at 1 goes back to 0 by three quarters
    torch.testing.assert_close(along @ torch.tensor([1.0, 0.0]), torch.tensor([0.25, 0.75]))
    torch.testing.assert_close(against @ torch.tensor([0.0, 1.0]), torch.tensor([0.75, 0.25]))


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


def test_nothing_passes_between_parts_without_an_edge() -> None:
    of = replace(scene(), adjacency=torch.block_diag(torch.ones(2, 2), torch.ones(3, 3)))
    network, seen = small_dcrnn(of), batch(of)
    away = (network(changed(seen, node=0)) - network(seen)).abs().amax(dim=(0, 1, 3))
    assert (away[:2] > 0).all() and (away[2:] == 0).all()
