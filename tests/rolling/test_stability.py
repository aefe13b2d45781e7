"""Running variance against numpy, the two rules, and frozen elements that keep their bits through real runs."""

from contextlib import suppress
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cmust.city import Task
from cmust.errors import RunError
from cmust.rolling import Stability
from tests.rolling.tiny import tiny_city, tiny_task, tiny_trainer


def module(*shapes: tuple[int, ...]) -> nn.ParameterDict:
    return nn.ParameterDict({f"p{k}": nn.Parameter(torch.zeros(shape)) for k, shape in enumerate(shapes)})


def put(network: nn.Module, values: list[np.ndarray]) -> None:
    with torch.no_grad():
        for parameter, value in zip(network.parameters(), values, strict=True):
            parameter.copy_(torch.from_numpy(value))


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    length=st.integers(1, 30),
    centre=st.sampled_from([0.0, 1.0, -1e3]),
    spread=st.sampled_from([1e-6, 1e-2, 10.0]),
)
def test_variance_is_that_of_the_history(seed: int, length: int, centre: float, spread: float) -> None:
    rng = np.random.default_rng(seed)
    network = module((3, 2), (4,))
    stability = Stability(network.named_parameters())
    for _ in range(2):  # a second history knows nothing of the first
        histories = [
            (centre + spread * rng.normal(size=(length, *p.shape))).astype(np.float32) for p in network.parameters()
        ]
        for step in range(length):
            put(network, [history[step] for history in histories])
            stability.open_history() if step == 0 else stability.record()
        assert stability.count == length
        for name, history in zip(("p0", "p1"), histories, strict=True):
            expected = history.astype(np.float64).var(axis=0)
            np.testing.assert_allclose(stability.variance(name), expected, rtol=1e-6, atol=1e-9 * spread**2 + 1e-20)


def run_history(stability: Stability, network: nn.Module, histories: list[np.ndarray]) -> None:
    for step in range(len(histories[0])):
        put(network, [history[step].astype(np.float32) for history in histories])
        stability.open_history() if step == 0 else stability.record()
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    stability.record_gradients()


def test_element_and_tensor_rule_and_the_strict_threshold() -> None:
    #                 variances: 0, 1, 4            0, 0
    histories = [np.array([[5, 1, 2], [5, 3, 6]]), np.array([[7, 8], [7, 8]])]
    for rule, first, second in (
        ("element", [True, False, False], [True, True]),
        ("tensor", [False] * 3, [True, True]),
    ):
        network = module((3,), (2,))
        stability = Stability(network.named_parameters())
        run_history(stability, network, histories)
        stability.freeze(1.0, rule)  # strictly below
        assert stability.frozen["p0"].tolist() == first and stability.frozen["p1"].tolist() == second
    stability.freeze(1.0 + 1e-9, "element")
    assert stability.frozen["p0"].tolist() == [True, True, False]
    assert stability.share() == pytest.approx(4 / 5)
    stability = Stability(network.named_parameters())
    run_history(stability, network, histories)
    stability.freeze(0.0, "element")  # nothing is strictly below 0
    assert stability.share() == 0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), rule=st.sampled_from(["element", "tensor"]))
def test_freezing_only_grows_and_anchors_hold_the_first_values(seed: int, rule) -> None:
    rng = np.random.default_rng(seed)
    network = module((3, 3), (5,), (1,))
    stability = Stability(network.named_parameters())
    first_frozen: dict[str, np.ndarray] = {name: np.full(p.shape, np.nan) for name, p in network.named_parameters()}
    before = {name: mask.clone() for name, mask in stability.frozen.items()}
    for _ in range(4):
        hold = stability.partly_frozen()
        stability.trainable()
        run_history(
            stability,
            network,
            [rng.normal(scale=rng.choice([0.1, 1.0], p.shape), size=(4, *p.shape)) for p in network.parameters()],
        )
        stability.freeze(0.05, rule)
        hold.restore()
        for name, parameter in network.named_parameters():
            mask = stability.frozen[name]
            assert (mask | ~before[name]).all(), "something thawed"
            fresh = (mask & ~before[name]).numpy()
            held = before[name] & ~before[name].all()  # a hold is made of what is frozen in part
            np.testing.assert_array_equal(
                parameter.detach()[held].numpy(), first_frozen[name][held.numpy()].astype(np.float32)
            )
            first_frozen[name][fresh] = parameter.detach().numpy()[fresh]
            before[name] = mask.clone()


