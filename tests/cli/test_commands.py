"""The commands from end to end on a tiny city, and every way a user gets them wrong."""

import json
import os
import re
import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import typer
from typer.testing import CliRunner

import cmust
from cmust.cli import app
from cmust.cli.app import Commands
from cmust.cli.later import Group, add_later
from cmust.cli.overrides import merged, parse_overrides
from cmust.errors import ConfigError
from tests.cli.conftest import SMALL

COMMANDS = ["demo", "inspect", "train", "settings", "evaluate", "calibrate", "forecast", "report", "quickstart"]


def run(*arguments: object, code: int = 0) -> str:
    """What a command prints, both streams together; its exit code is ``code``."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result.output


def error(*arguments: object) -> str:
    """The one line that a command prints when it fails."""
    lines = run(*arguments, code=2).splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), lines
    return lines[0]


@pytest.fixture(scope="module")
def trained(city: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    output = run("train", city, folder, *SMALL, "--set=training.start_epochs=2")
    assert re.search(r"crowd_in: windows \d+ train, \d+ validation, \d+ test\n.*\n5 phases, at most 12 updates", output)
    assert "start crowd_in, epoch 2 of 2" in output and "33 % done" in output
    assert output.count("\ndone: ") == 5
    assert "\x1b" not in output and "\r" not in output
    return folder


# ---------------------------------------------------------------- help


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(command: str) -> None:
    assert f"cmust {command}" in run(command, "--help").split("Example")[1]


@pytest.mark.parametrize(("group", "command"), [("import", "libcity"), ("export", "published"), ("ingest", "events")])
def test_help_of_the_groups_names_their_commands(group: str, command: str) -> None:
    output = run(group, "--help")
    assert f"{group} [OPTIONS] COMMAND" in output and f" {command} " in output


def test_version() -> None:
    assert run("--version") == f"cmust {cmust.__version__}\n"


def test_help_does_not_load_the_heavy_libraries() -> None:
    """In a process of its own, since this one has them."""
    program = (
        "import sys\nfrom typer.testing import CliRunner\nfrom cmust.cli import app\n"
        "assert CliRunner().invoke(app, ['train', '--help']).exit_code == 0\n"
        "print(*sorted({'torch', 'pandas', 'xarray', 'zarr', 'duckdb'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


@pytest.mark.parametrize(("given", "spins"), [({}, "'0'"), ({"OMP_WAIT_POLICY": "active"}, "'30000000000'")])
def test_threads_do_not_spin_while_they_wait_unless_told(given: dict[str, str], spins: str) -> None:
    command = [sys.executable, "-m", "cmust", "evaluate", "nothing", "nothing"]
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        command, env=environment | {"OMP_DISPLAY_ENV": "verbose"} | given, capture_output=True, text=True
    )
    told = [line.partition("=")[2].strip() for line in done.stderr.splitlines() if "GOMP_SPINCOUNT" in line]
    if not told:
        pytest.skip("this PyTorch does not use GNU's OpenMP")
    assert told[-1] == spins


@pytest.mark.parametrize("where", ["", "@app.command()\ndef go() -> None:\n    "])
def test_without_the_extra_a_group_says_what_to_install(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"group_{'late' if where else 'early'}"
    (tmp_path / f"{name}.py").write_text(f"import typer\napp = typer.Typer()\n{where}import not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    program = typer.Typer(cls=Commands)
    program.callback()(lambda: None)
    add_later(program, Group("records", "", name, "app"))
    result = CliRunner().invoke(program, ["records"])
    assert result.exit_code == 2
    assert result.output == (
        "error: `cmust records` needs not_there, which is not installed; "
        "install the extra: pip install 'cmust[ingest]'\n"
    )


# ---------------------------------------------------------------- settings


def test_settings_lists_every_setting() -> None:
    from cmust.model import ModelConfig
    from cmust.rolling.config import TrainingConfig

    output = run("settings", "--preset", "reference")
    for name in set(ModelConfig.model_fields) - {"preset"}:
        assert f"model.{name} " in output
    for name in TrainingConfig.model_fields:
        assert f"training.{name} " in output
    assert any(line.split()[:2] == ["model.fusion", "flatten"] for line in output.splitlines())


def test_values_of_set_are_toml_scalars_or_text() -> None:
    values = parse_overrides(
        [
            "model.dropout=0",
            "training.milestones=[3, 5]",
            "training.freezing=false",
            "training.clip=none",
            "preset=paper",
        ]
    )
    assert values == {
        "model": {"dropout": 0},
        "training": {"milestones": [3, 5], "freezing": False, "clip": None},
        "preset": "paper",
    }


@pytest.mark.parametrize(
    "given", [["dropout"], ["=1"], ["model.=1"], ["a=1", "a=2"], ["a=1", "a.b=2"], ["a.b=2", "a=1"]]
)
def test_malformed_set(given: list[str]) -> None:
    with pytest.raises(ConfigError, match="--set"):
        parse_overrides(given)


def test_flags_win_over_the_file_key_by_key() -> None:
    below = tomllib.loads("preset = 'paper'\n[model]\nheads = 2\ndropout = 0.3")
    assert merged(below, {"model": {"dropout": 0.0}}) == {"preset": "paper", "model": {"heads": 2, "dropout": 0.0}}


def test_unknown_settings_name_the_nearest(city: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert "did you mean dropout?" in error("train", city, folder, "--set=model.dropot=0")
    assert "did you mean start_epochs?" in error("train", city, folder, "--set=training.start_epoch=1")
    assert "did you mean protocol?" in error("train", city, folder, "--set=protocl=purged")
    assert "there are seed, batch_size" in error("train", city, folder, "--set=training.zzz=1")
    assert "paper" in error("train", city, folder, "--preset=papr")
    assert "model.preset" in error("train", city, folder, "--set=model.preset=paper")
    assert "preset" in error("train", city, folder, "--set=training.preset=paper")
    for key in ("devices", "accelerator", "command", "watcher"):  # of the function, not of the settings
        assert key in error("train", city, folder, f"--set={key}=2")
    assert not folder.exists()


@pytest.mark.parametrize(
    ("flag", "value", "changed"),
    [("scheme", "alone", "joint"), ("tasks", "crowd_in", "[1]"), ("preset", "paper", "paper"), ("protocol", "a", "b")],
)
def test_a_flag_and_set_of_the_same(city: Path, tmp_path: Path, flag: str, value: str, changed: str) -> None:
    said = error("train", city, tmp_path / "run", f"--{flag}", value, f"--set={flag}={changed}")
    assert f"--{flag} and --set {flag} are both given; keep one of them" in said
    assert not (tmp_path / "run").exists()


def test_config_file(city: Path, tmp_path: Path) -> None:
    assert "no settings file" in error("train", city, tmp_path / "run", "--config", tmp_path / "none.toml")
    assert "cannot be read: Is a directory" in error("train", city, tmp_path / "run", "--config", tmp_path)
    bad = tmp_path / "bad.toml"
    bad.write_text("preset = ")
    assert "is not TOML" in error("train", city, tmp_path / "run", "--config", bad)


# ---------------------------------------------------------------- from end to end


def test_demo_and_inspect(tmp_path: Path) -> None:
    path = tmp_path / "demo.zarr.zip"
    assert f"wrote {path} (synthetic)" in run("demo", path, "--weeks", 1, "--places", 16)
    assert cmust.open_city(path).fingerprint() == cmust.demo_city(weeks=1, places=16).fingerprint()
    assert "exists already; give --force to replace it" in error("demo", path, "--weeks", 2, "--places", 16)
    assert cmust.open_city(path).fingerprint() == cmust.demo_city(weeks=1, places=16).fingerprint()
    run("demo", path, "--weeks", 1, "--places", 16, "--seed", 8, "--force")
    output = run("inspect", path)
    assert "S Y N T H E T I C" in output and "taxi_dropoff" in output


def test_evaluate_prints_what_it_writes(city: Path, trained: Path) -> None:
    table = run("evaluate", trained, city)
    columns = table.partition("loses")[0]  # in words it may say more
    assert "plain" in columns and "WAPE" not in columns and "…" not in table  # 80 columns
    output = run("evaluate", trained, city, "--markdown")
    evaluation = json.loads((trained / "evaluation.json").read_text())
    assert list(evaluation["tasks"]) == ["crowd_in", "taxi_pickup"]
    assert "test part" in output and "weekly average" in output
    shown = run("evaluate", trained, city, "--part", "validation")
    assert "validation part" in shown and "wrote" not in shown
    assert json.loads((trained / "evaluation.json").read_text()) == evaluation


def test_forecast_writes_what_the_forecaster_says(city: Path, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "forecast.csv"
    run("forecast", trained, city, "--at", "2024-04-02T08:00", "--out", out)
    table = pd.read_csv(out, parse_dates=["time"])
    assert list(table.columns) == ["time", "node", "task", "value", "filled", "flag"]
    assert len(table) == 2 * 3 * 16
    expected = cmust.Forecaster.load(trained).predict(cmust.open_city(city), "taxi_pickup", "2024-04-02T08:00")
    row = table[
        (table.task == "taxi_pickup") & (table.time == "2024-04-02 08:30") & (table.node == expected.node.values[5])
    ]
    np.testing.assert_allclose(row.value.item(), expected.values[1, 5], rtol=1e-5)

    parquet = tmp_path / "forecast.parquet"
    run("forecast", trained, city, "--task", "taxi_pickup", "--at", "2024-04-02T08:00", "--out", parquet)
    only = table[table.task == "taxi_pickup"].reset_index(drop=True)
    np.testing.assert_allclose(pd.read_parquet(parquet).value, only.value, rtol=1e-5)


def test_forecast_prints_the_busiest_places(city: Path, trained: Path) -> None:
    output = run("forecast", trained, city, "--task", "taxi_pickup", "--places", 4)
    assert "taxi_pickup, trips / 30 min (SYNTHETIC), from 2024-04-08 00:00:00" in output
    assert "and 12 more places" in output
    assert "crowd_in" not in output


def test_places_are_for_the_printed_table(city: Path, trained: Path, tmp_path: Path) -> None:
    said = error("forecast", trained, city, "--out", tmp_path / "f.csv", "--places", 3)
    assert "--places is for the printed table" in said and not (tmp_path / "f.csv").exists()


def test_calibrate_then_forecast_with_intervals(city: Path, trained: Path, tmp_path: Path) -> None:
    assert "make them with `cmust calibrate" in error("forecast", trained, city, "--level", 0.9)
    assert "195 are needed (4.1 days)" in error("calibrate", trained, city)
    output = run("calibrate", trained, city, "--first-days", 1, "--level", 0.8)
    assert "coverage" in output and "weekly average" in output and "--level 0.8" in output
    tables = json.loads((trained / "intervals.json").read_text())["tasks"]
    shown = 100 * tables["taxi_pickup"]["systems"]["cmust"]["0.8"]["coverage"]
    assert f"{shown:.1f} %" in output
    output = run("forecast", trained, city, "--task", "taxi_pickup", "--level", 0.8, "--places", 2)
    assert output.count("  from ") == 2 and output.count("  to ") == 2
    out = tmp_path / "forecast.csv"
    run("forecast", trained, city, "--level", 0.8, "--out", out)
    table = pd.read_csv(out)
    assert list(table.columns) == ["time", "node", "task", "value", "lower", "upper", "filled", "flag"]
    assert ((table.lower <= table.upper) & (table.lower >= 0)).all()
    assert "have seen the truth up to" in error("forecast", trained, city, "--level", 0.8, "--at", "2024-04-07T08:00")


def test_forecast_of_a_table(city: Path, trained: Path, tmp_path: Path) -> None:
    task = cmust.open_city(city).tasks["taxi_pickup"]
    recent = task.select(time=slice("2024-04-02T06:00", "2024-04-02T08:00")).to_frame()
    recent.loc[recent["node"] == task.nodes[3], "value"] = np.nan
    recent.to_csv(tmp_path / "recent.csv", index=False)
    output = run("forecast", trained, tmp_path / "recent.csv", "--task", "taxi_pickup", "--places", 2)
    assert "taxi_pickup, trips / 30 min (SYNTHETIC), from 2024-04-02 08:00:00" in output
    assert f"missing inputs, filled by the weekly average: {task.nodes[3]} 100%" in output
    message = error("forecast", trained, tmp_path / "recent.csv")
    assert "no column 'task', and the run has crowd_in, taxi_pickup" in message
    out = tmp_path / "forecast.zarr.zip"
    assert "wrote" in run("forecast", trained, tmp_path / "recent.csv", "--task", "taxi_pickup", "--out", out)
    recent.loc[:, "value"] = np.nan
    recent.to_csv(tmp_path / "silent.csv", index=False)
    arguments = ("forecast", trained, tmp_path / "silent.csv", "--task", "taxi_pickup")
    assert "100% of the observations" in error(*arguments)
    assert "missing inputs" in run(*arguments, "--max-missing", 1)


def test_rolling_origin(city: Path, trained: Path) -> None:
    output = run("evaluate", trained, city, "--rolling-origin")
    assert "weekday" in output and "2024-04-01" in output and "after phase" in output
    assert list(json.loads((trained / "backtest.json").read_text())["tasks"]) == ["crowd_in", "taxi_pickup"]
    assert "--rolling-origin" in error("evaluate", trained, city, "--since", "2024-04-06T00:00")
    assert "--part" in error("evaluate", trained, city, "--rolling-origin", "--part", "test")


def test_report(city: Path, trained: Path, tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    assert run("report", trained, "--out", out) == f"wrote {out}\n"
    assert "<html" in out.read_text()


# ---------------------------------------------------------------- what goes wrong


def test_missing_files(city: Path, trained: Path, tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    for arguments in (
        ("inspect", nothing),
        ("train", nothing, tmp_path / "run"),
        ("evaluate", nothing, city),
        ("evaluate", trained, nothing),
        ("forecast", nothing, city),
        ("report", nothing),
    ):
        assert str(nothing) in error(*arguments)
    assert not nothing.exists() and not (tmp_path / "run").exists()


def test_bad_tasks(city: Path, trained: Path, tmp_path: Path) -> None:
    message = error("train", city, tmp_path / "run", "--tasks", "crowd_in,bike_pickup")
    assert "bike_pickup" in message and "taxi_pickup" in message
    message = error("forecast", trained, city, "--task", "bike_pickup")
    assert "bike_pickup" in message and "taxi_pickup" in message
    assert "twice" in error("train", city, tmp_path / "run", "--tasks", "crowd_in,crowd_in")


def test_wrong_city(trained: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.zarr.zip"
    cmust.demo_city(weeks=2, places=16, seed=8).select(tasks=["crowd_in", "taxi_pickup"]).save(other)
    assert "trained on" in error("evaluate", trained, other)
    assert "another folder" in error("train", other, trained, *SMALL, "--set=training.start_epochs=2")


def test_bad_time_and_bad_ending(city: Path, trained: Path, tmp_path: Path) -> None:
    assert "is not a time" in error("forecast", trained, city, "--at", "tomorrow")
    assert "is not a step" in error("forecast", trained, city, "--at", "2024-04-02T08:10")
    assert ".csv, .parquet, .nc or .zarr.zip" in error("forecast", trained, city, "--out", tmp_path / "forecast.xlsx")
    assert not list(tmp_path.iterdir())


def test_a_path_that_no_system_takes(city: Path, trained: Path, tmp_path: Path) -> None:
    long = tmp_path / ("a" * 300)
    for command in (
        ["inspect", long],
        ["demo", long],
        ["train", city, long],
        ["evaluate", long, city],
        ["report", long],
        ["versions", long],
        ["forecast", trained, long],
        ["forecast", trained, city, "--out", f"{long}.csv"],
    ):
        assert "File name too long" in error(*command)
    assert not list(tmp_path.iterdir())


def test_an_empty_name_among_tasks_does_not_mean_all(city: Path, tmp_path: Path) -> None:
    source, place = tmp_path / "data.npz", ["--start", "2018-01-01", "--timezone", "UTC", "--coordinates", "unknown"]
    np.savez(source, data=np.ones((288, 2, 1), np.float32))
    for tasks in ("", "crowd_in,,taxi_pickup"):
        assert "--tasks is given" in error("train", city, tmp_path / "run", "--tasks", tasks)
        assert "--tasks is given" in error("import", "pems", source, tmp_path / "new", *place, "--tasks", tasks)
    assert list(tmp_path.iterdir()) == [source]


def test_a_run_of_other_settings_is_left_alone(city: Path, trained: Path) -> None:
    before = (trained / "config.json").read_bytes()
    assert "start_epochs" in error("train", city, trained, *SMALL, "--set=training.start_epochs=3")
    assert (trained / "config.json").read_bytes() == before


def test_training_a_finished_run_again_changes_nothing(city: Path, trained: Path) -> None:
    before = {path: path.read_bytes() for path in trained.rglob("*.safetensors")}
    run("train", city, trained, *SMALL, "--set=training.start_epochs=2")
    assert before == {path: path.read_bytes() for path in trained.rglob("*.safetensors")}


def test_ctrl_c_leaves_a_run_that_resumes_to_the_same_weights(city: Path, tmp_path: Path) -> None:
    settings = [*SMALL, "--set=training.start_epochs=12", "--set=model.prompts=false"]
    # A shell starts its background jobs with SIGINT ignored, and these tests may run in one.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = [sys.executable, "-c", f"{heard}; from cmust.cli import main; main()"]
    command = [*program, "train", str(city), str(tmp_path / "cut"), *settings]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stderr is not None
    lines = iter(process.stderr.readline, "")
    assert any("epoch 2 of 12" in line for line in lines)
    process.send_signal(signal.SIGINT)
    remaining = process.stderr.read().splitlines()
    assert process.wait() == 130
    assert remaining[-1] == "interrupted; start the same command again to resume"
    assert not any("Traceback" in line for line in remaining)
    assert not (tmp_path / "cut" / "model").exists()

    run("train", city, tmp_path / "cut", *settings)
    run("train", city, tmp_path / "whole", *settings)
    for path in (tmp_path / "whole" / "model").rglob("*.safetensors"):
        other = tmp_path / "cut" / path.relative_to(tmp_path / "whole")
        assert path.read_bytes() == other.read_bytes()
