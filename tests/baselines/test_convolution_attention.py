"""Systems of graph convolution and attention: shapes, gradients, and their parts against slow or hand-worked ones."""

import re
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cmust.baselines import astgcn, gman, gwnet, stgcn, sttn
from cmust.baselines.scene import Glimpse, Scene
from cmust.errors import ConfigError

SLOTS = 6


def scene(nodes: int = 4, channels: int = 1, steps: int = 12, horizon: int = 3) -> Scene:
    torch.manual_seed(0)
    graph = torch.rand(nodes, nodes) * (torch.rand(nodes, nodes) < 0.6)
    return Scene(nodes, channels, steps, horizon, SLOTS, graph.fill_diagonal_(1.0))


def seen_in(of: Scene, batch: int = 2) -> Glimpse:
    clock = 5 + torch.arange(of.input_steps + of.horizon).repeat(batch, 1) + torch.arange(batch)[:, None]
    slot, dow = clock % SLOTS, clock // SLOTS % 7
    values = torch.randn(batch, of.input_steps, of.nodes, of.channels)
    return Glimpse(
        values, slot[:, : of.input_steps], dow[:, : of.input_steps], slot[:, of.input_steps :], dow[:, of.input_steps :]
    )


def small_gwnet(of: Scene) -> nn.Module:
    graphs = gwnet.transitions(of.adjacency)
    return gwnet.GraphWaveNet(graphs, of.channels, of.horizon, SLOTS, 4, 6, 8, 2, 2, rank=2, dropout=0.0)


def small_astgcn(of: Scene) -> nn.Module:
    graphs = astgcn.chebyshev(astgcn.scaled_laplacian(of.adjacency), 3)
    return astgcn.ASTGCN(graphs, of.channels, of.input_steps, of.horizon, 3)


def small_stgcn(of: Scene) -> nn.Module:
    graphs = stgcn.polynomials(of.adjacency, 3)
    return stgcn.STGCN(graphs, of.channels, of.input_steps, of.horizon, ((3, 5), (3, 6)))


def small_gman(of: Scene) -> nn.Module:
    return gman.GMAN(gman.places(of.adjacency, 3), of.channels, SLOTS, heads=2, head_width=4)


def small_sttn(of: Scene) -> nn.Module:
    graphs = stgcn.polynomials(of.adjacency, 3)
    sizes = {"lifted": 3, "width": 5, "inner": 7, "blocks": 2, "end": 6, "dropout": 0.0, "last_dropout": 0.0}
    return sttn.STTN(graphs, of.adjacency, of.channels, of.input_steps, of.horizon, **sizes)  # type: ignore[arg-type]


SMALL: dict[str, Callable[[Scene], nn.Module]] = {
    "astgcn": small_astgcn,
    "gman": small_gman,
    "gwnet": small_gwnet,
    "stgcn": small_stgcn,
    "sttn": small_sttn,
}
READS_SLOT = {"gman", "gwnet"}
READS_DAY = {"gman"}
# Weights that belong to nodes, along every dimension as long as there are nodes; embeddings of places by row.
OF_NODES = {
    "gwnet": "source|target|graphs",
    "astgcn": r"graphs|.*between_nodes\.(shift|mix)|.*between_steps\.(pool|left)",
    "gman": "places",
    "stgcn": r"graphs|.*norm\..*|bias",
    "sttn": r"graphs|.*place|(blocks\.\d\.)?norm\..*|(first|second)_bias",
}
every_system = pytest.mark.parametrize("name", SMALL)


def forecast(network: nn.Module, seen: Glimpse) -> Tensor:
    with torch.no_grad():
        result: Tensor = network.eval()(seen)
    return result


@every_system
@pytest.mark.parametrize("channels", [1, 2])
def test_a_forecast_for_every_step_node_and_channel_that_depends_on_its_window_only(name: str, channels: int) -> None:
    where = scene(channels=channels)
    network, seen = SMALL[name](where), seen_in(where)
    both = forecast(network, seen)
    assert both.shape == (2, 3, 4, channels)
    alone = forecast(network, Glimpse(*(part[1:] for part in seen)))
    torch.testing.assert_close(alone, both[1:])


