"""UniTime: the text, level and scale of a series, what is hidden, texts that do not fit."""

from dataclasses import replace

import pytest
import torch

from cmust.baselines import unitime
from cmust.errors import ConfigError
from tests.baselines.scenes import batch, scene, small_unitime


def test_reads_the_text_and_follows_level_and_scale() -> None:
    system, seen = small_unitime(scene(channels=2)).eval(), batch(scene(channels=2))
    assert system.language == "random, 2 layers of 8" and system.words.shape == (2, 8)
    forecast = system(seen)
    moved = system(seen._replace(values=seen.values * 3 + 7))
    torch.testing.assert_close(moved, forecast * 3 + 7, rtol=1e-3, atol=1e-3)
    with torch.no_grad():
        system.words[0, 0] += 1.0
    other = system(seen)
    assert not torch.allclose(other[..., 0], forecast[..., 0]) and torch.equal(other[..., 1], forecast[..., 1])


def test_what_is_hidden_has_no_effect() -> None:
    system, values = small_unitime(scene()).eval(), batch(scene()).values
    known, other = torch.ones_like(values), values.clone()
    known[:, 2], other[:, 2] = 0, 99.0
    torch.testing.assert_close(system.whole(other, known), system.whole(values, known))
    assert not torch.allclose(system.whole(values, torch.ones_like(known)), system.whole(values, known))


def test_says_which_texts_do_not_fit() -> None:
    with pytest.raises(ConfigError, match="2 for 1 channels"):
        unitime.make(replace(scene(), texts=("a", "b")))
    with pytest.raises(ConfigError, match="302 tokens"):
        unitime.make(replace(scene(), texts=("a " * 300,)))
