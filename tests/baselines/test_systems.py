"""What holds for every system: the shape, gradients, what its forecast depends on, the documented size."""

import re
from dataclasses import replace
from importlib import import_module
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from cmust.baselines.scene import Glimpse, Scene
from tests.baselines.scenes import HORIZON, SLOTS, SMALL, batch, changed, lesson, parameters, scene, stages, teach

READS_SLOT = {"dcrnn", "gman", "gwnet", "mtgnn", "staeformer", "step", "stid", "unist"}
READS_DAY = {"gman", "staeformer", "stid", "unist"}
READS_OTHER_NODES = SMALL.keys() - {"stid", "unitime"}
# Weights that belong to nodes, along every dimension as long as there are nodes; STTN's place has edges as features.
OF_NODES = {
    "agcrn": "vectors",
    "astgcn": r"graphs|.*between_nodes\.(shift|mix)|.*between_steps\.(pool|left)",
    "dcrnn": "walks",
    "gman": "places",
    "gwnet": "source|target|graphs",
    "mtgnn": r"graph\.(source|target)|.*norm\..*",
    "promptst": r"node_position|prompt\..*",
    "staeformer": "adaptive",
    "step": r"wavenet\.(source|target)|learner\.series",
    "stgcn": r"graphs|.*norm\..*|bias",
    "stid": "node",
    "sttn": r"graphs|.*place|.*norm\..*|(first|second)_bias",
    "unist": "spots",
}
every_system = pytest.mark.parametrize("name", SMALL)


def forecast(network: nn.Module, seen: Glimpse) -> Tensor:
    """The seed is for STEP, which draws a graph for every window."""
    torch.manual_seed(1)
    with torch.no_grad():
        found: Tensor = network.eval()(seen)
    return found


@every_system
@pytest.mark.parametrize("channels", [1, 2])
def test_a_forecast_for_every_step_node_and_channel_the_same_each_time(name: str, channels: int) -> None:
    of = scene(channels=channels)
    network, seen = SMALL[name](of), batch(of)
    found = forecast(network, seen)
    assert found.shape == (2, HORIZON, 5, channels) and found.isfinite().all()
    if name != "step":
        with torch.no_grad():
            assert torch.equal(network(seen), found)


@every_system
def test_a_forecast_depends_on_its_window_alone(name: str) -> None:
    network, seen = SMALL[name](scene()), batch(scene())
    other = seen._replace(values=torch.cat((seen.values[:1], seen.values[1:] + 1)))
    found, beside = forecast(network, seen), forecast(network, other)
    torch.testing.assert_close(beside[0], found[0])
    assert not torch.allclose(beside[1], found[1])


@every_system
@pytest.mark.parametrize("channels", [1, 2])
def test_every_parameter_is_trained_in_a_stage_by_its_loss(name: str, channels: int) -> None:
    of = scene(channels=channels)
    network, given = SMALL[name](of), lesson(of)
    names, trained = {id(p): key for key, p in network.named_parameters()}, set()
    for stage in stages(network):
        network.zero_grad()
        teach(stage, given)
        assert [names[id(p)] for p in stage.parameters if p.grad is None or not p.grad.any()] == []
        trained |= {id(p) for p in stage.parameters}
    assert trained == names.keys()


@every_system
def test_clock_and_nodes_matter_where_they_are_read(name: str) -> None:
    network, seen = SMALL[name](scene()), batch(scene())
    before = forecast(network, seen)
    later = seen._replace(slot=(seen.slot + 1) % SLOTS, slot_ahead=(seen.slot_ahead + 1) % SLOTS)
    other_day = seen._replace(dow=(seen.dow + 1) % 7, dow_ahead=(seen.dow_ahead + 1) % 7)
    assert torch.equal(forecast(network, later), before) == (name not in READS_SLOT)
    assert torch.equal(forecast(network, other_day), before) == (name not in READS_DAY)
    away = (forecast(network, changed(seen, node=0)) - before).abs().amax(dim=(0, 1, 3))
    assert away[0] > 0 and bool(away[1:].any()) == (name in READS_OTHER_NODES)


# the graph that STEP draws would have to be reordered, too
@pytest.mark.parametrize("name", sorted(OF_NODES.keys() - {"step"}))
def test_nodes_in_another_order_with_all_that_belongs_to_them(name: str) -> None:
    network, seen = SMALL[name](scene()), batch(scene())
    before, order = forecast(network, seen), torch.tensor([2, 0, 1, 4, 3])
    moved = seen._replace(values=seen.values[:, :, order])
    assert not torch.allclose(forecast(network, moved), before[:, :, order])
    for key, tensor in (*network.named_parameters(), *network.named_buffers()):
        if re.fullmatch(OF_NODES[name], key):
            for dim, size in enumerate(tensor.shape):
                if size == 5 and not (dim == 1 and key.endswith("place")):
                    tensor.data.copy_(tensor.detach().index_select(dim, order))
    torch.testing.assert_close(forecast(network, moved), before[:, :, order])


DOCUMENT = (Path(__file__).parents[2] / "docs" / "baselines.md").read_text()
MANHATTAN = Scene(69, 1, 12, 12, 48, torch.eye(69), torch.rand(69, 2), torch.zeros(3024, 69, 1))
INPUT_STEPS = {"step": 336, "unist": 144, "unitime": 96}


@every_system
def test_the_documented_number_of_parameters(name: str) -> None:
    row = re.search(rf"^\| [^|]*`{name}`.*\| ([\d ]+) \|$", DOCUMENT, re.MULTILINE)
    assert row is not None
    of = replace(MANHATTAN, input_steps=INPUT_STEPS.get(name, 12))
    assert parameters(import_module(f"cmust.baselines.{name}").make(of)) == int(row[1].replace(" ", ""))
