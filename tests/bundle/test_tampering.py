"""Whatever was done to a bundle, loading gives the same forecasts or one clear error, and never runs code."""

import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from cmust import Forecaster
from cmust.bundle import read_model
from cmust.bundle.folder import _checksum
from cmust.bundle.schema import digest
from cmust.errors import RunError
from tests.bundle.conftest import DEMO, DOCUMENT, recent_city

FILES = sorted(str(path.relative_to(DEMO)) for path in DEMO.rglob("*") if path.is_file())
CHECKED = [name for name in FILES if name != "README.md"]
WEIGHTS = "tasks/crowd_in.safetensors"


def refusal(folder: Path) -> str:
    """The one line that loading is refused with."""
    with pytest.raises(RunError) as caught:
        Forecaster.from_pretrained(folder)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 1500
    return message


def forecasts(folder: Path) -> list[np.ndarray]:
    forecaster = Forecaster.from_pretrained(folder)
    return [forecaster.predict(recent_city(), task).values for task in DOCUMENT["tasks"]]


@pytest.fixture(scope="module")
def untouched() -> list[np.ndarray]:
    return forecasts(DEMO)


def rewrite(folder: Path, edit: Callable[[dict[str, Any]], Any], *files: str) -> None:
    """Change ``model.json`` as one would who knows the layout: digest and the checksums of ``files`` are right."""
    document = json.loads((folder / "model.json").read_text())
    for name in files:
        document["checksums"][name] = _checksum(folder / name)
    edit(document)
    document["digest"] = digest(document)
    (folder / "model.json").write_text(json.dumps(document))


# ------------------------------------------------------------------ any byte of any file


