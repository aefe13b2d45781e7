"""Phases as data, and the rate of every update."""

import math
from dataclasses import replace

import pytest

from cmust.rolling import (
    Use,
    adapt_plan,
    joint_plan,
    meaningless,
    rolling_plan,
    single_plan,
    training_config,
    update_plan,
)
from cmust.rolling.plan import rate_factor

CONFIG = training_config("paper", start_epochs=7, rolling_epochs=5, refine_epochs=3, epochs_by_task={"b": 9})


@pytest.mark.parametrize(
    ("tasks", "names"),
    [
        (["a"], ["start a", "roll 2 a", "refine a"]),
        (["a", "b"], ["start a", "roll 2 b", "roll 3 a", "refine a", "refine b"]),
        (
            ["a", "b", "c", "d"],
            ["start a", "roll 2 b", "roll 3 c", "roll 4 d", "roll 5 a", "refine a", "refine b", "refine c", "refine d"],
        ),
    ],
)
def test_algorithm_1_in_order(tasks: list[str], names: list[str]) -> None:
    plan = rolling_plan(tasks, CONFIG)
    assert [phase.name for phase in plan] == names
    for phase in plan:
        kind, task = phase.name.split()[0], phase.name.split()[-1]
        assert phase.kind == kind and phase.tasks == (task,)
        assert phase.origin == {"start": "initial", "roll": "previous", "refine": "star"}[kind]
        assert phase.rate == pytest.approx({"start": 1e-3, "roll": 1e-5, "refine": 1e-3}[kind])
        assert phase.epochs == {"start": 7, "roll": 5, "refine": 3}[kind]
        assert phase.rolls == (kind == "roll") and phase.delivers == (kind == "refine")
    assert [phase.name for phase in plan if phase.ends_rolling] == [f"roll {len(tasks) + 1} a"]


def test_alone_and_jointly() -> None:
    alone = single_plan(["a", "b"], CONFIG)
    assert [(phase.name, phase.origin, phase.epochs, phase.delivers) for phase in alone] == [
        ("alone a", "initial", 7, True),
        ("alone b", "initial", 9, True),
    ]
    (joint,) = joint_plan(["a", "b"], CONFIG)
    assert joint.tasks == ("a", "b") and joint.delivers and not joint.rolls
    assert (joint.origin, joint.epochs) == ("initial", 7)
    changed = training_config("paper", refine_factor=0.5, rolling_factor=0.1)
    assert {phase.rate for plan in (single_plan, joint_plan) for phase in plan(["a", "b"], changed)} == {1e-3}


def test_what_comes_later_starts_from_the_common_weights() -> None:
    config = training_config("paper", rolling_epochs=5, refine_epochs=3, refine_factor=0.5)
    (adapt,) = adapt_plan("c", config, head_first=False)
    assert (adapt.name, adapt.kind, adapt.tasks, adapt.origin) == ("adapt c", "adapt", ("c",), "star")
    assert (adapt.rate, adapt.epochs, adapt.rolls, adapt.delivers) == (5e-4, 3, False, True)
    head, after = adapt_plan("c", config, head_first=True)
    assert (head.kind, head.origin, head.epochs, head.delivers) == ("head", "star", 3, False)
    assert head.rate == after.rate and not head.keeps
    assert after == replace(adapt, origin="previous", keeps=True)
    for keeps in (True, False):
        (adapt,) = adapt_plan("c", config.model_copy(update={"keep_start": keeps}), head_first=False)
        assert adapt.keeps is keeps
    plan = update_plan(["a", "b"], config)
    assert [(phase.name, phase.origin, phase.rolls, phase.ends_rolling, phase.delivers) for phase in plan] == [
        ("roll 1 a", "star", True, False, False),
        ("roll 2 b", "previous", True, True, False),
        ("refine a", "star", False, False, True),
        ("refine b", "star", False, False, True),
    ]
    assert [phase.rate for phase in plan] == pytest.approx([1e-5, 1e-5, 5e-4, 5e-4])
    assert [phase.ends_rolling for phase in update_plan(["a"], config)] == [True, False]


def test_milestones_outside_rolling_only() -> None:
    start, roll, _ = rolling_plan(["a"], CONFIG)
    assert [rate_factor(start, CONFIG, epoch * 10 + 9, 10) for epoch in (0, 29, 30, 49, 50, 99)] == pytest.approx(
        [1, 1, 0.1, 0.1, 0.01, 0.01]
    )
    assert {rate_factor(roll, CONFIG, epoch * 10, 10) for epoch in range(100)} == {1.0}


def test_cosine_with_warm_up() -> None:
    config = training_config("paper", schedule="cosine", warmup_updates=4, start_epochs=5)
    start = rolling_plan(["a"], config)[0]
    factors = [rate_factor(start, config, update, 8) for update in range(40)]
    assert factors[0] == pytest.approx(0.2)
    assert factors[4] == pytest.approx(0.5 * (1 + math.cos(math.pi * 4 / 40)))
    assert factors[20] == pytest.approx(0.5)
    assert factors.index(max(factors)) == 4 and factors[4:] == sorted(factors[4:], reverse=True)
    assert 0 < factors[39] < 0.01
    assert rate_factor(start, training_config("paper", schedule="cosine", warmup_updates=0, start_epochs=5), 0, 8) == 1


def test_what_means_nothing_for_a_use() -> None:
    rolling = {"rolling_epochs", "rolling_factor", "freezing", "stability", "delta", "delta_unit"}
    of_cosine, of_milestones = {"warmup_updates"}, {"milestones", "milestone_factor"}
    idle: dict[Use, set[str]] = {
        "rolling": {"epochs_by_task"},
        "alone": rolling,
        "joint": rolling | {"epochs_by_task"},
        "update": {"epochs_by_task", "start_epochs", "head_epochs"},
        "adapt": rolling | {"epochs_by_task", "start_epochs"},
        "compare": rolling | {"epochs_by_task"},
    }
    for use, expected in idle.items():
        for schedule, unscheduled in (("cosine", of_milestones), ("milestones", of_cosine)):
            config = training_config("paper", schedule=schedule)
            assert set(meaningless(config, type(config).model_fields, use)) == expected | unscheduled
    free = training_config("paper", freezing=False)
    assert set(meaningless(free, rolling, "update")) == {"stability", "delta", "delta_unit"}
    assert meaningless(free, ["rate", "delta"], "rolling") == {"delta": "training.freezing = true"}
