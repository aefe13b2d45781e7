"""A run killed again and again ends with the very bits of a run left in peace."""

from pathlib import Path

from tests.deaths import told_by


def test_kills_in_mid_epoch_and_in_mid_save(tmp_path: Path) -> None:
    result = told_by("tests.rolling.kills", tmp_path, 1)
    assert sum(result["deaths"].values()) >= 20
    assert all(count >= 1 for count in result["deaths"].values()), result["deaths"]
    assert result["files"] == [
        "model/tasks/trips.safetensors",
        "model/tasks/visits.safetensors",
        "model/trunk.safetensors",
    ]
    assert result["differing"] == []
    assert result["same_history"] and result["events"] == 3 + 4 + 4 + 3 + 3 + 5
    assert any(0.05 < share < 0.95 for share in result["shares"]), result["shares"]
    assert result["leftovers"] == []
