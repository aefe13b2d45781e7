"""Two versions of a run beside each other."""

from pathlib import Path
from typing import Any

import numpy as np

from cmust.assembly import window_scores
from cmust.city import City
from cmust.errors import RunError
from cmust.forecaster import Forecaster
from cmust.windows import windows_between


def compare_versions(run: Path | str, one: int, two: int, city: City | None = None) -> dict[str, dict[str, Any]]:
    """What two versions reached, per task that either has.

    Args:
        run: the run folder.
        one, two: numbers of versions.
        city: where given, both are scored on it too, on what follows everything that either has seen.

    Returns:
        By task ``validation`` and ``later``, each a pair of scores (see :func:`cmust.assembly.window_scores`), None
        where there is none. Scores of ``validation`` compare only where their ``from`` and ``until`` are the same.

    Raises:
        RunError: there is no such version, or the city has nothing that follows.
    """
    pair = Forecaster.load(run, one), Forecaster.load(run, two)
    names = list(dict.fromkeys([*pair[0].tasks, *pair[1].tasks]))
    table: dict[str, dict[str, Any]] = {}
    for name in names:
        abouts = [each.tasks[name].about if name in each.tasks else {} for each in pair]
        later: list[dict[str, Any]] | None = None
        if city is not None and all(abouts):
            later = _later(pair, city, name, [about.get("seen", {}).get("until") for about in abouts])
        table[name] = {"validation": [about.get("validation") for about in abouts], "later": later}
    if city is not None and not any(each["later"] for each in table.values()):
        raise RunError(f"city {city.name!r} holds nothing that follows what versions {one} and {two} have seen")
    return table


def _later(
    pair: tuple[Forecaster, Forecaster], city: City, name: str, seen: list[str | None]
) -> list[dict[str, Any]] | None:
    if None in seen or name not in pair[0].tasks_in(city):
        return None
    task = pair[0].task_of(city, name)
    begin = max(int(np.searchsorted(task.time, np.datetime64(until), side="right")) for until in seen)
    starts = windows_between(begin, task.n_steps, pair[0].config.input_steps, pair[0].config.horizon)
    if not len(starts):
        return None
    return [window_scores(each.tasks[name], task, each.windows(task), starts) for each in pair]
