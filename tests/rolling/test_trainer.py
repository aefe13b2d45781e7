"""The one epoch loop: early stopping, best weights, repeatability, joint and single training."""

import copy
import dataclasses
import io
import json
import math
from collections.abc import Iterator

import pytest
import torch
from rich.console import Console
from torch import Tensor

from cmust.cli.progress import LineWatcher
from cmust.errors import CityError, RunError
from cmust.model import forecast, model_config
from cmust.model.losses import loss_terms
from cmust.rolling import Lesson, Phase, Star, Trainer, adapt_plan, rolling_plan, training_config, update_plan
from cmust.rolling.lesson import lesson_of
from cmust.rolling.losses import Ensemble
from cmust.windows import make_windows
from tests.rolling.tiny import small_city, tiny_city, tiny_task, tiny_trainer


def trained(city=None, scheme: str = "rolling", **more) -> tuple[dict[str, dict], list[dict]]:
    """Delivered weights by task, and the events without their seconds."""
    delivered: dict[str, dict] = {}
    events: list[dict] = []

    def deliver(task: str, weights: dict) -> None:
        delivered[task] = copy.deepcopy(weights)

    trainer = tiny_trainer(
        city,
        scheme,
        on_delivery=deliver,
        on_event=lambda event: events.append({k: v for k, v in event.items() if k != "seconds"}),
        **more,
    )
    trainer.run()
    return delivered, events


def equal(one: dict[str, dict[str, Tensor]], two: dict[str, dict[str, Tensor]]) -> bool:
    return all(torch.equal(one[part][name], two[part][name]) for part in ("trunk", "head") for name in one[part])


@pytest.mark.parametrize("preset", ["paper", "tuned"])
def test_the_same_settings_give_the_same_numbers(preset: str) -> None:
    first, events = trained(preset=preset)
    torch.manual_seed(99)  # what was drawn before does not matter
    second, again = trained(preset=preset)
    assert events == again
    assert all(equal(first[task], second[task]) for task in first)
    other, _ = trained(preset=preset, training={"seed": 1})
    assert not equal(first["trips"], other["trips"])


def test_events_and_deliveries_of_the_whole_scheme() -> None:
    delivered, events = trained(training={"delta": 1e-9})
    phases = [event for event in events if event["event"] == "phase"]
    assert [phase["phase"] for phase in phases] == [
        "start trips",
        "roll 2 visits",
        "roll 3 trips",
        "refine trips",
        "refine visits",
    ]
    assert list(delivered) == ["trips", "visits"]
    for phase in phases:
        epochs = [event for event in events if event["event"] == "epoch" and event["phase"] == phase["phase"]]
        assert [event["epoch"] for event in epochs] == list(range(1, phase["epochs"] + 1))
        assert phase["updates"] == epochs[-1]["updates"] == len(epochs) * epochs[0]["updates"]
        losses = [event["validation_loss"] for event in epochs]
        assert phase["best_validation_loss"] == min(losses) and losses[phase["best_epoch"] - 1] == min(losses)
        assert [event["best"] for event in epochs] == [loss <= min(losses[: k + 1]) for k, loss in enumerate(losses)]
        weighted = phase["frozen_by_layer"]
        assert 0 <= min(weighted.values()) <= phase["frozen_share"] <= max(weighted.values()) <= 1
    assert [event["rate"] for event in events if event["event"] == "epoch" and event["kind"] == "roll"] == [1e-4] * 6


def validation_loss(trainer, task: str, trunk: dict, head: dict) -> float:
    """The criterion computed from outside, on all validation windows at once."""
    network, own = copy.deepcopy(trainer.trunk), copy.deepcopy(trainer.heads[task])
    network.load_state_dict(trunk)
    own.load_state_dict(head)
    windows = trainer.windows[task]
    starts = windows.split.starts["validation"]
    with torch.no_grad():
        y = forecast(network.eval(), own.eval(), windows.inputs(starts))
    truth, valid = windows.targets(starts)
    total, count = loss_terms(network.config.loss, y, truth, valid, windows.scaler.std)
    return (total / count).item()