@pytest.mark.parametrize("rule", ["element", "tensor"])
def test_what_no_gradient_reached_stays_free(rule) -> None:
    network = module((3, 2), (2,), (2,), (2,))
    stability = Stability(network.named_parameters(), tables=["p0"])
    for _ in range(2):  # what the history before reached does not count
        stability.open_history()
        for table, weight in (([[0, 0], [0, 1], [0, 0]], [0, 1]), ([[1, 0], [0, 0], [0, 0]], [0, 0])):
            network["p0"].grad = torch.tensor(table, dtype=torch.float32)
            network["p1"].grad = torch.tensor(weight, dtype=torch.float32)
            network["p2"].grad = torch.zeros(2)
            stability.record_gradients()
        stability.record()
        stability.freeze(1.0, rule)
        assert stability.frozen["p0"].all(-1).tolist() == [True, True, False]
        assert stability.frozen["p1"].all()  # an element without a gradient beside one that has it stands still indeed
        assert not stability.frozen["p0"][2].any()
        assert not stability.frozen["p2"].any() and not stability.frozen["p3"].any()


def test_layers_of_other_tasks_do_not_freeze_before_their_turn() -> None:
    """Two tasks of one channel roll before one of two; two hourly ones before one of half-hours."""
    seen = _frozen_when_rolled("taxi", tiny_task("bike"), tiny_task("taxi"), tiny_task("walk", channels=2))
    others = {name for name in seen if name.startswith(("fusion.2.", "embedding.observation.2."))}
    assert others
    assert not any(seen[name].any() for name in others)
    assert sum(bool(mask.all()) for mask in seen.values()) > 20

    seen = _frozen_when_rolled(
        "taxi", tiny_task("bike"), tiny_task("taxi"), tiny_task("walk", interval=3600, steps=504)
    )
    table = seen["embedding.time_of_day.weight"]
    assert table[::2].all() and not table[1::2].any()


def _frozen_when_rolled(task: str, *tasks: Task) -> dict[str, torch.Tensor]:
    """The frozen masks at the end of the rolling phase of a task, where all that is reached freezes."""
    seen: dict[str, torch.Tensor] = {}

    def look(event: dict[str, Any]) -> None:
        if event["event"] == "phase" and event["kind"] == "roll" and event["tasks"] == [task]:
            seen.update({name: mask.clone() for name, mask in trainer.stability.frozen.items()})

    training = {"delta": 1e9, "delta_unit": "absolute", "refine_epochs": 1, "patience": 1}
    trainer = tiny_trainer(tiny_city(*tasks), training=training, on_event=look)
    with suppress(RunError):  # nothing is left for the refinement of some
        trainer.run()
    return seen


def test_trainable_leaves_out_what_is_frozen_whole() -> None:
    network = module((3,), (2,))
    stability = Stability(network.named_parameters())
    stability.frozen["p0"][:] = True
    stability.frozen["p1"][0] = True
    assert stability.trainable() == [network["p1"]]
    assert not network["p0"].requires_grad and network["p1"].requires_grad
    assert stability.share_by_layer() == {"": pytest.approx(4 / 5)}


