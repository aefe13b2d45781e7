"""GMAN: places of a path, attention as a loop, what tells forecast steps apart, its parameters added up."""

import torch

from cmust.baselines import gman
from cmust.baselines.scene import Scene
from tests.baselines.scenes import HORIZON, SLOTS, batch, parameters, scene, small_gman


def test_parameters_added_up_by_hand() -> None:
    def dense(width: int) -> int:
        return width * 64 + 2 * 64

    linear = 64 * 64 + 64

    def attention(width: int) -> int:
        return 3 * dense(width) + dense(64) + linear

    block = 2 * attention(128) + 64 * 64 + linear + dense(64) + linear
    ends = dense(1) + dense(64) + dense(7 + 48) + 3 * linear + dense(64) + 64 + 1
    made = gman.make(Scene(69, 1, 12, 12, 48, torch.eye(69)))
    assert parameters(made) == ends + 2 * block + attention(64)


def test_places_of_a_path_of_three_by_hand() -> None:
    # Without self-loops the eigenvectors are those of the path, times the roots of the degrees 1, 2 and 1.
    path = torch.tensor([[0.0, 1.0, 0.0], [0.2, 0.0, 1.0], [0.0, 1.0, 0.0]])
    smooth, slope = gman.places(path, 2).T
    root = 0.5**0.5
    torch.testing.assert_close(smooth, torch.tensor([root, 1.0, root]) * 1.5**0.5)
    torch.testing.assert_close(slope.abs(), torch.tensor([1.0, 0.0, 1.0]) * 1.5**0.5, atol=1e-6, rtol=0)
    assert slope[0] * slope[2] < 0


def test_attention_as_a_loop_over_heads_and_items() -> None:
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


def test_forecast_steps_differ_by_their_own_clock_alone() -> None:
    network, seen = small_gman(scene()).eval(), batch(scene())
    first = (seen.slot_ahead[:, :1].expand(-1, HORIZON), seen.dow_ahead[:, :1].expand(-1, HORIZON))
    same = seen._replace(slot_ahead=first[0], dow_ahead=first[1])
    steps = network(same)
    torch.testing.assert_close(steps, steps[:, :1].expand(-1, HORIZON, -1, -1))
    other = network(same._replace(slot_ahead=(same.slot_ahead + torch.tensor([0, 1, 0, 0])) % SLOTS))
    assert not torch.allclose(other[:, 0], other[:, 1])
