"""Table 1 on a tiny city: killed again and again, rendered from what is stored, within a budget."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from cmust.city import Task
from cmust.cli import app
from cmust.errors import ConfigError, RunError
from cmust.experiments import budget as budgets
from cmust.experiments import fig3, fig4b, fig6, table1, table2, table5, table6
from cmust.experiments.budget import Budget, Pace, Part, Stopwatch, batch_for, fit_into
from cmust.experiments.engine import Cell, CellsFailedError, records
from cmust.experiments.rendering import render
from cmust.experiments.sheet import latex, markdown
from cmust.experiments.study import Experiment, check_settings, claim, make_terms, run
from cmust.experiments.table import Row, Table, costs, losing, marks, rows_of
from cmust.experiments.table1 import ALL, cells
from cmust.experiments.work import CMUST, Terms, fallen, training_windows, work
from cmust.forecaster import Forecaster
from cmust.naive import LABELS
from cmust.run import Run
from cmust.windows import common_cuts, make_windows
from tests.deaths import told_by
from tests.experiments.kills import SETTINGS
from tests.rolling.tiny import SIZES, quick_prompts, small_city, tiny_city, tiny_task


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A table whose making was killed many times, and what was seen meanwhile."""
    folder = tmp_path_factory.mktemp("experiment") / "table1"
    return folder, told_by("tests.experiments.kills", folder)


def test_killed_at_any_time_it_repeats_no_cell(filled: tuple[Path, dict[str, Any]]) -> None:
    folder, seen = filled
    assert seen["deaths"] >= 4 and seen["again"] == []
    # Three updates a phase (two of MTGNN, whose batches are larger); what a kill loses is the epoch it falls into.
    assert set(seen["updates"]) == {
        *("alone trips", "alone visits", "alone together"),
        *("start trips", "roll 2 visits", "roll 3 trips", "refine trips", "refine visits"),
    }
    assert all(2 <= count <= 2 * 3 for count in seen["updates"].values())
    found = records(folder)
    assert sorted((each["cell"]["system"], *each["cell"]["tasks"]) for each in found) == [
        ("cmust_tuned", "trips", "visits"),
        ("mtgnn", "trips", "visits"),
        ("naive", "trips", "visits"),
        ("stid", "trips"),
        ("stid", "visits"),
    ]
    costs = {each["cell"]["system"]: each["cost"] for each in found if "cost" in each}
    assert (costs["stid"]["updates"], costs["mtgnn"]["updates"], costs["cmust_tuned"]["updates"]) == (3, 2, 15)
    (naive,) = (each for each in found if each["cell"]["system"] == "naive")
    assert set(naive["tasks"]["trips"]["systems"]) == set(LABELS)


