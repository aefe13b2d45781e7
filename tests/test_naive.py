"""Naive forecasts: worked by hand, and the table of the shared data's README on real data."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cmust.city import City
from cmust.evaluation import score_systems
from cmust.naive import NAIVE, last_value, last_week, scaled_weekly_average, weekly_average, yesterday
from cmust.windows import make_windows
from tests.rolling.tiny import tiny_city, tiny_task

# ../shared/data/README.md: masked MAE, plain MAE
TABLE = {
    "taxi_pickup": {
        "last_value": (36.98, 31.79),
        "yesterday": (19.07, 16.38),
        "last_week": (13.16, 11.31),
        "weekly_average": (11.51, 9.90),
        "scaled_weekly_average": (11.72, 10.07),
    },
    "taxi_dropoff": {
        "last_value": (34.14, 30.73),
        "yesterday": (17.42, 15.68),
        "last_week": (12.10, 10.89),
        "weekly_average": (10.60, 9.54),
        "scaled_weekly_average": (11.05, 9.95),
    },
    "bike_pickup": {
        "last_value": (12.34, 8.95),
        "yesterday": (7.52, 5.30),
        "last_week": (7.25, 5.09),
        "weekly_average": (7.24, 5.05),
        "scaled_weekly_average": (4.84, 3.42),
    },
    "bike_dropoff": {
        "last_value": (12.35, 8.96),
        "yesterday": (7.31, 5.17),
        "last_week": (7.16, 5.03),
        "weekly_average": (7.18, 5.02),
        "scaled_weekly_average": (4.71, 3.34),
    },
}


@pytest.mark.shared
@pytest.mark.parametrize("task", TABLE)
def test_table_of_the_real_data(nyc_quarter: City, task: str) -> None:
    windows = make_windows(nyc_quarter.select(tasks=[task]), "published")[task]
    scores = score_systems(windows, windows.split.starts["test"], NAIVE)
    assert scores.keys() == TABLE[task].keys()
    for system, (masked, plain) in TABLE[task].items():
        assert scores[system]["masked"]["mae"] == pytest.approx(masked, abs=0.02), system
        assert scores[system]["plain"]["mae"] == pytest.approx(plain, abs=0.02), system


def counting(interval: int = 21_600, steps: int = 80, horizon: int = 3):
    """Four steps a day whose values count up, so that a value tells which step it is of."""
    task = tiny_task(interval=interval, steps=steps, nodes=2, missing=0)
    values = np.arange(steps, dtype=np.float32)[:, None, None] + 1000 * np.arange(2)[None, :, None]
    task = replace(task, values=values)
    return make_windows(tiny_city(task), "published", 2, horizon)["trips"]


def test_last_value_yesterday_last_week_by_hand() -> None:
    windows, starts = counting(), torch.tensor([40, 41])  # inputs 40, 41; targets 42, 43, 44
    assert last_value(windows, starts)[:, :, 0, 0].tolist() == [[41, 41, 41], [42, 42, 42]]
    assert last_value(windows, starts)[0, :, 1, 0].tolist() == [1041] * 3
    assert yesterday(windows, starts)[:, :, 0, 0].tolist() == [[38, 39, 40], [39, 40, 41]]
    assert last_week(windows, starts)[:, :, 0, 0].tolist() == [[14, 15, 16], [15, 16, 17]]


def test_yesterday_beyond_a_day_goes_back_to_the_last_known_day() -> None:
    windows = counting(horizon=6)
    assert yesterday(windows, torch.tensor([40]))[0, :, 0, 0].tolist() == [38, 39, 40, 41, 38, 39]


def test_a_slot_before_the_data_is_replaced_by_the_average() -> None:
    windows, starts = counting(), torch.tensor([10])
    assert torch.equal(last_week(windows, starts), weekly_average(windows, starts))
    assert yesterday(windows, starts)[0, :, 0, 0].tolist() == [8, 9, 10]


def test_scaled_average_by_hand() -> None:
    windows, start = counting(), torch.tensor([70])
    average = windows.average[:, 0, 0].double()
    level = (70 + 71 + 5) / (average[70] + average[71] + 5)
    expected = [float(average[step] * level) for step in (72, 73, 74)]
    np.testing.assert_allclose(scaled_weekly_average(windows, start)[0, :, 0, 0], expected, rtol=1e-6)


@pytest.mark.parametrize("name", NAIVE)
def test_no_naive_forecast_reads_its_targets(name: str) -> None:
    task = tiny_task(missing=0.05)
    windows = make_windows(tiny_city(task), "purged", 4, 3)["trips"]
    for start in windows.split.starts["test"][:2]:
        before = NAIVE[name](windows, start[None]).clone()
        held = windows.values[int(start) + 4 :].clone()
        windows.values[int(start) + 4 :] = 1e9
        assert torch.equal(NAIVE[name](windows, start[None]), before)
        windows.values[int(start) + 4 :] = held
        assert before.shape == (1, 3, 3, 1)
