import dataclasses
import io
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from cmust.city import City, Task
from cmust.city.summary import describe
from cmust.cli.inspect import render, sparkline


def printed(city: City, width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width)
    render(describe(city), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_numbers_by_hand(task: Any) -> None:
    values = np.array(
        [[0, 5, np.nan], [0, np.nan, np.nan], [4, np.nan, 1], [np.nan, 3, np.nan], [2, 1, np.nan], [2, 0, 6]],
        np.float32,
    )
    summary = describe(City("c", {"trips": task(values=values[:, :, None])})).tasks[0]
    assert (summary.steps, summary.nodes, summary.interval) == (6, 3, 1800)
    assert summary.missing == pytest.approx(7 / 18)
    assert summary.zero == pytest.approx(3 / 11)
    assert (summary.minimum, summary.maximum) == (0, 6) and summary.mean == pytest.approx(24 / 11)
    assert summary.start == np.datetime64("2020-02-28T22:30") and summary.stop == np.datetime64("2020-02-29T01:30")
    gap = summary.gap
    assert gap is not None and (gap.steps, gap.node) == (2, "b")  # the first of three runs of two
    assert (gap.start, gap.stop) == (np.datetime64("2020-02-28T23:00"), np.datetime64("2020-02-29T00:00"))
    known = {45: 2.5, 46: 0.0, 47: 2.5, 0: 3.0, 1: 1.5, 2: 8 / 3}  # half hours of the day
    for slot in range(48):
        np.testing.assert_allclose(summary.daily[slot], known.get(slot, np.nan))
    # 2020-02-28 was a Friday: its last quarter is 4 * 4 + 3, Saturday's first is 20.
    assert np.flatnonzero(np.isfinite(summary.weekly)).tolist() == [19, 20]
    np.testing.assert_allclose(summary.weekly[[19, 20]], [10 / 5, 14 / 6])


def test_longest_gap_against_a_slow_count() -> None:
    dice = np.random.default_rng(0)
    for _ in range(20):
        values = np.where(dice.random((30, 4, 2)) < 0.4, np.nan, 1.0).astype(np.float32)
        time = np.datetime64("2020-01-01", "s") + np.arange(30) * np.timedelta64(3600, "s")
        made = Task("x", values, time, ("a", "b", "c", "d"), np.zeros(4), np.zeros(4), 3600, "", "other", ("u", "v"))
        longest = 0
        for node in range(4):
            run = 0
            for step in range(30):
                run = run + 1 if np.isnan(values[step, node]).any() else 0
                longest = max(longest, run)
        gap = describe(City("c", {"x": made})).tasks[0].gap
        assert gap is not None and gap.steps == longest
        inside = values[(time >= gap.start) & (time < gap.stop), "abcd".index(gap.node)]
        assert len(inside) == longest and np.isnan(inside).any(axis=1).all()


def test_nothing_missing_and_nothing_observed(task: Any) -> None:
    full = describe(City("c", {"trips": task(values=np.ones((6, 3, 1)))})).tasks[0]
    assert full.gap is None and full.missing == 0 and full.zero == 0
    empty = City("c", {"trips": task(values=np.full((6, 3, 1), np.nan))})
    summary = describe(empty).tasks[0]
    assert summary.missing == 1 and np.isnan([summary.zero, summary.mean, summary.minimum, summary.maximum]).all()
    assert "longest gap 3 h, 2020-02-28 22:30 at a" in printed(empty)


NAN = np.nan
DOUBTFUL = np.array(
    [
        [-1, 0, 7, NAN, 5, NAN],
        [3, 0, 7, NAN, NAN, NAN],
        [-2, 0, -7, NAN, NAN, 2],
        [4, 0, 7, NAN, NAN, 2],
    ],
    np.float32,
)


def doubtful(task: Any, values: Any, **changes: Any) -> Task:
    nodes = tuple("abcdefgh"[: values.shape[1]])
    where = {"time": task().time[: len(values)], "lon": np.zeros(len(nodes)), "lat": np.zeros(len(nodes))}
    return task(values=values, nodes=nodes, **where, **changes)  # type: ignore[no-any-return]


def test_doubts_by_hand(task: Any) -> None:
    counts = doubtful(task, DOUBTFUL[:, :, None])
    expected = (
        "3 values below zero, though the kind is count: a, c",
        "1 node without any value: d",
        "2 nodes with always the same value: b, f",  # e was read once, which says nothing
    )
    assert describe(City("c", {"trips": counts})).tasks[0].doubts == expected
    other = dataclasses.replace(counts, kind="other")
    assert describe(City("c", {"trips": other})).tasks[0].doubts == expected[1:]
    lines = printed(City("c", {"trips": counts})).splitlines()
    assert [line for line in lines if "warning" in line] == [f"warning: trips: {doubt}" for doubt in expected]


def test_doubts_name_the_first_nodes_of_many_and_look_at_all_channels(task: Any) -> None:
    many = doubtful(task, np.zeros((4, 5, 1)))
    assert describe(City("c", {"trips": many})).tasks[0].doubts == (
        "5 nodes with always the same value: a, b, c and 2 more",
    )
    channels = np.stack([np.zeros((4, 2)), np.arange(8).reshape(4, 2) * [0, 1]], axis=2)  # of b, one moves
    assert describe(City("c", {"trips": doubtful(task, channels, channels=("u", "v"))})).tasks[0].doubts == (
        "1 node with always the same value: a",
    )
    half = np.stack([np.full((4, 2), NAN), np.arange(8).reshape(4, 2)], axis=2)
    assert describe(City("c", {"trips": doubtful(task, half, channels=("u", "v"))})).tasks[0].doubts == ()


def test_nothing_to_doubt(task: Any, city: City) -> None:
    assert describe(City("c", {"trips": task(), "day": task(name="day", **one_step())})).tasks[1].doubts == ()
    assert "warning" not in printed(city)


def one_step() -> dict[str, Any]:
    return {"values": np.ones((1, 3, 1)), "time": np.array(["2020-01-01"], "datetime64[s]")}


def test_sparkline_by_hand() -> None:
    assert sparkline(np.array([0.0, 1, 7, np.nan, 3]), 10) == "▁▂█ ▄"
    assert sparkline(np.array([1.0, 3, 7, 7]), 2) == "▃█"
    assert sparkline(np.array([-2.0, 0, 5]), 3) == "▁▃█"
    assert sparkline(np.zeros(3), 3) == "▁▁▁"
    assert sparkline(np.full(3, np.nan), 3) == "   "


@pytest.mark.parametrize("width", [70, 80, 200])
def test_picture_names_everything(city: City, width: int) -> None:
    text = printed(city, width)
    words = ["small", "Europe/Berlin", "trips", "speed", "km/h", "rain", "event", "S Y N T H E T I C", "1 x 2"]
    for word in [*words, city.fingerprint()[:12], "2020-02-28 22:30", "not known", "the city", "2 nodes"]:
        assert word in text, word
    assert max(map(len, text.splitlines())) <= width


def test_a_long_task_name_leaves_room_for_the_numbers(task: Any) -> None:
    name = "a_name_that_is_longer_than_what_is_left_of_eighty_columns_after_the_numbers"
    text = printed(City("c", {name: task(name=name, values=np.full((6, 3, 1), 1234.5))}), 80)
    assert "missing" in text and text.count("1234") >= 3
    assert "".join(line.split()[0] for line in text.splitlines() if "a_name" in line or "after_the" in line)


@pytest.mark.parametrize("interval", [1800, 7200, 86_400])
def test_weekdays_stand_below_their_week(task: Any, interval: int) -> None:
    """The first six hours of Monday alone have a value above 0: its bar stands above the M of Mo."""
    steps = 8 * 86_400 // interval
    time = np.datetime64("2024-03-04", "s") + np.arange(steps) * np.timedelta64(interval, "s")  # a Monday
    seconds = (time - time[0]).astype(np.int64) % (7 * 86_400)
    values = np.tile((seconds < 21_600).astype(np.float32)[:, None, None], (1, 3, 1))
    lines = printed(City("c", {"trips": task(values=values, time=time, interval=interval)})).splitlines()
    days = next(line for line in lines if "Mo  Tu" in line)
    bars = lines[lines.index(days) - 1]
    assert bars[days.index("Mo")] == "█" and set(bars[days.index("Mo") + 1 :]) <= {"▁", " "}


def test_synthetic_is_shouted_only_when_true(city: City) -> None:
    assert "S Y N T H E T I C" not in printed(dataclasses.replace(city, synthetic=False))


def test_markup_in_names_is_printed_as_it_is(city: City) -> None:
    assert "[red]odd[/red]" in printed(dataclasses.replace(city, name="[red]odd[/red]"))
