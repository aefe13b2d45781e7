"""The interval method around naive forecasts, which need no training: coverage, width and interval score per task.

python -m benchmarks.intervals CITY
"""

import argparse

import torch

import cmust
from cmust.intervals.conformal import Adaptation, Scale, adaptive_bounds, node_groups
from cmust.intervals.coverage import interval_scores
from cmust.intervals.state import bounds
from cmust.naive import NAIVE
from cmust.windows import Windows, make_windows

STILL = {"window_days": 365, "rate": 0.0}


def measure(windows: Windows, kind: str, system: str, adaptation: Adaptation) -> dict:
    """Scores of the intervals around a naive forecast, from every origin after the validation part."""
    reach = windows.input_steps + windows.horizon
    starts = torch.arange(
        int(windows.split.starts["validation"][-1]) + windows.horizon, len(windows.values) - reach + 1
    )
    forecast = NAIVE[system](windows, starts).flatten(2).numpy()
    values, valid = windows.targets(starts)
    truth = torch.where(valid, values, torch.nan).flatten(2).numpy()
    scale = Scale.of(kind, float(windows.scaler.std.mean()))
    average = windows.average[windows.split.train_steps :]
    group = node_groups(average.mean(0).numpy(), adaptation.groups).ravel()
    scores = (truth - scale.centre(forecast)) / scale.size(forecast)
    found = adaptive_bounds(scores, group, windows.steps_per_day, adaptation)
    lower, upper = bounds(scale, forecast, found.lower[0, :-1][:, :, group], found.upper[0, :-1][:, :, group])
    return interval_scores(lower, upper, truth, group, adaptation.levels[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("city")
    parser.add_argument("--level", type=float, default=0.9)
    options = parser.parse_args()
    city = cmust.open_city(options.city)
    torch.set_num_threads(1)
    print(
        "| task | forecast | intervals | coverage | by group | width | interval score |\n|---|---|---|--:|---|--:|--:|"
    )
    for name, windows in make_windows(city, "purged").items():
        for system in ("scaled_weekly_average", "weekly_average"):
            for label, more in (("adaptive", {}), ("all days, rate 0", STILL)):
                adaptation = Adaptation(levels=(options.level,), **more)
                scores = measure(windows, city.tasks[name].kind, system, adaptation)
                groups = " ".join(
                    f"{100 * share:.0f}" for share in scores["per_group"]["coverage"] if share is not None
                )
                print(
                    f"| {name} | {system} | {label} | {100 * scores['coverage']:.1f} % | {groups} | "
                    f"{scores['width']:.2f} | {scores['interval_score']:.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
