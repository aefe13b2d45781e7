"""Systems that are trained in stages or on more than forecasts."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cmust.baselines import promptst, step, unist, unitime
from cmust.baselines.gwnet import GraphWaveNet
from cmust.baselines.language import random_language, read_language
from cmust.baselines.promptst import PromptST, sinusoid
from cmust.baselines.scene import Glimpse, Scene
from cmust.baselines.stages import Batch, Stage
from cmust.errors import ConfigError


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
        return ((forecast - batch.ahead) ** 2).mean()

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


def scene(nodes: int, channels: int, steps: int, horizon: int, training: int = 60) -> Scene:
    place, series = torch.rand(nodes, 2), torch.randn(training, nodes, channels)
    return Scene(nodes, channels, steps, horizon, 48, torch.eye(nodes), place, series)


def weights(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_promptst_in_its_published_size() -> None:
    layer = 4 * (32 * 32 + 32) + 2 * 32 * 128 + 128 + 32 + 4 * 32
    assert weights(promptst.make(scene(69, 1, 12, 12))) == 64 + 4 * layer + 2 * (32 * 12 + 12) + 2 * 2 * 69 * 32


def small_step(channels: int = 1) -> step.STEP:
    """For 24 steps, 3 nodes, 2 steps ahead."""
    former = step.TSFormer(channels, patch=6, patches=4, width=8, depth=1, masked=0.75)
    learner = step.GraphLearner(torch.randn(30, 3, channels), width=6, kernel=3)
    back = GraphWaveNet([torch.eye(3)] * 2, channels, 2, 48, width=4, skip=6, end=8)
    return step.STEP(former, learner, back, width=8, skip=6, neighbours=1)


@pytest.mark.parametrize("channels", [1, 2])
def test_step_trains_tsformer_and_then_the_rest(channels: int) -> None:
    torch.manual_seed(0)
    system = small_step(channels)
    batch = Batch(look(2, 24, 3, channels, 2), torch.randn(2, 2, 3, channels), 0)
    assert system(batch.seen).shape == (2, 2, 3, channels)
    first, second = system.stages()
    for stage in (first, second):
        system.zero_grad()
        teach(stage, batch)
        assert not unreached(stage.parameters)
    assert all(p.grad is None for p in first.parameters), "TSFormer stands still in the second stage"
    assert sum(map(len, (first.parameters, second.parameters))) == len(list(system.parameters()))


def test_tsformer_cannot_see_what_it_has_to_make_up() -> None:
    torch.manual_seed(0)
    former = small_step().former.eval()
    order = torch.tensor([2, 0, 3, 1])  # patch 1 alone is seen
    values = torch.randn(1, 24, 3, 1)
    made = former.reconstruct(former.cut(values), order)
    assert made.shape == (1, 3, 3, 6)
    hidden, seen = values.clone(), values.clone()
    hidden[:, 12:18] += 1.0
    seen[:, 6:12] += 1.0
    assert torch.equal(former.reconstruct(former.cut(hidden), order), made)
    assert not torch.allclose(former.reconstruct(former.cut(seen), order), made)
    assert torch.equal(former.cut(values)[0, 1, 2], values[0, 12:18, 1, 0])


def test_step_draws_edges_as_probable_as_learnt_and_the_nearest_by_a_loop() -> None:
    torch.manual_seed(0)
    system = small_step()
    states = torch.randn(2, 3, 4, 8)
    near = system.nearest(states)
    for b in range(2):
        alike = [(float(nn.functional.cosine_similarity(states[b, i].flatten(), states[b, j].flatten(), 0)), i, j)
                 for i in range(3) for j in range(3)]  # fmt: skip
        # One neighbour for each of three nodes: the three largest are the nodes themselves, which are no edges.
        assert {(i, j) for _, i, j in sorted(alike)[-3:]} == {(i, i) for i in range(3)} and near[b].sum() == 0
        system.neighbours = 2
        top = {(i, j) for _, i, j in sorted(alike)[-6:] if i != j}
        wanted = torch.tensor([[float((i, j) in top) for j in range(3)] for i in range(3)])
        assert torch.equal(system.nearest(states)[b], wanted)
        system.neighbours = 1
    # The graph's part of the loss halves after six epochs.
    batch = Batch(look(2, 24, 3, 1, 2), torch.zeros(2, 2, 3, 1), 0)
    terms = [float(system.guided(batch._replace(epoch=epoch), lambda _: torch.zeros(()))) for epoch in (0, 5, 6)]
    assert (terms[0] > 0 and terms[1] == pytest.approx(terms[0], rel=1e-6)) or terms[2] < terms[0]


def test_step_says_what_it_lacks() -> None:
    bare = Scene(3, 1, 24, 2, 48, torch.eye(3))
    with pytest.raises(ConfigError, match="training part"):
        step.make(bare)
    with pytest.raises(ConfigError, match="patches of 12"):
        step.make(scene(3, 1, 25, 2))
    with pytest.raises(ConfigError, match="it takes 19"):
        step.make(scene(3, 1, 24, 2, training=18))


def small_unist(nodes: int = 5, days: int = 2) -> unist.UniST:
    """For 96 steps at 48 a day, of which 4 are the input, 4 ahead."""
    cells, spots = unist.lay_out(torch.rand(nodes, 2))
    return unist.UniST(cells, spots, 4, 4, 48, days, width=8, depth=(1, 1), heads=(2, 2), memory=3)


@pytest.mark.parametrize("channels", [1, 2])
def test_unist_trains_on_patches_and_then_on_forecasts(channels: int) -> None:
    torch.manual_seed(0)
    system = small_unist()
    batch = Batch(look(2, 96, 5, channels, 4), torch.randn(2, 4, 5, channels), 0)
    assert system(batch.seen).shape == (2, 4, 5, channels)
    for stage in system.stages():
        system.zero_grad()
        teach(stage, batch)
        assert not unreached(stage.parameters), [
            list(dict(system.named_parameters()))[i + 34] for i in unreached(stage.parameters)
        ]
    # The channels do not see each other.
    system.eval()
    alone = batch.seen._replace(values=batch.seen.values[..., -1:])
    assert torch.allclose(system(batch.seen)[..., -1:], system(alone), atol=1e-6)


def test_unist_reads_the_last_steps_and_the_same_hours_of_the_days_before() -> None:
    torch.manual_seed(0)
    system = small_unist().eval()
    seen = look(1, 96, 5, 1, 4)
    before, plain = system(seen), system.forecast(seen, prompted=False)
    for step_, told, told_plain in ((0, True, False), (3, True, False), (4, False, False), (49, True, False),
                                    (91, False, False), (92, True, True)):  # fmt: skip
        values = seen.values.clone()
        values[:, step_] += 1.0
        changed = seen._replace(values=values)
        assert (not torch.equal(system(changed), before)) == told
        assert (not torch.equal(system.forecast(changed, prompted=False), plain)) == told_plain
    later = seen._replace(dow_ahead=(seen.dow_ahead + 1) % 7)
    assert not torch.equal(system(later), before)


def test_unist_hides_half_as_each_strategy_says() -> None:
    torch.manual_seed(0)
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


def test_unist_lays_scattered_nodes_on_a_grid() -> None:
    place = torch.tensor([[0.0, 0.0], [1.0, 0.1], [0.1, 1.0], [1.1, 1.1]])  # south-west, south-east, north-west, ...
    assert unist.lay_out(place)[0] == (2, 2) and unist.lay_out(place)[1].tolist() == [2, 3, 0, 1]
    cells, spots = unist.lay_out(torch.rand(69, 2))
    assert cells == (8, 10) and len(set(spots.tolist())) == 69 and max(spots) < 80
    system = small_unist()
    values = torch.arange(5.0)[None, None, :, None]
    assert system.lay(values).flatten()[system.spots].tolist() == list(range(5))
    grid = torch.randn(2, 8, *system.cells)
    assert torch.equal(system.cut_back(system.cut(grid)), grid)
    assert torch.equal(system.cut(grid)[0, 0].view(2, 2, 2), grid[0, :2, :2, :2])


def test_unist_counts_hidden_patches_of_nodes_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    system = small_unist()  # 5 nodes on 4 by 2 cells or so: some are empty
    batch = Batch(look(2, 96, 5, 1, 4), torch.randn(2, 4, 5, 1), 0)
    empty = torch.ones(system.cells[0] * system.cells[1])
    empty[system.spots] = 0.0
    wrong = {"empty": empty, "nodes": 1 - empty}

    def loss(cells_wrong: Tensor, at: str) -> float:
        def rebuild(cells: Tensor, clock: Tensor, keep: Tensor) -> Tensor:
            kept = torch.zeros(len(cells), system.where.shape[0] * system.where.shape[1], 1).scatter(
                1, keep[..., None], 1
            )
            there = kept if at == "kept" else 1 - kept
            return system.cut(cells) + 3.0 * system.cut(cells_wrong.view(1, 1, *system.cells).expand_as(cells)) * there

        monkeypatch.setattr(system, "rebuild", rebuild)
        return float(system.made_up(batch, lambda _: torch.zeros(())))

    assert empty.sum() > 0
    assert loss(wrong["empty"], "hidden") == loss(wrong["nodes"], "kept") == 0
    assert loss(wrong["nodes"], "hidden") == pytest.approx(9.0)


def test_unist_says_what_it_lacks() -> None:
    with pytest.raises(ConfigError, match="no places"):
        unist.make(Scene(3, 1, 96, 2, 48, torch.eye(3)))
    with pytest.raises(ConfigError, match="less than a day"):
        unist.make(scene(3, 1, 12, 2))
    with pytest.raises(ConfigError, match="not 3"):
        unist.make(scene(3, 1, 48, 3))


def small_unitime(texts: tuple[str, ...] = ("ab", "")) -> unitime.UniTime:
    return unitime.UniTime(random_language(8, 2, 2, 16), texts, 6, 3, patch=4, layers=1, room=6)


def test_unitime_trains_all_it_has() -> None:
    torch.manual_seed(0)
    system = small_unitime()
    batch = Batch(look(2, 6, 3, 2, 3), torch.randn(2, 3, 3, 2), 0)
    assert system(batch.seen).shape == (2, 3, 3, 2)
    (stage,) = system.stages()
    teach(stage, batch)
    assert not unreached(stage.parameters) and len(stage.parameters) == len(list(system.parameters()))
    assert system.language == "random, 2 layers of 8" and system.words.shape == (2, 8)


def test_unitime_reads_the_text_and_follows_level_and_scale() -> None:
    torch.manual_seed(0)
    system = small_unitime().eval()
    seen = look(2, 6, 3, 2, 3)
    forecast = system(seen)
    moved = system(seen._replace(values=seen.values * 3 + 7))
    assert torch.allclose(moved, forecast * 3 + 7, rtol=1e-3, atol=1e-3)
    with torch.no_grad():
        system.words[0, 0] += 1.0
    changed = system(seen)
    assert not torch.allclose(changed[..., 0], forecast[..., 0]) and torch.equal(changed[..., 1], forecast[..., 1])
    # What is hidden has no effect.
    known = torch.ones_like(seen.values)
    known[:, 2] = 0
    values = seen.values.clone()
    values[:, 2] = 99.0
    assert torch.allclose(system.whole(values, known), system.whole(seen.values, known))


def gpt2_folder(folder: Path) -> dict[str, Tensor]:
    """A GPT-2 of width 4, one head, two layers, without text pieces."""
    width, state = 4, {"wte.weight": torch.randn(9, 4), "wpe.weight": torch.randn(5, 4)}
    sizes = {"attn.c_attn": (width, 12), "attn.c_proj": (width, 4), "mlp.c_fc": (width, 16), "mlp.c_proj": (16, width)}
    for i in range(2):
        for name, size in sizes.items():
            state |= {f"h.{i}.{name}.weight": torch.randn(size), f"h.{i}.{name}.bias": torch.randn(size[1])}
        for name in ("ln_1", "ln_2"):
            state |= {f"h.{i}.{name}.weight": torch.rand(width), f"h.{i}.{name}.bias": torch.randn(width)}
    state |= {"ln_f.weight": torch.rand(width), "ln_f.bias": torch.randn(width)}
    save_file({f"transformer.{name}": weight for name, weight in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"n_embd": 4, "n_head": 1, "n_layer": 2, "n_positions": 5}))
    (folder / "vocab.json").write_text(json.dumps({"a": 0, "b": 1, "c": 2, "ab": 3}))
    (folder / "merges.txt").write_text("#version: 0.2\na b\n")
    return state


def test_gpt2_from_a_folder_by_its_formulas(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers")
    torch.manual_seed(0)
    w = gpt2_folder(tmp_path)
    language = read_language(tmp_path, layers=1)
    assert language.pieces("abc") == [3, 2] and "GPT-2" in language.source and "1 layers of 4" in language.source

    def norm(x: Tensor, name: str) -> Tensor:
        mean, variance = x.mean(-1, keepdim=True), x.var(-1, unbiased=False, keepdim=True)
        return (x - mean) / (variance + 1e-5).sqrt() * w[f"{name}.weight"] + w[f"{name}.bias"]

    def times(x: Tensor, name: str) -> Tensor:
        return x @ w[f"h.0.{name}.weight"] + w[f"h.0.{name}.bias"]

    tokens = torch.randn(3, 4)
    x = tokens + w["wpe.weight"][:3]
    q, k, v = times(norm(x, "h.0.ln_1"), "attn.c_attn").split(4, dim=1)
    rows = [torch.softmax(q[i] @ k[: i + 1].T / 2, 0) @ v[: i + 1] for i in range(3)]
    x = x + times(torch.stack(rows), "attn.c_proj")
    y = times(norm(x, "h.0.ln_2"), "mlp.c_fc")
    y = 0.5 * y * (1 + torch.tanh((2 / torch.pi) ** 0.5 * (y + 0.044715 * y**3)))
    x = x + times(y, "mlp.c_proj")
    assert torch.allclose(language.network.eval()(tokens[None])[0], norm(x, "ln_f"), atol=1e-5)
    system = unitime.make(scene(2, 1, 12, 2), random_language(8, 2, 1, 20))
    assert system.language.startswith("random")


def test_a_folder_that_holds_no_gpt2_is_one_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        read_language(tmp_path)
    gpt2_folder(tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match="holds no GPT-2"):
        read_language(tmp_path)
    save_file({"transformer.wte.weight": torch.zeros(9, 4)}, tmp_path / "model.safetensors")
    with pytest.raises(ConfigError, match=r"wpe\.weight is missing"):
        read_language(tmp_path)
    with pytest.raises(ConfigError, match="2 for 1 channels"):
        unitime.make(Scene(2, 1, 12, 2, 48, torch.eye(2), texts=("a", "b")))
    with pytest.raises(ConfigError, match="301 tokens"):
        unitime.make(Scene(2, 1, 12, 2, 48, torch.eye(2), texts=("a" * 300,)))
