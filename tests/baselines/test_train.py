"""Other systems under the one epoch loop: they learn, resume, take several tasks as channels, in stages too."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn

from cmust.baselines import registry
from cmust.baselines.material import gather, join, with_history
from cmust.baselines.registry import SYSTEMS, System
from cmust.baselines.scene import Glimpse, Scene
from cmust.baselines.stages import Batch, Score, Stage
from cmust.baselines.train import recipe, train
from cmust.errors import CityError, ConfigError, RunError
from cmust.naive import NAIVE
from cmust.windows import make_windows
from tests.rolling.tiny import small_city, tiny_city, tiny_task

WINDOWS = {"input_steps": 4, "horizon": 3, "accelerator": "cpu"}


class StopError(Exception):
    """Stands for a kill."""


class StopsAfter:
    """A watcher that ends training after so many epochs."""

    def __init__(self, epochs: int) -> None:
        self.left, self.updates = epochs, 0

    def plan(self, phases, updates) -> None:
        """Nothing to prepare."""

    def update(self, phase, epoch: int) -> None:
        self.updates += 1

    def event(self, event) -> None:
        self.left -= event["event"] == "epoch"
        if self.left < 0:
            raise StopError


def test_a_system_learns_and_resumes_to_the_same_scores(tmp_path: Path) -> None:
    city = small_city()
    settings = {**WINDOWS, "start_epochs": 8, "batch_size": 16, "rate": 5e-3}
    torch.manual_seed(99)  # what was drawn before does not matter
    assert train("stid", city, tmp_path / "peace", ["trips"], **settings, scored=False)["tasks"] == {}
    # What is scored are the weights that were kept, as they forecast outside of training.
    done = train("stid", city, tmp_path / "peace", ["trips"], **settings, watcher=StopsAfter(0))
    scores = done["tasks"]["trips"]["systems"]
    assert set(scores) == {"stid", *NAIVE}
    assert scores["stid"]["plain"]["mae"] < 0.9 * scores["last_value"]["plain"]["mae"]
    losses = [
        json.loads(line).get("validation_loss")
        for line in (tmp_path / "peace" / "history.jsonl").read_text().splitlines()
    ]
    assert min(losses[1:8]) < 0.95 * losses[0]
    assert (done["cost"]["epochs"], done["cost"]["updates"]) == (8, 8 * 7) and done["cost"]["parameters"] > 0

    with pytest.raises(StopError):
        train("stid", city, tmp_path / "killed", ["trips"], **settings, watcher=StopsAfter(5))
    rest = StopsAfter(9)
    again = train("stid", city, tmp_path / "killed", ["trips"], **settings, watcher=rest)
    assert again["tasks"] == done["tasks"] and rest.updates == 3 * 7
    assert train("stid", city, tmp_path / "killed", ["trips"], **settings, watcher=StopsAfter(0)) == again
    with pytest.raises(RunError, match="rate"):
        train("stid", city, tmp_path / "killed", ["trips"], **{**settings, "rate": 1.0})


def test_tasks_as_channels_have_the_naive_scores_of_single_tasks() -> None:
    city = tiny_city(tiny_task("trips", steps=168), tiny_task("visits", steps=168, channels=2))
    windows = make_windows(city, "purged", 4, 3)
    joined, scale = join(list(windows.values()))
    starts = joined.split.starts["test"]
    assert joined.channels == 3 and torch.equal(starts, windows["visits"].split.starts["test"])
    for name in ("last_value", "yesterday", "last_week", "weekly_average"):
        together = NAIVE[name](joined, starts) * scale
        alone = torch.cat([NAIVE[name](each, starts) for each in windows.values()], dim=-1)
        torch.testing.assert_close(together, alone)
    training = joined.values[: joined.split.train_steps]
    torch.testing.assert_close(training.std((0, 1)), torch.ones(3), atol=0.05, rtol=0)
    (truth, valid), (first, known) = joined.targets(starts), windows["trips"].targets(starts)
    assert torch.equal(valid[..., :1], known) and torch.equal(truth[..., :1] == 0, first == 0)


def test_tasks_together_need_the_same_graph_and_times() -> None:
    mtgnn, stid = SYSTEMS["mtgnn"], SYSTEMS["stid"]
    trips = tiny_task("trips", steps=168)
    for other, what in (
        (tiny_task("visits", steps=168, nodes=4), "different nodes"),
        (tiny_task("visits", steps=336, interval=3600), "different times"),
    ):
        with pytest.raises(CityError, match=what):
            gather(mtgnn, tiny_city(trips, other), ["trips", "visits"], "purged", 4, 3)
    with pytest.raises(ConfigError, match="one task at a time"):
        gather(stid, small_city(), ["trips", "visits"], "purged", 4, 3)


def test_a_coarser_task_has_a_clock_of_its_own() -> None:
    city = tiny_city(tiny_task("trips", steps=336, interval=3600), tiny_task("visits", steps=168))
    material = gather(SYSTEMS["stid"], city, ["visits"], "purged", 4, 3)
    assert material.scene.slots_per_day == 12 and material.windows.clock.slot.max() == 11


def test_a_longer_history_has_the_same_targets() -> None:
    (windows,) = make_windows(tiny_city(tiny_task("trips", steps=168)), "purged", 4, 3).values()
    longer = with_history(windows, 24)
    for part in ("validation", "test"):
        for one, two in zip(
            windows.targets(windows.split.starts[part]), longer.targets(longer.split.starts[part]), strict=True
        ):
            assert torch.equal(one, two)
    assert torch.equal(
        longer.inputs(longer.split.starts["test"]).values[:, -4:], windows.inputs(windows.split.starts["test"]).values
    )
    assert (
        longer.split.starts["train"].min() == 0
        and len(longer.split.starts["train"]) == len(windows.split.starts["train"]) - 20
    )
    with pytest.raises(CityError, match="150 steps back"):
        with_history(windows, 150)


def test_settings_of_a_system() -> None:
    loss, training = recipe(SYSTEMS["dcrnn"], rate=0.5)
    assert (loss, training.rate, training.clip, training.batch_size) == ("masked_mae", 0.5, 5.0, 64)
    assert training.windows_per_pass == 64 and training.weight_decay == 0
    for name in SYSTEMS:
        recipe(SYSTEMS[name])
    with pytest.raises(ConfigError, match="delta is no setting of DCRNN"):
        recipe(SYSTEMS["dcrnn"], delta=1.0)
    with pytest.raises(ConfigError, match="choose among mae"):
        recipe(SYSTEMS["dcrnn"], loss="rmse")
    with pytest.raises(ConfigError, match=r"warmup_updates means nothing without training\.schedule = cosine"):
        recipe(SYSTEMS["dcrnn"], warmup_updates=3)
    assert recipe(SYSTEMS["dcrnn"], warmup_updates=3, schedule="cosine")[1].warmup_updates == 3
    with pytest.raises(ConfigError, match=r"milestones means nothing without training\.schedule = milestones"):
        recipe(SYSTEMS["residual_mlp"], milestones=(3,))  # its own schedule is a cosine
    with pytest.raises(ConfigError, match="unknown system 'prophet'"):
        registry.find_system("prophet")


class TwoStages(nn.Module):
    """Guesses a level first, by an objective of its own; then forecasts with it."""

    def __init__(self, scene: Scene) -> None:
        super().__init__()
        self.scene = scene
        self.level, self.slope = nn.Parameter(torch.tensor(3.0)), nn.Parameter(torch.tensor(0.0))
        self.norm = nn.BatchNorm1d(1)
        self.sizes: list[int] = []

    def forward(self, seen: Glimpse) -> Tensor:
        last = seen.values[:, -1:]
        self.sizes.append(len(last))
        return (self.level + self.slope * last).expand(-1, self.scene.horizon, -1, -1)

    def stages(self) -> list[Stage]:
        return [Stage("pre-training", [self.level], loss=self.guess), Stage("tuning", [self.slope], self, self.scored)]

    def guess(self, batch: Batch, score: Score) -> Tensor:
        assert batch.epoch < 4 and batch.ahead.shape[1:] == (3, 3, 1)
        return (batch.ahead - self.level).square().mean()

    def scored(self, batch: Batch, score: Score) -> Tensor:
        return score(self(batch.seen))


def test_training_in_stages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[TwoStages] = []

    def make(scene: Scene) -> TwoStages:
        made.append(TwoStages(scene))
        return made[-1]

    monkeypatch.setattr(
        System, "module", property(lambda self: SimpleNamespace(make=make, TRAINING={"loss": "mae", "rate": 0.2}))
    )
    city = tiny_city(tiny_task("trips", steps=168, missing=0))
    train("stid", city, tmp_path, ["trips"], **WINDOWS, start_epochs=4, batch_size=50)
    events = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    first, second = (event for event in events if event["event"] == "phase")
    assert (first["phase"], second["phase"]) == ("pre-training trips", "tuning trips")
    network, windows = made[0], make_windows(city, "purged", 4, 3)["trips"]

    # The first stage goes by its own objective: what is left of it on validation is what the level gives by hand.
    truth = windows.targets(windows.split.starts["validation"])[0]
    ahead = (truth - windows.scaler.mean) / windows.scaler.std
    assert first["best_validation_loss"] == pytest.approx((ahead - network.level).square().mean().item(), rel=1e-4)
    assert abs(network.level.item()) < 3 and network.slope.item() != 0  # the level kept from then on
    # The second by the error of its forecasts.
    last = windows.inputs(windows.split.starts["validation"]).values[:, -1:]
    forecast = network.level + network.slope * (last - windows.scaler.mean) / windows.scaler.std
    assert second["best_validation_loss"] == pytest.approx((ahead - forecast).abs().mean().item(), rel=1e-4)
    assert max(network.sizes) >= 50, "a batch goes through whole"


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_goes_from_a_city_to_scores(name: str, tmp_path: Path) -> None:
    """An update or two of each in its published size; those with a long history get one."""
    system = SYSTEMS[name]
    assert system.name == name and system.source
    # Twelve slots a day: a week is 84 steps, seven patches of STEP.
    city = tiny_city(*(tiny_task(task, steps=200) for task in ("trips", "visits")))
    tasks = ["trips", "visits"] if system.together else ["trips"]
    quick = {"start_epochs": 1, "updates_per_epoch": 1, "batch_size": 16, "seed": 3}
    shape = {"input_steps": 12, "horizon": 4, "accelerator": "cpu"}
    done = train(name, city, tmp_path, tasks, **shape, **({"seed": 3} if system.classic else quick))
    for task in tasks:
        scores = done["tasks"][task]["systems"]
        assert set(scores) == {name, *NAIVE} and scores[name]["plain"]["mae"] < 100
        assert done["tasks"][task]["windows"] == len(make_windows(city, "purged", 12, 4)[task].split.starts["test"])
    if system.classic:
        assert scores[name]["plain"]["mae"] < scores["last_value"]["plain"]["mae"] and list(done["cost"]) == ["seconds"]
    else:
        stages = len({json.loads(line)["phase"] for line in (tmp_path / "history.jsonl").read_text().splitlines()})
        assert done["cost"]["updates"] == stages == (2 if name in ("step", "promptst", "unist") else 1)
    assert (done["language"] or "").startswith("random") == (name == "unitime")


class LastValue(nn.Module):
    """Forecasts the last value that it sees."""

    def __init__(self, scene: Scene) -> None:
        super().__init__()
        self.scene, self.nothing = scene, nn.Parameter(torch.zeros(1))

    def forward(self, seen: Glimpse) -> Tensor:
        return seen.values[:, -1:].expand(-1, self.scene.horizon, -1, -1) + 0 * self.nothing


@pytest.mark.parametrize("name", ["step", "mtgnn"])  # with a week of history, and without
def test_a_system_that_repeats_the_last_value_scores_as_it_does(name: str, tmp_path: Path, monkeypatch) -> None:
    module = SimpleNamespace(make=LastValue, TRAINING={"rate": 1e-30})
    monkeypatch.setattr(System, "module", property(lambda self: module))
    city = tiny_city(*(tiny_task(task, steps=200) for task in ("trips", "visits")))
    quick = {"start_epochs": 1, "updates_per_epoch": 1, "batch_size": 16}
    done = train(name, city, tmp_path, ["trips", "visits"], **WINDOWS, **quick)
    for told in done["tasks"].values():
        for kind, score in told["systems"]["last_value"]["plain"].items():
            assert told["systems"][name]["plain"][kind] == pytest.approx(score, rel=1e-4)


def test_options_of_a_network_are_checked(tmp_path: Path) -> None:
    for name, known in (("stid", "none"), ("unitime", "language")):
        with pytest.raises(ConfigError, match=f"width is no setting of the network.*{known}"):
            train(name, small_city(), tmp_path, ["trips"], **WINDOWS, network={"width": 3})
    with pytest.raises(ConfigError, match="has no network"):
        train("svr", small_city(), tmp_path, ["trips"], **WINDOWS, network={"width": 3})
    with pytest.raises(ConfigError, match="rate is no setting of SVR; there are seed"):
        train("svr", small_city(), tmp_path, ["trips"], **WINDOWS, rate=1e-3)
