"""Graph WaveNet: diffusion and gate by hand, how far back it sees, the learned graph."""

import torch

from cmust.baselines import gwnet
from cmust.baselines.graphs import transitions
from cmust.baselines.scene import Scene
from tests.baselines.scenes import batch, changed, parameters, scene, small_gwnet


def test_has_the_published_number_of_parameters_less_those_that_nothing_reads() -> None:
    network = gwnet.make(Scene(207, 1, 12, 12, 288, torch.eye(207)))
    residual, last = 8 * (32 * 32 + 32), 7 * 32 * 32 + 32 + 2 * 32
    assert parameters(network) == 309_400 - residual - last


def test_diffusion_by_hand() -> None:
    along, _ = transitions(torch.tensor([[1.0, 3.0], [0.0, 1.0]]))
    diffusion = gwnet.Diffusion(1, 1, 2, 0.0)
    with torch.no_grad():
        diffusion.mix.weight.copy_(torch.tensor([1.0, 10.0, 100.0]).view(1, 3, 1, 1))
        diffusion.mix.bias.zero_()
        mixed = diffusion(torch.tensor([4.0, 8.0]).view(1, 1, 2, 1), [along])
    # One step: 1 of 4 stays, 3 go on to the 8; two steps: a quarter of that 1 stays.
    assert mixed.flatten().tolist() == [4 + 10 * 1 + 100 * 0.25, 8 + 10 * 11 + 100 * 11.75]


def test_sees_as_far_back_as_its_dilations_add_up_to() -> None:
    of = scene(steps=9)
    network, seen = small_gwnet(of).eval(), batch(of)
    assert network.reach == 1 + 1 + 2 + 1 + 2
    before = network(seen)
    for step, matters in ((1, False), (2, True), (8, True)):
        assert (not torch.equal(network(changed(seen, step)), before)) == matters


def test_gate_by_hand() -> None:
    gated = gwnet.Gated(1, dilation=2)
    with torch.no_grad():
        for conv, weight in ((gated.signal, [0.5, 2.0]), (gated.gate, [1.0, -1.0])):
            conv.weight.copy_(torch.tensor(weight).view(1, 1, 1, 2))
            conv.bias.zero_()
        found = gated(torch.tensor([1.0, 9.0, 0.2, -0.3]).view(1, 1, 1, 4)).flatten()
    signal, gate = torch.tensor([0.5 + 0.4, 4.5 - 0.6]), torch.tensor([1 - 0.2, 9 + 0.3])
    torch.testing.assert_close(found, torch.tanh(signal) / (1 + torch.exp(-gate)))


def test_the_learned_graph_is_a_softmax_of_what_is_positive() -> None:
    network = small_gwnet(scene())
    likeness = (network.source @ network.target).clamp_min(0).exp()
    torch.testing.assert_close(network.learned(), likeness / likeness.sum(1, keepdim=True))