@pytest.mark.parametrize("scheme", ["alone", "rolling"])
def test_delivered_weights_are_the_best_ones(scheme: str) -> None:
    phases: dict[str, dict] = {}
    delivered: dict[str, dict] = {}

    def hear(event: dict) -> None:
        if event["event"] == "phase" and event["kind"] in ("refine", "single"):
            phases[event["tasks"][0]] = event

    def spoil(phase, epoch: int) -> None:
        """Whatever was learned, the last epoch is not the best."""
        if phase.delivers and epoch == phase.epochs:
            trainer.trunk.fusion["1"].output.bias.data.add_(5)

    trainer = tiny_trainer(
        scheme=scheme,
        training={"rate": 0.03, "start_epochs": 4, "refine_epochs": 4, "delta": 0},
        on_event=hear,
        on_update=spoil,
        on_delivery=lambda task, weights: delivered.update({task: copy.deepcopy(weights)}),
    )
    trainer.run()
    assert all(phase["best_epoch"] < phase["epochs"] == 4 for phase in phases.values())
    for task, phase in phases.items():
        found = validation_loss(trainer, task, delivered[task]["trunk"], delivered[task]["head"])
        assert found == pytest.approx(phase["best_validation_loss"], rel=1e-5)
        own = trainer.heads[task].state_dict()
        assert all(torch.equal(own[name], weight) for name, weight in delivered[task]["head"].items())
    last, now = list(delivered.values())[-1]["trunk"], trainer.trunk.state_dict()
    assert all(torch.equal(now[name], weight) for name, weight in last.items())


def test_what_earlier_tasks_lose_is_the_loss_of_the_weights_as_they_stand() -> None:
    found: list[tuple[dict, dict]] = []

    def hear(event: dict) -> None:
        if event["event"] == "phase" and event["kind"] != "refine":
            weights = trainer.trunk.state_dict()
            expected = {
                task: validation_loss(trainer, task, weights, trainer.heads[task].state_dict())
                for task in event["losses_of_seen"]
            }
            found.append((event["losses_of_seen"], expected))

    trainer = tiny_trainer(
        training={"rate": 0.01, "rolling_factor": 1.0, "refine_epochs": 1, "delta": 0}, on_event=hear
    )
    trainer.run()
    assert [list(losses) for losses, _ in found] == [["trips"], ["trips", "visits"], ["trips", "visits"]]
    for losses, expected in found:
        assert losses == pytest.approx(expected, rel=1e-5)
    assert found[1][0]["trips"] != pytest.approx(found[0][0]["trips"], rel=1e-3)


def test_early_stopping_after_patience() -> None:
    _, events = trained(small_city("trips"), "alone", training={"rate": 0.2, "start_epochs": 30, "patience": 3})
    (phase,) = [event for event in events if event["event"] == "phase"]
    assert phase["epochs"] == phase["best_epoch"] + 3 < 30


def test_an_equal_loss_is_no_better_one() -> None:
    """With everything frozen the validation loss stays as it is: the first epoch is the best, patience runs out."""
    _, events = trained(small_city("trips"), training={"delta": 1e9, "refine_epochs": 9, "patience": 2, "rate": 1e-30})
    (phase,) = [event for event in events if event["event"] == "phase" and event["kind"] == "refine"]
    assert phase["frozen_share"] == 1
    assert (phase["best_epoch"], phase["epochs"]) == (1, 3)


def test_nothing_left_to_train_is_said() -> None:
    trainer = tiny_trainer(small_city("trips"), training={"delta": 1e9}, model={"prompts": False})
    with pytest.raises(RunError, match=r"'refine trips' has nothing left to train.*training\.delta"):
        trainer.run()


@pytest.mark.parametrize("part", ["train", "validation"])
@pytest.mark.parametrize(("preset", "empty"), [("paper", math.nan), ("reference", 0.0)])
def test_a_part_without_targets_is_refused_before_anything_is_trained(part: str, preset: str, empty: float) -> None:
    events: list[dict] = []
    trainer = tiny_trainer(preset=preset, on_event=events.append)
    windows = trainer.windows["visits"]
    for starts in windows.split.starts[part]:
        targets = slice(int(starts) + windows.input_steps, int(starts) + windows.input_steps + windows.horizon)
        if math.isnan(empty):
            windows.valid[targets] = False
        else:
            windows.values[targets] = empty
    with pytest.raises(CityError, match=rf"'visits': every target of its {part} part is .*missing"):
        trainer.run()
    assert events == []


