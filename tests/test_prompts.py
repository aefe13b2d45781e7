"""Task summaries and prompts: the average day by a slow loop, an autoencoder that compresses, prompts of new nodes."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cmust.heads import make_head
from cmust.model import model_config
from cmust.prompts import Convergence, FreePrompt, NoPrompt, SummaryPrompt, sample_day, train_autoencoder
from cmust.windows import make_windows
from tests.rolling.tiny import SIZES, tiny_city, tiny_task


def test_average_day_by_a_slow_loop() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(30, 2, 2)).astype(np.float32)
    values[rng.random(values.shape) < 0.3] = np.nan
    slot = (np.arange(30) + 3) % 7
    values[slot == 4, 1] = np.nan
    day = sample_day(values, slot, 7)
    assert day.shape == (2, 14)
    for n in range(2):
        for s in range(7):
            for c in range(2):
                seen = [values[i, n, c] for i in range(30) if slot[i] == s and not np.isnan(values[i, n, c])]
                assert day[n, s * 2 + c].item() == pytest.approx(np.mean(seen) if seen else 0.0, rel=1e-5, abs=1e-7)


@pytest.fixture(scope="module")
def trained():
    """Sixty nodes whose days are mixtures of three rhythms."""
    torch.manual_seed(0)
    hours = torch.arange(48) / 48 * 6.283
    rhythms = torch.stack([hours.sin(), (2 * hours).cos(), (hours - 1).sin().clamp(min=0)])
    mixture = torch.rand(80, 3)
    days = mixture @ rhythms + 0.02 * torch.randn(80, 48)
    return days, *train_autoencoder(days[:60])


def test_autoencoder_reconstructs(trained) -> None:
    days, network, convergence = trained
    error = (network(days[:60]) - days[:60]).square().mean().item()
    assert convergence.start == pytest.approx(days[:60].square().mean().item(), rel=1e-5)
    assert error < 0.02 * convergence.start
    assert convergence.end == pytest.approx(error, rel=0.1)
    assert 100 <= convergence.steps <= 3000
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_it_learns_until_a_hundred_steps_help_by_less_than_a_thousandth() -> None:
    days = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))

    def until(most: int) -> Convergence:
        torch.manual_seed(0)
        return train_autoencoder(days, max_steps=most)[1]

    steps = until(3000).steps
    assert 300 <= steps < 3000 and steps % 100 == 0
    before, last, end = (until(steps - fewer).end for fewer in (200, 100, 0))
    assert 1 - end / last < 1e-3 <= 1 - last / before


def test_days_of_nodes_first_seen_later_are_summarised_too(trained) -> None:
    days, network, convergence = trained
    assert network.encode(days[60:]).shape == (20, 64)
    assert (network(days[60:]) - days[60:]).square().mean() < 0.05 * convergence.start
    together = network.encode(days)
    torch.testing.assert_close(
        together[60:], network.encode(days[60:])
    )  # a node's summary does not depend on its company
    assert ((together > 0) & (together < 1)).all()


def test_prompts_of_the_three_kinds() -> None:
    summary = torch.rand(5, 64)
    prompt = SummaryPrompt(summary, 7)
    torch.testing.assert_close(prompt()[0], summary @ prompt.project.weight.T + prompt.project.bias)
    assert [name for name, _ in prompt.named_parameters()] == [
        "project.weight",
        "project.bias",
    ]  # the summary does not learn
    assert "summary" in prompt.state_dict()
    free = FreePrompt.from_summary(summary, 4, 7)
    assert free().shape == (4, 5, 7) and free.weight.requires_grad
    assert torch.equal(free()[0], free()[3])
    none = NoPrompt(7)
    assert none().shape == (1, 1, 7) and not none().any() and not list(none.parameters())


@pytest.mark.parametrize("preset", ["paper", "reference"])
def test_a_head_depends_on_its_own_task_and_the_seed_only(preset) -> None:
    config = model_config(preset, **SIZES)
    pair, single = tiny_city(tiny_task("visits"), tiny_task("trips")), tiny_city(tiny_task("trips"))

    def state(city, seed: int) -> dict:
        torch.manual_seed(torch.randint(10_000, ()).item())  # whatever was drawn before
        windows = make_windows(city, "purged", 4, 3)["trips"]
        return make_head(config, city.tasks["trips"], windows, seed).head.state_dict()

    first, second, other = state(pair, 3), state(single, 3), state(single, 4)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_the_summary_comes_from_the_training_part_alone() -> None:
    config, city = model_config("paper", **SIZES), tiny_city(tiny_task("trips"))
    windows = make_windows(city, "purged", 4, 3)["trips"]
    before = make_head(config, city.tasks["trips"], windows, 0).head.state_dict()
    later = city.tasks["trips"].values.copy()
    later[windows.split.train_steps :] = 1e5
    city = tiny_city(replace(city.tasks["trips"], values=later))
    after = make_head(config, city.tasks["trips"], make_windows(city, "purged", 4, 3)["trips"], 0).head.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_the_spread_by_a_slow_loop_over_what_was_observed_while_training() -> None:
    config, city = model_config("tuned", **SIZES), tiny_city(tiny_task("trips"))
    values = city.tasks["trips"].values.copy()
    values[5:40, 0] = np.nan
    windows = make_windows(tiny_city(replace(city.tasks["trips"], values=values)), "purged", 4, 3)["trips"]
    steps, expected = windows.split.train_steps, windows.profile.numpy()
    assert steps < len(values)
    squares = [
        (float(values[s, n, 0]) - float(expected[s, n, 0])) ** 2
        for s in range(steps)
        for n in range(values.shape[1])
        if not np.isnan(values[s, n, 0])
    ]
    head = make_head(config, city.tasks["trips"], windows, 0).head
    assert float(head.spread) == pytest.approx((sum(squares) / len(squares)) ** 0.5, rel=1e-5)
    alike = replace(windows, values=windows.profile)
    assert float(make_head(config, city.tasks["trips"], alike, 0).head.spread) == 1
    assert make_head(model_config("tuned", spread="task"), city.tasks["trips"], windows, 0).head.spread is None
