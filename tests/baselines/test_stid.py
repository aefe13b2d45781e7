"""STID: a forecast worked out by hand, its parameters added up."""

import pytest
import torch

from cmust.baselines.scene import Glimpse, Scene
from cmust.baselines.stid import STID, make
from tests.baselines.scenes import parameters


def test_parameters_added_up_by_hand() -> None:
    series, node, slot, day = (12 * 3 + 1) * 32, 69 * 32, 48 * 32, 7 * 32
    layer, output = 2 * (128 * 128 + 128), 128 * 12 + 12
    assert parameters(make(Scene(69, 1, 12, 12, 48, torch.eye(69)))) == series + node + slot + day + 3 * layer + output


def test_a_forecast_by_hand() -> None:
    network = STID(nodes=2, channels=1, input_steps=2, horizon=1, slots_per_day=4, width=1, layers=1).eval()
    with torch.no_grad():
        for p in network.parameters():
            p.zero_()
        # value, time of day and weekday of the first step, then of the second
        network.series.weight.copy_(torch.tensor([[1.0, 100.0, 1000.0, 10.0, 200.0, 2000.0]]))
        network.node.copy_(torch.tensor([[3.0], [5.0]]))
        network.slot.copy_(torch.tensor([[0.0], [0.0], [0.0], [7.0]]))
        network.day[6] = 11.0
        first, _, _, second = network.layers[0].layers
        first.weight[0] = torch.tensor([-1.0, 1.0, 1.0, 1.0])
        first.weight[1] = torch.tensor([0.0, 1.0, 0.0, 0.0])
        second.weight[0] = torch.tensor([1.0, 2.0, 0.0, 0.0])
        network.output.weight.copy_(torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
    seen = Glimpse(
        torch.tensor([0.5, -0.5, 2.0, -13000.0]).view(1, 2, 2, 1),
        torch.tensor([[2, 3]]), torch.tensor([[6, 6]]), torch.tensor([[0]]), torch.tensor([[0]]),
    )  # fmt: skip
    clock = 100 * 0.5 + 1000 * 6 + 200 * 0.75 + 2000 * 6
    a = 0.5 + 10 * 2.0 + clock  # far above the identities: relu is 0 for node 0
    b = -0.5 + 10 * -13000.0 + clock  # far below
    expected = [a + 2 * 3, b + (-b + 5 + 7 + 11) + 2 * 5]
    assert network(seen).flatten().tolist() == pytest.approx(expected, rel=1e-6)
