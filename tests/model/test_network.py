"""The whole network against a plain formulation of its equations, and what must not matter to it."""

import itertools

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from cmust.model import MSTI, Head, Inputs, Slices, Trunk, forecast, model_config
from cmust.model.network import recent_ratio
from cmust.prompts import FreePrompt, NoPrompt, SummaryPrompt
from tests.rolling.tiny import SIZES

SLOTS = 48


def parts(
    config, *, nodes: int = 5, batch: int = 3, channels: tuple[int, ...] = (1,), of: int = 1, seed: int = 0
) -> tuple[Trunk, Head, Inputs]:
    """A trunk for tasks of ``channels``, the head of a task with ``of`` channels, and a batch for it; nothing is
    zero.
    """
    torch.manual_seed(seed)
    trunk = Trunk(config, SLOTS, channels)
    for parameter in trunk.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    mean, std = torch.randn(of), torch.rand(of) + 0.5
    if not config.prompts:
        prompt = NoPrompt(config.d_p)
    elif config.prompt == "summary":
        prompt = SummaryPrompt(torch.rand(nodes, 8), config.d_p)
    else:
        prompt = FreePrompt(torch.randn(config.input_steps, nodes, config.d_p))
    head = Head(config, prompt, mean, std)
    t, f = config.input_steps, config.horizon
    inputs = Inputs(
        values=torch.rand(batch, t, nodes, of) * 10,
        slot=torch.randint(SLOTS, (batch, t)),
        dow=torch.randint(7, (batch, t)),
        stamp=torch.rand(batch, t, 6),
        place=torch.randn(nodes, 2),
        average=torch.rand(batch, t, nodes, of) * 10,
        average_ahead=torch.rand(batch, f, nodes, of) * 10,
    )
    return trunk, head, inputs


# ------------------------------------------------------------------ Eq. 1-7, 14, 15 as they stand


def plain_paper(trunk: Trunk, head: Head, inputs: Inputs) -> Tensor:
    """The ``paper`` preset with every tensor written out to ``(B, T, N, .)`` and nothing folded."""
    w = dict(trunk.named_parameters())
    config = trunk.config
    b, t, n, c = inputs.values.shape

    def linear(x: Tensor, name: str, bias: bool = True) -> Tensor:
        return x @ w[f"{name}.weight"].T + (w[f"{name}.bias"] if bias else 0)

    def norm(x: Tensor, name: str) -> Tensor:
        mean = x.mean(-1, keepdim=True)
        var = ((x - mean) ** 2).mean(-1, keepdim=True)
        return (x - mean) / torch.sqrt(var + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]

    def attend(query: Tensor, target: Tensor, name: str, axis: int) -> Tensor:
        q, k, v = linear(query, f"{name}.query"), linear(target, f"{name}.key"), linear(target, f"{name}.value")
        e = q.shape[-1] // config.heads
        out = torch.zeros_like(v)
        rows = []
        for i in range(q.shape[axis]):
            heads = []
            for h in range(config.heads):
                cut = slice(h * e, h * e + e)
                scores = torch.stack(
                    [(q.select(axis, i)[..., cut] * k.select(axis, j)[..., cut]).sum(-1) for j in range(k.shape[axis])],
                    -1,
                )
                weights = torch.exp(scores / e**0.5) / torch.exp(scores / e**0.5).sum(-1, keepdim=True)
                heads.append(sum(weights[..., j, None] * v.select(axis, j)[..., cut] for j in range(k.shape[axis])))
            rows.append(torch.cat(heads, -1))
        out = torch.stack(rows, axis)
        return linear(out, f"{name}.output")

    def interact(query: Tensor, target: Tensor, name: str, axis: int) -> Tensor:  # Eq. 6
        u = norm(attend(query, target, f"{name}.attention", axis) + target, f"{name}.norm_attention")
        return norm(linear(F.relu(linear(u, f"{name}.expand")), f"{name}.contract") + u, f"{name}.norm_ffn")

    # Eq. 1 and C.1
    x = (inputs.values - head.mean) / head.std
    fraction = (inputs.slot / SLOTS)[:, :, None, None].expand(b, t, n, 1)
    day = inputs.dow.float()[:, :, None, None].expand(b, t, n, 1)
    observation = linear(torch.cat([x, fraction, day], -1), f"embedding.observation.{c}")
    space = linear(inputs.place[None, None].expand(b, t, n, 2), "embedding.space")
    tables = [w["embedding.time_of_day.weight"][inputs.slot], w["embedding.day_of_week.weight"][inputs.dow]]
    clock = linear(torch.cat([linear(inputs.stamp, "embedding.timestamp"), *tables], -1), "embedding.time")
    prompt = head.prompt().expand(t, n, config.d_p)[None].expand(b, -1, -1, -1)
    h = torch.cat([observation, space, clock[:, :, None].expand(b, t, n, config.d_t), prompt], -1)
    o, s, tm = config.d_obs, config.d_obs + config.d_s, config.d_obs + config.d_s + config.d_t
    block = "blocks.0"
    # SCCI, both directions from the same H (Eq. 2-6)
    new_o = interact(h[..., o:s], h[..., :o], f"{block}.scci.to_observation", 2)
    new_s = interact(h[..., :o], h[..., o:s], f"{block}.scci.to_context", 2)
    h = torch.cat([new_o, new_s, h[..., s:]], -1)
    # Eq. 14
    encoding = torch.zeros(t, config.d_h)
    for position, i in itertools.product(range(t), range(config.d_h)):
        angle = torch.tensor(position / 10000 ** ((i - i % 2) / config.d_h), dtype=torch.float64)
        encoding[position, i] = angle.sin() if i % 2 == 0 else angle.cos()
    h = h + encoding[None, :, None]
    # TCCI
    new_o = interact(h[..., s:tm], h[..., :o], f"{block}.tcci.to_observation", 1)
    new_t = interact(h[..., :o], h[..., s:tm], f"{block}.tcci.to_context", 1)
    h = torch.cat([new_o, h[..., o:s], new_t, h[..., tm:]], -1)
    # Eq. 7: time, then space
    h = interact(h, h, f"{block}.tsi.0", 1)
    h = interact(h, h, f"{block}.ssi.0", 2)
    # Eq. 15
    fusion = f"fusion.{c}"
    z = (
        linear(h[..., :o], f"{fusion}.observation")
        + linear(h[..., o:s], f"{fusion}.space")
        + linear(h[..., s:tm], f"{fusion}.time")
    )
    mixed = linear(z, f"{fusion}.z", bias=False) + linear(h[..., tm:], f"{fusion}.prompt", bias=False)
    flat = mixed.permute(0, 2, 1, 3).reshape(b, n, -1)  # over all T steps of a node
    y = linear(flat, f"{fusion}.output").reshape(b, n, config.horizon, c).permute(0, 2, 1, 3)
    return y * head.std + head.mean


