"""The page of a run that was backtested, calibrated, adapted, updated: its numbers are those stored."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cmust.errors import RunError
from cmust.report import write_report
from tests.report.later import (
    adapt_record,
    add_backtest,
    add_intervals,
    add_version,
    interval_scores,
    read,
    seal,
    update_record,
)
from tests.report.test_report_page import EVIL, Page, page_of

Edit = Callable[[Path, Callable[[dict[str, Any]], None]], None]
OLD = {name: f"first {name}" for name in ("crowd_in", "taxi", "risk")}


def between(text: str, start: str, end: str) -> str:
    return text.split(start, 1)[1].split(end, 1)[0]


def test_without_them_the_page_names_the_commands(run_folder: Path) -> None:
    text = page_of(run_folder).text
    for command in (
        f"cmust evaluate {run_folder} CITY --rolling-origin",
        f"cmust calibrate {run_folder} CITY",
        f"cmust adapt {run_folder} --city CITY --task TASK",
        f"cmust update {run_folder} --city CITY",
    ):
        assert text.count(command) == 1


def test_the_backtest_is_the_stored_one(run_folder: Path) -> None:
    stored = add_backtest(run_folder)
    page = page_of(run_folder)
    for task in page.data["tasks"]:
        tables = stored["tasks"][task["name"]]["by"]
        drawn = task["backtest"]
        assert [system["key"] for system in drawn["systems"]] == ["cmust", "last_value", "weekly_average"]
        for by in ("week", "weekday", "hour", "horizon"):
            assert drawn["tables"][by]["names"] == [row["name"] for row in tables[by]]
            assert drawn["tables"][by]["mean"] == [31.25] * 2 and drawn["tables"][by]["targets"] == [120] * 2
            for system in drawn["systems"]:
                assert system["mae"][by] == [row["mae"][system["key"]] for row in tables[by]]
                assert system["bias"][by] == [row["bias"].get(system["key"]) for row in tables[by]]
        # the first place has no targets and so no row; the others keep their places
        assert drawn["systems"][0]["places"] == [None, *(3.0 + at for at in range(11))]
    words = between(page.text, "Backtest: rolling origin", "Calibrated intervals")
    assert "MAE 4.12 against 5.50 of the best naive forecast, weekly average" in words
    assert "CMuST makes 50 % in the week of 2019-03-11, 80 % in that of 2019-03-18" in words
    assert "MAE 6.50 against 5.50" in words  # the last task, where it loses
    # a whole row: targets, mean, bias, three errors; and the holidays below
    assert "all 120 31.25 -0.75 4.12 9.00 5.50 holiday no 120 31.25 -0.75 4.25 9.00 5.50 yes 120" in words
    assert "week 2019-03-11 120 31.25 -0.75 2.50 9.00 5.00 2019-03-18" in words
    assert "roll 2 taxi 0.14 (+12.0 %) 0.25" in words
    lists = [attributes.get("class") for tag, attributes in page.elements if tag == "li"]
    assert lists.count("loses") == 2  # the scores lose on the last task, and so does the backtest


def test_a_backtest_without_an_error_of_cmust_is_lost(run_folder: Path) -> None:
    stored = add_backtest(run_folder)
    for task in stored["tasks"].values():
        task["by"]["whole"][0]["mae"]["cmust"] = float("nan")
    (run_folder / "backtest.json").write_text(json.dumps(stored))
    page = write_report(run_folder).read_text()
    for name in stored["tasks"]:
        assert f'<li class="loses"><b>{name}</b> 660 forecasts' in page
    told = "The MAE of CMuST is no number, that of the best naive forecast, weekly average, is 5.50."
    assert page.count(told) == len(stored["tasks"])


def test_the_intervals_are_the_stored_ones(run_folder: Path) -> None:
    stored = add_intervals(run_folder)
    page = page_of(run_folder)
    for task in page.data["tasks"]:
        own = task["intervals"]
        assert own["levels"] == ["0.5", "0.9"] and own["usual"] == "0.9"
        assert own["groups"] == stored["tasks"][task["name"]]["groups"]
        assert [system["key"] for system in own["systems"]] == ["cmust", "weekly_average"]
        ours = own["systems"][0]["levels"]["0.9"]
        wanted = interval_scores(0.897, 21.5)
        assert ours["horizon"] == {name: pytest.approx(values) for name, values in wanted["per_horizon"].items()}
        assert ours["group"] == {name: pytest.approx(values) for name, values in wanted["per_group"].items()}
    words = between(page.text, "Calibrated intervals", "Versions")
    assert "90 % intervals cover 89.7 % of 5000 values to 2019-03-24T23:30:00" in words
    assert "interval score 43.00 against 55.00 around the weekly average" in words
    assert "50 % CMuST 51.2 % 50.2 % to 51.2 % 7.50 15.00 weekly average 45.0 % 44.0 % to 45.0 % 9.50 19.00" in words


def test_a_run_backtested_but_not_evaluated(run_folder: Path) -> None:
    add_backtest(run_folder)
    (run_folder / "evaluation.json").unlink()
    page = page_of(run_folder)
    tasks = page.data["tasks"]
    assert [task["name"] for task in tasks] == ["crowd_in", "taxi", "risk"]
    assert all(task["systems"] == [] and task["backtest"] and task["map"] is not None for task in tasks)
    assert page.text.count("Not evaluated yet.") == 3 and "Not backtested yet" not in page.text


def test_an_adapted_run_says_where_it_comes_from(run_folder: Path) -> None:
    add_version(run_folder, 2, "adapt", {**OLD, "bikes": "second bikes"}, adapt_record())
    page = page_of(run_folder)
    words = between(page.text, " Versions ", " Training ")
    assert "2 in force adapt 2024-06-02 08:00 1 bikes crowd_in, taxi, risk cmust adapt" in words
    assert "Version 2: adapt from version 1" in words and "its head alone was trained" in words
    assert "history 2024-04-20T00:00:00 to 2024-04-30T23:30:00" in words
    assert "CMuST 3.25 6.50 25.0 % 4.25 7.50 50.0 % from scratch 4.75 9.50" in words
    assert "CMuST 7 of 30 4 280 54321 12 s from scratch 29 of 30 4 1160 54321 66 s" in words
    assert "version 2, made by adapt from 1" in page.text
    names = [phase["name"] for phase in page.data["phases"]]
    assert names[0] == "start 1 crowd_in" and names[len(names) // 2] == "start 1 crowd_in, version 2"


def test_an_updated_run_shows_the_candidates(run_folder: Path) -> None:
    add_version(run_folder, 2, "adapt", {**OLD, "bikes": "second bikes"}, adapt_record(), history=False)
    weights = {**OLD, "bikes": "second bikes", "taxi": "third taxi"}
    add_version(run_folder, 3, "update", weights, update_record("taxi", "risk"), history=False)
    words = between(page_of(run_folder).text, " Versions ", " Training ")
    assert "3 in force update 2024-06-03 08:00 2 taxi crowd_in, risk, bikes" in words
    assert "taxi 2024-06-01 2024-06-07 6.25 5.75 5.88 its weights, a new profile" in words
    assert "risk left out: task 'risk' has no new data" in words and "480 updates, 75 s; 37.5 % frozen after." in words
    assert words.index("Version 3: update from version 2") < words.index("Version 2: adapt from version 1")
    (run_folder / "current.json").write_text('{"schema": 1, "current": 1, "last": 3}')  # rolled back
    words = between(page_of(run_folder).text, " Versions ", " Training ")
    assert "1 in force train" in words and "Version 3:" not in words and "Version 2:" not in words


def test_records_of_other_weights_are_left_out_task_by_task(run_folder: Path) -> None:
    add_backtest(run_folder)
    add_intervals(run_folder)
    add_version(run_folder, 2, "update", {**OLD, "taxi": "second taxi"}, update_record("taxi", "risk"))
    page = page_of(run_folder)
    drawn = {task["name"]: (task["backtest"] is not None, task["intervals"] is not None) for task in page.data["tasks"]}
    assert drawn == {"crowd_in": (True, True), "risk": (True, True)}
    assert "The backtest of taxi is of weights that are no longer in force. Make it with cmust evaluate" in page.text
    assert (
        "The calibration of taxi is of weights that are no longer in force. Make it with cmust calibrate" in page.text
    )
    assert page.text.count("The evaluation of taxi is of weights that are no longer in force.") == 1
    assert [bool(task["systems"]) for task in page.data["tasks"]] == [True, True]
    add_backtest(run_folder, version=2)
    add_intervals(run_folder, version=2)
    (run_folder / "evaluation.json").write_text(json.dumps(read(run_folder / "evaluation.json") | {"version": 2}))
    assert "no longer in force" not in page_of(run_folder).text
    for version in (None, 7):  # from before it was recorded, and of a version that does not exist
        backtest = read(run_folder / "backtest.json") | {"version": version}
        (run_folder / "backtest.json").write_text(json.dumps(backtest))
        assert "The backtest of crowd_in, taxi, risk is of weights" in page_of(run_folder).text


def test_a_file_from_before_versions_were_recorded_counts_in_a_run_of_one(run_folder: Path, edit: Edit) -> None:
    add_backtest(run_folder)
    edit(run_folder / "backtest.json", lambda content: content.pop("version"))
    assert "MAE 4.12 against 5.50" in page_of(run_folder).text


def test_no_name_becomes_markup(run_folder: Path) -> None:
    def whole() -> Page:
        return page_of(run_folder)

    add_backtest(run_folder)
    intervals = add_intervals(run_folder)
    add_version(run_folder, 2, "adapt", {**OLD, "bikes": "new"}, adapt_record())
    add_version(run_folder, 3, "update", {**OLD, "bikes": "newer"}, update_record("bikes", "risk"))
    plain = whole()
    text = (run_folder / "backtest.json").read_text().replace("roll 2 taxi", "EVIL")
    text = text.replace("2019-03-11T00", "EVIL").replace("last_value", "EVIL").replace("17", "EVIL")
    (run_folder / "backtest.json").write_text(text.replace("EVIL", json.dumps(EVIL)[1:-1]))
    for task in intervals["tasks"].values():
        task["until"] = task["groups"][0]["channel"] = EVIL
        task["systems"][EVIL] = task["systems"].pop("weekly_average")
    seal(run_folder / "intervals.json", intervals)
    for path, old in (
        ("0002/adapt.json", "after the history"),
        ("0002/adapt.json", "2024-04-20T00:00:00"),
        ("0002/version.json", "cmust adapt"),
        ("0003/update.json", "no new data"),
        ("0003/version.json", "2024-06-03T08:00"),
    ):
        file = run_folder / "versions" / path
        assert old in file.read_text()
        file.write_text(file.read_text().replace(old, json.dumps(EVIL)[1:-1]))
    page = whole()
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    # shown as text all the same; spaces are the tokeniser's
    assert "no new data" not in page.text and page.text.count("alert(1)") >= 8


@pytest.mark.parametrize(
    ("name", "spoil", "words"),
    [
        ("backtest.json", lambda text: text[:300], r"backtest\.json is damaged at line 1"),
        ("backtest.json", lambda text: text.replace('"schema": 1', '"schema": 9'), r"backtest\.json has schema 9"),
        ("backtest.json", lambda text: text.replace('"origins"', '"origin"'), r"tasks\.crowd_in\.origins: "),
        ("backtest.json", lambda text: text.replace('"whole"', '"hole"'), r"by\.whole has to be one row"),
        ("backtest.json", lambda text: text.replace("Zone 5", "Elsewhere"), "place 'Elsewhere' in task 'crowd_in'"),
        ("intervals.json", lambda text: text[:300], r"intervals\.json is damaged"),
        ("intervals.json", lambda text: text.replace("0.512", "0.912"), r"intervals\.json was altered"),
        ("versions/0002/version.json", lambda text: text[:40], r"version\.json is damaged at line 1"),
        (
            "versions/0002/version.json",
            lambda text: text.replace('"parent": 1', '"parent": 2'),
            "version 2 as its paren",
        ),
        ("versions/0002/adapt.json", lambda text: text.replace('"epochs"', '"epoch"'), r"costs\.cmust\.epochs: "),
    ],
)
def test_damage_is_one_error(run_folder: Path, name: str, spoil: Callable[[str], str], words: str) -> None:
    add_backtest(run_folder)
    add_intervals(run_folder)
    add_version(run_folder, 2, "adapt", {**OLD, "bikes": "new"}, adapt_record())
    write_report(run_folder)
    (run_folder / "report.html").unlink()
    path = run_folder / name
    path.write_text(spoil(path.read_text()))
    with pytest.raises(RunError, match=words) as caught:
        write_report(run_folder)
    assert "\n" not in str(caught.value) and not (run_folder / "report.html").exists()


def test_a_version_without_its_record(run_folder: Path) -> None:
    add_version(run_folder, 2, "adapt", {**OLD, "bikes": "new"}, adapt_record())
    (run_folder / "versions" / "0002" / "adapt.json").unlink()
    with pytest.raises(RunError, match=r"adapt\.json cannot be read"):
        write_report(run_folder)


def test_groups_and_scores_have_to_be_as_many(run_folder: Path) -> None:
    content = add_intervals(run_folder)
    content["tasks"]["risk"]["groups"].pop()
    seal(run_folder / "intervals.json", content)
    with pytest.raises(RunError, match=r"tasks\.risk\.systems\.cmust\.0\.5\.per_group has 2 values for 1 groups"):
        write_report(run_folder)


def test_size_with_everything(tmp_path: Path, make_run: Callable[..., Path]) -> None:
    run = make_run(tmp_path / "run", 69, ("taxi_pickup", "taxi_dropoff", "bike_pickup", "bike_dropoff"), 336)
    before = write_report(run).stat().st_size
    add_backtest(run)
    add_intervals(run)
    assert write_report(run).stat().st_size < before + 100_000
    assert not re.search(r"\bNaN\b", (run / "report.html").read_text().split('id="data">')[1].split("</script>")[0])
