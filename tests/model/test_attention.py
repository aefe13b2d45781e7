"""Attention and one interaction against PyTorch's own and against loops over heads; recording; dropout."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from cmust.model import MSTI, Head, Inputs, Slices, Trunk, forecast, model_config, record_attention
from cmust.model.attention import Attention, Interaction
from cmust.model.dropout import Dropout
from cmust.prompts import NoPrompt

B, T, N = 2, 4, 5


def slow_attention(layer: Attention, query: Tensor, target: Tensor, axis: str) -> Tensor:
    """One head, one line at a time, with nothing folded."""
    q, k, v = layer.query(query), layer.key(target), layer.value(target)
    if axis == "time":
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))  # (B, N, T, D)
    width = q.shape[-1] // layer.heads
    heads = []
    for h in range(layer.heads):
        part = slice(h * width, (h + 1) * width)
        weights = torch.softmax(q[..., part] @ k[..., part].transpose(-1, -2) / width**0.5, dim=-1)
        heads.append(weights @ v[..., part])
    mixed = torch.cat(heads, dim=-1)
    return layer.output(mixed.transpose(1, 2) if axis == "time" else mixed)


@pytest.mark.parametrize("axis", ["space", "time"])
@pytest.mark.parametrize("heads", [1, 2, 4])
def test_cross_attention(axis, heads: int) -> None:
    torch.manual_seed(0)
    layer = Attention(3, 6, 8, heads)
    query, target = torch.randn(B, T, N, 3, requires_grad=True), torch.randn(B, T, N, 6, requires_grad=True)
    ours, slow = layer(query, target, axis), slow_attention(layer, query, target, axis)
    torch.testing.assert_close(ours, slow, atol=1e-6, rtol=1e-5)
    direction = torch.randn_like(ours)
    wanted = [query, target, *layer.parameters()]
    pairs = zip(
        torch.autograd.grad((ours * direction).sum(), wanted),
        torch.autograd.grad((slow * direction).sum(), wanted),
        strict=True,
    )
    for one, two in pairs:
        torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("axis", ["space", "time"])
def test_self_attention_takes_its_short_cut_to_the_same_place(axis) -> None:
    torch.manual_seed(0)
    layer = Attention(6, 6, 8, 2)
    x = torch.randn(B, T, N, 6)
    torch.testing.assert_close(layer(x, x, axis), slow_attention(layer, x, x, axis), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(layer(x, x, axis), layer(x, x.clone(), axis), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("axis", "query_shape", "target_shape"),
    [
        ("space", (1, 1, N), (B, T, N)),
        ("space", (B, T, N), (1, 1, N)),
        ("time", (B, T, 1), (B, T, N)),
        ("time", (B, T, N), (B, T, 1)),
        ("time", (B, T, 1), (1, T, N)),
    ],
)
def test_axes_of_length_one_equal_the_expanded_computation(axis, query_shape, target_shape) -> None:
    torch.manual_seed(0)
    interaction = Interaction(3, 6, 8, 2, 10, dropout=0.0)
    query, target = torch.randn(*query_shape, 3), torch.randn(*target_shape, 6)
    full = interaction(query.expand(B, T, N, 3), target.expand(B, T, N, 6), axis)
    torch.testing.assert_close(interaction(query, target, axis).expand_as(full), full, atol=1e-6, rtol=1e-5)


def test_interaction_is_post_norm() -> None:
    torch.manual_seed(0)
    layer = Interaction(3, 6, 8, 2, 10, dropout=0.0)
    query, target = torch.randn(B, T, N, 3), torch.randn(B, T, N, 6)
    u = layer.norm_attention(slow_attention(layer.attention, query, target, "space") + target)
    out = layer.norm_ffn(layer.contract(F.relu(layer.expand(u))) + u)
    torch.testing.assert_close(layer(query, target, "space"), out, atol=1e-6, rtol=1e-5)


def network(preset: str, **more) -> tuple[Trunk, Head, Inputs]:
    torch.manual_seed(0)
    sizes = {
        "input_steps": T,
        "horizon": 3,
        "d_obs": 4,
        "d_s": 4,
        "d_t": 4,
        "d_p": 4,
        "cross_width": 4,
        "self_width": 8,
        "ffn_width": 6,
    }
    config = model_config(preset, heads=2, dropout=0.0, **sizes, **more)
    trunk, head = Trunk(config, 12, (1,)), Head(config, NoPrompt(4), torch.tensor([3.0]), torch.tensor([2.0]))
    for module in trunk.modules():
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.5)  # the seasonal presets begin with a silent output
    values = torch.rand(B, T, N, 1) * 9
    slot, dow = torch.randint(12, (B, T)), torch.randint(7, (B, T))
    return (
        trunk,
        head,
        Inputs(values, slot, dow, torch.rand(B, T, 6), torch.randn(N, 2), values * 0.9, torch.rand(B, 3, N, 1)),
    )


@pytest.mark.parametrize("preset", ["paper", "reference", "tuned"])
@pytest.mark.parametrize("blocks", [1, 2])
def test_recorded_weights(preset: str, blocks: int) -> None:
    trunk, head, inputs = network(preset, blocks=blocks)
    before = forecast(trunk, head, inputs)
    with record_attention(trunk) as maps:
        during = forecast(trunk, head, inputs)
        forecast(trunk, head, inputs)
    assert torch.equal(before, during)
    repeats = trunk.config.self_repeats
    names = [
        f"blocks.{b}.{cross}.{to}"
        for b in range(blocks)
        for cross in ("scci", "tcci")
        for to in ("to_observation", "to_context")
    ]
    names += [f"blocks.{b}.{own}.{r}" for b in range(blocks) for own in ("tsi", "ssi") for r in range(repeats)]
    assert set(maps) == set(names)
    for name, tensors in maps.items():
        length = N if "scci" in name or "ssi" in name else T
        for weights in tensors:
            assert weights.ndim == 5 and weights.shape[-3:] == (2, length, length)
            assert not weights.requires_grad
            torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:-1]))
        assert len(tensors) == 2
    counts = {name: len(tensors) for name, tensors in maps.items()}
    assert torch.equal(forecast(trunk, head, inputs), before)
    assert {name: len(tensors) for name, tensors in maps.items()} == counts
    assert all(module.listener is None for module in trunk.modules() if isinstance(module, Attention))


def test_no_listener_is_left_behind_by_an_error() -> None:
    trunk, head, inputs = network("paper")
    with pytest.raises(IndexError), record_attention(trunk):
        forecast(trunk, head, inputs._replace(slot=inputs.slot + 1000))
    assert all(module.listener is None for module in trunk.modules() if isinstance(module, Attention))


def test_recorded_weights_are_those_of_the_formula() -> None:
    trunk, head, inputs = network("paper")
    layer = trunk.blocks[0].ssi[0].attention
    seen = {}
    handle = layer.register_forward_pre_hook(lambda module, args: seen.update(x=args[0]))
    with record_attention(trunk) as maps:
        forecast(trunk, head, inputs)
    handle.remove()
    q, k = layer.query(seen["x"]), layer.key(seen["x"])
    for h in range(2):
        part = slice(4 * h, 4 * h + 4)
        expected = torch.softmax(q[..., part] @ k[..., part].transpose(-1, -2) / 2, -1)  # sqrt(4)
        torch.testing.assert_close(maps["blocks.0.ssi.0"][0][:, :, h], expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("p", [0.1, 0.25, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(1000, 200), (333, 601)])
def test_dropout_keeps_its_share_and_scales_the_rest(p: float, shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer = Dropout(p).train()
    y = layer(torch.ones(shape))
    kept = y != 0
    assert torch.allclose(y[kept], torch.tensor(1 / (1 - p)), rtol=1e-4)
    assert kept.double().mean().item() == pytest.approx(1 - p, abs=5 * (p * (1 - p) / kept.numel()) ** 0.5)
    # Neighbours come out of one draw: they have to be independent all the same.
    pairs = (kept.flatten()[:-1] & kept.flatten()[1:]).double().mean().item()
    assert pairs == pytest.approx((1 - p) ** 2, abs=6 * (p * (1 - p) / kept.numel()) ** 0.5)


def test_dropout_repeats_with_its_seed_and_is_silent_in_evaluation() -> None:
    x = torch.randn(50, 7)
    layer = Dropout(0.3).train()
    torch.manual_seed(5)
    first = layer(x)
    second = layer(x)
    torch.manual_seed(5)
    assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)
    assert layer.eval()(x) is x
    assert Dropout(0.0).train()(x) is x


def test_dropout_passes_the_gradient_of_what_it_kept() -> None:
    x = torch.randn(40, 5, requires_grad=True)
    torch.manual_seed(1)
    y = Dropout(0.4).train()(x)
    y.sum().backward()
    torch.testing.assert_close(x.grad, torch.where(y != 0, 1 / 0.6, 0.0), rtol=1e-4, atol=0)


def test_dropout_after_relu_is_that_of_relu() -> None:
    x, layer = torch.randn(50, 40, requires_grad=True), Dropout(0.3).train()
    direction = torch.randn(50, 40)
    results = []
    for rectified in (layer.after_relu, lambda x: layer(torch.relu(x))):
        torch.manual_seed(1)
        y = rectified(x)
        results.append((y, *torch.autograd.grad((y * direction).sum(), x)))
    for one, two in zip(*results, strict=True):
        torch.testing.assert_close(one, two)
    assert torch.equal(layer.eval().after_relu(x), torch.relu(x))


def test_dropout_of_zero_elements_is_nothing() -> None:
    assert Dropout(0.5).train()(torch.ones(0, 3)).shape == (0, 3)


@pytest.mark.parametrize(
    ("query_shape", "target_shape"), [((B, T, N), (B, T, N)), ((1, 1, N), (B, T, N)), ((B, T, N), (1, T, N))]
)
def test_without_gradients_the_same_comes_out(query_shape, target_shape) -> None:
    torch.manual_seed(0)
    layer = Attention(3, 6, 8, 2)
    query, target = torch.randn(*query_shape, 3), torch.randn(*target_shape, 6)
    with_gradients = layer(query, target, "space").detach()
    with torch.no_grad():
        torch.testing.assert_close(layer(query, target, "space"), with_gradients, atol=1e-6, rtol=1e-6)
    x = torch.randn(B, T, N, 6)
    layer = Attention(6, 6, 8, 2)
    with_gradients = layer(x, x, "space").detach()
    with torch.no_grad():
        torch.testing.assert_close(layer(x, x, "space"), with_gradients, atol=1e-6, rtol=1e-6)


def test_many_nodes_learn_the_same_without_all_weights_in_memory() -> None:
    torch.manual_seed(0)
    layer, nodes = Attention(4, 4, 4, 2), 700
    x, direction = torch.randn(1, 1, nodes, 4), torch.randn(1, 1, nodes, 4)
    with torch.profiler.profile(profile_memory=True) as seen:
        ours = torch.autograd.grad((layer(x, x, "space") * direction).sum(), list(layer.parameters()))
    assert max(event.self_cpu_memory_usage for event in seen.key_averages()) < nodes * nodes * 4
    slow = torch.autograd.grad((slow_attention(layer, x, x, "space") * direction).sum(), list(layer.parameters()))
    for one, two in zip(ours, slow, strict=True):
        torch.testing.assert_close(one, two, atol=1e-4, rtol=1e-4)


def test_weights_in_bf16() -> None:
    """Someone's own loop may hold the network itself in bf16."""
    block = MSTI(model_config("paper", **{"dropout": 0.0})).bfloat16()
    config = model_config("paper")
    widths = {"o": config.d_obs, "s": config.d_s, "t": config.d_t, "p": config.d_p}
    shapes = {"o": (2, 12, 5), "s": (1, 1, 5), "t": (2, 12, 1), "p": (1, 1, 5)}
    h = block(Slices(**{name: torch.randn(*shapes[name], widths[name]).bfloat16() for name in widths}))
    assert h.dtype == torch.bfloat16
    h.sum().backward()
