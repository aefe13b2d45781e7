"""Windows against slow, obvious versions of the same; what the network must not see, it does not see."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cmust.city import City, Task
from cmust.errors import CityError
from cmust.model.losses import loss_terms
from cmust.windows import PARTS, Frame, Scaler, Windows, common_cuts, make_windows
from tests.rolling.tiny import START, tiny_city, tiny_task

T, F = 4, 3


def slow_week_mean(task: Task, train_steps: int, step: int, node: int, channel: int) -> float:
    """Mean of the training values at the same weekday and time of day, in the plainest way; NaN where there is none."""

    def key(index: int) -> tuple[int, str]:
        moment = task.time[index].item()
        return moment.weekday(), moment.strftime("%H%M%S")

    same = [task.values[i, node, channel] for i in range(train_steps) if key(i) == key(step)]
    same = [value for value in same if not np.isnan(value)]
    return float(np.mean(same)) if same else float("nan")


def test_published_splits_the_list_of_windows() -> None:
    for steps in (100, 101, 137, 252, 288):
        windows = make_windows(tiny_city(tiny_task(steps=steps, missing=0)), "published", T, F)["trips"]
        count = steps - T - F + 1
        train, validation = round(0.7 * count), round(0.1 * count)
        expected = (range(train), range(train, train + validation), range(train + validation, count))
        for part, starts in zip(PARTS, expected, strict=True):
            assert windows.split.starts[part].tolist() == list(starts)
        assert windows.split.train_steps == train - 1 + T + F


@settings(max_examples=60, deadline=None)
@given(
    spans=st.lists(
        st.tuples(st.sampled_from([1800, 3600, 5400, 7200, 14400]), st.integers(0, 200), st.integers(250, 600)),
        min_size=1,
        max_size=3,
    ),
    input_steps=st.integers(1, 12),
    horizon=st.integers(1, 12),
)
def test_purged_puts_every_target_step_in_one_part_at_common_times(spans, input_steps: int, horizon: int) -> None:
    tasks = [
        tiny_task(
            f"t{k}",
            interval=interval,
            steps=hours * 3600 // interval,
            nodes=1,
            start=START + np.timedelta64(late * 3600, "s"),
            missing=0,
        )
        for k, (interval, late, hours) in enumerate(spans)
    ]
    city = tiny_city(*tasks)
    try:
        everything = make_windows(city, "purged", input_steps, horizon)
    except CityError as error:
        assert "too few" in str(error) or "share no time" in str(error)
        return
    first, last = (
        max(task.time[0] for task in tasks),
        min(task.time[-1] + np.timedelta64(task.interval, "s") for task in tasks),
    )
    cuts = common_cuts(city)
    for cut, share in zip(cuts, (0.7, 0.8), strict=True):
        assert abs((cut - first) / (last - first) - share) < 1e-4
    ends = {"train": (None, cuts[0]), "validation": cuts, "test": (cuts[1], None)}
    for task in tasks:
        windows = everything[task.name]
        for part in PARTS:
            begin, end = ends[part]
            chosen = set(windows.split.starts[part].tolist())
            for start in range(task.n_steps - input_steps - horizon + 1):
                targets = task.time[start + input_steps : start + input_steps + horizon]
                closes = targets[-1] + np.timedelta64(task.interval, "s")
                inside = (begin is None or targets[0] >= begin) and (end is None or closes <= end)
                assert (start in chosen) == inside, f"{task.name} {part} window {start}"


@pytest.mark.parametrize("protocol", ["published", "purged"])
def test_batches_equal_a_slow_loop(protocol) -> None:
    late = replace(
        tiny_task("late", interval=14400, steps=130, nodes=2, channels=2),
        time=START + np.timedelta64(86_400, "s") + np.arange(130) * np.timedelta64(14400, "s"),
    )
    city = tiny_city(tiny_task("trips"), late)
    for name, windows in make_windows(city, protocol, T, F).items():
        task = city.tasks[name]
        training = task.values[: windows.split.train_steps]
        mean, std = np.nanmean(training.astype(np.float64), (0, 1)), np.nanstd(training.astype(np.float64), (0, 1))
        np.testing.assert_allclose(windows.scaler.mean, mean, rtol=1e-6)
        np.testing.assert_allclose(windows.scaler.std, std, rtol=1e-6)
        starts = windows.split.starts["validation"][[0, 2, -1]]
        inputs, (truth, valid) = windows.inputs(starts), windows.targets(starts)
        assert truth.shape == valid.shape == (3, F, task.n_nodes, task.n_channels)
        for row, start in enumerate(starts.tolist()):
            for t in range(T):
                moment = task.time[start + t].item()
                assert inputs.dow[row, t] == moment.weekday()
                assert inputs.slot[row, t] == (moment.hour * 3600 + moment.minute * 60 + moment.second) // 7200
                years = (task.time[start + t] - START).astype(int) / (365.25 * 86400)
                stamp = [
                    moment.month / 12,
                    moment.day / 31,
                    moment.hour / 24,
                    moment.minute / 60,
                    moment.second / 60,
                    years,
                ]
                np.testing.assert_allclose(inputs.stamp[row, t], stamp, rtol=1e-5, atol=1e-7)
            for n in range(task.n_nodes):
                for c in range(task.n_channels):
                    for t in range(T):
                        value = task.values[start + t, n, c]
                        filled = (
                            slow_week_mean(task, windows.split.train_steps, start + t, n, c)
                            if np.isnan(value)
                            else value
                        )
                        assert inputs.values[row, t, n, c] == pytest.approx(filled, rel=1e-5)
                    for f in range(F):
                        value = task.values[start + T + f, n, c]
                        assert bool(valid[row, f, n, c]) == (not np.isnan(value))
                        if not np.isnan(value):
                            assert truth[row, f, n, c] == value


def test_places_are_standardised_over_the_distinct_places_of_the_city() -> None:
    more = replace(
        tiny_task("more", nodes=5),
        lon=np.array([9.0, 10.0, 11.0, 12.0, 10.01]),
        lat=np.array([50.0, 50.0, 50.0, 51.0, 50.02]),
    )
    city = tiny_city(tiny_task("trips"), tiny_task("visits"), more)
    places = {(float(x), float(y)) for task in city.tasks.values() for x, y in zip(task.lon, task.lat, strict=True)}
    table = np.array(sorted(places))
    for name, windows in make_windows(city, "published", T, F).items():
        task = city.tasks[name]
        expected = (np.stack([task.lon, task.lat], 1) - table.mean(0)) / table.std(0)
        np.testing.assert_allclose(windows.place, expected, rtol=1e-4, atol=1e-5)


def test_nothing_is_copied_per_window() -> None:
    task = tiny_task(steps=2000, nodes=6, missing=0)
    windows = make_windows(tiny_city(task), "published", 24, 24)["trips"]
    tensors = [value for value in vars(windows).values() if isinstance(value, torch.Tensor)]
    tensors += [*vars(windows.clock).values(), *windows.split.starts.values()]
    held = sum({tensor.data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors}.values())
    # values, average: 4 bytes each, validity 1, per step and node; the calendar and the starts: 8 + 8 + 24 + 8 per
    # step.
    assert held <= 2000 * 6 * 9 + 2000 * 48 + 6 * 8
    assert held < 2000 * 6 * 4 * 24  # one copy per window would be 24 times the values


@pytest.mark.parametrize("protocol", ["published", "purged"])
def test_too_short(protocol) -> None:
    with pytest.raises(CityError, match=r"'trips' has 9 steps.*windows of 4 \+ 3 steps"):
        make_windows(tiny_city(tiny_task(steps=9)), protocol, T, F)
    with pytest.raises(CityError, match="'trips' has 5 steps"):
        make_windows(tiny_city(tiny_task(steps=5)), protocol, T, F)


def test_tasks_without_common_time() -> None:
    later = tiny_task("later", start=START + np.timedelta64(400, "D"))
    with pytest.raises(CityError, match="share no time"):
        make_windows(tiny_city(tiny_task("trips"), later), "purged", T, F)


def test_a_channel_without_training_values_is_refused() -> None:
    task = tiny_task(channels=2)
    values = task.values.copy()
    values[:200, :, 1] = np.nan
    with pytest.raises(CityError, match=r"'trips'.*no valid value.*c1"):
        make_windows(tiny_city(replace(task, values=values)), "published", T, F)


def test_a_constant_channel_is_not_divided_by_zero() -> None:
    scaler = Scaler.fit(np.full((5, 2, 1), 3, np.float32))
    assert scaler.mean.item() == 3 and scaler.std.item() == 1


def changed_from(city: City, step: int) -> City:
    """The city with every value from ``step`` on replaced: other numbers, gaps elsewhere."""
    task = city.tasks["trips"]
    values = task.values.copy()
    rng = np.random.default_rng(1)
    values[step:] = rng.normal(1000, 100, values[step:].shape)
    values[step:][rng.random(values[step:].shape) < 0.3] = np.nan
    return city.with_task(replace(task, values=values))


@pytest.mark.parametrize("protocol", ["published", "purged"])
@pytest.mark.parametrize("which", ["validation", "test"])
def test_no_value_after_the_origin_reaches_the_inputs(protocol, which) -> None:
    city = tiny_city(tiny_task())
    before = make_windows(city, protocol, T, F)["trips"]
    for start in before.split.starts[which][[0, 1, -1]]:
        origin = int(start) + T
        if origin < before.split.train_steps:
            continue  # the published protocol shares steps at the border; moments of the training part may then change
        after = make_windows(changed_from(city, origin), protocol, T, F)["trips"]
        for name, one, two in zip(
            before.inputs(start[None])._fields, before.inputs(start[None]), after.inputs(start[None]), strict=True
        ):
            assert torch.equal(one, two), name


def test_averages_ahead_of_a_test_window_come_from_the_training_part_alone() -> None:
    city = tiny_city(tiny_task())
    before = make_windows(city, "purged", T, F)["trips"]
    after = make_windows(changed_from(city, before.split.train_steps), "purged", T, F)["trips"]
    starts = before.split.starts["test"]
    assert torch.equal(before.inputs(starts).average_ahead, after.inputs(starts).average_ahead)
    assert not torch.equal(before.values, after.values)


@pytest.mark.parametrize("days", [40, 9])
def test_a_training_target_is_not_in_the_average_it_is_compared_with(days: int) -> None:
    """With 9 days most slots of the week were seen once: what stands in for their average must not hold the target
    either.
    """
    task = tiny_task(steps=days * 12, missing=0.05)
    before = make_windows(tiny_city(task), "published", T, F)["trips"]
    rng = np.random.default_rng(0)
    for step in rng.choice(before.split.train_steps, 12, replace=False):
        values = task.values.copy()
        values[step] += 1000
        after = make_windows(tiny_city(replace(task, values=values)), "published", T, F)["trips"]
        torch.testing.assert_close(before.average[step], after.average[step], rtol=1e-4, atol=1e-3)
        others = [other for other in range(before.split.train_steps) if other % 84 == step % 84 and other != step]
        if others and not np.isnan(task.values[step]).any():
            assert (after.average[others] > before.average[others] + 1).all()


def test_missing_targets_count_neither_in_loss_nor_in_filling() -> None:
    task = tiny_task(missing=0.2)
    windows = make_windows(tiny_city(task), "purged", T, F)["trips"]
    starts = windows.split.starts["test"]
    truth, valid = windows.targets(starts)
    assert 0.1 < 1 - valid.float().mean() < 0.3
    forecast = truth + 1
    forecast[~valid] = 1e6
    for kind, per_target in (("mae", 1 / windows.scaler.std.item()), ("masked_mae", 1.0)):
        total, count = loss_terms(kind, forecast, truth, valid, windows.scaler.std)
        counted = valid if kind == "mae" else valid & (truth != 0)
        assert count == counted.sum()
        assert total.item() == pytest.approx(counted.sum().item() * per_target, rel=1e-5)


def test_moving_to_a_device_keeps_everything() -> None:
    windows = make_windows(tiny_city(), "purged", T, F)["trips"]
    for before in (windows, replace(windows, profile=windows.average + 1)):
        moved = before.to(torch.device("cpu"))
        assert isinstance(moved, Windows)
        starts = before.split.starts["train"][:5]
        for one, two in zip(before.inputs(starts), moved.inputs(starts), strict=True):
            assert torch.equal(one, two)
        assert moved.split.train_steps == before.split.train_steps
        assert torch.equal(moved.average, before.average) and torch.equal(moved.scaler.std, before.scaler.std)


def test_places_on_one_line_of_longitude_are_not_told_apart_by_rounding() -> None:
    lon, lat = np.full(7, -73.9), np.linspace(40.1, 40.7, 7)
    assert np.stack([lon, lat], axis=1).std(axis=0)[0] > 0  # the mean of -73.9 seven times is another number
    frame = Frame.of(lon, lat)
    assert frame.std[0] == 1 and frame.std[1] == pytest.approx(lat.std())
    assert np.abs(frame.standardise(lon, lat)[:, 0].numpy()).max() < 1e-9
    # A metre apart is apart.
    assert Frame.of(np.array([-73.9, -73.90001]), np.array([40.1, 40.1])).std[0] == pytest.approx(5e-6)