def test_windows_that_tell_epochs_apart_need_targets() -> None:
    """Of the validation part only its first and last window are looked at, and just these have no targets."""
    trainer = tiny_trainer(small_city("trips"), "alone", training={"validation_windows": 2})
    windows = trainer.windows["trips"]
    for start in windows.split.starts["validation"][[0, -1]].tolist():
        windows.valid[start + windows.input_steps : start + windows.input_steps + windows.horizon] = False
    with pytest.raises(CityError, match=r"every target of the 2 windows that training\.validation_windows takes"):
        trainer.run()


def test_a_loss_that_is_no_number_is_an_error_that_says_what_to_do() -> None:
    trainer = tiny_trainer(scheme="alone", training={"start_epochs": 2})
    trainer.heads["trips"].mean.fill_(math.nan)
    with pytest.raises(RunError, match=r"'alone trips' never reached a finite validation loss.*training\.rate"):
        trainer.run()


def test_a_start_that_is_no_number_can_be_bettered() -> None:
    trainer = tiny_trainer(scheme="alone", training={"start_epochs": 2, "keep_start": True})
    losses = iter([math.nan, 3.0, 2.0, 1.0, 5.0, 6.0])  # of trips: before, and two epochs; then of visits
    trainer._losses.of_validation = lambda *of: next(losses)  # type: ignore[method-assign]
    ends: list[dict] = []
    trainer._on_event = lambda event: ends.append(event)
    trainer.run()
    assert [(end["best_epoch"], end["best_validation_loss"]) for end in ends if end["event"] == "phase"] == [
        (2, 2.0),
        (0, 1.0),
    ]


def test_losses_that_are_no_numbers_are_null_in_the_history() -> None:
    events: list[dict] = []

    def hear(event: dict) -> None:
        events.append(event)
        if event.get("phase") == "start trips" and event["event"] == "phase":
            trainer.heads["trips"].mean.fill_(math.nan)  # nothing that trips is asked from then on has an answer

    trainer = tiny_trainer(on_event=hear)
    with pytest.raises(RunError, match="'roll 3 trips' never reached"):
        trainer.run()
    (second,) = [event for event in events if event["phase"] == "roll 2 visits" and event["event"] == "phase"]
    assert second["losses_of_seen"] == {"trips": None, "visits": second["best_validation_loss"]}
    last = events[-1]
    assert last["phase"] == "roll 3 trips" and (last["train_loss"], last["validation_loss"]) == (None, None)
    json.dumps(events, allow_nan=False)
    shown = io.StringIO()
    watcher = LineWatcher(Console(file=shown), lambda console: None)
    watcher.plan(trainer.plan, [trainer.updates_of(phase) for phase in trainer.plan])
    watcher.event(last)
    assert "train not finite, validation not finite, frozen" in shown.getvalue()


@pytest.mark.parametrize("name", ["trunk", "head", "star"])
def test_a_task_may_be_called_like_a_part_of_the_network(name: str) -> None:
    delivered, _ = trained(small_city("trips", name))
    assert list(delivered) == ["trips", name]
    for weights in delivered.values():
        assert {"embedding.space.weight"} <= set(weights["trunk"]) and set(weights["head"]) == set(
            delivered["trips"]["head"]
        )


def test_tasks_alone_are_trained_as_if_the_others_were_not_there() -> None:
    together, _ = trained(small_city("trips", "visits"), "alone")
    for task in ("trips", "visits"):
        single, _ = trained(small_city(task), "alone")
        assert equal(together[task], single[task])


