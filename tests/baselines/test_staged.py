"""Systems that are trained in stages or on more than forecasts."""

import pytest
import torch
from torch import Tensor, nn

from cmust.baselines.promptst import PromptST, sinusoid
from cmust.baselines.promptst import make as make_promptst
from cmust.baselines.scene import Glimpse, Scene
from cmust.baselines.stages import Batch, Stage


def look(batch: int, steps: int, nodes: int, channels: int, horizon: int, slots: int = 48) -> Glimpse:
    slot = torch.arange(steps).expand(batch, -1) % slots
    ahead = (steps + torch.arange(horizon)).expand(batch, -1)
    return Glimpse(
        torch.randn(batch, steps, nodes, channels),
        slot,
        torch.arange(steps).expand(batch, -1) // slots % 7,
        ahead % slots,
        ahead // slots % 7,
    )


def teach(stage: Stage, batch: Batch) -> Tensor:
    """The loss of one batch as the epoch loop takes it, its gradients in place."""

    def score(forecast: Tensor) -> Tensor:
        return (forecast - batch.ahead).abs().mean()

    if stage.loss is not None:
        loss = stage.loss(batch, score)
    else:
        assert stage.forecast is not None
        loss = score(stage.forecast(batch.seen))
    loss.backward()  # type: ignore[no-untyped-call]
    return loss


def unreached(parameters: list[nn.Parameter]) -> list[int]:
    return [i for i, p in enumerate(parameters) if p.grad is None or not p.grad.abs().sum() > 0]


def test_a_stage_has_something_to_learn_from() -> None:
    with pytest.raises(ValueError, match="neither"):
        Stage("idle", [])


def test_promptst_tunes_only_the_prompts_of_each_channel() -> None:
    torch.manual_seed(0)
    system = PromptST(nodes=4, channels=2, input_steps=5, horizon=3, width=8)
    batch = Batch(look(2, 5, 4, 2, 3), torch.randn(2, 3, 4, 2), 0)
    assert system(batch.seen).shape == system.common(batch.seen).shape == (2, 3, 4, 2)
    first, second = system.stages()
    for stage in (first, second):
        system.zero_grad()
        teach(stage, batch)
        assert not unreached(stage.parameters)
    together = {id(p) for p in [*first.parameters, *second.parameters]}
    assert together == {id(p) for p in system.parameters()} and len(together) == len(list(system.parameters()))
    # A channel's prompt is its own, and its forecast is the same with and without the other channel.
    before = system(batch.seen)
    with torch.no_grad():
        system.prompt[0].add_(1.0)
    after = system(batch.seen)
    assert torch.equal(before[..., 1], after[..., 1]) and not torch.allclose(before[..., 0], after[..., 0])


def test_promptst_a_prompt_acts_on_its_node_until_the_layers_over_nodes() -> None:
    torch.manual_seed(0)
    system = PromptST(nodes=3, channels=1, input_steps=4, horizon=2, width=8)
    system.over_nodes = nn.ModuleList()
    prompt = system.prompt[0]
    values = torch.randn(1, 4, 3)
    before = system.states(values, prompt)
    with torch.no_grad():
        prompt[:, :, 1] += 1.0
    changed = (system.states(values, prompt) - before).abs().amax(dim=(0, 2)) > 1e-6
    assert changed.tolist() == [False, True, False]


def test_waves_by_hand() -> None:
    wave = sinusoid(3, 4)
    assert wave[0].tolist() == [0.0, 1.0, 0.0, 1.0]
    assert torch.allclose(wave[2], torch.tensor([2.0, 2.0, 0.02, 0.02]).sin() * torch.tensor([1.0, 0, 1, 0])
                          + torch.tensor([2.0, 2.0, 0.02, 0.02]).cos() * torch.tensor([0.0, 1, 0, 1]))  # fmt: skip


def scene(nodes: int, channels: int, steps: int, horizon: int) -> Scene:
    return Scene(nodes, channels, steps, horizon, 48, torch.eye(nodes))


def weights(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_promptst_in_its_published_size() -> None:
    layer = 4 * (32 * 32 + 32) + 2 * 32 * 128 + 128 + 32 + 4 * 32
    assert weights(make_promptst(scene(69, 1, 12, 12))) == 64 + 4 * layer + 2 * (32 * 12 + 12) + 2 * 2 * 69 * 32
