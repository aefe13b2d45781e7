"""Calibrate the intervals of a run on data its model has not seen, and say how well they would have covered it.

Shapes: O origins, F forecast steps, N nodes, C channels, M = N * C series.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from cmust.city import City, Task, check_is_city
from cmust.continual.versions import lineage
from cmust.errors import ConfigError, RunError
from cmust.forecaster import Forecaster
from cmust.intervals.conformal import (
    Adaptation,
    Bounds,
    Groups,
    Scale,
    adaptive_bounds,
    channel_of_group,
    node_groups,
)
from cmust.intervals.coverage import interval_scores
from cmust.intervals.state import FILE, TaskIntervals, bounds, of_these_models, write_intervals
from cmust.machine import provenance
from cmust.naive import weekly_average
from cmust.origins import Model, forecasts_from, succession, turns, unseen_origins
from cmust.training import device_of

Floats = npt.NDArray[np.float32]
Progress = Callable[[str, int, int], None]
OURS, BASELINE = "cmust", "weekly_average"


def calibrate(
    run: Path | str,
    city: City,
    *,
    adaptation: Adaptation | None = None,
    since: str | None = None,
    until: str | None = None,
    accelerator: str = "auto",
    progress: Progress = lambda task, done, origins: None,
    command: str | None = None,
) -> dict[str, Any]:
    """Go through the data after the validation part as if it had arrived step by step, and write what the intervals
    have learned by the last truth into ``intervals.json``. Run it again when new truth has arrived, or a new version is
    made. Intervals of other tasks, and of those without truth to learn from, stay there, where they are of the models
    in force.

    Each step is forecast by the newest version of the run that had not seen it, of those that led to the one in force:
    what an update has seen was forecast by the version before it, and the intervals go on from there.

    Args:
        run: a finished run folder.
        city: the one it was trained on, or newer data of the same places.
        adaptation: how intervals adapt, and their levels.
        since: local time of the first forecast to learn from; the first that is new to a version when not given.
        until: local time from which on no truth is used.
        accelerator: where forecasts are computed: ``cpu``, ``cuda``, or ``auto`` for a GPU where there is one.
        progress: called with task, origins done and origins in all.
        command: how it was started, for the records; the program's arguments when not given.

    Returns:
        What ``intervals.json`` holds of these tasks besides the states: per task and system, coverage, width and
        interval score of every level, each interval judged by the truth it could not know, pooled, per horizon and per
        node group.

    Raises:
        CityError: the data does not fit the model.
        ConfigError: ``adaptation`` is something else, or there is no such accelerator here.
        RunError: the run is not finished, no task has enough data that is new to its model, with truths in it, or a
            model's forecasts are not numbers.
    """
    check_is_city(city)
    chosen = Adaptation() if adaptation is None else adaptation
    if not isinstance(chosen, Adaptation):
        raise ConfigError(
            f"adaptation is {chosen!r:.60}; give cmust.intervals.conformal.Adaptation, such as "
            f"Adaptation(levels=(0.9,))"
        )
    device = device_of(accelerator)
    versions = [(number, forecaster.to(device)) for number, forecaster in lineage(run)]
    version, forecaster = versions[0]
    models = succession(versions, city)
    found, left_out = unseen_origins(
        forecaster,
        city,
        since,
        until,
        needs=lambda task: chosen.first_days * task.steps_per_day + forecaster.config.horizon,
        seen={name: each[0].seen for name, each in models.items()},
        to_last_truth=True,
    )
    states, tasks = {}, {}
    for name, (task, origins) in found.items():
        own = turns(task, models[name], origins)
        forecasts, truth = _collect(own, task, len(origins), progress)
        made = {system: _calibrated(forecaster, task, each, truth, chosen) for system, each in forecasts.items()}
        ours = made[OURS]
        state = ours.state(forecaster.identity(name), task.time[-1], chosen)
        if state.unknown.all():
            left_out[name] = (
                f"task {name!r} has too few observations in the {chosen.window_days} days up to {state.until} for an "
                f"interval: give data with more of them"
            )
            continue
        states[name] = state
        tasks[name] = {
            "unit": task.unit,
            "from": str(task.time[origins.start]),
            "until": str(task.time[-1]),
            "origins": len(origins),
            "origins_by_version": {str(model.version): len(some) for model, some in own},
            "groups": _describe_groups(task, ours.group),
            "scores_known": ours.bounds.count.tolist(),
            "systems": {system: each.scores(truth, chosen) for system, each in made.items()},
        }
    if not states:
        raise RunError(next(iter(left_out.values())))
    content = {
        "made": provenance(command, device),
        "city": {"name": city.name, "synthetic": city.synthetic},
        "version": version,
        "adaptation": {**vars(chosen), "levels": list(chosen.levels)},
        "tasks": tasks,
        "left_out": left_out,
    }
    kept_states, kept_tasks = _kept(Path(run) / FILE, forecaster)
    written = {name: each.to_json() for name, each in states.items()}
    whole = {**content, "tasks": {**kept_tasks, **tasks}, "states": {**kept_states, **written}}
    write_intervals(Path(run) / FILE, whole)
    return content


def _kept(path: Path, forecaster: Forecaster) -> tuple[dict[str, Any], dict[str, Any]]:
    """States and scores by task, as far as they are of the models in force; a damaged file has none to keep."""
    try:
        content = of_these_models(path, {name: forecaster.identity(name) for name in forecaster.tasks})
    except RunError:
        return {}, {}
    return content["states"], content["tasks"]


@dataclass(frozen=True)
class Calibrated:
    """A system's forecasts ``(O, F, N, C)`` of one task and the quantiles that go with them."""

    forecast: Floats
    scale: Scale
    group: Groups
    bounds: Bounds

    def state(self, model: str, until: np.datetime64, adaptation: Adaptation) -> TaskIntervals:
        """What the next forecast uses."""
        last = self.bounds.lower[:, -1], self.bounds.upper[:, -1]
        return TaskIntervals(model, until, adaptation.levels, self.scale, self.group, *last)

    def scores(self, truth: Floats, adaptation: Adaptation) -> dict[str, Any]:
        """Interval scores by level."""
        series = self.group.ravel()
        forecast, observed = _by_series(self.forecast), _by_series(truth)
        found = {}
        for which, level in enumerate(adaptation.levels):
            offsets = (each[which, :-1][:, :, series] for each in (self.bounds.lower, self.bounds.upper))
            lower, upper = bounds(self.scale, forecast, *offsets)
            found[f"{level:g}"] = interval_scores(lower, upper, observed, series, level)
        return found


