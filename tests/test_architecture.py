"""Imports point one way: the table of rooms in docs/architecture.md, held against the imports themselves."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "src" / "cmust"

# From the bottom up; a room may import what lies in the layers below its own.
LAYERS: list[set[str]] = [
    {"errors", "__init__"},
    {"files"},
    {"city", "model"},
    {"clock", "ingest", "demo", "machine", "memory", "recent", "same_data", "intervals", "identity"},
    {"seasonal"},
    {"windows"},
    {"metrics", "naive", "prompts", "board"},
    {"rolling", "heads", "profile"},
    {"settings", "run"},
    {"report"},
    {"bundle"},
    {"task_model"},
    {"forecaster", "training"},
    {"unseen"},
    {"comparison", "origins", "observations", "forecast_table", "holidays"},
    {"evaluation"},
    {"backtesting", "assembly"},
    {"fitting", "continual"},
    {"calibration"},
    {"baselines"},
    {"experiments", "quickstart"},
    {"cli"},
    {"__main__"},
]

# What is narrower than its layer: all that the room may import.
ONLY: dict[str, set[str]] = {
    "files": {"errors"},
    "city": {"errors", "files"},
    "ingest": {"city", "errors", "files", "__init__"},
    "demo": {"city", "errors"},
    "recent": {"city", "errors"},
    "same_data": {"city", "errors"},
    "intervals": {"errors", "files"},
    "model": {"errors"},
    "memory": set(),
    "metrics": {"windows"},
    "naive": {"windows"},
    "prompts": {"model", "errors"},
    "rolling": {"model", "windows", "prompts", "metrics", "errors", "files"},
    "report": {"run", "city", "intervals", "errors", "files"},
    "bundle": {"model", "prompts", "rolling", "run", "report", "errors", "files"},
}
# Methods that hand over to a room above, imported when they are called: a user looks for them where they are.
DOORS = {"forecaster": {"continual"}}
LEVEL = {room: level for level, rooms in enumerate(LAYERS) for room in rooms}
HOMES = {"City": "city", "Forecaster": "forecaster", "Task": "city", "demo_city": "demo", "evaluate": "evaluation"}
HOMES |= {"backtest": "backtesting", "calibrate": "calibration"}
HOMES |= {"adapt": "continual", "update": "continual"}
HOMES |= {"fit": "fitting", "record_attention": "model", "open_city": "city", "__version__": "__init__"}


def imports(source: str) -> set[str]:
    """Rooms of ours that a module imports, wherever in it the import stands.

    A name that the package itself offers counts as its home.
    """
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names if alias.name.startswith("cmust.")]
            found |= {name.split(".")[1] for name in names}
        elif isinstance(node, ast.ImportFrom) and node.level:
            raise AssertionError("imports are absolute here")
        elif isinstance(node, ast.ImportFrom) and node.module == "cmust":
            found |= {HOMES.get(alias.name, alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("cmust."):
            found.add(str(node.module).split(".")[1])
    return found


def allowed(room: str) -> set[str]:
    """Rooms that ``room`` may import, its own included."""
    below = ONLY.get(room, {other for other, level in LEVEL.items() if level < LEVEL[room]})
    return below | {room} | DOORS.get(room, set())


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


MODULES = [path for path in sorted(PACKAGE.rglob("*.py")) if path != PACKAGE / "__init__.py"]


def test_every_room_has_its_place() -> None:
    assert {room_of(path) for path in MODULES} <= set(LEVEL)
    for room, narrow in ONLY.items():
        assert all(LEVEL[other] < LEVEL[room] for other in narrow), room


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path) -> None:
    assert imports(path.read_text(encoding="utf-8")) <= allowed(room_of(path))


def test_imports_are_seen_wherever_they_stand() -> None:
    source = (
        "import cmust.cli\nfrom cmust import fit, Task\ndef f():\n    from cmust.report.page import render\nimport os"
    )
    assert imports(source) == {"cli", "fitting", "city", "report"}
    assert not imports(source) <= allowed("model")