def test_the_first_phase_of_rolling_is_training_alone() -> None:
    _, rolling = trained()
    _, alone = trained(small_city("trips"), "alone")
    start = [event for event in rolling if event.get("kind") == "start" and event["event"] == "epoch"]
    single = [event for event in alone if event["event"] == "epoch"]
    # The random order differs by the phase's name: only the amount of work is the same.
    assert [event["updates"] for event in start] == [event["updates"] for event in single]
    _, ordered = trained(training={"shuffle": False}, model={"dropout": 0.0})
    _, single_ordered = trained(small_city("trips"), "alone", training={"shuffle": False}, model={"dropout": 0.0})
    keys = ("epoch", "train_loss", "validation_loss", "rate", "updates", "best")
    first = [
        [event[key] for key in keys] for event in ordered if event.get("kind") == "start" and event["event"] == "epoch"
    ]
    assert first == [[event[key] for key in keys] for event in single_ordered if event["event"] == "epoch"]


def recorded_batches(trainer: Trainer) -> list[tuple[str, Tensor]]:
    """Task and starts of every update, once the trainer has run."""
    found, inner = [], trainer._batches.of_epoch

    def of_epoch(phase: Phase, epoch: int) -> Iterator[tuple[str, Tensor]]:
        for batch in inner(phase, epoch):
            found.append(batch)
            yield batch

    trainer._batches.of_epoch = of_epoch
    return found


def test_joint_training_mixes_batches_and_shares_one_trunk() -> None:
    trainer = tiny_trainer(scheme="joint", training={"start_epochs": 2})
    batches = recorded_batches(trainer)
    delivered: dict[str, dict] = {}
    trainer._on_delivery = lambda task, weights: delivered.update({task: weights})
    trainer.run()
    assert set(delivered) == {"trips", "visits"}
    assert all(
        torch.equal(delivered["trips"]["trunk"][name], delivered["visits"]["trunk"][name])
        for name in delivered["trips"]["trunk"]
    )
    seen = [task for task, _ in batches]
    per_epoch = len(seen) // 2
    assert seen[:per_epoch].count("trips") == seen[:per_epoch].count("visits") == per_epoch // 2
    assert seen[:per_epoch] != sorted(seen[:per_epoch]) and seen[:per_epoch] != seen[per_epoch:]


def test_unshuffled_joint_training_goes_through_each_task_in_the_order_of_time() -> None:
    trainer = tiny_trainer(scheme="joint", training={"start_epochs": 2, "shuffle": False, "batch_size": 8})
    batches = recorded_batches(trainer)
    trainer.run()
    epochs = batches[: len(batches) // 2], batches[len(batches) // 2 :]
    turns = [[task for task, _ in epoch] for epoch in epochs]
    assert turns[0] != turns[1] and turns[0] != sorted(turns[0])
    for epoch in epochs:
        for task, windows in trainer.windows.items():
            seen = torch.cat([starts for other, starts in epoch if other == task])
            assert torch.equal(seen, windows.split.starts["train"])


@pytest.mark.parametrize("decoupled", [False, True])
def test_one_joint_update_by_hand(decoupled: bool) -> None:
    """An epoch of a batch per task equals the optimiser stepped from outside on the same batches; the criterion is the
    mean of both tasks' losses.
    """
    training = {"start_epochs": 1, "batch_size": 1000, "shuffle": False, "clip": 0.5, "weight_decay": 0.01}
    training |= {"eps": 1e-3, "decoupled_decay": decoupled}
    trainer = tiny_trainer(scheme="joint", training=training, model={"dropout": 0.0})
    trunk, heads = copy.deepcopy(trainer.trunk), copy.deepcopy(trainer.heads)
    batches = recorded_batches(trainer)
    delivered: dict[str, dict] = {}
    trainer._on_delivery = lambda task, weights: delivered.update({task: weights})
    criteria: list[float] = []
    trainer._on_event = lambda event: criteria.append(event.get("validation_loss", 0.0))
    trainer.run()
    parameters = [*trunk.parameters(), *heads["trips"].parameters(), *heads["visits"].parameters()]
    kind = torch.optim.AdamW if decoupled else torch.optim.Adam
    optimizer = kind(parameters, lr=1e-3, eps=1e-3, weight_decay=0.01)
    assert {task for task, _ in batches} == {"trips", "visits"} and len(batches) == 2
    for task, starts in batches:
        windows = trainer.windows[task]
        assert sorted(starts.tolist()) == windows.split.starts["train"].tolist()
        truth, valid = windows.targets(starts)
        total, count = loss_terms(
            "huber", forecast(trunk, heads[task], windows.inputs(starts)), truth, valid, windows.scaler.std
        )
        optimizer.zero_grad()
        (total / count).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 0.5)
        optimizer.step()
    for name, value in trunk.state_dict().items():
        torch.testing.assert_close(delivered["trips"]["trunk"][name], value, atol=1e-6, rtol=1e-5)
    for task, head in heads.items():
        for name, value in head.state_dict().items():
            torch.testing.assert_close(delivered[task]["head"][name], value, atol=1e-6, rtol=1e-5)
    weights = trunk.state_dict()
    losses = [validation_loss(trainer, task, weights, head.state_dict()) for task, head in heads.items()]
    assert criteria[0] == pytest.approx(sum(losses) / 2, rel=1e-4)


