"""manifest.json is read back as written, and any change of any field is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from paretorch.artefacts import manifest as manifest_module
from paretorch.artefacts.manifest import Manifest, digest_of, plain_json, read_manifest, write_manifest
from paretorch.errors import ArtefactError, InputError

MANIFEST = Manifest(
    constructor="package.module:Model",
    kwargs={"width": 3, "flags": [True, None, 0.1], "name": "é"},
    edits=({"kind": "cut", "keep": [0, 2]}, {"kind": "mask", "hash": "ab"}),
    versions={"paretorch": "1", "torch": "2"},
    metrics={"accuracy": 0.93},
)


def written(folder: Path) -> dict[str, Any]:
    write_manifest(folder, MANIFEST, weights_sha256="0" * 64)
    return json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values, containers included, but for the root."""
    items = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if type(value) is list else []
    inner = [place for key, item in items for place in places(item, (*path, key))]
    return [path, *inner] if path else inner


def changed(content: Any, path: tuple[Any, ...], change: Any) -> Any:
    """A copy in which `change(container, key)` was done at `path`."""
    content = json.loads(json.dumps(content))
    container = content
    for key in path[:-1]:
        container = container[key]
    change(container, path[-1])
    return content


def other(value: Any) -> Any:
    if isinstance(value, bool):
        return int(value)  # 1 and true differ
    if isinstance(value, int):
        return float(value)  # so do 3 and 3.0
    return {"x": 1} if value is None else value * 2 if isinstance(value, str | float | list) else {**value, "new": 1}


def test_a_manifest_comes_back_as_written(tmp_path: Path) -> None:
    written(tmp_path)
    assert read_manifest(tmp_path) == (MANIFEST, "0" * 64)


def test_every_value_that_is_changed_removed_or_added_is_refused(tmp_path: Path) -> None:
    content = written(tmp_path)
    assert len(places(content)) > 25

    def replace(container: Any, key: Any) -> None:
        container[key] = other(container[key])

    def remove(container: Any, key: Any) -> None:
        del container[key]

    for path in places(content):
        for change in (replace, remove):
            (tmp_path / "manifest.json").write_text(json.dumps(changed(content, path, change)), encoding="utf-8")
            with pytest.raises(ArtefactError, match=r"manifest\.json"):
                read_manifest(tmp_path)
    for extra in ({**content, "new": 1}, {**content, "edits": content["edits"][::-1]}):
        (tmp_path / "manifest.json").write_text(json.dumps(extra), encoding="utf-8")
        with pytest.raises(ArtefactError, match=r"manifest\.json was changed after it was written"):
            read_manifest(tmp_path)


def test_layout_alone_is_no_change(tmp_path: Path) -> None:
    content = written(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps(content, sort_keys=True), encoding="utf-8")
    assert read_manifest(tmp_path)[0] == MANIFEST


def test_fields_of_the_wrong_kind_are_refused_even_with_a_right_digest(tmp_path: Path) -> None:
    content = written(tmp_path)
    del content["sha256"]
    wrong: list[dict[str, Any]] = [
        {**content, "new": 1},
        {key: value for key, value in content.items() if key != "metrics"},
        *({**content, key: 1.5} for key in content),
        {**content, "edits": [1]},
        {**content, "format": 0},
        {**content, "weights": {"file": "../other.safetensors", "sha256": "0" * 64}},
        {**content, "weights": {"file": "model.safetensors"}},
    ]
    for case in wrong:
        text = json.dumps({**case, "sha256": digest_of(case)})
        (tmp_path / "manifest.json").write_text(text, encoding="utf-8")
        with pytest.raises(ArtefactError, match=r"manifest\.json: (fields|its format|weights must)"):
            read_manifest(tmp_path)


def test_a_newer_format_is_refused_as_newer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest_module, "MANIFEST_VERSION", 7)
    written(tmp_path)
    monkeypatch.undo()
    with pytest.raises(ArtefactError, match="format version 7; this version of paretorch reads up to 1"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "not valid JSON"),
        (b"{", "not valid JSON"),
        (b"[]", "holds a list"),
        (b"\xff", "not UTF-8"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": 1e999}', "out of range"),
        (b'{"a": 1, "a": 2}', "a key is given twice"),
        (b"[" * 100_000, "not valid JSON"),
    ],
)
def test_a_file_that_is_no_json_object_is_refused(tmp_path: Path, content: bytes, match: str) -> None:
    (tmp_path / "manifest.json").write_bytes(content)
    with pytest.raises(ArtefactError, match=match):
        read_manifest(tmp_path)


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match=r"manifest\.json cannot be read \(No such file"):
        read_manifest(tmp_path)


def test_plain_json_is_what_json_would_read_back() -> None:
    value = {"a": (1, [2.5, None]), "b": {"c": "x", "d": True}}
    assert plain_json(value, "kwargs") == json.loads(json.dumps(value))


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ({"a": [0, float("nan")]}, r"kwargs\.a\.1 is nan"),
        ({"a": {1: 2}}, r"kwargs\.a: the key 1 is a int"),
        ({"a": {2}}, r"kwargs\.a is a builtins\.set"),
        ({"a": len}, r"kwargs\.a is a builtins\.builtin_function"),
    ],
)
def test_what_has_no_json_form_is_refused_with_its_place(value: Any, match: str) -> None:
    with pytest.raises(InputError, match=match):
        plain_json(value, "kwargs")
