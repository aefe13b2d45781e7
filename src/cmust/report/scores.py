"""Who is best and who loses: the one judgement that the page, the terminal and the documents share."""

from collections.abc import Iterable
from dataclasses import dataclass

from cmust.report.layout import Evaluation, Scores, TaskEvaluation

OURS = "cmust"
NAIVE = ("last_value", "yesterday", "last_week", "weekly_average", "scaled_weekly_average", "weekly_profile")
LABELS = {
    OURS: "CMuST",
    "last_value": "last value",
    "yesterday": "same time yesterday",
    "last_week": "same time last week",
    "weekly_average": "weekly average",
    "scaled_weekly_average": "scaled weekly average",
    "weekly_profile": "weekly profile alone",
    "alone": "same network, each task alone",
    "joint": "same network, trained jointly",
}


NOTHING = "—"
"""Stands where there is no value."""


@dataclass(frozen=True)
class Metric:
    """One column of the score table. All of them are errors: lower is better."""

    family: str
    name: str

    @property
    def title(self) -> str:
        """The metric as words call it, such as ``masked MAE``."""
        return f"{self.family} {self.name.upper()}"

    def of(self, scores: Scores) -> float | None:
        """The value of this metric, ``None`` where it does not exist."""
        value: float | None = getattr(getattr(scores, self.family), self.name)
        return value

    def show(self, value: float | None) -> str:
        """The value as a table shows it; WAPE and MAPE, stored as fractions, in per cent."""
        return show_number(value) if value is None or self.name not in ("wape", "mape") else f"{100 * value:.1f} %"


METRICS = tuple(Metric("plain", name) for name in ("mae", "rmse", "wape")) + tuple(
    Metric("masked", name) for name in ("mae", "rmse", "mape")
)
PLAIN_MAE, MASKED_MAE = METRICS[0], METRICS[3]


def show_number(value: float | None) -> str:
    """A number with the digits a reader can use: about three or four significant ones; a sign where there is none."""
    if value is None:
        return NOTHING
    size = abs(value)
    if size >= 1000:
        return f"{value:.0f}"
    if size >= 100:
        return f"{value:.1f}"
    if size >= 1 or value == 0:
        return f"{value:.2f}"
    return f"{value:.3g}"


def label(system: str) -> str:
    """The name of a system as people read it."""
    return LABELS.get(system, system.replace("_", " "))


def ordered_systems(task: TaskEvaluation) -> list[str]:
    """The task's systems; see :func:`in_order`."""
    return in_order(task.systems)


def in_order(systems: Iterable[str]) -> list[str]:
    """Ours, other learned ones as they stand, naive forecasts from simple to strong."""
    present = list(systems)
    learned = [name for name in present if name not in (OURS, *NAIVE)]
    return [name for name in (OURS, *learned, *NAIVE) if name in present]


def is_best(task: TaskEvaluation, system: str, metric: Metric) -> bool:
    """Whether no system has a lower error; equal ones are best together."""
    values = [value for scores in task.systems.values() if (value := metric.of(scores)) is not None]
    own = metric.of(task.systems[system])
    return own is not None and own == min(values)


def beats_ours(task: TaskEvaluation, system: str, metric: Metric) -> bool:
    """Whether this system has a strictly lower error than CMuST."""
    if system == OURS or OURS not in task.systems:
        return False
    ours, other = metric.of(task.systems[OURS]), metric.of(task.systems[system])
    return ours is not None and other is not None and other < ours


@dataclass(frozen=True)
class Verdict:
    """What the scores of one task say, in words.

    Attributes:
        compared: there was at least one naive forecast to compare with.
        loses: CMuST has a higher error than some naive forecast in some metric, or no score where one has some.
        loses_mae: the same, in plain or masked MAE.
        beats_mae: CMuST has a lower error than every naive forecast in plain and masked MAE.
        sentences: the words, plain text.
    """

    compared: bool
    loses: bool
    loses_mae: bool
    beats_mae: bool
    sentences: tuple[str, ...]


