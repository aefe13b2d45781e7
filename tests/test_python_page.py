"""``docs/python.md`` runs as it stands, block after block, as a reader would type it."""

import re
import sys
from pathlib import Path

import pytest

from tests.rolling.tiny import quick_prompts

PAGE = Path(__file__).parent.parent / "docs" / "python.md"
FILE = re.compile(r"# (\S+\.py)\n")


def test_every_snippet_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 17
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    names: dict[str, object] = {"__name__": "page"}
    for number, block in enumerate(blocks):
        if module := FILE.match(block):  # a block that begins with the name of a file is that file
            (tmp_path / module[1]).parent.mkdir()
            (tmp_path / module[1]).write_text(block, encoding="utf-8")
        else:
            with quick_prompts():
                exec(compile(block, f"{PAGE.name}, block {number}", "exec"), names)
    for module in ("mypackage.mymodule", "mypackage"):
        sys.modules.pop(module, None)