def test_state_comes_back() -> None:
    rng = np.random.default_rng(0)
    network = module((3, 2), (4,))
    stability = Stability(network.named_parameters())
    run_history(stability, network, [rng.normal(size=(5, *p.shape)) for p in network.parameters()])
    stability.freeze(0.8, "element")
    other = Stability(network.named_parameters())
    other.load_state(stability.state())
    assert other.count == 5 and other.share() == stability.share() > 0
    for name in ("p0", "p1"):
        assert torch.equal(other.variance(name), stability.variance(name))
        assert torch.equal(other.anchor[name], stability.anchor[name])


def test_what_gradients_reached_comes_back_also_from_a_state_that_says_only_whether() -> None:
    network = module((3, 2), (2,), (2,))
    stability = Stability(network.named_parameters(), tables=["p0"])
    stability.open_history()
    network["p0"].grad = torch.tensor([[0.0, 0], [0, -3], [0, 0]])
    network["p1"].grad = torch.tensor([torch.nan, 0])
    stability.record_gradients()
    state = stability.state()
    for form in (torch.float32, torch.bool):
        other = Stability(network.named_parameters(), tables=["p0"])
        other.load_state({name: x.to(form) if name.startswith("reached") else x for name, x in state.items()})
        network["p0"].grad, network["p1"].grad = torch.zeros(3, 2), torch.zeros(2)
        other.record_gradients()
        other.record()
        other.freeze(1.0, "element")
        assert other.frozen["p0"].all(-1).tolist() == [False, True, False]
        assert other.frozen["p1"].all() and not other.frozen["p2"].any()


@pytest.mark.parametrize("part", ["frozen", "anchor", "mean", "spread", "reached"])
def test_state_that_lacks_something_does_not_come_back(part: str) -> None:
    network = module((3, 2), (4,))
    stability = Stability(network.named_parameters())
    before = stability.state()
    stability.open_history()
    state = stability.state()
    del state[f"{part}/p1"]
    with pytest.raises(KeyError, match=f"{part}/p1"):
        Stability(network.named_parameters()).load_state(state)
    stability = Stability(network.named_parameters())
    stability.load_state(before)  # no history has been opened, nothing of it is missing
    assert stability.count == 0 and not stability.mean


def test_memory_does_not_grow_with_the_length_of_the_history() -> None:
    network = module((30, 20), (7,))
    stability = Stability(network.named_parameters())
    stability.open_history()
    sizes = set()
    for _ in range(50):
        stability.record()
        sizes.add(sum(tensor.untyped_storage().nbytes() for tensor in stability.state().values()))
    assert len(sizes) == 1
    elements = 607
    assert sizes.pop() == elements * (1 + 4 + 8 + 8) + 2 * 4 + 8  # mask, anchor, mean, spread; reached; the count


# ------------------------------------------------------------------ through real runs


class EnoughError(Exception):
    """Ends a run from within."""


def middle_variance(of_tensors: bool = False, **training) -> float:
    """A threshold that about half of the elements (or tensors as a whole) stay below in the first rolling phase."""

    def hear(event: dict) -> None:
        if event["event"] == "phase" and event["kind"] == "roll":
            raise EnoughError

    trainer = tiny_trainer(training={**training, "freezing": False}, on_event=hear)
    with pytest.raises(EnoughError):
        trainer.run()
    variances = [trainer.stability.variance(name).flatten() for name in trainer.stability.frozen]
    return torch.cat([variance.max()[None] if of_tensors else variance for variance in variances]).median().item() * (
        1 + 1e-9
    )