def test_every_epoch_draws_other_dropout() -> None:
    """Weights that stand still, in batches of the same order: only what is dropped makes a difference."""
    training = {"rate": 1e-30, "shuffle": False, "start_epochs": 3, "patience": 3}
    _, events = trained(small_city("trips"), "alone", training=training, model={"dropout": 0.3})
    epochs = [event for event in events if event["event"] == "epoch"]
    assert len({event["train_loss"] for event in epochs}) == 3
    assert len({event["validation_loss"] for event in epochs}) == 1


def test_rates_of_every_update() -> None:
    """Those of the schedule, from its first value on; the prompts learn at gamma while the trunk rolls at less."""
    rates: dict[str, list[list[float]]] = {}

    def note(phase: Phase, epoch: int) -> None:
        assert trainer._optimizer is not None
        rates.setdefault(phase.kind, []).append([group["lr"] for group in trainer._optimizer.param_groups])

    epochs = {"start_epochs": 1, "rolling_epochs": 1, "refine_epochs": 1, "delta": 0.0}
    training = {**epochs, "schedule": "cosine", "warmup_updates": 0, "rate": 1e-3, "rolling_factor": 0.1}
    trainer = tiny_trainer(small_city("trips"), training={**training, "batch_size": 16}, on_update=note)
    trainer.run()
    for kind, shared in (("start", 1e-3), ("roll", 1e-4), ("refine", 1e-3)):
        updates = len(rates[kind])
        assert updates > 3
        for update, found in enumerate(rates[kind]):
            share = 0.5 * (1 + math.cos(math.pi * update / updates))
            assert found == pytest.approx([share * shared, share * 1e-3])


def test_the_threshold_is_a_share_of_the_square_of_how_far_the_weights_may_have_gone() -> None:
    for unit, expected in (("travel", 0.5 * (6 * 1e-4) ** 2), ("absolute", 0.5)):
        trainer = tiny_trainer(training={"delta": 0.5, "delta_unit": unit, "rate": 1e-3, "rolling_factor": 0.1})
        trainer.state.updates = 6
        assert trainer._threshold(trainer.plan[1]) == pytest.approx(expected)


def test_masked_losses_of_tasks_together_are_in_standard_deviations_those_of_one_in_its_units() -> None:
    for scheme in ("alone", "joint"):
        trainer = tiny_trainer(scheme=scheme, preset="reference")
        for task, windows in trainer.windows.items():
            phase = next(phase for phase in trainer.plan if task in phase.tasks)
            network = Ensemble(trainer.trunk, trainer.heads).eval()
            weights = trainer.trunk.state_dict(), trainer.heads[task].state_dict()
            expected = validation_loss(trainer, task, *weights)
            if scheme == "joint":
                expected /= windows.scaler.std.item()
            with torch.no_grad():
                assert trainer._losses.of_validation(phase, network, task, 0) == pytest.approx(expected, rel=1e-5)


def test_a_batch_without_targets_leaves_the_weights_finite() -> None:
    trainer = tiny_trainer(small_city("trips"), "alone", training={"start_epochs": 1, "shuffle": False})
    windows = trainer.windows["trips"]
    windows.valid[: 32 + windows.input_steps + windows.horizon] = False  # all targets of the first batch
    losses: list[float] = []
    trainer._on_event = lambda event: losses.append(event.get("train_loss", 0.0))
    trainer.run()
    assert all(weight.isfinite().all() for weight in trainer.trunk.state_dict().values()) and losses[0] > 0


