"""Fetching and pushing, offline: a hub that is a folder on this disk stands in for the real one."""

import inspect
import shutil
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cmust import Forecaster
from cmust.bundle.hub import FILES
from cmust.errors import CmustError, RunError
from tests.bundle.conftest import DEMO, EXPECTED, recent_city


class FolderHub(ModuleType):
    """``huggingface_hub`` as far as it is used, its repositories being folders; every call is noted."""

    def __init__(self, root: Path) -> None:
        super().__init__("huggingface_hub")
        self.root, self.calls = root, []
        self.HfApi = self._api

    def snapshot_download(self, repo_id: str, **options: Any) -> str:
        self.calls.append(("snapshot_download", repo_id, options))
        folder = self.root / repo_id
        if not folder.exists():
            raise FileNotFoundError(f"404: no repository {repo_id}\nmore text")
        wanted = self.root / "cache" / repo_id
        for pattern in options["allow_patterns"]:
            for path in folder.glob(pattern):
                (wanted / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, wanted / path.relative_to(folder))
        return str(wanted)

    def _api(self, **options: Any) -> SimpleNamespace:
        self.calls.append(("HfApi", options))
        return SimpleNamespace(create_repo=self._create, upload_folder=self._upload)

    def _create(self, repo_id: str, **options: Any) -> SimpleNamespace:
        self.calls.append(("create_repo", repo_id, options))
        owner = "" if "/" in repo_id else "me/"
        (self.root / f"{owner}{repo_id}").mkdir(parents=True, exist_ok=True)
        return SimpleNamespace(repo_id=f"{owner}{repo_id}")

    def _upload(self, *, repo_id: str, folder_path: Path, **options: Any) -> str:
        self.calls.append(("upload_folder", repo_id, options))
        target = self.root / repo_id
        for pattern in options["delete_patterns"]:
            for path in target.glob(pattern):
                path.unlink()
        for pattern in options["allow_patterns"]:
            for path in Path(folder_path).glob(pattern):
                (target / path.relative_to(folder_path)).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, target / path.relative_to(folder_path))
        return f"https://hub.example/{repo_id}/commit/1"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FolderHub:
    module = FolderHub(tmp_path / "hub")
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return module


@pytest.fixture
def no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)


def test_pushed_and_fetched_it_forecasts_the_same(hub: FolderHub) -> None:
    address = Forecaster.from_pretrained(DEMO).push_to_hub("me/demo", private=True, commit_message="first", token="t")
    assert address == "https://hub.example/me/demo/commit/1"
    assert hub.calls[0] == ("HfApi", {"token": "t", "library_name": "cmust"})
    assert hub.calls[1] == ("create_repo", "me/demo", {"private": True, "exist_ok": True})
    assert hub.calls[2][2]["commit_message"] == "first"
    found = Forecaster.from_pretrained("me/demo", revision="v1", token="t")
    assert hub.calls[3] == (
        "snapshot_download",
        "me/demo",
        {"allow_patterns": list(FILES), "revision": "v1", "token": "t"},
    )
    for task in found.tasks:
        made = found.predict(recent_city(), task).values
        np.testing.assert_allclose(made, EXPECTED[f"{task}.forecast"].clip(0), rtol=1e-5, atol=1e-5)


def test_what_is_pushed_is_a_whole_bundle_and_replaces_the_weights_of_before(hub: FolderHub) -> None:
    old = hub.root / "me" / "demo" / "tasks" / "old.safetensors"
    old.parent.mkdir(parents=True)
    old.write_bytes(b"")
    (hub.root / "me" / "demo" / ".gitattributes").write_text("kept")
    Forecaster.from_pretrained(DEMO).push_to_hub("demo", license="mit")  # the owner is found out
    pushed = {str(path.relative_to(hub.root / "me/demo")) for path in (hub.root / "me/demo").rglob("*.*")}
    assert pushed == {
        ".gitattributes",
        "README.md",
        "model.json",
        "tasks/crowd_in.safetensors",
        "tasks/taxi_pickup.safetensors",
        "trunk.safetensors",
    }
    assert 'license: "mit"' in (hub.root / "me" / "demo" / "README.md").read_text()


def test_what_else_a_repository_holds_is_not_fetched(hub: FolderHub) -> None:
    shutil.copytree(DEMO, hub.root / "them" / "model")
    (hub.root / "them" / "model" / "setup.py").write_text("raise SystemExit")
    Forecaster.from_pretrained("them/model")
    assert not list((hub.root / "cache").rglob("*.py"))


def test_a_tampered_repository_is_refused(hub: FolderHub) -> None:
    shutil.copytree(DEMO, hub.root / "them" / "model")
    path = hub.root / "them" / "model" / "trunk.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(RunError, match=r"trunk\.safetensors was changed"):
        Forecaster.from_pretrained("them/model")


def test_what_the_hub_refuses_is_one_line(hub: FolderHub, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        RunError, match=r"cannot fetch me/none from the hub: 404: no repository me/none; check"
    ) as caught:
        Forecaster.from_pretrained("me/none")
    assert "\n" not in str(caught.value)

    def refuse(**options: Any) -> None:
        raise PermissionError("403: not yours")

    monkeypatch.setattr(hub, "_upload", refuse)
    with pytest.raises(RunError, match=r"cannot push to me/demo: 403: not yours; log in"):
        Forecaster.from_pretrained(DEMO).push_to_hub("me/demo")


def test_a_local_folder_needs_no_library(no_hub: None) -> None:
    assert list(Forecaster.from_pretrained(str(DEMO)).tasks) == ["crowd_in", "taxi_pickup"]


def test_without_the_library_it_says_what_to_install(no_hub: None) -> None:
    with pytest.raises(CmustError, match=r"no folder me/demo; to look for it on the hub.*pip install 'cmust\[hub\]'"):
        Forecaster.from_pretrained("me/demo")
    with pytest.raises(CmustError, match=r"to push to the hub.*pip install 'cmust\[hub\]'"):
        Forecaster.from_pretrained(DEMO).push_to_hub("me/demo")


@pytest.mark.parametrize("name", ["runs/no/such", "../me/demo", "me/demo\n", "", "me/demo\0"])
def test_a_name_that_is_neither(hub: FolderHub, name: str) -> None:
    with pytest.raises(RunError):
        Forecaster.from_pretrained(name)
    assert not hub.calls


def test_the_real_library_takes_these_arguments() -> None:
    hub = pytest.importorskip("huggingface_hub")
    for function, arguments in (
        (
            hub.snapshot_download,
            {"allow_patterns", "revision", "token", "cache_dir", "force_download", "local_files_only"},
        ),
        (hub.HfApi.__init__, {"token", "library_name"}),
        (hub.HfApi.create_repo, {"repo_id", "private", "exist_ok"}),
        (
            hub.HfApi.upload_folder,
            {"repo_id", "folder_path", "commit_message", "revision", "create_pr", "allow_patterns", "delete_patterns"},
        ),
    ):
        assert arguments <= set(inspect.signature(function).parameters)
    card = hub.ModelCard((DEMO / "README.md").read_text())
    assert card.data.license == "apache-2.0" and len(card.data.eval_results) == 12