def _calibrated(
    forecaster: Forecaster, task: Task, forecast: Floats, truth: Floats, adaptation: Adaptation
) -> Calibrated:
    model = forecaster.model(task.name)
    scale = model.scale
    group = node_groups(model.average.mean(0), adaptation.groups)
    scores = _by_series((truth - scale.centre(forecast)) / scale.size(forecast))
    found = adaptive_bounds(scores, group.ravel(), task.steps_per_day, adaptation, channel_of_group(group))
    return Calibrated(forecast, scale, group, found)


def _collect(
    own: Sequence[tuple[Model, range]], task: Task, count: int, progress: Progress
) -> tuple[dict[str, Floats], Floats]:
    """Forecasts by system and the truth, each ``(O, F, N, C)``."""
    batches, done = [], 0
    for model, origins in own:
        systems = {OURS: model.forecaster.forecast, BASELINE: weekly_average}
        for batch in forecasts_from(model.forecaster, task, origins, systems):
            batches.append(batch)
            done += len(batch.origins)
            progress(task.name, done, count)
    forecasts = {name: np.concatenate([batch.forecasts[name] for batch in batches]) for name in (OURS, BASELINE)}
    return forecasts, np.concatenate([batch.truth for batch in batches])


def _describe_groups(task: Task, group: Groups) -> list[dict[str, Any]]:
    """Per group its channel and its nodes."""
    count = int(group[:, 0].max()) + 1
    return [
        {"channel": task.channels[number // count], "nodes": [task.nodes[at] for at in np.flatnonzero(members)]}
        for number in range(count * task.n_channels)
        for members in [group[:, number // count] == number]
    ]


def _by_series(values: Floats) -> Floats:
    """``(O, F, N, C)`` to ``(O, F, M)``."""
    return values.reshape(*values.shape[:2], -1)