@given(st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_changed_bytes(untouched: list[np.ndarray], tmp_path_factory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("fuzz") / "copy"
    shutil.copytree(DEMO, folder)
    path = folder / data.draw(st.sampled_from(FILES))
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.none() | st.integers(0, len(content)))
    path.write_bytes(content[:end])
    try:
        found = forecasts(folder)
    except RunError as error:
        assert "\n" not in str(error)
        return
    finally:
        shutil.rmtree(folder)
    for one, two in zip(found, untouched, strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("name", CHECKED)
@pytest.mark.parametrize("damage", ["flipped", "truncated", "empty", "longer", "missing", "folder"])
def test_every_file_is_watched(copy: Path, name: str, damage: str) -> None:
    path = copy / name
    content = bytearray(path.read_bytes())
    path.unlink()
    if damage == "flipped":
        content[len(content) // 2] ^= 4
        path.write_bytes(content)
    elif damage == "truncated":
        path.write_bytes(content[:-3])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "longer":
        path.write_bytes(content + b"x")
    elif damage == "folder":
        path.mkdir()
    message = refusal(copy)
    assert path.name in message or (damage in ("missing", "folder") and "not a run folder or a bundle" in message)


# ------------------------------------------------------------------ model.json, by one who knows the layout


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=4,
)


@given(st.data())
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_anywhere_in_model_json(tmp_path_factory, data: st.DataObject) -> None:
    """Put any value, or nothing, or one more key, at any place; the digest is right. Only RunError may come of it."""
    document = json.loads(json.dumps(DOCUMENT))
    place: Any = document
    while True:
        key = data.draw(st.sampled_from(list(place) if isinstance(place, dict) else list(range(len(place)))))
        inner = place[key]
        if not (isinstance(inner, dict | list) and inner) or data.draw(st.booleans()):
            break
        place = inner
    action = data.draw(st.sampled_from(["replace", "remove", "add"]))
    if action == "remove":
        del place[key]
    elif action == "add" and isinstance(place, dict):
        place[data.draw(st.text(max_size=8))] = data.draw(VALUES)
    else:
        place[key] = data.draw(VALUES)
    document["digest"] = digest(document)
    folder = tmp_path_factory.mktemp("fuzz") / "copy"
    shutil.copytree(DEMO, folder)
    (folder / "model.json").write_text(json.dumps(document))
    try:
        Forecaster.from_pretrained(folder).save_pretrained(folder.parent / "again")
    except RunError as error:
        assert "\n" not in str(error) and len(str(error)) < 1500
    finally:
        shutil.rmtree(folder.parent)


def put(*keys: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def edit(document: dict[str, Any]) -> None:
        for key in keys[:-1]:
            document = document[key]
        document[keys[-1]] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (put("checksums", "../../x.safetensors", value="0" * 64), r"checksums\.\.\./\.\./x\.safetensors"),
        (put("checksums", "/etc/passwd", value="0" * 64), "checksums./etc/passwd"),
        (put("checksums", "extra.safetensors", value="0" * 64), r"extra\.safetensors is missing"),
        (put("checksums", WEIGHTS, value=3), "checksums"),
        (put("checksums", value={}), "no checksum of tasks/crowd_in"),
        (put("tasks", "../evil", value=DOCUMENT["tasks"]["crowd_in"]), "tasks"),
        (put("tasks", "third", value=DOCUMENT["tasks"]["crowd_in"]), "no checksum of tasks/third"),
        (put("tasks", value={}), "tasks"),
        (put("tasks", "crowd_in", "interval", value=1801), "does not divide a day"),
        (put("tasks", "crowd_in", "interval", value=900), "encoder.encoder.weight has shape"),
        (put("tasks", "crowd_in", "nodes", value=["a"]), "lon has 16 entries for 1 nodes"),
        (put("tasks", "crowd_in", "nodes", value=["a"] * 16), "not unique"),
        (put("tasks", "crowd_in", "channels", value=["a", "b"]), "no layers for 2 channels"),
        (put("tasks", "crowd_in", "lon", value=[float("nan")] * 16), "finite"),
        (put("tasks", "crowd_in", "trained_until", value="2024-02-31T00:00:00"), "trained_until"),
        (put("reference", value="NaT"), "reference"),
        (put("frame", "std", value=[0.0, 1.0]), "greater than 0"),
        (put("slots_per_day", value=7), "does not divide a day"),
        (put("slots_per_day", value=96), "time_of_day"),
        (put("protocol", value="other"), "protocol"),
        (put("record", "scores", value={"schema": 9}), "schema 9"),
        (put("owner", value="me"), "owner: Extra inputs"),
        (put("model", "wide", value=True), "model.wide"),
        (put("model", "d_obs", value="many"), "model.d_obs"),
        (put("model", "d_obs", value=8), "has shape"),
        (put("model", "heads", value=3), "multiple of heads"),
        (put("model", "ffn_width", value=10**9), "more than any network has"),
        (put("model", "ffn_width", value=60_000), "has shape"),
        (put("model", "blocks", value=60_000), "larger network than"),
        (put("model", "blocks", value=2), "lacks tensor of trunk"),
        (put("model", "input_steps", value=60_000), "larger network than"),
        (put("model", "horizon", value=60_000), "has shape"),
        (put("model", "prompt", value="free"), "of head"),
        (put("model", "seasonal", value=False), "of trunk|has shape"),
    ],
)
def test_what_model_json_may_not_say(copy: Path, change, edit, words: str) -> None:
    change(edit)
    with pytest.raises(RunError, match=words):
        Forecaster.load(copy)
    refusal(copy)


def test_sizes_of_terabytes_take_no_memory(copy: Path, change) -> None:
    """Sixty thousand steps of sixty thousand numbers: were they laid out, this process would not live."""
    sizes = dict.fromkeys(("d_obs", "d_s", "d_t", "d_p", "ffn_width", "horizon", "cross_width", "self_width"), 60_000)
    change(lambda document: document["model"].update(sizes, heads=4))
    refusal(copy)


@pytest.mark.parametrize(
    "text",
    ["[" * 200_000, '{"schema": 2, "a": ' + "[" * 990 + "]" * 990 + "}", '{"schema": ' + "9" * 5000 + "}", "null", "2"],
)
def test_json_that_is_no_description(copy: Path, text: str) -> None:
    (copy / "model.json").write_text(text)
    assert "model.json" in refusal(copy)


def test_a_huge_model_json_is_not_read(copy: Path) -> None:
    os.truncate(copy / "model.json", 300 * 2**20)  # sparse: takes no room
    assert "more than a model.json can have" in refusal(copy)


def test_the_digest_cannot_be_left_out_by_claiming_the_first_schema(copy: Path) -> None:
    document = json.loads((copy / "model.json").read_text())
    document["tasks"]["crowd_in"]["nodes"].reverse()
    (copy / "model.json").write_text(json.dumps(document))
    assert "was changed" in refusal(copy)
    (copy / "model.json").write_text(json.dumps({**document, "schema": 1}))
    assert "does not fit together" in refusal(copy)
    del document["digest"]
    (copy / "model.json").write_text(json.dumps(document))
    assert "was changed" in refusal(copy)


# ------------------------------------------------------------------ weights, by one who knows the layout


class Bomb:
    """What unpickling would run."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("name", [name for name in CHECKED if name.endswith("safetensors")])
@pytest.mark.parametrize("write", ["pickle", "torch"])
def test_a_pickle_is_never_opened(copy: Path, tmp_path: Path, name: str, write: str) -> None:
    bomb = Bomb(tmp_path / "ran")
    if write == "pickle":
        (copy / name).write_bytes(pickle.dumps(bomb))
    else:
        torch.save({"trunk|x": bomb}, copy / name)
    rewrite(copy, lambda document: None, name)
    assert Path(name).name in refusal(copy)
    assert not bomb.marker.exists()
    pickle.loads(pickle.dumps(bomb))
    assert bomb.marker.exists()  # the bomb does work


@pytest.mark.parametrize(
    "header",
    [
        struct.pack("<Q", 2**62),
        struct.pack("<Q", 90 * 2**20) + b"{",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 5) + b"[1,2]",
        struct.pack("<Q", 3) + b"\xff\xff\xff",
    ],
    ids=["huge", "large", "empty", "list", "no text"],
)
def test_a_header_that_is_none(copy: Path, header: bytes) -> None:
    (copy / WEIGHTS).write_bytes(header)
    rewrite(copy, lambda document: None, WEIGHTS)
    assert "crowd_in.safetensors" in refusal(copy)


def with_header(header: dict[str, Any], data: bytes = b"") -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def one_tensor(kind: str, shape: list[int], size: int, metadata: str = "{}", data: bytes = b"") -> bytes:
    tensor = {"dtype": kind, "shape": shape, "data_offsets": [0, size]}
    return with_header({"__metadata__": {"values": metadata}, "trunk|x": tensor}, data)


@pytest.mark.parametrize(
    "content",
    [
        one_tensor("F32", [2**40], 2**42),
        one_tensor("F32", [2**62, 4], 0),
        one_tensor("Q7", [1], 1, data=b"x"),
        one_tensor("F32", [1], 4, "[" * 200_000, b"1234"),
        one_tensor("F4", [2], 1, data=b"x"),
        *(one_tensor(kind, [1], 8, data=b"12345678") for kind in ("U64", "C64", "F64", "I64")),
    ],
    ids=["beyond the file", "overflow", "unknown type", "deep metadata", "four bits", "U64", "C64", "F64", "I64"],
)
def test_headers_that_lie(copy: Path, content: bytes) -> None:
    (copy / WEIGHTS).write_bytes(content)
    rewrite(copy, lambda document: None, WEIGHTS)
    refusal(copy)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda tensors: tensors.popitem(), "lacks"),
        (lambda tensors: tensors.update({"trunk|more": torch.zeros(1)}), "unknown tensor of trunk: 'more'"),
        (lambda tensors: tensors.update({"other|more": torch.zeros(1)}), "unknown group: 'other'"),
        (lambda tensors: tensors.update({"head|std": torch.zeros(1)}), r"head\.std is not positive"),
        (lambda tensors: tensors.update({"head|std": torch.tensor([torch.nan])}), r"head\.std holds NaN"),
        (lambda tensors: tensors.update({"head|power": torch.tensor(torch.inf)}), r"head\.power holds NaN or infinite"),
        (lambda tensors: tensors.update({"head|mean": torch.zeros(1, dtype=torch.int64)}), r"head\.mean has type"),
        (lambda tensors: tensors.update({"head|prompt.summary": torch.zeros(3, 64)}), r"summary has shape \(3, 64\)"),
        (lambda tensors: tensors.update({"head|prompt.summary": torch.zeros(())}), "summary has shape"),
        (lambda tensors: tensors.update({"encoder|encoder.bias": torch.zeros(())}), "has shape"),
        (lambda tensors: tensors.update({"season|profile": torch.zeros(2)}), r"season\.profile has shape"),
    ],
)
def test_weights_that_do_not_fit(copy: Path, edit, words: str) -> None:
    tensors = load_file(DEMO / WEIGHTS)
    edit(tensors)
    save_file(tensors, copy / WEIGHTS, metadata={"values": "{}"})
    rewrite(copy, lambda document: None, WEIGHTS)
    with pytest.raises(RunError, match=words):
        Forecaster.load(copy)
    refusal(copy)


def test_every_weight_is_looked_at_for_nan(copy: Path) -> None:
    """One NaN in any one of the tensors, ``W*`` included."""
    for name in (WEIGHTS, "trunk.safetensors"):
        content = (copy / name).read_bytes()
        for key in [key for key, each in load_file(DEMO / name).items() if each.is_floating_point()][::12]:
            tensors = load_file(DEMO / name)
            tensors[key].view(-1)[-1] = torch.nan
            save_file(tensors, copy / name, metadata={"values": "{}"})
            rewrite(copy, lambda document: None, name)
            assert f"{key.replace('|', '.')} holds NaN" in refusal(copy)
        (copy / name).write_bytes(content)
        rewrite(copy, lambda document: None, name)
    Forecaster.load(copy)


# ------------------------------------------------------------------ something else


@pytest.mark.parametrize("sign", ["model.safetensors", "pytorch_model.bin", "adapter_config.json"])
def test_a_model_of_another_library_is_named_as_such(tmp_path: Path, sign: str) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["BertModel"], "model_type": "bert"}')
    (tmp_path / sign).write_bytes(b"")
    message = refusal(tmp_path)
    assert "another library" in message and sign in message and "'model_type'" in message


@pytest.mark.parametrize(
    "content",
    ['{"format": "layers-model", "weightsManifest": []}', '{"schema": 2, "format": "other"}', '{"schema": true}', "{}"],
)
def test_a_model_json_of_another_program(tmp_path: Path, content: str) -> None:
    (tmp_path / "model.json").write_text(content)
    assert "is not of cmust" in refusal(tmp_path)


def test_a_file_a_link_to_nothing_and_a_pipe(tmp_path: Path, copy: Path) -> None:
    assert "is a file" in refusal(copy / "README.md")
    (copy / "model.json").rename(copy / "other.json")
    (copy / "model.json").symlink_to("nowhere")
    assert "not a run folder or a bundle" in refusal(copy)
    (copy / "model.json").unlink()
    os.mkfifo(copy / "model.json")
    assert "not a run folder or a bundle" in refusal(copy)
    (copy / "model.json").unlink()
    (copy / "model.json").symlink_to("other.json")  # as the cache of the hub has it
    Forecaster.load(copy)
    (copy / WEIGHTS).unlink()
    os.mkfifo(copy / WEIGHTS)
    assert "crowd_in.safetensors is missing" in refusal(copy)


def test_reading_rewrites_nothing(copy: Path) -> None:
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in copy.rglob("*") if path.is_file()}
    read_model(copy)
    Forecaster.load(copy)
    assert before == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in copy.rglob("*") if path.is_file()}


@pytest.mark.parametrize("spread", [0.0, -1.0])
def test_a_spread_of_deviations_is_positive(copy: Path, spread: float) -> None:
    """The demo was trained without one; with one for both tasks it is a whole bundle."""
    files = [name for name in CHECKED if name.startswith("tasks/")]

    def give(value: float) -> None:
        for name in files:
            tensors = load_file(copy / name)
            save_file({**tensors, "head|spread": torch.tensor([value])}, copy / name, metadata={"values": "{}"})
        rewrite(copy, lambda document: document["model"].update(spread="expected"), *files)

    give(2.0)
    Forecaster.from_pretrained(copy)
    give(spread)
    assert "head.spread is not positive" in refusal(copy)