def test_updates_per_epoch_draws_from_all_windows() -> None:
    trainer = tiny_trainer(
        small_city("trips"),
        "alone",
        training={"batch_size": 8, "updates_per_epoch": 2, "start_epochs": 12, "patience": 12},
    )
    batches = recorded_batches(trainer)
    trainer.run()
    seen = {start for _, starts in batches for start in starts.tolist()}
    windows = trainer.windows["trips"].split.starts["train"]
    assert len(seen) > 0.7 * len(windows) > 2 * 8 * 3


@pytest.mark.parametrize("scheme", ["rolling", "joint"])
def test_bf16_is_close(scheme: str) -> None:
    _, full = trained(scheme=scheme, training={"delta": 0}, model={"dropout": 0.0})
    _, half = trained(scheme=scheme, training={"delta": 0, "precision": "bf16-mixed"}, model={"dropout": 0.0})
    pairs = [(one, two) for one, two in zip(full, half, strict=True) if one["event"] == "epoch"]
    assert any(one["train_loss"] != two["train_loss"] for one, two in pairs)
    for one, two in pairs:
        assert two["train_loss"] == pytest.approx(one["train_loss"], rel=0.03)
        assert two["validation_loss"] == pytest.approx(one["validation_loss"], rel=0.03)


@pytest.mark.parametrize("by", ["forecast", "objective"])
def test_in_bf16_the_data_stay_as_they_are(by: str) -> None:
    """Of 1013.2 hPa bf16 would make 1012: only what the network computes is in bf16."""
    task = tiny_task("pressure", steps=168)
    city = tiny_city(dataclasses.replace(task, values=task.values * 0.1 + 1013))
    seen = []

    def look(trunk, head, inputs, *more):
        seen.append(torch.cat([inputs.values, *more[:1]], dim=1))
        made = forecast(trunk, head, inputs)
        assert torch.is_autocast_enabled("cpu")
        return more[-1](made) if more else made

    lesson = Lesson("huber", **{by: look})
    training = {"precision": "bf16-mixed", "start_epochs": 1}
    tiny_trainer(city, "alone", training=training, lesson=lambda phase: lesson).run()
    values = torch.cat([each.flatten() for each in seen])
    known = make_windows(city, "purged", 4, 3)["pressure"].values.flatten()
    assert len(values) > 1000 and set(values.tolist()) <= set(known.tolist())


def test_a_plan_may_begin_at_given_weights_whose_frozen_part_is_held() -> None:
    """Adam with decay moves every free element; a frozen one keeps its bits, and no gradient that clipping counts."""
    settings = {"weight_decay": 0.5, "rate": 0.01, "delta": 0.0, "refine_epochs": 2, "refine_factor": 1.0, "clip": 10.0}
    source = tiny_trainer(training=settings)
    weights = {name: torch.randn_like(value) for name, value in source.trunk.state_dict().items()}
    frozen = {name: torch.rand_like(value) < 0.5 for name, value in weights.items()}
    frozen[next(iter(frozen))].fill_(True)
    config = source.config
    trainer = Trainer(
        source.fabric,
        source.trunk,
        source.heads,
        source.windows,
        [*update_plan(["visits"], config), *adapt_plan("trips", config, head_first=False)],
        config,
        star=Star(weights, frozen),
    )
    delivered: dict[str, dict] = {}
    trainer._on_delivery = lambda task, final: delivered.update({task: copy.deepcopy(final)})
    gradients: list[Tensor] = []

    def update(phase: Phase, epoch: int) -> None:
        for name, parameter in trainer.trunk.named_parameters():
            if parameter.grad is not None and name in frozen:
                gradients.append(parameter.grad[frozen[name]].abs().sum())

    trainer._on_update = update
    trainer.run()
    assert gradients and not any(gradients)
    assert list(delivered) == ["visits", "trips"]
    for final in delivered.values():
        for name, mask in frozen.items():
            found = final["trunk"][name]
            assert torch.equal(found[mask], weights[name][mask])
            assert (found != weights[name])[~mask].float().mean() > 0.9 or not (~mask).any()
    common = trainer.common()
    assert common is not None and all(torch.equal(common.frozen[name], mask) for name, mask in frozen.items())