@pytest.mark.parametrize("prompt", ["summary", "free"])
@pytest.mark.parametrize("channels", [1, 2])
def test_paper_preset_is_its_equations(prompt, channels: int) -> None:
    config = model_config("paper", **{**SIZES, "d_p": 5, "d_s": 3, "self_width": 8}, dropout=0.0, prompt=prompt)
    trunk, head, inputs = parts(config, channels=(channels,), of=channels)
    ours, plain = forecast(trunk, head, inputs), plain_paper(trunk, head, inputs)
    assert plain.std() > 0.1
    torch.testing.assert_close(ours, plain, atol=1e-5, rtol=0)
    wanted = dict(trunk.named_parameters()) | dict(head.named_parameters())
    direction = torch.randn_like(ours)
    gradients = [torch.autograd.grad((y * direction).sum(), list(wanted.values())) for y in (ours, plain)]
    for name, one, two in zip(wanted, *gradients, strict=True):
        scale = max(1.0, two.abs().max().item())
        torch.testing.assert_close(
            one / scale, two / scale, atol=1e-5, rtol=0, msg=lambda text, name=name: f"{name}: {text}"
        )


# ------------------------------------------------------------------ what must not matter


@pytest.mark.parametrize("preset", ["paper", "reference", "tuned"])
@pytest.mark.parametrize(("steps", "horizon", "nodes"), [(1, 1, 1), (1, 7, 3), (5, 1, 1), (7, 3, 9), (3, 12, 2)])
def test_any_steps_horizon_and_nodes(preset: str, steps: int, horizon: int, nodes: int) -> None:
    config = model_config(preset, **{**SIZES, "input_steps": steps, "horizon": horizon})
    trunk, head, inputs = parts(config, nodes=nodes)
    y = forecast(trunk, head, inputs)
    assert y.shape == (3, horizon, nodes, 1) and y.isfinite().all()
    y.sum().backward()