@every_system
def test_gradients_reach_every_parameter(name: str) -> None:
    where = scene(channels=2)
    network = SMALL[name](where).train()
    (network(seen_in(where)) - torch.randn(2, 3, 4, 2)).square().sum().backward()
    dead = [key for key, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert dead == []


@every_system
def test_the_clock_matters_where_it_is_read(name: str) -> None:
    network, seen = SMALL[name](scene()), seen_in(scene())
    before = forecast(network, seen)
    later = seen._replace(slot=(seen.slot + 1) % SLOTS, slot_ahead=(seen.slot_ahead + 1) % SLOTS)
    other_day = seen._replace(dow=(seen.dow + 1) % 7, dow_ahead=(seen.dow_ahead + 1) % 7)
    assert torch.equal(forecast(network, later), before) == (name not in READS_SLOT)
    assert torch.equal(forecast(network, other_day), before) == (name not in READS_DAY)


@pytest.mark.parametrize("name", OF_NODES)
def test_renaming_nodes_with_all_that_belongs_to_them_renames_the_forecasts(name: str) -> None:
    network, seen = SMALL[name](scene()), seen_in(scene())
    before, order = forecast(network, seen), torch.tensor([2, 0, 3, 1])
    for key, tensor in network.state_dict().items():
        if not re.fullmatch(OF_NODES[name], key):
            continue
        for dim, size in enumerate(tensor.shape):
            if size == 4 and not (dim == 1 and key.endswith("place")):
                tensor.copy_(tensor.index_select(dim, order).clone())
    after = forecast(network, seen._replace(values=seen.values[:, :, order]))
    torch.testing.assert_close(after, before[:, :, order])


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# Graph WaveNet


def test_gwnet_has_the_published_number_of_parameters_less_those_that_nothing_reads() -> None:
    network = gwnet.make(Scene(207, 1, 12, 12, 288, torch.eye(207)))
    residual, last = 8 * (32 * 32 + 32), 7 * 32 * 32 + 32 + 2 * 32
    assert count(network) == 309_400 - residual - last


def test_gwnet_walks_by_hand() -> None:
    along, against = gwnet.transitions(torch.tensor([[1.0, 3.0], [0.0, 1.0]]))
    assert along.tolist() == [[0.25, 0.75], [0.0, 1.0]]
    assert against.tolist() == [[1.0, 0.0], [0.75, 0.25]]
    diffusion = gwnet.Diffusion(1, 1, 2, 0.0)
    with torch.no_grad():
        diffusion.mix.weight.copy_(torch.tensor([1.0, 10.0, 100.0]).view(1, 3, 1, 1))
        diffusion.mix.bias.zero_()
        mixed = diffusion(torch.tensor([4.0, 8.0]).view(1, 1, 2, 1), [along])
    # One step: 1 of 4 stays, 3 go on to the 8; two steps: a quarter of that 1 stays.
    assert mixed.flatten().tolist() == [4 + 10 * 1 + 100 * 0.25, 8 + 10 * 11 + 100 * 11.75]


def test_gwnet_sees_as_far_back_as_its_dilations_add_up_to() -> None:
    where = scene(steps=9)
    network, seen = small_gwnet(where), seen_in(where)
    assert network.reach == 1 + 1 + 2 + 1 + 2
    before = forecast(network, seen)
    for step, matters in ((1, False), (2, True), (8, True)):
        values = seen.values.clone()
        values[:, step] += 1
        assert (not torch.equal(forecast(network, seen._replace(values=values)), before)) == matters


def test_gwnet_gate_by_hand() -> None:
    gated = gwnet.Gated(1, dilation=2)
    with torch.no_grad():
        for conv, weight in ((gated.signal, [0.5, 2.0]), (gated.gate, [1.0, -1.0])):
            conv.weight.copy_(torch.tensor(weight).view(1, 1, 1, 2))
            conv.bias.zero_()
        found = gated(torch.tensor([1.0, 9.0, 0.2, -0.3]).view(1, 1, 1, 4)).flatten()
    signal, gate = torch.tensor([0.5 + 0.4, 4.5 - 0.6]), torch.tensor([1 - 0.2, 9 + 0.3])
    torch.testing.assert_close(found, torch.tanh(signal) / (1 + torch.exp(-gate)))


def test_gwnet_learned_graph_rows_sum_to_one() -> None:
    graph = small_gwnet(scene()).learned()
    torch.testing.assert_close(graph.sum(1), torch.ones(4))
    assert (graph > 0).all()


# ASTGCN


def test_astgcn_has_the_number_of_parameters_that_others_report_for_pems04() -> None:
    network = astgcn.make(Scene(307, 1, 12, 12, 288, torch.eye(307)))
    assert count(network) == 450_031  # Bai et al., "Adaptive Graph Convolutional Recurrent Network", NeurIPS 2020


def test_astgcn_laplacian_and_polynomials_of_two_nodes_by_hand() -> None:
    # L = [[1, -1], [-1, 1]] has the eigenvalues 0 and 2, so it's L - 1; self-loops don't count.
    scaled = astgcn.scaled_laplacian(torch.ones(2, 2))
    assert scaled.tolist() == [[0.0, -1.0], [-1.0, 0.0]]
    assert astgcn.chebyshev(scaled, 4)[2:].tolist() == [[[1.0, 0.0], [0.0, 1.0]], [[0.0, -1.0], [-1.0, 0.0]]]
    assert astgcn.scaled_laplacian(torch.eye(2)).tolist() == [[-1.0, 0.0], [0.0, -1.0]]


def test_astgcn_polynomials_are_cosines_of_multiple_angles() -> None:
    angles = torch.tensor([0.3, 1.1, 2.5]).double()
    polynomials = astgcn.chebyshev(angles.cos().diag(), 5)
    for k, polynomial in enumerate(polynomials):
        torch.testing.assert_close(polynomial, (k * angles).cos().diag())


def test_astgcn_attention_as_the_sums_of_its_equation() -> None:
    torch.manual_seed(1)
    items, features, over = 3, 2, 4
    attention, x = astgcn.Attention(items, features, over), torch.randn(1, items, features, over)
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.normal_()
        found = attention(x)[0]
    score = torch.zeros(items, items)
    for i in range(items):
        for j in range(items):
            pooled = [sum(x[0, i, w, o] * attention.pool[o] for o in range(over)) for w in range(features)]
            left = [sum(pooled[w] * attention.left[w, o] for w in range(features)) for o in range(over)]
            right = [sum(attention.right[w] * x[0, j, w, o] for w in range(features)) for o in range(over)]
            inner = sum(a * b for a, b in zip(left, right, strict=True)) + attention.shift[i, j]
            score[i, j] = float(torch.sigmoid(torch.as_tensor(inner)).detach())
    expected = torch.exp(attention.mix.detach() @ score)
    torch.testing.assert_close(found, expected / expected.sum(0))


# STGCN


def test_stgcn_parameters_added_up_by_hand() -> None:
    nodes = 69
    first = (3 * 64 + 64) + (96 * 32 + 32) + (3 * 32 * 64 + 64) + 2 * nodes * 64
    second = (3 * 64 * 64 + 64) + 64 * 32 + (96 * 32 + 32) + (3 * 32 * 128 + 128) + 2 * nodes * 128
    end = (4 * 128 * 256 + 256) + 2 * nodes * 128 + (128 * 128 + 128) + 128 * 12 + nodes * 12
    assert count(stgcn.make(Scene(nodes, 1, 12, 12, 48, torch.eye(nodes)))) == first + second + end


def test_stgcn_polynomials_of_a_path_of_three_by_hand() -> None:
    # Normalised, the Laplacian is 1 - A with A = 1 / sqrt(2) along the path; its eigenvalues are 0, 1 and 2.
    path = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
    one, first, second = stgcn.polynomials(path, 3)
    a = 0.5**0.5
    torch.testing.assert_close(one, torch.eye(3))
    torch.testing.assert_close(first, torch.tensor([[0, -a, 0], [-a, 0, -a], [0, -a, 0]]))
    torch.testing.assert_close(second, torch.tensor([[0.0, 0, 1], [0, 1, 0], [1, 0, 0]]))


def test_stgcn_gate_by_hand_and_nothing_of_later_steps() -> None:
    layer = stgcn.Temporal(2, 1, 1, gated=True)
    with torch.no_grad():
        layer.conv.weight.copy_(torch.tensor([[10.0, 1.0], [0.0, 1.0]]).view(2, 1, 2, 1))
        layer.conv.bias.copy_(torch.tensor([5.0, 0.0]))
        found = layer(torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 3, 1)).flatten()
    shortcut, gate = torch.tensor([2.0, 3.0]), torch.sigmoid(torch.tensor([2.0, 3.0]))
    torch.testing.assert_close(found, (torch.tensor([12.0, 23.0]) + 5 + shortcut) * gate)


