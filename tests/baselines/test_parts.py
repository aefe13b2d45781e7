"""Parts that several systems share, by hand."""

import torch
from torch import nn

from cmust.baselines.parts import Fit, draw, waves


def test_fits_by_a_map_or_by_empty_channels() -> None:
    x = torch.tensor([[1.0, 2.0]])
    assert Fit(2, 4)(x).tolist() == [[1.0, 2.0, 0.0, 0.0]]
    assert torch.equal(Fit(2, 2)(x), x)
    narrow = Fit(2, 1)
    assert narrow.narrow is not None
    narrow.narrow.weight.data = torch.tensor([[3.0, 5.0]])
    assert narrow(x).tolist() == [[13.0]]


def test_waves_by_hand() -> None:
    assert waves(torch.tensor([0]), 4).tolist() == [[0.0, 0.0, 1.0, 1.0]]
    angle = torch.tensor([2.0, 0.02])
    torch.testing.assert_close(waves(torch.tensor([2]), 4)[0], torch.cat((angle.sin(), angle.cos())))


def test_starting_weights_keep_to_their_bounds() -> None:
    layer = nn.Linear(300, 100)
    draw(layer)
    bound = (6 / 400) ** 0.5
    assert 0.95 * bound < layer.weight.abs().max() <= bound and layer.weight.min() < 0
    assert layer.bias.min() >= 0 and 0.9 < layer.bias.max() <= 1
