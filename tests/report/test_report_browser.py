"""The page in a real browser: what it draws, what it does when touched, and that it asks nobody for anything."""

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cmust.report import write_report
from tests.report.later import add_backtest, add_intervals, add_version, update_record

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine: apt-get install chromium")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Path]) -> Path:
    return write_report(make_run(tmp_path_factory.mktemp("browser") / "run"))


@pytest.fixture
def show(browser: Any) -> Iterator[Any]:
    """Opens a page; at the end nothing may stand on the console and nothing may have been asked for."""
    troubles: list[str] = []
    contexts = []

    def opened(path: Path, **settings: Any) -> Any:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **settings})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("dialog", lambda dialog: (troubles.append("a dialog opened"), dialog.dismiss()))
        page.on("request", lambda request: request.url in (path.as_uri(), "data:,") or troubles.append(request.url))
        page.goto(path.as_uri())
        page.wait_for_selector("#training svg")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []


def fills(page: Any, which: str) -> list[str]:
    shapes: list[str] = page.eval_on_selector_all(f"[data-map={which}] .place", "all => all.map(one => one.style.fill)")
    return shapes


def test_maps_show_every_place_and_follow_the_slider(show: Any, report: Path) -> None:
    page = show(report)
    before = fills(page, "truth")
    assert len(before) == 12 and all(before)
    slider = page.locator("input[type=range]")
    slider.focus()
    for _ in range(6):
        slider.press("ArrowRight")
    assert page.locator("output").inner_text() == "Mon 2019-03-18 03:00"
    assert slider.get_attribute("aria-valuetext") == "Mon 2019-03-18 03:00"
    after = fills(page, "truth")
    assert after != before and "missing" in after[2]  # steps 5 to 8 of the third place are missing
    assert "missing" in fills(page, "error")[2] and "missing" not in fills(page, "forecast")[2]


def test_play_moves_and_pauses(show: Any, report: Path) -> None:
    page = show(report)
    play = page.locator("#play")
    play.focus()
    play.press("Enter")
    playwright.expect(page.locator("input[type=range]")).not_to_have_value("0")
    play.press("Enter")
    stopped = page.locator("input[type=range]").input_value()
    page.wait_for_timeout(450)
    assert page.locator("input[type=range]").input_value() == stopped and "Play" in play.inner_text()


def test_tooltip_has_the_values_of_the_sample(show: Any, report: Path) -> None:
    page = show(report)
    sample = np.load(report.parent / "evaluation_sample.npz")
    page.locator("[data-map=truth] .place").nth(4).hover()
    text = page.locator("#tip").inner_text()
    assert "Zone 5" in text
    assert re.search(rf"truth\s+{sample['crowd_in.truth'][0, 4]:.0f}\b", text)
    first = float(sample["crowd_in.forecast_first"][0, 4])
    shown = re.search(r"forecast 30 min ahead\s+([\d.]+)", text)
    assert shown is not None and float(shown.group(1)) == pytest.approx(first, rel=6e-3)
    assert re.search(r"forecast 6 h ahead\s+missing", text)


def test_clicking_a_place_shows_its_series(show: Any, report: Path) -> None:
    page = show(report)
    page.locator("[data-map=forecast] .place").nth(7).click()
    assert page.locator("#series select").input_value() == "7"
    assert "Zone 8" in (page.locator("#series svg").first.get_attribute("aria-label") or "")
    assert page.locator(".place.picked").count() == 4  # three maps above, one of the errors below


def test_horizon_and_task_change_the_pictures(show: Any, report: Path) -> None:
    page = show(report)
    page.locator("input[type=range]").fill("20")
    first = fills(page, "forecast")
    page.locator("#city-controls").get_by_label("6 h ahead").check()
    assert fills(page, "forecast") != first and fills(page, "truth") == fills(page, "truth")
    page.locator("#errors-controls").get_by_label("taxi").check()
    assert page.locator("#city-controls").get_by_label("taxi").is_checked()
    assert page.locator("[data-map=truth] circle").count() == 12  # the task without geometry
    # the keyboard stays where it was, although the controls were made anew
    page.locator("#errors-controls").get_by_label("taxi").press("ArrowRight")
    assert page.evaluate("document.activeElement.closest('#errors-controls') !== null")
    assert page.locator("#errors-controls").get_by_label("risk").is_checked()


