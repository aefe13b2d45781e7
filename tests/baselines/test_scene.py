"""What other systems see of a batch."""

import torch

from cmust.baselines.scene import glimpse
from cmust.model import Inputs


def test_the_clock_goes_on_over_midnight_and_the_end_of_the_week() -> None:
    nothing = torch.zeros(1, 2, 1, 1)
    inputs = Inputs(
        torch.tensor([[[[5.0]], [[9.0]]]]), torch.tensor([[1, 2]]), torch.tensor([[6, 6]]), torch.zeros(1, 2, 6),
        torch.zeros(1, 2), nothing, nothing,
    )  # fmt: skip
    seen = glimpse(inputs, torch.tensor([5.0]), torch.tensor([2.0]), 3, 4)
    assert seen.values.flatten().tolist() == [0.0, 2.0]
    assert seen.slot_ahead.tolist() == [[3, 0, 1]]
    assert seen.dow_ahead.tolist() == [[6, 0, 0]]
