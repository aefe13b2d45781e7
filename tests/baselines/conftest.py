"""Every test of other systems draws the same weights and batches each time."""

import pytest
import torch


@pytest.fixture(autouse=True)
def same_draws() -> None:
    torch.manual_seed(0)