@pytest.mark.parametrize("scheme", ["rolling", "alone", "joint"])
def test_where_the_start_counts_no_final_model_is_worse_than_what_it_began_with(scheme: str) -> None:
    """With a rate that spoils every epoch the network stays what it was: alone with ``tuned``, the weekly profile."""
    spoilt = {"warmup_updates": 0, **({"refine_factor": 1e6} if scheme == "rolling" else {"rate": 1e3})}
    results = {}
    for keep in (True, False):
        trainer = tiny_trainer(scheme=scheme, preset="tuned", training={**spoilt, "keep_start": keep})
        before, delivered = {}, {}

        def stands(event: dict, trainer=trainer, before=before) -> None:
            if event["event"] == "start" or (event["event"], event.get("kind")) == ("phase", "roll"):
                before.update(
                    {
                        task: copy.deepcopy({"trunk": trainer.trunk.state_dict(), "head": head.state_dict()})
                        for task, head in trainer.heads.items()
                    }
                )

        trainer._on_event = stands
        trainer._on_delivery = lambda task, weights, into=delivered: into.update({task: weights})
        stands({"event": "start"})
        trainer.run()
        results[keep] = all(equal(weights, before[task]) for task, weights in delivered.items())
    assert results == {True: True, False: False}


@pytest.mark.parametrize(("rate", "moved"), [(1e-3, True), (1e3, False)])
def test_the_head_alone_learns_first_and_stays_where_the_rest_makes_it_no_better(rate: float, moved: bool) -> None:
    settings = {"weight_decay": 0.5, "refine_factor": rate / 1e-3, "head_epochs": 2, "refine_epochs": 2}
    source = tiny_trainer(training=settings)
    star = copy.deepcopy(source.trunk.state_dict())
    plan = adapt_plan("trips", source.config, head_first=True)
    seen: list[dict] = []
    trainer = Trainer(
        source.fabric, source.trunk, source.heads, source.windows, plan, source.config, star=Star(star, {}),
        on_event=lambda event: seen.append({**event, "trunk": copy.deepcopy(source.trunk.state_dict())}),
    )  # fmt: skip
    heads = copy.deepcopy(source.heads["trips"].state_dict())
    trainer.run()
    head_epochs = [event for event in seen if event["event"] == "epoch" and event["kind"] == "head"]
    assert len(head_epochs) == 2
    assert all(torch.equal(event["trunk"][name], star[name]) for event in head_epochs for name in star)
    assert any(not torch.equal(heads[name], each) for name, each in source.heads["trips"].state_dict().items())
    ends = [event for event in seen if event["event"] == "phase"]
    assert (ends[1]["best_epoch"] > 0) == moved
    assert ends[1]["best_validation_loss"] <= ends[0]["best_validation_loss"]
    assert any(not torch.equal(source.trunk.state_dict()[name], star[name]) for name in star) == moved


@pytest.mark.parametrize("preset", ["reference", "tuned"])
def test_a_batch_in_parts_trains_as_the_whole_batch(preset: str) -> None:
    """Without dropout, whose draws would differ."""
    whole, events = trained(preset=preset, scheme="joint", model={"dropout": 0.0}, training={"windows_per_pass": 64})
    parts, in_parts = trained(preset=preset, scheme="joint", model={"dropout": 0.0}, training={"windows_per_pass": 3})
    for one, two in zip(events, in_parts, strict=True):
        for key in (key for key in one if key.endswith("loss")):
            assert one[key] == pytest.approx(two[key], rel=1e-4), key
    for task in whole:
        for name, weight in whole[task]["trunk"].items():
            torch.testing.assert_close(parts[task]["trunk"][name], weight, atol=2e-4, rtol=1e-3)


