"""The pages of results show what the stored results render, and nothing else."""

import json
import re
import shutil
from pathlib import Path

import pytest

from cmust.errors import RunError
from cmust.experiments.engine import Cell, cell_of, records
from cmust.experiments.later import split_settings
from cmust.experiments.rendering import EXPERIMENTS, render, stored
from cmust.experiments.study import check_settings, claim, make_terms
from cmust.settings import make_settings, read_settings
from tests.rolling.tiny import small_city

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
STORED = sorted(path.parent for path in (DOCS / "results").glob("*/config.json"))
PAGES = ("paper.md", "results.md")


def text() -> str:
    return "".join((DOCS / page).read_text(encoding="utf-8") for page in PAGES)


@pytest.mark.parametrize("folder", STORED, ids=lambda folder: folder.name)
def test_the_page_shows_the_stored_results(folder: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(folder, tmp_path / folder.name)
    shown = re.search(f"<!-- {folder.name} -->\n(.*?)<!-- end of {folder.name} -->", text(), re.DOTALL)
    assert shown, f"no page has a part between <!-- {folder.name} --> and <!-- end of {folder.name} -->"
    assert shown[1].strip() == render(copy).strip(), f"render docs/results/{folder.name}, put it into its page"


@pytest.mark.parametrize("folder", STORED, ids=lambda folder: folder.name)
def test_stored_settings_are_still_accepted(folder: Path) -> None:
    experiment, config = stored(folder)
    terms = make_terms(small_city(), config["budget"], config["settings"], "cpu")
    check_settings(experiment, [cell_of(record) for record in records(folder)], terms)


def test_cells_of_a_preset_that_has_changed_since_are_not_mixed_with_todays(tmp_path: Path) -> None:
    city, cells = small_city(), [Cell("naive", ("trips", "visits"), 0)]
    terms = make_terms(city, "minutes 1", {}, "cpu")
    experiment = EXPERIMENTS["table1"]
    claim(experiment, cells, terms, tmp_path)
    claim(experiment, cells, terms, tmp_path)  # it is still the same
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["presets"]["tuned"]["model"]["spread"] == "expected"

    del config["presets"]  # as begun before they were kept, when tuned had another fusion and spread
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(RunError, match=r"presets\.tuned\.model\.fusion = 'sum', not 'flatten'"):
        claim(experiment, cells, terms, tmp_path)


@pytest.mark.parametrize(("name", "file"), re.findall(r"experiment (\w+) .*--config (examples/\w+\.toml)", text()))
def test_the_files_of_the_examples_are_accepted(name: str, file: str) -> None:
    settings = read_settings(ROOT / file)
    if name in EXPERIMENTS:
        budget = "full" if name == "schemes" else "minutes 1"
        made = [Cell("cmust_paper" if name == "fig6" else "cmust_tuned", ("trips", "visits"), 0)]
        check_settings(EXPERIMENTS[name], made, make_terms(small_city(), budget, settings, "cpu"))
    else:
        table, use = ("update", "update") if name == "updating" else ("adapt", "compare")
        run, later = split_settings(settings, table, use)
        assert later and make_settings(**run).training


def test_no_block_of_the_pages_is_without_results() -> None:
    shown = re.findall(r"<!-- end of (\w+) -->", text())
    assert sorted(shown) == [folder.name for folder in STORED]
