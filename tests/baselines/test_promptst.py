"""PromptST: what a prompt acts on, what each stage trains, its parameters added up."""

import torch
from torch import nn

from cmust.baselines import promptst
from cmust.baselines.scene import Scene
from tests.baselines.scenes import batch, parameters, scene, small_promptst, stages


def test_parameters_added_up_by_hand() -> None:
    layer = 4 * (32 * 32 + 32) + 2 * 32 * 128 + 128 + 32 + 4 * 32
    made = promptst.make(Scene(69, 1, 12, 12, 48, torch.eye(69)))
    assert parameters(made) == 64 + 4 * layer + 2 * (32 * 12 + 12) + 2 * 2 * 69 * 32


def test_the_second_stage_trains_what_the_first_does_not_and_a_channel_has_its_own() -> None:
    system, seen = small_promptst(scene(channels=2)), batch(scene(channels=2))
    first, second = ({id(p) for p in stage.parameters} for stage in stages(system))
    assert not first & second and second == {id(p) for p in (*system.prompt, *system.prompted_head.parameters())}
    before = system(seen)
    with torch.no_grad():
        system.prompt[0].add_(1.0)
    after = system(seen)
    assert torch.equal(before[..., 1], after[..., 1]) and not torch.allclose(before[..., 0], after[..., 0])


def test_a_prompt_acts_on_its_node_until_the_layers_over_nodes() -> None:
    system = promptst.PromptST(nodes=3, channels=1, input_steps=4, horizon=2, width=8)
    system.over_nodes = nn.ModuleList()
    prompt = system.prompt[0]
    values = torch.randn(1, 4, 3)
    before = system.states(values, prompt)
    with torch.no_grad():
        prompt[:, :, 1] += 1.0
    changed = (system.states(values, prompt) - before).abs().amax(dim=(0, 2)) > 1e-6
    assert changed.tolist() == [False, True, False]


def test_sines_at_even_places_and_cosines_at_odd_ones() -> None:
    wave, angle = promptst.sinusoid(3, 4), torch.tensor([2.0, 0.02])
    assert wave[0].tolist() == [0.0, 1.0, 0.0, 1.0]
    torch.testing.assert_close(wave[2], torch.stack((angle.sin(), angle.cos()), dim=-1).flatten())
