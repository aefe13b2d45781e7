"""The pages of results show what the stored results render, and nothing else."""

import re
import shutil
from pathlib import Path

import pytest

from cmust.experiments.rendering import render

DOCS = Path(__file__).parents[2] / "docs"
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


def test_no_block_of_the_pages_is_without_results() -> None:
    shown = re.findall(r"<!-- end of (\w+) -->", text())
    assert sorted(shown) == [folder.name for folder in STORED]