@pytest.mark.parametrize("preset", ["paper", "reference", "tuned"])
def test_permuting_the_nodes_permutes_the_forecast(preset: str) -> None:
    config = model_config(preset, **SIZES, dropout=0.0)
    trunk, head, inputs = parts(config, nodes=6)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    nodes = {name: getattr(inputs, name)[:, :, order] for name in ("values", "average", "average_ahead")}
    moved = inputs._replace(place=inputs.place[order], **nodes)
    y = forecast(trunk, head, inputs)
    if config.prompt == "free":
        head.prompt.weight.data = head.prompt.weight.data[:, order]
    else:
        head.prompt.summary = head.prompt.summary[order]
    torch.testing.assert_close(forecast(trunk, head, moved), y[:, :, order], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(y, y[:, :, order], atol=1e-3)


@pytest.mark.parametrize("preset", ["paper", "reference", "tuned"])
def test_some_of_the_nodes_are_a_city_of_their_own_at_the_level_of_the_whole(preset: str) -> None:
    config = model_config(preset, **SIZES, dropout=0.0)
    trunk, head, inputs = parts(config, nodes=6)
    few = torch.tensor([0, 2, 5])
    by_node = {name: getattr(inputs, name)[:, :, few] for name in ("values", "average", "average_ahead")}
    alone = inputs._replace(place=inputs.place[few], **by_node)
    torch.testing.assert_close(
        forecast(trunk, head, inputs, nodes=few), forecast(trunk, head, alone, head.prompt()[:, few])
    )
    torch.testing.assert_close(forecast(trunk, head, inputs, nodes=torch.arange(6)), forecast(trunk, head, inputs))
    same = Head(config, NoPrompt(config.d_p), head.mean, head.std)  # one prompt for all nodes
    torch.testing.assert_close(forecast(trunk, same, inputs, nodes=few), forecast(trunk, same, alone))
    if config.seasonal:
        head.power.fill_(1.0)
        levelled = forecast(trunk, head, inputs, nodes=few)
        inputs.values[:, :, 1] *= 3  # not one of them, but of the city
        assert not torch.allclose(forecast(trunk, head, inputs, nodes=few), levelled, rtol=1e-3)


@pytest.mark.parametrize("preset", ["paper", "reference", "tuned"])
def test_windows_of_a_batch_do_not_see_each_other(preset: str) -> None:
    trunk, head, inputs = parts(model_config(preset, **SIZES, dropout=0.0), batch=3)
    y = forecast(trunk, head, inputs)
    second = Inputs(*(part if part is inputs.place else part[1:2] for part in inputs))
    torch.testing.assert_close(forecast(trunk, head, second), y[1:2], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("preset", ["paper", "reference", "tuned"])
def test_the_trunk_knows_no_number_of_nodes(preset: str) -> None:
    """The same trunk forecasts two cities of different size, and no side of its weights is a number of nodes."""
    config = model_config(preset, **SIZES, dropout=0.0)
    trunk, head, inputs = parts(config, nodes=29)
    _, other, few = parts(config, nodes=2)
    assert forecast(trunk, head, inputs).shape[2] == 29 and forecast(trunk, other, few).shape[2] == 2
    assert all(29 not in parameter.shape for parameter in trunk.parameters())


@pytest.mark.parametrize("preset", ["paper", "reference", "tuned"])
def test_tasks_with_other_channels_have_their_own_ends(preset: str) -> None:
    config = model_config(preset, **SIZES, dropout=0.0)
    trunk, head, inputs = parts(config, channels=(1, 3, 1), of=3)
    y = forecast(trunk, head, inputs)
    assert y.shape == (3, config.horizon, 5, 3)
    used = {
        name
        for name, parameter in trunk.named_parameters()
        if torch.autograd.grad(y.sum(), parameter, retain_graph=True, allow_unused=True)[0] is not None
    }
    unused = {name for name, _ in trunk.named_parameters()} - used
    per_channel = 2 if config.seasonal else 1
    assert unused and all(name.startswith((f"embedding.observation.{per_channel}.", "fusion.1.")) for name in unused)


# ------------------------------------------------------------------ ablations


@pytest.mark.parametrize("preset", ["paper", "reference", "tuned"])
def test_without_cross_interactions(preset: str) -> None:
    full, head, inputs = parts(model_config(preset, **SIZES, dropout=0.0))
    config = model_config(preset, **SIZES, dropout=0.0, cross_interactions=False)
    without = Trunk(config, SLOTS, (1,))
    names, left = {name for name, _ in full.named_parameters()}, {name for name, _ in without.named_parameters()}
    assert left < names and {name.split(".")[2] for name in names - left} == {"scci", "tcci"}
    without.load_state_dict({name: value for name, value in full.state_dict().items() if name in left})
    assert not torch.allclose(forecast(without, head, inputs), forecast(full, head, inputs), atol=1e-3)


@pytest.mark.parametrize("change", [{"order": "time_first"}, {"cross": "sequential"}, {"cross_width": 7}])
def test_settings_of_cross_interactions_change_nothing_without_them(change: dict) -> None:
    """Not even a width that the heads do not divide."""
    config = model_config("paper", **SIZES, dropout=0.0, cross_interactions=False)
    trunk, head, inputs = parts(config)
    other = Trunk(model_config("paper", **{**SIZES, **change}, dropout=0.0, cross_interactions=False), SLOTS, (1,))
    other.load_state_dict(trunk.state_dict())
    torch.testing.assert_close(forecast(other, head, inputs), forecast(trunk, head, inputs))


@pytest.mark.parametrize("preset", ["paper", "reference", "tuned"])
def test_without_prompts(preset: str) -> None:
    trunk, head, inputs = parts(model_config(preset, **SIZES, dropout=0.0))
    config = model_config(preset, **SIZES, dropout=0.0, prompts=False)
    bare = Head(config, NoPrompt(config.d_p), head.mean, head.std)
    assert not [name for name, _ in bare.named_parameters() if "prompt" in name]
    assert not torch.allclose(forecast(trunk, head, inputs), forecast(trunk, bare, inputs), atol=1e-3)


@pytest.mark.parametrize(
    "change",
    [{"order": "time_first"}, {"cross": "sequential"}, {"positional_encoding": False}],
    ids=lambda change: next(iter(change)),
)
def test_readings_differ(change: dict) -> None:
    """A switch changes the forecast of the very same weights."""
    trunk, head, inputs = parts(model_config("paper", **SIZES, dropout=0.0))
    other = Trunk(model_config("paper", **SIZES, dropout=0.0, **change), SLOTS, (1,))
    other.load_state_dict(trunk.state_dict())
    assert not torch.allclose(forecast(other, head, inputs), forecast(trunk, head, inputs), atol=1e-4)


def test_a_seasonal_network_begins_with_the_seasonal_forecast() -> None:
    config = model_config("paper", **SIZES, seasonal=True, dropout=0.0)
    _, head, inputs = parts(config)
    trunk = Trunk(config, SLOTS, (1,))  # freshly made: its output layer is silent
    level = (inputs.values.sum(1, keepdim=True) + 5) / (inputs.average.sum(1, keepdim=True) + 5)
    expected = inputs.average_ahead * (1 + 0.5 * (level - 1))
    torch.testing.assert_close(forecast(trunk, head, inputs), expected)


def test_what_a_seasonal_trunk_sees_and_what_becomes_of_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    config = model_config("tuned", **SIZES, dropout=0.0)
    trunk, head, inputs = parts(config, channels=(2,), of=2)
    mean, spread = torch.tensor([4.0, 6.0]), torch.tensor([0.5, 3.0])
    head = Head(config, head.prompt, mean, head.std, 1.0, spread)
    seen, answer = [], torch.randn(3, config.horizon, 5, 2)
    monkeypatch.setattr(trunk, "forward", lambda features, *context: seen.append(features) or answer)
    made = forecast(trunk, head, inputs)
    values, average = inputs.values, inputs.average
    city = (values.sum((1, 2)) + 5) / (average.sum((1, 2)) + 5)
    city = city[:, None, None]
    node = (values.sum(1, keepdim=True) + 5) / (city * average.sum(1, keepdim=True) + 5)
    assert node.min() > 0.2 and node.max() < 5
    unit, ahead = (
        spread * torch.sqrt((average / mean + 0.01) / 1.01) for average in (inputs.average, inputs.average_ahead)
    )
    scaled = [(values / city - mean) / head.std, (values / city - average) / unit]
    torch.testing.assert_close(seen[0], torch.cat(scaled, dim=-1))
    expected = inputs.average_ahead * city * (1 + 0.5 * (node - 1)) + city * ahead * answer
    torch.testing.assert_close(made, expected)


@pytest.mark.parametrize(
    ("mean", "power", "change", "units"),
    [
        # of 4 at a mean of 10: at nothing 4 * sqrt(0.01 / 1.01), at the mean 4, at 40.3 4 * sqrt(4.04 / 1.01)
        (10.0, 0.0, {}, [0.3980149, 0.3980149, 4.0, 8.0]),
        (0.0, 0.0, {}, [0.3980149, 0.3980149, 4 * ((10 / 2 + 0.01) / 1.01) ** 0.5, 4 * (20.16 / 1.01) ** 0.5]),
        (-3.0, None, {}, [4.0]),
        (10.0, 0.0, {"spread": "task"}, [2.0]),
        (10.0, 0.0, {"seasonal": False}, [2.0]),
    ],
    ids=["levels", "never above zero while training", "no levels", "of the task", "no season"],
)
def test_what_a_deviation_is_measured_in(mean: float, power: float | None, change: dict, units: list[float]) -> None:
    config = model_config("tuned", **SIZES, **change)
    head = Head(config, NoPrompt(config.d_p), *torch.tensor([[mean], [2.0]]), power, torch.tensor([4.0]))
    expected = torch.tensor([[-1.0], [0.0], [10.0], [40.3]])
    torch.testing.assert_close(head.unit(expected).flatten(), torch.tensor(units))


def test_a_level_stays_within_five_times_either_way() -> None:
    observed, expected = torch.tensor([0.0, 995.0, 15.0, -5.0]), torch.tensor([95.0, 5.0, 5.0, -5.0])
    assert recent_ratio(observed, expected).tolist() == pytest.approx([0.2, 5.0, 2.0, 1.0])  # the last would be 0 / 0


def test_a_task_without_levels_begins_with_its_average() -> None:
    config = model_config("paper", **SIZES, seasonal=True, dropout=0.0)
    _, head, inputs = parts(config)
    bare = Head(config, head.prompt, head.mean, head.std, None)
    assert "level" not in dict(bare.named_parameters())
    trunk = Trunk(config, SLOTS, (1,))
    below_zero = inputs._replace(values=-inputs.values)  # a ratio would turn the sign, or divide by next to nothing
    torch.testing.assert_close(forecast(trunk, bare, below_zero), inputs.average_ahead)


@pytest.mark.parametrize("preset", ["paper", "reference", "tuned"])
def test_a_share_of_no_windows_has_gradients_of_zero(preset: str) -> None:
    """A process gets none of a last batch that is smaller than the number of processes."""
    trunk, head, inputs = parts(model_config(preset, **SIZES))
    none = inputs._replace(**{k: v[:0] for k, v in inputs._asdict().items() if k != "place"})
    trunk.train()
    forecast(trunk, head, none).sum().backward()
    assert all(weight.grad is None or not weight.grad.any() for weight in trunk.parameters())


# ------------------------------------------------------------------ what does not fit


@pytest.mark.parametrize("preset", ["paper", "tuned"])
def test_what_the_trunk_was_not_made_for_is_named(preset: str) -> None:
    trunk, head, inputs = parts(model_config(preset, **SIZES), channels=(1, 3))
    per_channel = 2 if preset == "tuned" else 1
    _, two, of_two = parts(trunk.config, of=2)
    *_, other_nodes = parts(trunk.config, nodes=7)
    short = inputs._replace(**{name: getattr(inputs, name)[:, 1:] for name in ("values", "slot", "dow", "stamp")})
    short = short._replace(average=inputs.average[:, 1:])
    for arguments, message in (
        ((two, of_two), "C = 1 or 3 channels, not 2"),
        ((head, of_two), "the head was made for a task of C = 1 channels, not 2"),
        ((two, inputs), "the head was made for a task of C = 2 channels, not 1"),
        ((head, short), "T = 4 input steps, not 3"),
        ((head, other_nodes), "the prompt is of 5 nodes, the windows are of 7"),
        ((head, inputs, torch.zeros(1, 5, 9)), "prompts of width d_p = 4, not 9"),
    ):
        with pytest.raises(ValueError, match=message):
            forecast(trunk, *arguments)
    features = torch.zeros(3, 4, 5, 5)
    context = (inputs.slot, inputs.dow, inputs.stamp, inputs.place, head.prompt())
    known = f"K = {per_channel} or {3 * per_channel} features"
    with pytest.raises(ValueError, match=rf"{known} of a node and step \({per_channel} per channel\), not 5"):
        trunk(features, *context, 1)


def test_the_block_alone_takes_slices_and_gives_the_representation() -> None:
    config = model_config("paper", **SIZES)
    block = MSTI(config)
    widths = (config.d_obs, config.d_s, config.d_t, config.d_p)
    lengths = ((4, 5), (1, 5), (4, 1), (1, 5))  # steps and nodes: no context varies along both
    slices = Slices(*(torch.randn(2, *length, width) for length, width in zip(lengths, widths, strict=True)))
    assert block(slices).shape == (2, 4, 5, config.d_h)