def test_stgcn_says_that_a_window_is_too_short() -> None:
    with pytest.raises(ConfigError, match="8 input steps; its convolutions use up 8"):
        small_stgcn(scene(steps=8))


# GMAN


def test_gman_parameters_added_up_by_hand() -> None:
    def dense(width: int) -> int:
        return width * 64 + 2 * 64

    linear = 64 * 64 + 64

    def attention(width: int) -> int:
        return 3 * dense(width) + dense(64) + linear

    block = 2 * attention(128) + 64 * 64 + linear + dense(64) + linear
    ends = dense(1) + dense(64) + dense(7 + 48) + 3 * linear + dense(64) + 64 + 1
    made = gman.make(Scene(69, 1, 12, 12, 48, torch.eye(69)))
    assert count(made) == ends + 2 * block + attention(64)


def test_gman_places_of_a_path_of_three_by_hand() -> None:
    # Without self-loops the eigenvectors are those of the path, times the roots of the degrees 1, 2 and 1.
    path = torch.tensor([[0.0, 1.0, 0.0], [0.2, 0.0, 1.0], [0.0, 1.0, 0.0]])
    smooth, slope = gman.places(path, 2).T
    root = 0.5**0.5
    torch.testing.assert_close(smooth, torch.tensor([root, 1.0, root]) * 1.5**0.5)
    torch.testing.assert_close(slope.abs(), torch.tensor([1.0, 0.0, 1.0]) * 1.5**0.5, atol=1e-6, rtol=0)
    assert slope[0] * slope[2] < 0


