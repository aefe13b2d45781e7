"""Who is best and who loses, on tables small enough to judge by eye."""

import copy
import re
from typing import Any

import pytest
from rich.console import Console

from cmust.errors import RunError
from cmust.report.checking import check_evaluation
from cmust.report.console import score_markdown, score_table
from cmust.report.scores import PLAIN_MAE, beats_ours, headline, is_best, judge, ordered_systems, show_number


def system(mae: float | None, masked: float | None) -> dict[str, Any]:
    return {"plain": {"mae": mae, "rmse": None, "wape": None}, "masked": {"mae": masked, "rmse": None, "mape": None}}


def evaluation(**tasks: dict[str, Any]) -> dict[str, Any]:
    made = {
        name: {
            "unit": "trips",
            "kind": "count",
            "interval": 1800,
            "nodes": ["a", "b"],
            "windows": 9,
            "systems": copy.deepcopy(systems),
        }
        for name, systems in tasks.items()
    }
    city = {"name": "here", "fingerprint": "", "synthetic": False}
    return {"schema": 1, "made": {}, "city": city, "protocol": "purged", "part": "test", "tasks": made}


WON = {"last_value": system(9.0, 10.0), "weekly_average": system(4.0, 5.0), "cmust": system(3.0, 4.5)}
LOST = {"cmust": system(3.0, 4.5), "alone": system(2.9, 4.4), "weekly_average": system(2.5, 5.0)}


def test_winning_is_said_with_the_margin() -> None:
    verdict = judge(check_evaluation(evaluation(taxi=WON)).tasks["taxi"])
    assert not verdict.loses and verdict.beats_mae
    # 3.0 is a quarter below 4.0
    assert verdict.sentences == (
        "CMuST beats all 2 naive forecasts in every score; its plain MAE is 25.0 % below that of the best of them, "
        "weekly average (3.00 against 4.00).",
    )


def test_losing_is_said_with_the_metric_and_the_figures() -> None:
    verdict = judge(check_evaluation(evaluation(bike=LOST)).tasks["bike"])
    assert verdict.loses and verdict.loses_mae and not verdict.beats_mae
    assert verdict.sentences[0] == (
        "CMuST loses to a naive forecast: to weekly average in plain MAE (plain MAE 3.00 against 2.50)."
    )
    assert verdict.sentences[1] == "No naive forecast is better in masked MAE."
    assert (
        "behind another learned system: to same network, each task alone in plain MAE and masked MAE"
        in verdict.sentences[2]
    )


def test_an_equal_forecast_neither_wins_nor_loses() -> None:
    task = check_evaluation(evaluation(taxi={"cmust": system(3.0, 3.0), "yesterday": system(3.0, 4.0)})).tasks["taxi"]
    verdict = judge(task)
    assert not verdict.loses and not verdict.beats_mae
    assert is_best(task, "cmust", PLAIN_MAE) and is_best(task, "yesterday", PLAIN_MAE)
    assert not beats_ours(task, "yesterday", PLAIN_MAE)


def test_missing_scores_are_never_compared() -> None:
    content = evaluation(taxi={"cmust": system(None, 4.0), "yesterday": system(1.0, float("nan"))})
    task = check_evaluation(content).tasks["taxi"]
    assert not judge(task).compared and not beats_ours(task, "yesterday", PLAIN_MAE)
    assert headline(check_evaluation(content)).startswith("No task has both")


def test_a_model_without_any_score_loses_to_naive_forecasts_that_have_some() -> None:
    content = evaluation(taxi=WON, bike={"cmust": system(float("nan"), float("nan")), "yesterday": system(1.0, 2.0)})
    checked = check_evaluation(content)
    verdict = judge(checked.tasks["bike"])
    assert verdict.compared and verdict.loses and verdict.loses_mae and not verdict.beats_mae
    assert verdict.sentences == ("CMuST has no score that is a number, and loses to the naive forecasts, which have.",)
    assert headline(checked) == (
        "CMuST beats every naive forecast in plain and masked MAE on 1 of 2 tasks; "
        "it loses to a naive forecast on bike."
    )
    assert "bike: CMuST has no score" in printed(content)
    nobody = evaluation(bike={"cmust": system(None, None), "yesterday": system(None, None)})
    assert not judge(check_evaluation(nobody).tasks["bike"]).compared


def test_systems_stand_ours_learned_naive() -> None:
    systems = {name: system(1.0, 1.0) for name in ("weekly_average", "last_value", "joint", "cmust", "alone")}
    task = check_evaluation(evaluation(taxi=systems)).tasks["taxi"]
    assert ordered_systems(task) == ["cmust", "joint", "alone", "last_value", "weekly_average"]


def test_headline_counts_tasks() -> None:
    said = headline(check_evaluation(evaluation(taxi=WON, bike=LOST)))
    assert said == (
        "CMuST beats every naive forecast in plain and masked MAE on 1 of 2 tasks; "
        "it loses to a naive forecast on bike."
    )


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0, "0.00"), (0.01234, "0.0123"), (9.056, "9.06"), (-3.14159, "-3.14"), (123.456, "123.5"), (2345.6, "2346")],
)
def test_numbers_have_three_or_four_digits(value: float, shown: str) -> None:
    assert show_number(value) == shown


def printed(content: dict[str, Any]) -> str:
    console = Console(width=200, record=True, file=None, force_terminal=False)
    with console.capture() as capture:
        console.print(score_table(content))
    return capture.get()


def test_terminal_table_marks_the_forecast_that_beats_cmust() -> None:
    text = printed(evaluation(taxi=WON, bike=LOST))
    row = next(line for line in text.splitlines() if "weekly average" in line and "2.50" in line)
    assert "< 2.50" in row and "< 5.00" not in row
    assert "it loses to a naive forecast on bike" in " ".join(text.split())
    assert "<" not in next(line for line in text.splitlines() if "9.00" in line)


def test_terminal_table_takes_names_with_markup_as_text() -> None:
    content = evaluation(taxi=WON)
    content["city"]["name"] = "[red]x[/red]"
    content["tasks"]["taxi"]["systems"]["[bold]y"] = system(1.0, 1.0)
    text = printed(content)
    assert "[red]x[/red]" in text and "[bold]y" in text


def test_markdown_table_has_a_cell_for_every_number() -> None:
    lines = score_markdown(evaluation(taxi=WON, bike=LOST)).splitlines()
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if line.startswith("|")]
    assert {len(row) for row in rows} == {8}
    cells = {(row[0].strip(), row[1].strip()): [cell.strip() for cell in row[2:]] for row in rows[2:]}
    assert cells["taxi", "CMuST"] == ["**3.00**", "—", "—", "**4.50**", "—", "—"]
    assert cells["", "weekly average"][0] == "**2.50** (!)"  # the last of that name: bike's
    assert any(line.startswith("- bike: CMuST loses to a naive forecast") for line in lines)


def test_markdown_escapes_what_would_break_the_table() -> None:
    text = score_markdown(evaluation(**{"a|b*c_d": WON, "_e": LOST}))
    assert "| a\\|b\\*c_d | CMuST |" in text and "| \\_e | CMuST |" in text


def test_another_schema_is_refused_by_number() -> None:
    content = evaluation(taxi=WON) | {"schema": 7}
    with pytest.raises(RunError, match=r"schema 7, this version of cmust reads 1"):
        score_table(content)