@pytest.mark.parametrize(
    "training",
    [
        {"weight_decay": 0.1},
        {"weight_decay": 0.5, "decoupled_decay": True, "rate": 1e-2},
        {"weight_decay": 0.1, "clip": 0.05, "rate": 1e-2},
    ],
    ids=["adam", "adamw", "clip"],
)
def test_frozen_elements_keep_their_bits_to_the_end(training: dict) -> None:
    delta = middle_variance(**training)
    held: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    shares: list[float] = []
    checks = moved = 0

    def check(weights: dict[str, torch.Tensor]) -> None:
        nonlocal checks
        for name, (mask, bits) in held.items():
            assert torch.equal(weights[name].detach()[mask].view(torch.int32), bits[mask]), name
            checks += int(mask.sum())

    def hear(event: dict) -> None:
        check(trainer.trunk.state_dict())
        if event["event"] != "phase":
            return
        shares.append(event["frozen_share"])
        for name, parameter in trainer.trunk.named_parameters():
            mask, bits = trainer.stability.frozen[name].clone(), parameter.detach().clone().view(torch.int32)
            if name in held:
                assert (mask | ~held[name][0]).all()
                bits = torch.where(held[name][0], held[name][1], bits)
            held[name] = (mask, bits)

    def update(phase, epoch: int) -> None:
        nonlocal moved
        check(dict(trainer.trunk.named_parameters()))
        if phase.kind == "refine":
            moved += sum(
                int((p.detach().view(torch.int32) != held[n][1])[~held[n][0]].sum())
                for n, p in trainer.trunk.named_parameters()
            )

    def deliver(task: str, weights: dict) -> None:
        check(weights["trunk"])

    trainer = tiny_trainer(training={**training, "delta": delta}, on_event=hear, on_update=update, on_delivery=deliver)
    trainer.run()
    assert shares[0] == 0
    assert all(0.05 < share < 0.95 for share in shares[1:]), shares
    assert sorted(shares) == shares and shares[2] > shares[1]
    assert checks > 10_000 and moved > 500  # there was something to hold, and the rest went on learning
    total = sum(p.numel() for p in trainer.trunk.parameters())
    assert sum(int(mask.sum()) for mask, _ in held.values()) / total == pytest.approx(shares[-1])


def test_tensor_rule_in_a_run_freezes_whole_tensors() -> None:
    def hear(event: dict) -> None:
        if event["event"] == "phase" and event["kind"] == "roll":
            shares.append(event["frozen_share"])
            assert all(bool(mask.all()) or not bool(mask.any()) for mask in trainer.stability.frozen.values())
            for name, mask in trainer.stability.frozen.items():
                below = bool((trainer.stability.variance(name) < delta).all())
                assert below == bool(mask.all()) or bool(mask.all())

    shares: list[float] = []
    delta = middle_variance(of_tensors=True)
    trainer = tiny_trainer(training={"delta": delta, "stability": "tensor"}, on_event=hear)
    trainer.run()
    assert 0 < shares[0] < 1


def test_without_freezing_nothing_freezes() -> None:
    events: list[dict] = []
    trainer = tiny_trainer(training={"delta": 1e9}, on_event=events.append)
    trainer.config = trainer.config.model_copy(update={"freezing": False})
    trainer.run()
    assert {event["frozen_share"] for event in events} == {0.0}
    assert all(parameter.requires_grad for parameter in trainer.trunk.parameters())


def test_the_history_of_a_rolling_phase_holds_converged_weights_and_every_epoch() -> None:
    """Variances as numpy gives them for the weights seen from outside: those before the phase, then after each
    epoch.
    """
    stacks: dict[str, list[np.ndarray]] = {}
    seen = 0

    def keep() -> None:
        for name, parameter in trainer.trunk.named_parameters():
            stacks.setdefault(name, []).append(parameter.detach().double().numpy().copy())

    def hear(event: dict) -> None:
        nonlocal seen
        if event["event"] == "epoch" and event["kind"] == "roll":
            keep()
        elif event["event"] == "phase":
            if event["kind"] == "roll":
                seen += 1
                for name, stack in stacks.items():
                    assert len(stack) == event["epochs"] + 1
                    np.testing.assert_allclose(
                        trainer.stability.variance(name), np.var(stack, axis=0), rtol=1e-9, atol=1e-20
                    )
            stacks.clear()
            keep()  # the restored best weights open the next history

    trainer = tiny_trainer(training={"freezing": False, "rate": 1e-2, "rolling_epochs": 4}, on_event=hear)
    trainer.run()
    assert seen == 2