def test_it_renders_from_what_is_stored_alone(filled: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, _ = filled
    text = render(folder)
    assert "| tiny, budget smoke | trips MAE | trips MAPE | visits MAE | visits MAPE |" in text
    assert "| MTGNN * |" in text and "| CMuST, tuned |" in text and "**" not in text and "one seed" in text
    assert "Worse than the best naive forecast in masked MAE" in text
    kept = tmp_path / "kept"
    kept.mkdir()
    for name in ("config.json", "results.jsonl"):
        shutil.copy(folder / name, kept)
    result = CliRunner().invoke(app, ["experiment", "render", str(kept)])
    assert result.exit_code == 0 and result.output.strip() == text.strip()
    assert {file.name for file in kept.iterdir()} == {
        *("config.json", "results.jsonl", "table1.md", "table1.tex", "table1.png")
    }
    assert (kept / "table1.png").read_bytes()[:4] == b"\x89PNG"
    (kept / "results.jsonl").write_text('{"cell"\n')
    with pytest.raises(RunError, match="damaged in line 1"):
        render(kept)
    (kept / "results.jsonl").unlink()
    with pytest.raises(RunError, match="no finished cell"):
        render(kept)


def test_what_was_kept_is_not_computed_again(filled: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, _ = filled
    render(folder)
    for name in ("config.json", "results.jsonl"):
        shutil.copy(folder / name, tmp_path)
    terms, heard = make_terms(small_city(), "smoke", SETTINGS, "cpu"), list[str]()
    run(table1.TABLE1, cells(("trips", "visits"), ("naive", "mtgnn"), (0,)), terms, tmp_path, tell=heard.append)
    assert [line.split(": ")[1] for line in heard] == ["finished before"] * 2
    assert sorted(map(str, records(tmp_path))) == sorted(map(str, records(folder)))


def test_a_cell_that_fails_does_not_keep_the_others(tmp_path: Path) -> None:
    terms, good = make_terms(small_city(), "smoke", SETTINGS, "cpu"), Cell("naive", ("trips", "visits"), 0)
    bad = Cell("naive", ("metro",), 0)
    with pytest.raises(CellsFailedError, match=r"1 of 2 cells failed: naive-metro-0-.*metro"):
        run(table1.TABLE1, [bad, good], terms, tmp_path)
    assert [each["cell"]["system"] for each in records(tmp_path)] == ["naive"]


def test_the_command_finds_it_finished(filled: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, _ = filled
    city = small_city().save(tmp_path / "city.zarr.zip")
    settings = tmp_path / "settings.toml"
    settings.write_text(
        "\n".join(
            f"[{table}]\n" + "\n".join(f"{key} = {value}" for key, value in values.items())
            for table, values in SETTINGS.items()
        )
    )

    def command(*arguments: str, code: int = 0) -> str:
        given = ["experiment", "table1", str(city), str(folder), "--config", str(settings), *arguments]
        result = CliRunner().invoke(app, given)
        assert result.exit_code == code, result.output
        return result.output

    stamps = {file: file.stat().st_mtime_ns for file in (folder / "cells").iterdir()}
    output = command("--budget", "smoke", "--systems", "stid,naive")
    assert output.count("finished before") == 3 and "| STID |" in output
    assert {file: file.stat().st_mtime_ns for file in (folder / "cells").iterdir()} == stamps
    assert "budget = 'smoke', not 'full'" in command("--budget", "full", "--systems", "naive", code=2).replace(
        "\n", " "
    )
    assert "unknown system 'prophet'" in command("--budget", "smoke", "--systems", "prophet", code=2)
    assert "minutes N" in command("--budget", "minutes", code=2)
    assert "whole number" in command("--budget", "smoke", "--seeds", "0,x", code=2)


def test_the_network_alone_is_that_of_cmust_without_rolling(tmp_path: Path) -> None:
    terms = Terms(small_city(), Budget("smoke"), SETTINGS, "cpu")
    record = work(Cell("cmust_alone", ("trips",), 0), tmp_path, terms)
    assert list(record["tasks"]["trips"]["systems"]) == ["cmust_alone"] and record["cost"]["frozen_share"] == 0
    (phase,) = (event for event in Run(tmp_path / "run").history() if event["event"] == "phase")
    assert (phase["phase"], phase["updates"]) == ("alone trips", 3)
    alone, rolling = (terms.of(Cell(name, ("trips",), 0)) for name in ("cmust_alone", "cmust_tuned"))
    assert alone.network == rolling.network and alone.trainer == rolling.trainer


def test_tasks_of_other_lengths_are_cut_where_the_city_is(tmp_path: Path) -> None:
    """Whether a cell is of all tasks or of some: the scores of a task are of the same windows in all rows."""
    city = tiny_city(tiny_task("trips", steps=252), tiny_task("visits", steps=168))
    windows = make_windows(city, "purged", 4, 3)
    expected = {name: len(each.split.starts["test"]) for name, each in windows.items()}
    terms = make_terms(city, "smoke", SETTINGS, "cpu")
    made = cells(("trips", "visits"), ("naive", "stid", "cmust_alone", "cmust_tuned"), (0,))
    with quick_prompts():
        run(table1.TABLE1, made, terms, tmp_path)
    assert len(made) == 6 and "the network of CMuST, tuned, each task alone" in render(tmp_path)
    for record in records(tmp_path):
        assert {name: entry["windows"] for name, entry in record["tasks"].items()}.items() <= expected.items()
    (alone,) = (tmp_path / "runs").glob("cmust_alone-trips*")
    about = Forecaster.load(alone / "run").tasks["trips"].about
    assert about["cuts"] == [str(cut) for cut in common_cuts(city)]
    assert about["seen"]["until"] < about["cuts"][1]


def test_cells_are_seeds_times_systems_times_tasks() -> None:
    made = cells(("a", "b"), ALL, (0, 1))
    assert len(made) == len(set(made)) == len({cell.name for cell in made})
    count = {system: [cell for cell in made if cell.system == system] for system in ALL}
    assert (
        len(count["naive"]) == 1 and len(count["stid"]) == 4 and len(count["mtgnn"]) == len(count["cmust_paper"]) == 2
    )
    assert [cell.tasks for cell in count["cmust_alone"]] == [("a",), ("b",)] * 2
    long = Cell("stid", tuple(f"a_task_with_a_long_name_{n}" for n in range(20)), 0, "50 % of the nodes")
    assert len(long.name) < 120 and "/" not in long.name and " " not in long.name


def test_marks_only_what_exceeds_the_spread() -> None:
    # Spreads: 0.1, 0.1, 0, 0.1 (standard deviation of two values d apart: d / sqrt 2).
    d = 0.1 * 2**0.5
    assert marks([[5.0, 5.0 + d], [4.0, 4.0 + d], [9.0], [3.0, 3.0 + d]]) == ["", "second", "", "best"]
    assert marks([[4.05, 4.05 + d], [4.0, 4.0 + d], [9.0]]) == ["", "", ""]
    assert marks([[4.05, 4.05 + d], [4.0, 4.0 + d], [3.0]]) == ["", "", "best"]
    # One seed may be as far off as the others' seeds are from each other; of one seed alone nothing is known.
    assert marks([[5.0, 5.0 + d], [4.99]]) == ["", ""]
    assert marks([[2.0], [], [1.0]]) == ["", "", ""]


def scored(mae: float) -> dict[str, dict[str, float | None]]:
    return {"masked": {"mae": mae, "mape": 0.5}, "plain": {"mae": mae / 2, "wape": 0.25}}


def test_a_table_by_hand() -> None:
    rows = [Row("A_1", {"trips": [scored(4.0), scored(4.2)]}), Row("B", {"trips": [scored(8.0)]}), Row("C", {})]
    table = Table("city", ("trips",), rows)
    assert markdown(table.sheet()).splitlines()[2:5] == [
        "| A_1 | **4.10 ± 0.14** (2.05) | 50.0 % ± 0.0 % (25.0 %) |",
        "| B | <u>8.00</u> (4.00) | 50.0 % (25.0 %) |",
        "| C |  |  |",
    ]
    assert r"A\_1 & \textbf{4.10 $\pm$ 0.14} (2.05) & 50.0 \% $\pm$ 0.0 \% (25.0 \%) \\" in latex(table.sheet())


def test_who_loses_to_a_naive_forecast() -> None:
    naive = [Row("last", {"a": [scored(4.0)], "b": [scored(1.0)]}, naive=True), Row("week", {"a": [scored(2.0)]}, True)]
    learned = [Row("A", {"a": [scored(3.0)], "b": [scored(0.9)]}), Row("B", {"a": [scored(1.0), scored(2.0)]})]
    assert losing(Table("city", ("a", "b"), [*naive, *learned])) == [
        "Worse than the best naive forecast in masked MAE:",
        "",
        "- on a: A",
        "",
    ]
    worse = [Row(name, {"a": [scored(3.0)], "b": [scored(1.5)]}) for name in ("C", "D")]
    assert losing(Table("city", ("a", "b"), [*naive, *learned, *worse]))[2:] == [
        "- on a: A",
        "- on every task: C; D",
        "",
    ]
    assert losing(Table("city", ("a", "b"), [*naive, learned[1]]))[0].endswith("MAE: none.")
    assert losing(Table("city", ("a", "b"), learned)) == []


def test_scores_on_other_windows_do_not_compare() -> None:
    def record(system: str, windows: int) -> dict[str, Any]:
        tasks = {"trips": {"windows": windows, "systems": {system: scored(1.0)}}}
        return {"cell": {"system": system, "seed": 0}, "tasks": tasks}

    with pytest.raises(RunError, match="B was scored on 6 windows of trips, others on 5"):
        rows_of([record("A", 5), record("B", 6)], {"A": "A", "B": "B"})


def test_minutes_become_updates() -> None:
    training = {"start_epochs": 100, "milestones": (30, 50)}
    # Validation, a second each, may take a quarter of 40 s: 10 epochs; the other 30 s are 60 updates of half a second.
    # The rate falls after 30 passes of 200 updates: the 1000th epoch of 6, which never comes.
    changes = fit_into(40, [Part("start_epochs", Pace(0.5, 1.0))], training, batches=200)
    assert changes == {"start_epochs": 10, "updates_per_epoch": 6, "milestones": [1000, 1667], "patience": 10}
    # Whole passes of 20 updates at 0.01 s, 0.2 s each with 0.05 s of validation: 400 of them.
    changes = fit_into(100, [Part("start_epochs", Pace(0.01, 0.05))], training, batches=20)
    assert changes == {"start_epochs": 400, "updates_per_epoch": 20, "milestones": [30, 50], "patience": 400}
    # Phases keep their proportions: 20 + 10 epochs would take 30 s of validation, a quarter of 60 s is half of that.
    parts = [Part("start_epochs", Pace(0.1, 1.0)), Part("refine_epochs", Pace(0.1, 1.0))]
    changes = fit_into(60, parts, {"start_epochs": 20, "refine_epochs": 10}, batches=200)
    assert changes == {"start_epochs": 10, "refine_epochs": 5, "updates_per_epoch": 30, "patience": 10}
    assert fit_into(0.1, parts, {"start_epochs": 20, "refine_epochs": 10}, 9)["updates_per_epoch"] == 1
    # An epoch is never more than a whole pass: two of them, 0.25 s each, leave 0.1 s over that go unused.
    changes = fit_into(0.6, [Part("start_epochs", Pace(0.01, 0.05))], {"start_epochs": 1}, batches=20)
    assert changes == {"start_epochs": 2, "updates_per_epoch": 20, "patience": 2}


def test_how_far_the_validation_error_fell(tmp_path: Path) -> None:
    def epochs(phase: str, *errors: float | None, updates: int = 1) -> str:
        events = [
            {"event": "epoch", "phase": phase, "validation_loss": error, "updates": updates * number}
            for number, error in enumerate(errors, start=1)
        ]
        return "".join(json.dumps(event) + "\n" for event in [*events, {"event": "phase", "phase": phase}])

    told = Run(tmp_path)
    assert fallen(told) == {}
    for text, found in (
        (epochs("alone", 4.0), {}),
        (epochs("alone", 4.0, 1.0, None, 3.0), {"fallen_to": 0.25}),
        (epochs("alone", None, 1.0), {}),
        # Pre-training and tuning alike: the second; the start of rolling before its shorter phases.
        (epochs("first", 4.0, 1.0) + epochs("second", 4.0, 3.0), {"fallen_to": 0.75}),
        (epochs("start", 4.0, 1.0, updates=9) + epochs("roll", 4.0, 3.0), {"fallen_to": 0.25}),
    ):
        told.history_file.write_text(text)
        assert fallen(told) == found


def test_costs_leave_out_what_no_cell_has() -> None:
    cells = [
        {"cell": {"system": "stid"}, "cost": {"parameters": 1000, "updates": 3, "seconds": 60, "fallen_to": 0.5}},
        {"cell": {"system": "stid"}, "cost": {"parameters": 1000, "updates": 5, "seconds": 120}},
        {"cell": {"system": "naive"}},
    ]
    assert costs(cells, {"naive": "last value", "stid": "STID"}) == [
        "| | weights | updates of a cell | minutes of a cell | validation error fell to |",
        "|---|---|---|---|---|",
        "| STID | 1,000 | 4 | 1.5 | 50% |",
    ]


def test_the_stopwatch_leaves_out_the_first_update(monkeypatch: pytest.MonkeyPatch) -> None:
    times = iter([10.0, 11.0, 60.0, 61.0, 66.0, 67.0, 69.0])
    monkeypatch.setattr(budgets.time, "perf_counter", lambda: next(times))
    watch: Any = Stopwatch()
    for _ in range(4):  # the second of the three that count was held up
        watch.update(None, 1)
    watch.event({"event": "epoch"})
    watch.event({"event": "phase"})
    watch.update(None, 1)  # the only one of its phase: from the end of the phase before
    watch.event({"event": "epoch"})
    assert watch.paces == [Pace(1.0, 5.0), Pace(1.0, 2.0)]


def test_a_budget_is_settled_once(tmp_path: Path) -> None:
    tried = []

    def probe(folder: Path, batch: int) -> list[Part]:
        folder.mkdir()
        (folder / "left").touch()
        tried.append(batch)
        return [Part("start_epochs", Pace(batch / 32, 1.0))]

    def never(folder: Path, batch: int) -> list[Part]:
        raise AssertionError

    training = {"start_epochs": 100, "milestones": (30,), "batch_size": 16}
    settled = Budget.parse("minutes 0.5").settle(tmp_path, 2, training, lambda: 201, probe)
    # 45 s are 90 updates of half a second with batches of 16, 360 with batches of 4, the smallest.
    assert tried == [16, 4] and settled["training"]["batch_size"] == 4
    assert settled["seconds"] == 60 and settled["training"]["start_epochs"] == 15
    assert settled["training"]["updates_per_epoch"] == 24
    # A pass over 201 windows is 51 batches, the last of one: the rate falls after 30 * 51 / 24 = 63.75 epochs.
    assert settled["training"]["milestones"] == [64]
    assert Budget.parse("minutes=0.5").settle(tmp_path, 2, training, lambda: 200, never) == settled
    assert [file.name for file in tmp_path.iterdir()] == ["budget.json"]
    chosen = tmp_path / "chosen"
    chosen.mkdir()
    settled = Budget.parse("minutes 0.5").settle(chosen, 2, training, lambda: 200, probe, halves=False)
    assert tried == [16, 4, 16] and "batch_size" not in settled["training"]
    free = tmp_path / "free"
    free.mkdir()
    training |= {"refine_epochs": 1000}  # of a phase that takes none of the time: its updates teach nothing
    more = [Part("refine_epochs", Pace(0.0, 0.0))]
    Budget.parse("minutes 0.5").settle(free, 2, training, lambda: 201, lambda *of: [*probe(*of), *more])
    assert tried == [16, 4, 16, 16, 4]
    assert [batch_for(64, updates) for updates in (60, 130, 499, 500)] == [4, 16, 32, 64]
    assert batch_for(2, 1) == 2
    assert Budget.parse("full").settle(tmp_path, 2, training, lambda: 200, never)["training"] == {}
    for wrong in ("minutes 0", "hours 3", "minutes -1", "minutes"):
        with pytest.raises(ConfigError, match="is not known"):
            Budget.parse(wrong)


@pytest.mark.parametrize(
    "cell",
    [Cell("agcrn", ("trips",), 1), Cell("cmust_paper", ("trips", "visits"), 1), Cell("cmust_alone", ("trips",), 1)],
)
def test_equal_time_is_measured_and_kept(cell: Cell, tmp_path: Path) -> None:
    terms = Terms(small_city(), Budget("minutes", 0.001), SETTINGS, "cpu")
    with quick_prompts():
        record = work(cell, tmp_path, terms)
    settled, cost = record["budget"], record["cost"]
    assert settled["seconds"] == pytest.approx(0.06 * len(cell.tasks))
    assert len(settled["paces"]) == (5 if cell.system == "cmust_paper" else 1)
    assert cost["updates"] == cost["epochs"] * settled["training"]["updates_per_epoch"]
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    training = config.get("training") or config["settings"]["training"]
    assert {key: training[key] for key in settled["training"]} == settled["training"] and training["seed"] == 1


def test_settings_that_the_cells_decide_are_refused() -> None:
    with pytest.raises(ConfigError, match="preset is not for"):
        Terms(small_city(), Budget("smoke"), {"preset": "paper"})
    for settings in ({"training": {"seed": 7}}, {"systems": {"stid": {"training": {"seed": 7}}}}):
        with pytest.raises(ConfigError, match=r"training\.seed is not for.*--seeds"):
            Terms(small_city(), Budget("smoke"), settings)


def test_the_windows_of_a_budget_are_those_of_the_tasks_of_the_cell() -> None:
    slow = tiny_task("slow", steps=84, interval=14_400)
    terms = Terms(tiny_city(tiny_task("fast", steps=168), slow), Budget("minutes", 1), SETTINGS, "cpu")
    counts = [training_windows(terms, terms.of(Cell("stid", tasks, 0))) for tasks in (("slow",), ("fast", "slow"))]
    assert counts == [52, 111]  # 7 of 10 of its steps, less those of the first window but one


@pytest.mark.parametrize(
    ("systems", "words"),
    [({"stidd": {}}, "unknown system 'stidd'"), ({"stid": {"rate": 1}}, r"systems\.stid has 'rate'")],
)
def test_tables_of_systems_that_would_be_ignored_are_refused(systems: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Terms(small_city(), Budget("smoke"), {"systems": systems})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"training": 5}, r"^training is 5, where a table is wanted: write its settings below \[training\]"),
        ({"model": 3}, r"^settings\.model: .*table \(found 3\)"),
        ({"network": 3}, r"network: unknown setting"),
        ({"systems": 5}, r"^systems is 5, where a table is wanted"),
        ({"systems": {"stid": 3}}, r"^systems\.stid is 3, where a table is wanted"),
        ({"systems": {"stid": {"training": 3}}}, r"^systems\.stid\.training is 3, where a table is wanted"),
        ({"systems": {"stid": {"network": [1]}}}, r"^systems\.stid\.network is \[1\], where a table is wanted"),
    ],
)
def test_what_is_no_table_is_refused(settings: dict, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        check_settings(table1.TABLE1, [Cell("stid", ("trips",), 0)], make_terms(small_city(), "smoke", settings, "cpu"))


@pytest.mark.parametrize(
    ("experiment", "systems", "settings", "words"),
    [
        (table1.TABLE1, ("naive",), {"training": {"epochz": 3}}, r"training\.epochz: unknown setting"),
        (table1.TABLE1, ("cmust_paper",), {"training": {"warmup_updates": 3}}, r"without training\.schedule = cosine"),
        (
            table1.TABLE1,
            ("cmust_tuned",),
            {"training": {"milestones": [3]}},
            r"without training\.schedule = milestones",
        ),
        (table1.TABLE1, ("stid",), {"systems": {"stid": {"training": {"ratee": 3}}}}, "ratee is no setting of STID"),
        (table1.TABLE1, ("stid",), {"systems": {"stid": {"training": {"warmup_updates": 3}}}}, "warmup_updates means"),
        (
            table1.TABLE1,
            ("stid",),
            {"systems": {"stid": {"network": {"wide": 3}}}},
            "wide is no setting of the network",
        ),
        (
            table2.TABLE2,
            ("stid",),
            {"systems": {"mtgnn": {}}},
            r"systems\.mtgnn is of a system that table2 has no cells",
        ),
        (
            fig3.FIG3,
            ("cmust_tuned",),
            {"systems": {"stid": {}}},
            r"fig3 has no cells of \(there are only those of CMuST",
        ),
        (
            fig3.FIG3,
            ("cmust_tuned",),
            {"model": {"prompts": False, "prompt": "free"}},
            r"without model\.prompts = true",
        ),
    ],
)
def test_settings_are_checked_before_the_folder_is_begun(
    experiment: Experiment, systems: tuple[str, ...], settings: dict, words: str, tmp_path: Path
) -> None:
    made = [Cell(system, ("trips", "visits"), 0) for system in systems]
    with pytest.raises(ConfigError, match=words):
        claim(experiment, made, make_terms(small_city(), "full", settings, "cpu"), tmp_path)
    assert not list(tmp_path.iterdir())
    claim(experiment, made, make_terms(small_city(), "full", SETTINGS, "cpu"), tmp_path)


@pytest.mark.parametrize(
    ("budget", "setting", "words"),
    [
        ("minutes 1", "updates_per_epoch", "the updates of an epoch fill the time"),
        ("minutes 1", "patience", "no phase ends early"),
    ],
)
def test_what_a_budget_decides_is_refused(budget: str, setting: str, words: str) -> None:
    made, given = [Cell(system, ("trips", "visits"), 0) for system in ("stid", "cmust_tuned")], {setting: 2}

    def checked(experiment: Experiment, settings: dict[str, Any], budget: str = budget) -> None:
        check_settings(experiment, made, make_terms(small_city(), budget, settings, "cpu"))

    with pytest.raises(ConfigError, match=rf"^training\.{setting} is decided by the experiment: {words}"):
        checked(table1.TABLE1, {"training": given})
    with pytest.raises(ConfigError, match=rf"^systems\.stid\.training\.{setting} is decided"):
        checked(table1.TABLE1, {"systems": {"stid": {"training": given}}})
    for other in ("full", "smoke"):  # smoke is to try a file of settings
        checked(table1.TABLE1, {"training": given}, budget=other)
    if setting == "patience":
        checked(table6.TABLE6, {"training": given})  # by which the training of the last task ends


def test_self_interactions_are_as_wide_as_the_representation_in_all_cells_of_the_sweeps() -> None:
    made = fig6.cells(("trips",), "cmust_paper", (0,))

    def checked(budget: str = "full", **settings: Any) -> Terms:
        terms = make_terms(small_city(), budget, settings, "cpu")
        check_settings(fig6.FIG6, made, terms)
        return terms

    narrow = {"d_t": 24, "d_p": 36}  # 24 + 12 + 24 + 36 = 96
    with pytest.raises(ConfigError, match=r"model\.self_width = 168, but .* as wide as the representation, 96; leave"):
        checked(model={**narrow, "self_width": 168})
    with pytest.raises(ConfigError, match=r"leave training\.freezing out"):
        checked(training={"freezing": False})
    for model in (narrow, {**narrow, "self_width": 96}):
        terms = checked(model=model)
        for cell in made[1:]:
            network = fig6.vary(terms, cell).of(cell).network
            assert network.self_width == -(-network.d_h // network.heads) * network.heads, cell.variation


def test_what_means_nothing_in_some_cells_is_left_out_there() -> None:
    training = {"rolling_epochs": 2, "delta": 1e-9, "warmup_updates": 3}
    terms = make_terms(small_city(), "full", {"model": SIZES, "training": training}, "cpu")
    check_settings(table1.TABLE1, cells(("trips", "visits"), ("naive", "cmust_alone", "cmust_tuned"), (0,)), terms)
    settled = {"precision": "32-true", "seed": 0}
    assert terms.of(Cell("cmust_tuned", ("trips",), 0)).training == training | settled
    assert terms.of(Cell("cmust_alone", ("trips",), 0)).training == {"warmup_updates": 3} | settled
    without = {
        cell.variation: fig3.vary(terms, cell).of(cell) for cell in fig3.cells(("trips",), "cmust_tuned", (0,))[1:]
    }
    assert "delta" not in without["no_freezing"].training and "cross_width" not in without["no_interactions"].model
    assert without[""].model == without["no_freezing"].model == SIZES


def test_table2_changes_one_task_and_no_other(tmp_path: Path) -> None:
    city = tiny_city(tiny_task("trips", steps=336, nodes=8), tiny_task("heat", steps=336, nodes=8, kind="other"))
    terms = make_terms(city, "smoke", SETTINGS, "cpu")

    def changed_task(name: str, change: str) -> Task:
        varied = table2.vary(terms, Cell("stid", (name,), 0, f"{name} {change}")).city
        (other,) = (each for each in city.tasks if each != name)
        assert list(varied.tasks) == list(city.tasks) and varied.tasks[other] is city.tasks[other]
        return varied.tasks[name]

    assert changed_task("trips", "nodes/4").nodes == ("place 3", "place 7")
    assert changed_task("trips", "nodes/2").n_nodes == 4
    for name, together in (("trips", np.sum), ("heat", np.mean)):
        task, coarse = city.tasks[name], changed_task(name, "interval*4")
        assert coarse.interval == 4 * 7200 and coarse.n_steps == 84 and (coarse.time == task.time[::4]).all()
        for step in (0, 50, 83):
            part = task.values[4 * step : 4 * step + 4]
            np.testing.assert_allclose(coarse.values[step], together(part, axis=0), rtol=1e-6)
    late = table2.coarsened(city.select(time=slice("2024-03-04T02:00", None)).tasks["trips"], 2)
    assert str(late.time[0]) == "2024-03-04T04:00:00" and late.n_steps == 167
    made = table2.cells(("trips", "heat"), "trips", ("naive", "stid", "cmust_alone", "cmust_tuned"), (0,))
    assert len(made) == 4 * 4 and {cell.tasks for cell in made if cell.system == "cmust_alone"} == {("trips",)}
    assert {len(cell.tasks) for cell in made if cell.system == "cmust_tuned"} == {2}
    with pytest.raises(ConfigError, match="'mtgnn' is not in this table"):
        table2.cells(("trips", "heat"), "trips", ("mtgnn",), (0,))

    naive = [cell for cell in made if cell.system == "naive"]
    run(table2.TABLE2, naive, terms, tmp_path)
    text = render(tmp_path)
    heads = "| trips, 25 % of nodes MAE | trips, 25 % of nodes MAPE | trips, 50 % of nodes MAE |"
    assert heads in text and "| weekly average |" in text


def test_sweeps_change_one_setting_and_round_widths_up() -> None:
    terms = make_terms(small_city(), "smoke", {"model": {"d_obs": 10}}, "cpu")

    def network(variation: str, system: str = "cmust_paper") -> Any:
        cell = Cell(system, ("trips", "visits"), 0, variation)
        return fig6.vary(terms, cell).of(cell)

    wide = network("heads=16").network
    assert (wide.heads, wide.self_width, wide.cross_width, wide.d_p) == (16, 160, 32, 72)
    narrow = network("d_p=18").network
    assert (narrow.heads, narrow.d_h, narrow.self_width, narrow.cross_width) == (4, 100, 100, 24)
    swept = network("delta=1e-05", "cmust_tuned").trainer
    assert (swept.delta, swept.delta_unit, swept.seed) == (1e-5, "absolute", 0)
    assert all(network(variation) for variation in fig6.VARIATIONS)


def test_ablations_and_orders() -> None:
    terms = make_terms(small_city(), "smoke", {"training": {"rate": 0.01}}, "cpu")
    naive, *made = fig3.cells(("trips", "visits"), "cmust_tuned", (0, 1))
    assert naive == fig6.cells(("trips", "visits"), "cmust_tuned", (0, 1))[0] == Cell("naive", ("trips", "visits"), 0)
    assert len(made) == 8 and fig3.vary(terms, naive) == fig6.vary(terms, naive) == terms
    settings = {cell.variation: fig3.vary(terms, cell).of(cell) for cell in made[:4]}
    off = {
        name: (not each.network.cross_interactions, not each.trainer.freezing, not each.network.prompts)
        for name, each in settings.items()
    }
    assert off == {
        "": (False, False, False),
        "no_interactions": (True, False, False),
        "no_freezing": (False, True, False),
        "no_prompts": (False, False, True),
    }
    assert all(each.trainer.rate == 0.01 for each in settings.values())
    groups = [cell.tasks for cell in fig4b.cells(("a", "b", "c"), "cmust_tuned", (0,)) if cell.system != "naive"]
    assert groups == [("a",), ("a", "b"), ("a", "b", "c"), ("b", "c", "a"), ("c", "a", "b"), ("c", "b", "a")]


def test_figures_by_hand() -> None:
    def record(variation: str, tasks: tuple[str, ...], mae: float) -> dict[str, Any]:
        cost = {"parameters": 10, "updates": 3, "seconds": 60, "frozen_share": 0.25}
        cell = {"system": "cmust_paper", "variation": variation, "seed": 0, "tasks": tasks}
        scores = {task: {"windows": 5, "systems": {"cmust_paper": scored(mae)}} for task in tasks}
        return {"cell": cell, "cost": cost, "tasks": scores}

    config = {"city": {"name": "tiny", "synthetic": True}, "budget": "smoke", "tasks": ["a", "b"]}
    ablated = markdown(fig3.table(config, [record("", ("a", "b"), 1.0), record("no_prompts", ("a", "b"), 2.0)]).sheet())
    assert "| CMuST | 1.00 (0.50) |" in ablated and "| without task-specific preserver | 2.00 (1.00) |" in ablated
    assert "| CMuST | 10 | 3 | 1.0 | 25.0% |" in ablated and "tiny, synthetic" in ablated
    swept = markdown(fig6.table(config, [record("heads=2", ("a", "b"), 1.0)]).sheet())
    assert "| heads=2 (frozen 25.0%) | 1.00" in swept
    scores = {task: {"windows": 5, "systems": {"last_value": scored(1.5)}} for task in "ab"}
    naive = {"cell": {"system": "naive", "variation": "", "seed": 0, "tasks": ("a", "b")}, "tasks": scores}
    orders = [record("", ("b", "a"), 2.0), record("", ("a", "b"), 1.6), record("", ("a",), 1.0), naive]
    grown = markdown(fig4b.table(config, orders).sheet()).splitlines()
    assert grown[2].startswith("| last value | 1.50 (0.75) |")
    assert grown[3].startswith("| a | 1.00 (0.50) |") and grown[3].endswith("|  |  |")
    assert grown[4].startswith("| a, b | 1.60 (0.80) |") and grown[5].startswith("| b, a | 2.00 (1.00) |")
    assert "- on every task: a, b; b, a" in grown
    assert "Over 2 orders of all tasks, the worst masked MAE is above the best: a 25.0%, b 25.0%." in grown


def test_table5_is_of_the_unified_models() -> None:
    made = table5.cells(("a", "b"), table5.ALL, (0, 1))
    assert {cell.system for cell in made} == {"naive", "unist", "unitime", *CMUST} and len(made) == 1 + 2 * 5
    assert all(cell.tasks == ("a", "b") for cell in made)
    with pytest.raises(ConfigError, match="'stid' is not in this table"):
        table5.cells(("a", "b"), ("stid",), (0,))
    config = {"city": {"name": "tiny", "synthetic": False}, "budget": "smoke", "tasks": ["a"]}
    cell = {"system": "unitime", "variation": "", "seed": 0, "tasks": ["a"]}
    tasks = {"a": {"windows": 5, "systems": {"unitime": scored(1.0)}}}
    record = {"cell": cell, "tasks": tasks, "language": "random, 2 layers"}
    text = markdown(table5.TABLE5.table(config, [record]).sheet())
    assert "| UniTime * | 1.00 (0.50) |" in text and "this language model: random, 2 layers." in text


def test_table5_takes_what_table1_has_finished(tmp_path: Path) -> None:
    city = tiny_city(*(tiny_task(task, steps=200) for task in ("trips", "visits"))).save(tmp_path / "city.zarr.zip")
    kept = tmp_path / "table1"
    command = ["experiment", "table1", str(city), str(kept), "--systems", "naive", "--budget", "smoke"]
    assert CliRunner().invoke(app, command).exit_code == 0
    (record,) = records(kept)
    for leftover in ("cells", "runs"):
        shutil.rmtree(kept / leftover)  # as kept under version control
    before = sorted(path.name for path in kept.iterdir())

    def table5_of(source: Path, budget: str = "smoke") -> Result:
        folder = str(tmp_path / f"table5 {budget}")
        words = ["experiment", "table5", str(city), folder, "--systems", "naive", "--budget", budget]
        return CliRunner().invoke(app, [*words, "--table1", str(source)])

    result = table5_of(kept)
    assert result.exit_code == 0 and "finished before" in result.output, result.output
    assert records(tmp_path / "table5 smoke") == [record]
    assert sorted(path.name for path in kept.iterdir()) == before
    assert "budget = 'smoke', not 'minutes 1'" in " ".join(table5_of(kept, "minutes 1").output.split())
    assert "holds no table1 to take cells from" in " ".join(table5_of(tmp_path / "nowhere").output.split())


def test_unitime_without_weights_says_so(tmp_path: Path) -> None:
    city = tiny_city(*(tiny_task(task, steps=200) for task in ("trips", "visits"))).save(tmp_path / "city.zarr.zip")
    settings = tmp_path / "settings.toml"
    settings.write_text("[systems.unitime.training]\nbatch_size = 4\n")
    command = ["experiment", "table5", str(city), str(tmp_path / "table5"), "--budget", "smoke"]
    result = CliRunner().invoke(app, [*command, "--systems", "naive,unitime", "--config", str(settings)])
    assert result.exit_code == 0, result.output
    (record,) = (each for each in records(tmp_path / "table5") if each["cell"]["system"] == "unitime")
    assert record["cost"]["updates"] == 3 and record["language"].startswith("random")
    assert f"UniTime reads with this language model: {record['language']}." in result.output
    assert "| UniTime * |" in result.output and "| last value |" in result.output


def test_one_preset_in_each_figure(tmp_path: Path) -> None:
    terms = make_terms(small_city(), "smoke", SETTINGS, "cpu")
    mixed = [Cell("cmust_paper", ("trips", "visits"), 0), Cell("cmust_tuned", ("trips", "visits"), 0)]
    with pytest.raises(RunError, match="presets paper and tuned"):
        run(fig3.FIG3, mixed, terms, tmp_path)
