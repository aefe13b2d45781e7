"""The page without a browser: its structure, its numbers, its escapes, its promises."""

import base64
import dataclasses
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmust.report import write_report
from tests.rolling.tiny import small_city, tiny_fit

Edit = Callable[[Path, Callable[[dict[str, Any]], None]], None]
VOID = {"meta", "link", "br", "input", "rect"}
EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)> & 'quoted' \"twice\" \u2028"


class Page(HTMLParser):
    """Checks that elements nest, and keeps what tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            attributes, text = self.scripts[-1]
            self.scripts[-1] = (attributes, text + data)
        elif self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def data(self) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(
            next(text for attributes, text in self.scripts if attributes.get("id") == "data")
        )
        return content

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page_of(run: Path) -> Page:
    return Page(write_report(run).read_text(encoding="utf-8"))


def decode(packed: dict[str, Any], nodes: int) -> np.ndarray:
    """The packing undone one value at a time, as the format is described."""
    raw = base64.b64decode(packed["u16"])
    values = []
    for at in range(0, len(raw), 2):
        code = raw[at] + 256 * raw[at + 1]
        values.append(float("nan") if code == 65535 else packed["offset"] + packed["scale"] * code)
    return np.array(values).reshape(-1, nodes)


def test_embedded_numbers_are_the_run_folder_s(run_folder: Path) -> None:
    data = page_of(run_folder).data
    evaluation = json.loads((run_folder / "evaluation.json").read_text())
    sample = np.load(run_folder / "evaluation_sample.npz")
    assert [task["name"] for task in data["tasks"]] == list(evaluation["tasks"])
    for task in data["tasks"]:
        name, source = task["name"], evaluation["tasks"][task["name"]]
        assert task["nodes"] == source["nodes"] and task["interval"] == source["interval"]
        assert task["sample"]["time"] == sample[f"{name}.time"].tolist()
        np.testing.assert_array_equal(decode(task["sample"]["truth"], 12), sample[f"{name}.truth"])  # counts: exact
        for part, key in (("first", "forecast_first"), ("last", "forecast_last")):
            wanted = sample[f"{name}.{key}"].astype(float)
            spread = np.nanmax(wanted) - np.nanmin(wanted)
            np.testing.assert_allclose(decode(task["sample"][part], 12), wanted, rtol=0, atol=0.51 * spread / 65534)
        for system in task["systems"]:
            scores = source["systems"][system["key"]]
            assert system["plain"] == pytest.approx(scores["per_horizon"]["plain_mae"], rel=1e-4)
            assert system["masked"] == pytest.approx(scores["per_horizon"]["masked_mae"], rel=1e-4)
            assert system["places"] == pytest.approx(scores["per_node"]["plain_mae"], rel=1e-4)


def test_embedded_training_is_the_history_s(run_folder: Path) -> None:
    lines = [json.loads(line) for line in (run_folder / "history.jsonl").read_text().splitlines()]
    phases = page_of(run_folder).data["phases"]
    assert [phase["name"] for phase in phases] == [line["phase"] for line in lines if line["event"] == "phase"]
    for phase in phases:
        own = [line for line in lines if line["phase"] == phase["name"] and line["event"] == "epoch"]
        assert phase["epoch"] == [line["epoch"] for line in own]
        assert phase["train"] == pytest.approx([line["train_loss"] for line in own], rel=1e-4)
        assert phase["validation"] == pytest.approx([line["validation_loss"] for line in own], rel=1e-4)
        assert phase["frozen"] == pytest.approx([line["frozen_share"] for line in own], rel=1e-4)


def test_tasks_with_the_same_places_share_one_map(run_folder: Path) -> None:
    data = page_of(run_folder).data
    assert [task["map"] for task in data["tasks"]] == [0, 1, 0]
    assert all(data["maps"][0]["paths"]) and not any(data["maps"][1]["paths"])


def test_nothing_is_fetched(run_folder: Path) -> None:
    path = write_report(run_folder)
    page = Page(path.read_text(encoding="utf-8"))
    for tag, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert attributes.get(name) in (None, "data:,"), (tag, attributes)
    text = path.read_text(encoding="utf-8")
    assert "@import" not in text and not re.search(r"url\(\s*['\"]?(?!#)", text)
    # The one address is the name of the SVG language, which no browser fetches.
    assert set(re.findall(r"https?://[^\s'\"<>)]*", text)) == {"http://www.w3.org/2000/svg"}


def test_policy_allows_the_page_s_own_script_only(run_folder: Path) -> None:
    page = page_of(run_folder)
    policy = next(attributes["content"] for tag, attributes in page.elements if attributes.get("http-equiv"))
    scripts = [text for attributes, text in page.scripts if "type" not in attributes]
    assert len(scripts) == 1
    digest = base64.b64encode(hashlib.sha256(scripts[0].encode()).digest()).decode()
    assert policy is not None and f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy


def test_no_text_from_the_data_becomes_markup(run_folder: Path, edit: Edit) -> None:
    plain = page_of(run_folder)

    def rename(tasks: dict[str, Any]) -> None:
        for task in tasks.values():
            task["nodes"][0] = EVIL
            task["unit"] = EVIL

    def spoil(content: dict[str, Any]) -> None:
        rename(content["tasks"])
        content["city"]["name"] = content["part"] = content["protocol"] = content["made"]["machine"] = EVIL
        for task in content["tasks"].values():
            task["systems"][EVIL] = task["systems"].pop("alone")

    edit(run_folder / "evaluation.json", spoil)
    edit(run_folder / "model" / "model.json", lambda content: rename(content["tasks"]))
    edit(run_folder / "config.json", lambda content: content["settings"].update(preset=EVIL))
    lines = (run_folder / "history.jsonl").read_text().replace("msti.0", json.dumps(EVIL)[1:-1])
    (run_folder / "history.jsonl").write_text(lines.replace('"roll 2 taxi"', json.dumps(EVIL)))
    page = page_of(run_folder)
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in plain.elements]
    assert page.data["tasks"][0]["nodes"][0] == EVIL and page.data["tasks"][0]["unit"] == EVIL
    assert page.data["phases"][1]["name"] == EVIL
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)


def test_the_page_says_where_cmust_loses(run_folder: Path) -> None:
    text = page_of(run_folder).text
    assert "on 2 of 3 tasks; it loses to a naive forecast on risk." in text
    # the made-up scores: CMuST 4.0, weekly average 3.9, scaled weekly average 3.5, all times three for the third task
    assert "to weekly average in every score (plain MAE 12.00 against 11.70, masked MAE 13.80 against 13.4" in text
    assert "to scaled weekly average in every score (plain MAE 12.00 against 10.50" in text


def test_the_table_marks_best_and_losing_cells(run_folder: Path) -> None:
    cells = [
        attributes["class"] or ""
        for tag, attributes in page_of(run_folder).elements
        if tag == "td" and attributes.get("class")
    ]
    # six metrics: CMuST best on two tasks, the scaled weekly average on the third, where two forecasts beat CMuST
    assert sum("best" in cell.split() for cell in cells) == 18
    assert sum("beats" in cell.split() for cell in cells) == 12
    assert sum("ahead" in cell.split() for cell in cells) == 0


def test_header_facts(run_folder: Path, edit: Edit) -> None:
    text = page_of(run_folder).text
    for fact in (
        "demo city",
        "SYNTHETIC",
        "preset tuned",
        "seed 7",
        "protocol purged",
        "part test",
        "x86_64, 2 CPU cores",
    ):
        assert fact in text
    assert "command cmust evaluate runs/demo" in text and "evaluated 2024-05-01T12:00:00" in text
    edit(run_folder / "evaluation.json", lambda content: content["city"].update(synthetic=False))
    edit(run_folder / "config.json", lambda content: content["settings"].pop("training"))
    text = page_of(run_folder).text
    assert "SYNTHETIC" not in text and "seed not recorded" in text


def test_a_run_not_evaluated_yet_says_which_command_does_it(run_folder: Path) -> None:
    (run_folder / "evaluation.json").unlink()
    page = page_of(run_folder)
    assert page.text.count(f"Make it with cmust evaluate {run_folder} CITY ,") == 3
    assert page.data["tasks"] == [] and page.data["phases"]
    assert "start 1 crowd_in" in page.text


def test_without_a_sample_the_scores_stay(run_folder: Path) -> None:
    (run_folder / "evaluation_sample.npz").unlink()
    page = page_of(run_folder)
    assert "no sample of forecasts" in page.text and f"cmust evaluate {run_folder}" in page.text
    assert [task["sample"] for task in page.data["tasks"]] == [None] * 3
    assert any(attributes.get("id") == "scores" for _, attributes in page.elements)


def test_a_run_that_has_only_begun(tmp_path: Path) -> None:
    class Stops:
        def plan(self, phases: list[Any], updates: list[int]) -> None:
            """Training begins."""

        def update(self, phase: Any, epoch: int) -> None:
            raise KeyboardInterrupt

    city = dataclasses.replace(small_city("trips", "visits"), name="begun", synthetic=True)
    with pytest.raises(KeyboardInterrupt):
        tiny_fit(tmp_path / "run", city, watcher=Stops(), tasks=["visits", "trips"])
    text = page_of(tmp_path / "run").text
    assert "begun" in text and "SYNTHETIC" in text and "No epoch has ended yet" in text
    for fact in ("preset paper", "scheme rolling", "seed 0", "task order visits, trips", "protocol purged"):
        assert fact in text
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["made"]["machine"] in text and config["city"]["fingerprint"][:12] in text


def test_frozen_shares_by_layer_and_the_warning(run_folder: Path) -> None:
    page = page_of(run_folder)
    # three rolling phases freeze a quarter of the rest each: 1 - 0.75 ** 3
    assert "57.8 %" in page.text and "outside 5 to 95 %" not in page.text
    assert "msti.0.ssi.attention" in page.text
    lines = [json.loads(line) for line in (run_folder / "history.jsonl").read_text().splitlines()]
    for line in lines:
        line["frozen_share"] = 0.9993
    (run_folder / "history.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert "After the last phase 99.93 % is frozen, nearly everything: outside 5 to 95 %" in page_of(run_folder).text


def test_values_that_are_not_finite_become_null(run_folder: Path, edit: Edit) -> None:
    def spoil(content: dict[str, Any]) -> None:
        scores = content["tasks"]["taxi"]["systems"]["cmust"]
        scores["plain"]["mae"], scores["per_node"]["plain_mae"][2] = float("nan"), None

    edit(run_folder / "evaluation.json", spoil)
    page = page_of(run_folder)
    assert page.data["tasks"][1]["systems"][0]["places"][2] is None
    assert "NaN" not in next(text for attributes, text in page.scripts if attributes.get("id") == "data")


def test_size_of_a_large_run(tmp_path: Path, make_run: Callable[..., Path]) -> None:
    run = make_run(tmp_path / "run", 69, ("taxi_pickup", "taxi_dropoff", "bike_pickup", "bike_dropoff"), 336)
    assert write_report(run).stat().st_size < 2_000_000


def test_the_page_goes_where_it_is_told(run_folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "pages" / "mine.html"
    assert write_report(run_folder, target) == target
    assert target.is_file() and not (run_folder / "report.html").exists()
    assert [path.name for path in target.parent.iterdir()] == ["mine.html"]
