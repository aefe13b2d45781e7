"""A stage of training."""

import pytest

from cmust.baselines.stages import Stage


def test_a_stage_has_something_to_learn_from() -> None:
    with pytest.raises(ValueError, match="neither"):
        Stage("idle", [])
