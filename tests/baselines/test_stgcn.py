"""STGCN: the gate by hand, its parameters added up, windows that are too short."""

import pytest
import torch

from cmust.baselines import stgcn
from cmust.baselines.scene import Scene
from cmust.errors import ConfigError
from tests.baselines.scenes import parameters, scene, small_stgcn


def test_parameters_added_up_by_hand() -> None:
    nodes = 69
    first = (3 * 64 + 64) + (96 * 32 + 32) + (3 * 32 * 64 + 64) + 2 * nodes * 64
    second = (3 * 64 * 64 + 64) + 64 * 32 + (96 * 32 + 32) + (3 * 32 * 128 + 128) + 2 * nodes * 128
    end = (4 * 128 * 256 + 256) + 2 * nodes * 128 + (128 * 128 + 128) + 128 * 12 + nodes * 12
    assert parameters(stgcn.make(Scene(nodes, 1, 12, 12, 48, torch.eye(nodes)))) == first + second + end


def test_gate_by_hand_and_nothing_of_later_steps() -> None:
    layer = stgcn.Temporal(2, 1, 1, gated=True)
    with torch.no_grad():
        layer.conv.weight.copy_(torch.tensor([[10.0, 1.0], [0.0, 1.0]]).view(2, 1, 2, 1))
        layer.conv.bias.copy_(torch.tensor([5.0, 0.0]))
        found = layer(torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 3, 1)).flatten()
    shortcut, gate = torch.tensor([2.0, 3.0]), torch.sigmoid(torch.tensor([2.0, 3.0]))
    torch.testing.assert_close(found, (torch.tensor([12.0, 23.0]) + 5 + shortcut) * gate)


def test_a_graph_convolution_by_hand() -> None:
    block = stgcn.Block(2, nodes=2, width_in=1, width=1, width_out=1)
    block.before, block.after, block.norm = (torch.nn.Identity() for _ in range(3))  # type: ignore[assignment]
    with torch.no_grad():
        block.theta.weight.copy_(torch.tensor([1.0, 10.0]).view(1, 2, 1, 1))
        block.theta.bias.fill_(0.5)
        graphs = torch.stack((torch.eye(2), torch.tensor([[0.0, 3.0], [-5.0, 0.0]])))
        found = block(torch.tensor([2.0, 4.0]).view(1, 1, 1, 2), graphs)
    # To node 0 comes -5 times the 4 of node 1, which a ReLU stops; to node 1 three times the 2; each with a shortcut.
    assert found.flatten().tolist() == [0.0, 4 + 10 * 6 + 0.5 + 4]


def test_says_that_a_window_is_too_short() -> None:
    with pytest.raises(ConfigError, match="8 input steps; its convolutions use up 8"):
        small_stgcn(scene(steps=8))