def test_gman_attention_as_a_loop_over_heads_and_items() -> None:
    torch.manual_seed(2)
    attention = gman.Attention(5, 6, heads=2).eval()
    query, key, value = torch.randn(3, 5), torch.randn(4, 5), torch.randn(4, 5)
    with torch.no_grad():
        found = attention(query, key, value)
        q, k, v = attention.query(query), attention.key(key), attention.value(value)
        mixed = torch.zeros(3, 6)
        for head in (slice(0, 3), slice(3, 6)):
            for i in range(3):
                weight = torch.stack([torch.exp(q[i, head] @ k[j, head] / 3**0.5) for j in range(4)])
                mixed[i, head] = sum(weight[j] / weight.sum() * v[j, head] for j in range(4))
        torch.testing.assert_close(found, attention.out(mixed))


def test_gman_forecast_steps_differ_by_their_own_clock_alone() -> None:
    network, seen = small_gman(scene()), seen_in(scene())
    same = seen._replace(slot_ahead=seen.slot_ahead[:, :1].expand(-1, 3), dow_ahead=seen.dow_ahead[:, :1].expand(-1, 3))
    steps = forecast(network, same)
    torch.testing.assert_close(steps, steps[:, :1].expand(-1, 3, -1, -1))
    other = forecast(network, same._replace(slot_ahead=(same.slot_ahead + torch.tensor([0, 1, 0])) % SLOTS))
    assert not torch.allclose(other[:, 0], other[:, 1])


# STTN


def test_sttn_parameters_added_up_by_hand() -> None:
    nodes, steps = 69, 12
    entry, later = 32 + nodes + steps, 64 + steps

    def transformer(width: int) -> int:
        return width * 64 + 4 * (64 * 64 + 64) + (64 * 128 + 128) + (128 * 64 + 64) + 4 * 64

    block = nodes**2 + 2 * steps**2 + entry * 64 + (3 * entry * 64 + 64) + transformer(entry)
    block += later * 64 + transformer(later) + 2 * nodes * 64
    end = (64 * 64 * steps + 64) + 2 * nodes * 64 + (64 + nodes) * 512 + (512 + nodes) * 12
    assert count(sttn.make(Scene(nodes, 1, steps, 12, 48, torch.eye(nodes)))) == 2 * 32 + block + end


def test_sttn_embeddings_start_as_edges_and_positions_and_go_behind_each_item() -> None:
    where = scene()
    block = small_sttn(where).blocks[0]  # type: ignore[union-attr, index]
    assert torch.equal(block.place, where.adjacency)
    x = torch.zeros(2, 12, 4, 3)
    assert torch.equal(sttn.with_embedding(x, block.place)[1, 5, 2], torch.cat((torch.zeros(3), where.adjacency[2])))
    assert sttn.with_embedding(x.transpose(1, 2), block.step)[0, 1, 7].tolist() == [0.0] * 10 + [1.0] + [0.0] * 4


def test_sttn_fits_by_a_map_or_by_empty_channels() -> None:
    x = torch.tensor([[1.0, 2.0]])
    assert sttn.Fit(2, 4)(x).tolist() == [[1.0, 2.0, 0.0, 0.0]]
    assert torch.equal(sttn.Fit(2, 2)(x), x)
    narrow = sttn.Fit(2, 1)
    narrow.narrow.weight.data = torch.tensor([[3.0, 5.0]])  # type: ignore[union-attr]
    assert narrow(x).tolist() == [[13.0]]


def test_sttn_transformer_attends_within_a_set_as_the_formula_says() -> None:
    torch.manual_seed(3)
    module, x = sttn.Transformer(3, 3, 5, 0.0).eval(), torch.randn(1, 2, 4, 3)

    def normed(y: Tensor) -> Tensor:
        return (y - y.mean(-1, keepdim=True)) / y.var(-1, correction=0, keepdim=True).sqrt()

    with torch.no_grad():
        layer, items = module.layer, x[0, 1]
        q, k, v = (items @ layer.self_attn.in_proj_weight.T).chunk(3, dim=-1)
        weight = torch.exp(q @ k.T / 3**0.5)
        attended = normed(items + (weight / weight.sum(1, keepdim=True)) @ v @ layer.self_attn.out_proj.weight.T)
        expected = normed(attended + layer.linear2(torch.relu(layer.linear1(attended))))
        torch.testing.assert_close(module(x)[0, 1], expected)
