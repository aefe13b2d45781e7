"""The card says what the run says, keeps to its places whatever names hold, and leaves out what it does not know."""

import json
import re
from typing import Any

import pytest

from cmust.bundle import read_model, render_card
from tests.bundle.conftest import DEMO


@pytest.fixture
def document() -> dict[str, Any]:
    return read_model(DEMO)


def front(card: str) -> dict[str, Any]:
    """The fields of the front matter, each read as JSON."""
    _, text, _ = card.split("---\n", 2)
    return {key: json.loads(value) for key, value in (line.split(": ", 1) for line in text.splitlines())}


def section(card: str, title: str) -> str:
    return re.split(r"^## ", card.split(f"## {title}\n")[1], flags=re.MULTILINE)[0]


def test_the_hubs_fields(document: dict[str, Any]) -> None:
    fields = front(render_card(document))
    assert fields["library_name"] == "cmust" and fields["license"] == "apache-2.0" and "synthetic" in fields["tags"]
    first = fields["model-index"][0]["results"][0]
    assert first["dataset"] == {
        "type": "demo",
        "name": "demo, crowd_in",
        "split": "test",
        "revision": document["city"]["fingerprint"],
    }
    systems = document["record"]["scores"]["tasks"]["crowd_in"]["systems"]
    assert first["metrics"][0] == {"type": "plain_mae", "name": "plain MAE", "value": systems["cmust"]["plain"]["mae"]}


def test_data_scores_settings_and_limits(document: dict[str, Any]) -> None:
    card = render_card(document)
    assert "**The city is synthetic" in card
    assert "| crowd_in | count | people / 30 min | 30 min | 16 | value | 2024-04-08T16:00:00 |" in section(card, "Data")
    assert "simulated by cmust.demo" in section(card, "Data")
    scores = section(card, "Scores")
    own = document["record"]["scores"]["tasks"]["taxi_pickup"]["systems"]["cmust"]
    assert f"| taxi_pickup | CMuST | **{own['plain']['mae']:.2f}** |" in scores
    assert "crowd_in: CMuST loses to a naive forecast: to scaled weekly average in masked RMSE" in scores
    settings = section(card, "Settings")
    assert json.loads(settings.split("```json\n")[1].split("```")[0]) == document["record"]["settings"]
    assert "cmust 0.1.0" in settings
    assert "last 12 steps" in section(card, "Limits") and "licence" not in section(card, "Limits")


def test_the_card_that_ships_is_the_one_rendered(document: dict[str, Any]) -> None:
    assert (DEMO / "README.md").read_text() == render_card(document)


def test_what_is_not_known_is_not_claimed(document: dict[str, Any]) -> None:
    card = render_card({**document, "record": {}, "city": {**document["city"], "synthetic": False}})
    fields = front(card)
    assert not {"license", "model-index"} & set(fields) and "synthetic" not in fields["tags"]
    assert "not evaluated" in section(card, "Scores") and "Source: not stated" in card
    assert "No licence is stated" in section(card, "Limits") and "synthetic" not in card
    assert json.loads(section(card, "Settings").split("```json\n")[1].split("```")[0])["model"] == document["model"]


def test_names_stay_in_their_places(document: dict[str, Any]) -> None:
    """A name with line breaks, markup and YAML in it adds no field, no line and no link."""
    evil = 'x"\n---\nlicense: free\n| a | <script> [l](http://e) `c`\x85\u2028**b**'
    task = document["tasks"]["crowd_in"]
    scores = {**document["record"]["scores"], "city": {"name": evil}}
    card = render_card(
        {
            **document,
            "city": {**document["city"], "name": evil, "timezone": evil, "fingerprint": evil},
            "tasks": {"crowd_in": {**task, "unit": evil, "kind": evil, "channels": [evil]}},
            "record": {
                "source": evil,
                "license": evil,
                "settings": {"a": evil},
                "versions": {evil: evil},
                "scores": scores,
            },
        }
    )
    plain = render_card(document)
    assert set(front(card)) == set(front(plain)) and card.count("\n---\n") == plain.count("\n---\n")
    body = card.split("---\n", 2)[2]
    outside = body.split("```json")[0] + body.split("```\n")[1]
    assert not re.search(r"(?<!\\)<script|(?<!\\)\[l\]|(?<!\\)`c`|(?<!\\)\*\*b", outside)
    row = next(line for line in body.splitlines() if line.startswith("| crowd_in"))
    assert len(re.findall(r"(?<!\\)\|", row)) == 8
