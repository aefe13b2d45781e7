"""STEP: what TSFormer sees, the nearest neighbours by a loop, the loss that fades, what is missing."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from cmust.baselines import step
from cmust.errors import ConfigError
from tests.baselines.scenes import batch, lesson, scene, small_step, stages, teach


def test_tsformer_stands_still_in_the_second_stage() -> None:
    system, given = small_step(scene()), lesson(scene())
    first, second = stages(system)
    teach(second, given)
    assert all(p.grad is None for p in first.parameters)


def test_tsformer_cannot_see_what_it_has_to_make_up() -> None:
    former, values = small_step(scene()).former.eval(), batch(scene()).values
    order = torch.tensor([2, 0, 3, 1])  # patch 1 alone is seen
    made = former.reconstruct(former.cut(values), order)
    assert made.shape == (2, 5, 3, 6)
    hidden, seen = values.clone(), values.clone()
    hidden[:, 12:18] += 1.0
    seen[:, 6:12] += 1.0
    assert torch.equal(former.reconstruct(former.cut(hidden), order), made)
    assert not torch.allclose(former.reconstruct(former.cut(seen), order), made)
    assert torch.equal(former.cut(values)[0, 1, 2], values[0, 12:18, 1, 0])


def test_the_nearest_pairs_of_nodes_as_a_loop_finds_them() -> None:
    system, states = small_step(scene()), torch.randn(2, 5, 4, 8)
    system.neighbours = 3
    near = system.nearest(states)
    for b in range(2):
        alike = sorted(
            (float(nn.functional.cosine_similarity(states[b, i].flatten(), states[b, j].flatten(), 0)), i, j)
            for i in range(5)
            for j in range(5)
        )
        top = {(i, j) for _, i, j in alike[-15:] if i != j}  # three for each of five nodes, loops among them
        assert near[b].tolist() == [[float((i, j) in top) for j in range(5)] for i in range(5)]


def test_the_pull_towards_the_nearest_is_halved_after_six_epochs() -> None:
    system, given = small_step(scene()).eval(), lesson(scene())
    with torch.no_grad():
        pull = [system.guided(given._replace(epoch=epoch), lambda _: torch.zeros(())).item() for epoch in (0, 5, 6)]
    assert pull[0] > 0 and pull[1] == pytest.approx(pull[0]) and pull[2] == pytest.approx(pull[0] / 2)


def test_says_what_it_lacks() -> None:
    with pytest.raises(ConfigError, match="training part"):
        step.make(replace(scene(), training=None))
    with pytest.raises(ConfigError, match="patches of 12"):
        step.make(scene(steps=25))
    with pytest.raises(ConfigError, match="it takes 19"):
        step.make(replace(scene(), training=torch.zeros(18, 5, 1)))
