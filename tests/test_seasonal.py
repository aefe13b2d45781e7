"""The weekly average against a pandas groupby."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cmust.city import Task
from cmust.seasonal import WeeklyAverage, week_slot
from tests.rolling.tiny import START, tiny_task


def by_pandas(task: Task, train_steps: int) -> np.ndarray:
    """``(S, N, C)``: mean by weekday and time of day, else by time of day, else of the node, else of the task."""
    result = np.empty(task.values.shape)
    for n in range(task.n_nodes):
        for c in range(task.n_channels):
            frame = pd.DataFrame({"time": pd.DatetimeIndex(task.time), "value": task.values[:, n, c].astype(float)})
            frame["day"], frame["clock"] = frame.time.dt.day_of_week, frame.time.dt.strftime("%H:%M:%S")
            train = frame.iloc[:train_steps]
            weekly = frame.merge(
                train.groupby(["day", "clock"]).value.mean().rename("week"), on=["day", "clock"], how="left"
            ).week
            daily = frame.merge(train.groupby("clock").value.mean().rename("daily"), on="clock", how="left").daily
            of_task = np.nanmean(task.values[:train_steps, :, c].astype(float))
            result[:, n, c] = weekly.fillna(daily).fillna(train.value.mean()).fillna(of_task)
    return result


@pytest.mark.parametrize(("interval", "steps", "channels"), [(7200, 252, 1), (1800, 400, 2), (3600, 170, 1)])
def test_against_pandas(interval: int, steps: int, channels: int) -> None:
    start = START + np.timedelta64(3 * 86_400 + 5 * 7200, "s")
    task = tiny_task(interval=interval, steps=steps, channels=channels, start=start, missing=0.2)
    values = task.values.copy()
    values[:, 1] = np.where(np.arange(steps)[:, None] < steps // 2, np.nan, values[:, 1])
    task = replace(task, values=values)
    train = int(steps * 0.7)
    average = WeeklyAverage.fit(task.values, task.time, interval, train)
    np.testing.assert_allclose(average.at(task.time), by_pandas(task, train), rtol=1e-5)


def test_stand_ins_in_their_order() -> None:
    """Two days of data: other weekdays take the slot of the day, an unseen slot the node, an unseen node the task."""
    task = tiny_task(steps=24, nodes=3, missing=0)
    values = task.values.copy()
    values[[5, 17], 0] = np.nan
    values[:, 2] = np.nan
    task = replace(task, values=values)
    at = WeeklyAverage.fit(task.values, task.time, 7200, 24).at(
        START + np.timedelta64(4, "D") + np.arange(12) * np.timedelta64(7200, "s")
    )
    np.testing.assert_allclose(at[3, 0, 0], (task.values[3, 0, 0] + task.values[15, 0, 0]) / 2, rtol=1e-6)
    np.testing.assert_allclose(at[5, 0, 0], np.nanmean(task.values[:, 0, 0]), rtol=1e-6)
    np.testing.assert_allclose(at[:, 2, 0], np.nanmean(task.values), rtol=1e-6)


def test_leaving_out_by_recomputing_without_the_value() -> None:
    for steps in (40, 252):
        task = tiny_task(steps=steps, missing=0.1)
        left_out = WeeklyAverage.fit(task.values, task.time, 7200, steps).at(task.time, leave_out=task.values)
        for step in (0, 7, 13, 39):
            for node in range(3):
                values = task.values.copy()
                values[step, node] = np.nan
                without = WeeklyAverage.fit(values, task.time, 7200, steps).at(task.time[step : step + 1])
                np.testing.assert_allclose(left_out[step, node], without[0, node], rtol=1e-5)


def test_table_is_a_week_from_monday() -> None:
    task = tiny_task(steps=252, missing=0)
    table = WeeklyAverage.fit(task.values, task.time, 7200, 252).table()
    assert table.shape == (84, 3, 1)
    np.testing.assert_allclose(table, task.values.reshape(3, 84, 3, 1).mean(0), rtol=1e-6)  # START is a Monday
    times = START + np.timedelta64(100, "D") + np.arange(50) * np.timedelta64(7200, "s")
    average = WeeklyAverage.fit(task.values, task.time, 7200, 252)
    np.testing.assert_array_equal(average.at(times), table[week_slot(times, 7200)])


def test_nothing_but_the_training_part_counts() -> None:
    task = tiny_task()
    before = WeeklyAverage.fit(task.values, task.time, 7200, 150).at(task.time)
    values = task.values.copy()
    values[150:] = 1e6
    np.testing.assert_array_equal(before, WeeklyAverage.fit(values, task.time, 7200, 150).at(task.time))
