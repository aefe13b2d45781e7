"""What training says of its windows before it begins."""

from dataclasses import replace
from io import StringIO

import numpy as np
from rich.console import Console

from cmust.cli.tables import print_parts
from cmust.settings import make_settings
from tests.rolling.tiny import SIZES, tiny_city, tiny_task


def told(city, **settings) -> list[str]:
    out = StringIO()
    print_parts(city, make_settings(model=SIZES, **settings), Console(file=out, width=40))
    return out.getvalue().splitlines()


def test_a_line_for_each_task() -> None:
    # 168 - 4 - 3 + 1 = 162 windows, cut 7:1:2 as they stand; one task is not asked for
    city = tiny_city(tiny_task("trips", steps=168), tiny_task("visits", steps=100))
    assert told(city, protocol="published", tasks=("trips",)) == ["trips: windows 113 train, 16 validation, 33 test"]


def test_a_short_task_takes_windows_from_a_long_one() -> None:
    city = tiny_city(tiny_task("trips", steps=336), tiny_task("visits", steps=84))
    lines = told(city)
    assert lines[0].startswith("trips: windows 52 train,")  # 70 % of the 84 steps that both have, less 4 + 3 - 1
    assert lines[1].startswith("trips: learns from few of its windows") and "visits: windows 52 train" in lines[2]
    assert len(told(city, protocol="published")) == 2


def test_a_place_without_an_observation_is_named() -> None:
    task = tiny_task("trips", steps=168, missing=0.0)
    values = task.values.copy()
    values[:130, 1] = np.nan  # it reports after the training part only
    lines = told(tiny_city(replace(task, values=values)))
    assert lines[1] == ("trips: has no observation to learn from at place 1: no forecast of its own")
