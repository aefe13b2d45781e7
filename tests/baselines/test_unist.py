"""UniST: the grid, which steps it reads, what is hidden and what counts, what is missing."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from cmust.baselines import unist
from cmust.errors import ConfigError
from tests.baselines.scenes import batch, changed, lesson, scene, small_unist


def test_channels_do_not_see_each_other() -> None:
    system, seen = small_unist(scene(channels=2)).eval(), batch(scene(channels=2))
    torch.testing.assert_close(system(seen)[..., -1:], system(seen._replace(values=seen.values[..., -1:])))


def test_reads_the_last_steps_and_the_same_hours_of_the_days_before() -> None:
    system, seen = small_unist(scene()).eval(), batch(scene())
    before, plain = system(seen), system.forecast(seen, prompted=False)
    # Three days of 8 slots: the first four of each are the hours to be forecast, the last four are the input.
    for step in range(24):
        told, told_plain = step % 8 < 4 or step >= 20, step >= 20
        assert (not torch.equal(system(changed(seen, step)), before)) == told
        assert (not torch.equal(system.forecast(changed(seen, step), prompted=False), plain)) == told_plain


def test_hides_half_as_each_strategy_says() -> None:
    for strategy in unist.STRATEGIES:
        keep = unist.kept(strategy, 3, 4, 6)
        seen = torch.zeros(3, 24).scatter(1, keep, 1.0).view(3, 4, 6)
        assert (seen.sum((1, 2)) == 12).all()
        if strategy == "temporal":
            assert (seen[:, :2] == 1).all()
        elif strategy in ("tube", "block"):
            assert (seen == seen[:1, :1]).all()
        if strategy == "block":
            assert seen[0, 0].tolist() in ([1.0] * 3 + [0.0] * 3, [0.0] * 3 + [1.0] * 3)


def test_lays_scattered_nodes_on_a_grid() -> None:
    place = torch.tensor([[0.0, 0.0], [1.0, 0.1], [0.1, 1.0], [1.1, 1.1]])  # south-west, south-east, north-west, ...
    assert unist.lay_out(place)[0] == (2, 2) and unist.lay_out(place)[1].tolist() == [2, 3, 0, 1]
    cells, spots = unist.lay_out(torch.rand(69, 2))
    assert cells == (8, 10) and len(set(spots.tolist())) == 69 and max(spots) < 80
    system = small_unist(scene())
    values = torch.arange(5.0)[None, None, :, None]
    assert system.lay(values).flatten()[system.spots].tolist() == list(range(5))
    grid = torch.randn(2, 8, *system.cells)
    assert torch.equal(system.cut_back(system.cut(grid)), grid)
    assert torch.equal(system.cut(grid)[0, 0].view(2, 2, 2), grid[0, :2, :2, :2])


def test_counts_hidden_patches_of_nodes_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    system, given = small_unist(scene()), lesson(scene())  # 5 nodes on more cells: some are empty
    empty = torch.ones(system.cells[0] * system.cells[1])
    empty[system.spots] = 0.0
    wrong = {"empty": empty, "nodes": 1 - empty}

    def loss(cells_wrong: Tensor, at: str) -> float:
        def rebuild(cells: Tensor, clock: Tensor, keep: Tensor) -> Tensor:
            tokens = system.where.shape[0] * system.where.shape[1]
            kept = torch.zeros(len(cells), tokens, 1).scatter(1, keep[..., None], 1)
            there = kept if at == "kept" else 1 - kept
            return system.cut(cells) + 3.0 * system.cut(cells_wrong.view(1, 1, *system.cells).expand_as(cells)) * there

        monkeypatch.setattr(system, "rebuild", rebuild)
        return float(system.made_up(given, lambda _: torch.zeros(())))

    assert empty.sum() > 0
    assert loss(wrong["empty"], "hidden") == loss(wrong["nodes"], "kept") == 0
    assert loss(wrong["nodes"], "hidden") == pytest.approx(9.0)


def test_says_what_it_lacks() -> None:
    with pytest.raises(ConfigError, match="no places"):
        unist.make(replace(scene(), place=None))
    with pytest.raises(ConfigError, match="less than a day"):
        unist.make(scene(steps=7))
    with pytest.raises(ConfigError, match="not 3"):
        unist.make(scene(horizon=3))