def test_errors_by_place_are_sorted_and_compared(show: Any, report: Path) -> None:
    page = show(report)
    numbers = [float(text) for text in page.locator(".bars .value").all_inner_texts()]
    assert len(numbers) == 12 and numbers == sorted(numbers, reverse=True)
    page.locator("#places select").nth(1).select_option("weekly_average")
    texts = [text.replace("\u2212", "-") for text in page.locator(".bars .value").all_inner_texts()]
    numbers = [float(text) for text in texts]
    assert numbers == sorted(numbers, reverse=True) and numbers[-1] < 0 < numbers[0]
    assert page.locator("#horizons .curve").count() == 7


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory, make_run: Callable[..., Path]) -> Path:
    """A backtested and calibrated run whose third task was updated since, and not measured again."""
    run = make_run(tmp_path_factory.mktemp("browser") / "later")
    add_backtest(run)
    add_intervals(run)
    weights = {"crowd_in": "first crowd_in", "taxi": "first taxi", "risk": "other"}
    add_version(run, 2, "update", weights, update_record("risk", "taxi"))
    (run / "evaluation.json").write_text((run / "evaluation.json").read_text().replace("{", '{"version": 2,', 1))
    return write_report(run)


def test_the_backtest_is_drawn(show: Any, later: Path) -> None:
    page = show(later)
    # a curve per system in four charts; the week's has the key of all
    assert page.locator("#backtest .curve").count() == 12
    assert page.locator("#backtest .keys li").all_inner_texts() == ["CMuST", "last value", "weekly average"]
    drawn = page.locator("#backtest .curve").first.get_attribute("d")
    page.locator("#backtest").get_by_label("bias").check()
    assert page.locator("#backtest .curve").count() == 8 and page.locator(".curve").first.get_attribute("d") != drawn
    page.locator("#backtest .charts .chart").first.hover()
    text = page.locator("#tip").inner_text()
    assert re.search(r"CMuST\s+\u22120.750", text) and re.search(r"targets\s+120", text)
    places = page.locator("#backtest .bars .value").all_inner_texts()
    assert places == [*(str(13 - at) for at in range(11)), "missing"]
    page.locator("#backtest").get_by_label("risk").check()
    assert page.locator("#backtest").get_by_text("There is no backtest of this task.").is_visible()
    assert page.locator("#errors-controls").get_by_label("risk").is_checked()


def test_the_intervals_are_drawn(show: Any, later: Path) -> None:
    page = show(later)
    assert page.locator("#intervals .curve").count() == 3  # both systems, and the level asked for
    cells = page.locator("#intervals td").all_inner_texts()
    assert cells[:3] == ["89.7 %", "21.50", "43"] and len(cells) == 2 * 2 * 3
    page.locator("#intervals").get_by_label("50 %").check()
    page.locator("#intervals").get_by_label("width").check()
    assert page.locator("#intervals .curve").count() == 2
    assert page.locator("#intervals td").all_inner_texts()[:3] == ["51.2 %", "7.50", "15"]
    page.locator("#intervals").get_by_label("risk").check()
    assert page.locator("#intervals").get_by_text("has no calibrated intervals").is_visible()


def test_colour_scheme_follows_the_system_and_the_reader(show: Any, report: Path) -> None:
    def brightness() -> int:
        back = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return sum(int(part) for part in re.findall(r"\d+", back)) // 3

    page = show(report, color_scheme="dark")
    in_the_dark = fills(page, "truth")
    assert brightness() < 60
    page.locator("#theme").get_by_label("light").check()
    assert brightness() > 200 and fills(page, "truth") != in_the_dark
    page.locator("#theme").get_by_label("system").check()
    assert brightness() < 60 and fills(page, "truth") == in_the_dark


def test_a_phone_needs_no_sideways_scrolling(show: Any, report: Path) -> None:
    page = show(report, viewport={"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert [page.locator(f"[data-map={key}]").is_visible() for key in ("truth", "forecast", "error")] == [
        False,
        True,
        False,
    ]
    page.locator("#city-controls").get_by_label("error").check()
    assert page.locator("[data-map=error]").is_visible() and not page.locator("[data-map=forecast]").is_visible()


def test_incomplete_runs_and_hostile_names_raise_no_error(
    show: Any, tmp_path: Path, make_run: Callable[..., Path]
) -> None:
    bare = make_run(tmp_path / "bare")
    (bare / "evaluation.json").unlink()
    show(write_report(bare))
    scored = make_run(tmp_path / "scored")
    arrays = {
        key: value for key, value in np.load(scored / "evaluation_sample.npz").items() if not key.startswith("taxi.")
    }
    np.savez(scored / "evaluation_sample.npz", **arrays)
    page = show(write_report(scored))
    page.locator("#errors-controls").get_by_label("taxi").check()
    assert "no sample of forecasts for this task" in page.locator("#maps").inner_text()
    page.locator("#city-controls").get_by_label("risk").check()
    assert page.locator("[data-map=truth] .place").count() == 12 and page.locator("input[type=range]").is_visible()
    hostile = make_run(tmp_path / "hostile")
    for name in ("evaluation.json", "model/model.json"):
        text = (hostile / name).read_text()
        (hostile / name).write_text(text.replace('"Zone 1"', r'"</script><img src=x onerror=\"alert(1)\">"'))
    page = show(write_report(hostile))
    assert page.locator("img").count() == 0
    assert page.locator(".bars .name", has_text="</script><img src=x").count() == 1
