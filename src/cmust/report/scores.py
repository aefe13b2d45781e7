"""Who is best and who loses: the one judgement that the page, the terminal and the documents share."""

from dataclasses import dataclass

from cmust.report.reading import Evaluation, Scores, TaskEvaluation

OURS = "cmust"
NAIVE = ("last_value", "yesterday", "last_week", "weekly_average", "scaled_weekly_average")
LABELS = {
    OURS: "CMuST",
    "last_value": "last value",
    "yesterday": "same time yesterday",
    "last_week": "same time last week",
    "weekly_average": "weekly average",
    "scaled_weekly_average": "scaled weekly average",
    "alone": "same network, each task alone",
    "joint": "same network, trained jointly",
}


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
        if value is None:
            return "–"
        return f"{100 * value:.1f} %" if self.name in ("wape", "mape") else show_number(value)


METRICS = tuple(Metric("plain", name) for name in ("mae", "rmse", "wape")) + tuple(
    Metric("masked", name) for name in ("mae", "rmse", "mape")
)
PLAIN_MAE, MASKED_MAE = METRICS[0], METRICS[3]


def show_number(value: float) -> str:
    """A number with the digits a reader can use: about three or four significant ones."""
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
    """The task's systems: ours, other learned ones as they stand, naive forecasts from simple to strong."""
    learned = [name for name in task.systems if name != OURS and name not in NAIVE]
    ours = [OURS] if OURS in task.systems else []
    return ours + learned + [name for name in NAIVE if name in task.systems]


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
        loses: CMuST has a higher error than some naive forecast in some metric.
        loses_mae: the same, in plain or masked MAE.
        compared: there was at least one naive forecast to compare with.
        sentences: the words, plain text.
    """

    loses: bool
    loses_mae: bool
    compared: bool
    sentences: tuple[str, ...]


def judge(task: TaskEvaluation) -> Verdict:
    """Compare CMuST with the naive forecasts and with the other learned systems of one task."""
    if OURS not in task.systems:
        return Verdict(False, False, False, ("CMuST was not evaluated on this task.",))
    naive = [name for name in NAIVE if name in task.systems]
    learned = [name for name in ordered_systems(task) if name != OURS and name not in NAIVE]
    compared = any(_compared(task, name, metric) for name in naive for metric in METRICS)
    lost = [metric for metric in METRICS if any(beats_ours(task, name, metric) for name in naive)]
    if not compared:
        sentences = ["There is no naive forecast to compare with."]
    elif lost:
        sentences = ["CMuST loses to a naive forecast: " + "; ".join(_loss(task, naive, metric) for metric in lost) + "."]
        if len(lost) < len(METRICS):
            kept = [m for m in METRICS if m not in lost and any(_compared(task, name, m) for name in naive)]
            if kept:
                sentences.append("It beats or equals all of them in " + _listed([metric.title for metric in kept]) + ".")
    else:
        sentences = [_win(task, naive)]
    behind = [metric for metric in METRICS if any(beats_ours(task, name, metric) for name in learned)]
    if behind:
        sentences.append("Another learned system is better: " + "; ".join(_loss(task, learned, m) for m in behind) + ".")
    return Verdict(bool(lost), PLAIN_MAE in lost or MASKED_MAE in lost, compared, tuple(sentences))


def headline(evaluation: Evaluation) -> str:
    """One sentence over all tasks: on how many CMuST beats every naive forecast in both MAE, and where it loses."""
    verdicts = {name: judge(task) for name, task in evaluation.tasks.items()}
    compared = {name: verdict for name, verdict in verdicts.items() if verdict.compared}
    if not compared:
        return "No task has both CMuST's scores and a naive forecast's: there is nothing to compare."
    losing = [name for name, verdict in compared.items() if verdict.loses_mae]
    won = len(compared) - len(losing)
    text = f"No naive forecast has a lower MAE than CMuST, plain or masked, on {won} of {len(compared)} tasks"
    return text + (f"; CMuST loses to a naive forecast on {_listed(losing)}." if losing else ".")


def _compared(task: TaskEvaluation, name: str, metric: Metric) -> bool:
    return metric.of(task.systems[OURS]) is not None and metric.of(task.systems[name]) is not None


def _best_of(task: TaskEvaluation, names: list[str], metric: Metric) -> tuple[float, str] | None:
    known = [(value, name) for name in names if (value := metric.of(task.systems[name])) is not None]
    return min(known, key=lambda pair: pair[0]) if known else None


def _loss(task: TaskEvaluation, names: list[str], metric: Metric) -> str:
    best = _best_of(task, names, metric)
    assert best is not None  # a metric is lost only against a value
    others = sum(beats_ours(task, name, metric) for name in names) - 1
    more = f" and {others} more" if others else ""
    ours = metric.show(metric.of(task.systems[OURS]))
    return f"in {metric.title} to the {label(best[1])}{more} ({ours} against {metric.show(best[0])})"


def _win(task: TaskEvaluation, naive: list[str]) -> str:
    text = f"No naive forecast ({len(naive)} compared) is better than CMuST in any score"
    ours, best = PLAIN_MAE.of(task.systems[OURS]), _best_of(task, naive, PLAIN_MAE)
    if ours is None or best is None or best[0] <= 0:
        return text + "."
    lower = 100 * (1 - ours / best[0])
    return (
        f"{text}; its plain MAE is {lower:.1f} % below that of the best of them, the {label(best[1])} "
        f"({PLAIN_MAE.show(ours)} against {PLAIN_MAE.show(best[0])})."
    )


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else ", ".join(words[:-1]) + " and " + words[-1]