def judge(task: TaskEvaluation) -> Verdict:
    """Compare CMuST with the naive forecasts and with the other learned systems of one task."""
    if OURS not in task.systems:
        return Verdict(False, False, False, False, ("CMuST was not evaluated on this task.",))
    naive = [name for name in NAIVE if name in task.systems]
    if not _has_scores(task, OURS) and any(_has_scores(task, name) for name in naive):
        return Verdict(
            compared=True,
            loses=True,
            loses_mae=True,
            beats_mae=False,
            sentences=("CMuST has no score that is a number, and loses to the naive forecasts, which have.",),
        )
    learned = [name for name in ordered_systems(task) if name != OURS and name not in NAIVE]
    compared = [metric for metric in METRICS if any(_gap(task, name, metric) is not None for name in naive)]
    lost = [metric for metric in METRICS if any(beats_ours(task, name, metric) for name in naive)]
    kept = [metric.title for metric in compared if metric not in lost]
    if not compared:
        sentences = ["There is no naive forecast to compare with."]
    elif lost:
        sentences = [f"CMuST loses to a naive forecast: {_losses(task, naive)}."]
        sentences += [f"No naive forecast is better in {_listed(kept)}."] if kept else []
    else:
        sentences = [_win(task, naive, compared)]
    behind = _losses(task, learned)
    sentences += [f"CMuST is also behind another learned system: {behind}."] if behind else []
    return Verdict(
        compared=bool(compared),
        loses=bool(lost),
        loses_mae=PLAIN_MAE in lost or MASKED_MAE in lost,
        beats_mae=_beats_all(task, naive, [metric for metric in (PLAIN_MAE, MASKED_MAE) if metric in compared]),
        sentences=tuple(sentences),
    )


def headline(evaluation: Evaluation) -> str:
    """One sentence over all tasks: on how many CMuST beats every naive forecast in both MAE, and where it loses."""
    verdicts = {name: judge(task) for name, task in evaluation.tasks.items()}
    compared = {name: verdict for name, verdict in verdicts.items() if verdict.compared}
    if not compared:
        return "No task has both CMuST's scores and a naive forecast's: there is nothing to compare."
    won = sum(verdict.beats_mae for verdict in compared.values())
    losing = [name for name, verdict in compared.items() if verdict.loses_mae]
    text = f"CMuST beats every naive forecast in plain and masked MAE on {won} of {len(compared)} tasks"
    return text + (f"; it loses to a naive forecast on {_listed(losing)}." if losing else ".")


def _has_scores(task: TaskEvaluation, system: str) -> bool:
    """Whether a system reached a number in some metric; one whose forecasts are NaN did not."""
    return any(metric.of(task.systems[system]) is not None for metric in METRICS)


def _gap(task: TaskEvaluation, name: str, metric: Metric) -> float | None:
    """How much higher a system's error is than CMuST's, ``None`` where one of them does not exist."""
    ours, other = metric.of(task.systems[OURS]), metric.of(task.systems[name])
    return None if ours is None or other is None else other - ours


def _beats_all(task: TaskEvaluation, names: list[str], metrics: list[Metric]) -> bool:
    gaps = [gap for name in names for metric in metrics if (gap := _gap(task, name, metric)) is not None]
    return bool(gaps) and all(gap > 0 for gap in gaps)


def _losses(task: TaskEvaluation, names: list[str]) -> str:
    """To whom CMuST loses and in what, with the figures of the MAE; empty where it does not."""
    parts = []
    for name in names:
        lost = [metric for metric in METRICS if beats_ours(task, name, metric)]
        if not lost:
            continue
        scores = "every score" if len(lost) == len(METRICS) else _listed([metric.title for metric in lost])
        ours, theirs = task.systems[OURS], task.systems[name]
        figures = [
            f"{metric.title} {metric.show(metric.of(ours))} against {metric.show(metric.of(theirs))}"
            for metric in (PLAIN_MAE, MASKED_MAE)
            if metric in lost
        ]
        parts.append(f"to {label(name)} in {scores}" + (f" ({', '.join(figures)})" if figures else ""))
    return "; ".join(parts)


def _best_of(task: TaskEvaluation, names: list[str], metric: Metric) -> tuple[float, str] | None:
    known = [(value, name) for name in names if (value := metric.of(task.systems[name])) is not None]
    return min(known, key=lambda pair: pair[0]) if known else None


def _win(task: TaskEvaluation, naive: list[str], compared: list[Metric]) -> str:
    if _beats_all(task, naive, compared):
        text = f"CMuST beats all {len(naive)} naive forecasts in every score"
    else:
        text = f"None of {len(naive)} naive forecasts is better than CMuST, but one is equal"
    ours, best = PLAIN_MAE.of(task.systems[OURS]), _best_of(task, naive, PLAIN_MAE)
    if ours is None or best is None or best[0] <= 0:
        return text + "."
    return (
        f"{text}; its plain MAE is {100 * (1 - ours / best[0]):.1f} % below that of the best of them, "
        f"{label(best[1])} ({PLAIN_MAE.show(ours)} against {PLAIN_MAE.show(best[0])})."
    )


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