def test_updates_of_some_nodes() -> None:
    """Each of as many nodes as asked for, drawn anew, its loss over these alone; validation of all."""
    seen: list[tuple[bool, Tensor | None, Tensor]] = []

    def watched(trunk, head, inputs, nodes: Tensor | None = None) -> Tensor:
        made = forecast(trunk, head, inputs, nodes=nodes)
        seen.append((trunk.training, nodes, made.detach()))
        return made

    losses: list[float] = []
    trainer = tiny_trainer(
        tiny_city(tiny_task("trips", steps=168, missing=0.3, nodes=5)),
        "alone",
        model={"dropout": 0.0},
        training={"start_epochs": 1, "shuffle": False, "windows_per_pass": 5},
        lesson=lambda phase: Lesson("mae", watched, nodes=2),
        on_event=lambda event: losses.append(event.get("train_loss", 0.0)),
    )
    trainer.run()
    windows = trainer.windows["trips"]
    starts, by_update = windows.split.starts["train"], list[float]()
    drawn = iter([(nodes, made) for training, nodes, made in seen if training])
    for batch in starts.split(32):
        total, count = 0.0, 0
        for part in batch.split(5):
            nodes, made = next(drawn)
            truth, valid = (each[:, :, nodes] for each in windows.targets(part))
            total += ((made - truth).abs() / windows.scaler.std)[valid].sum().item()
            count += int(valid.sum())
        by_update.append(total / count)
    assert next(drawn, None) is None
    assert losses[0] == pytest.approx(sum(by_update) / len(by_update), rel=1e-4)
    chosen = {tuple(nodes.tolist()) for training, nodes, _ in seen if training}
    assert all(len(set(pair)) == 2 for pair in chosen) and {node for pair in chosen for node in pair} <= set(range(5))
    assert 1 < len(chosen) <= len(by_update)  # one draw for an update, whatever parts it goes through in
    assert all(nodes is None and made.shape[2] == 5 for training, nodes, made in seen if not training)


def test_as_many_nodes_as_there_are_change_nothing() -> None:
    whole, events = trained()
    same, again = trained(training={"nodes_per_update": 3})
    assert events == again and all(equal(whole[task], same[task]) for task in whole)
    fewer, _ = trained(training={"nodes_per_update": 2})
    assert not any(equal(whole[task], fewer[task]) for task in whole)


def test_a_validation_loss_of_some_windows() -> None:
    """Spread over the whole part; with as many as there are, nothing changes."""
    found: list[float] = []
    settings = {"start_epochs": 1, "validation_windows": 5}
    city = tiny_city(tiny_task("trips", steps=168, missing=0.3))
    trainer = tiny_trainer(
        city, "alone", training=settings, on_event=lambda event: found.append(event.get("validation_loss", 0.0))
    )
    trainer.run()
    windows, total, count = trainer.windows["trips"], 0.0, 0
    part = windows.split.starts["validation"]
    assert len(part) == 14
    trainer.trunk.eval()
    for start in part[[0, 3, 6, 10, 13]]:  # 0, 3.25, 6.5, 9.75, 13
        truth, valid = windows.targets(start[None])
        with torch.no_grad():
            made = forecast(trainer.trunk, trainer.heads["trips"], windows.inputs(start[None]))
        error = torch.nn.functional.huber_loss(made / windows.scaler.std, truth / windows.scaler.std, reduction="none")
        total, count = total + error[valid].sum().item(), count + int(valid.sum())
    assert found[0] == pytest.approx(total / count, rel=1e-5)
    whole, events = trained()
    same, again = trained(training={"validation_windows": 14})
    assert events == again and all(equal(whole[task], same[task]) for task in whole)


def test_without_prompts_their_kind_changes_nothing() -> None:
    """Not the rate of what else a head learns: its ways back to the recent level."""
    training = training_config("tuned", rate=0.5)
    phase = rolling_plan(["trips"], training)[-1]
    rates = [
        lesson_of(model_config("tuned", prompt=prompt, prompts=prompts), training, phase).own_rate
        for prompts in (True, False)
        for prompt in ("summary", "free")
    ]
    assert rates == [0.5, None, 0.5, 0.5]


@pytest.mark.parametrize("name", ["train", "type", "half", "update"])
def test_a_task_may_have_the_name_of_a_method(name: str) -> None:
    delivered = []
    training = {"start_epochs": 1, "rolling_epochs": 1, "refine_epochs": 1, "rolling_factor": 1.0}
    city = small_city("trips", name)
    tiny_trainer(city, training=training, on_delivery=lambda task, weights: delivered.append(task)).run()
    assert delivered == ["trips", name]
