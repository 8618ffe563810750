"""A file is replaced whole or not at all, whatever goes wrong in between."""

import json
import os
import resource
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch

from paretorch.artefacts import files
from paretorch.artefacts.files import atomic_path, remove_partial, write_bytes, write_json, write_text
from paretorch.artefacts.tree import load_tree, save_tree
from paretorch.errors import RunError


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def python(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]


def test_a_written_file_holds_exactly_what_was_given_and_nothing_else_is_left(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a", b"\x00\xff\r\n")
    write_text(tmp_path / "b", "é\r\n")
    write_json(tmp_path / "c.json", {"z": 1, "a": [None, True, 0.1, "é"]})
    assert (tmp_path / "a").read_bytes() == b"\x00\xff\r\n"
    assert (tmp_path / "b").read_bytes() == "é\r\n".encode()
    assert json.loads((tmp_path / "c.json").read_text(encoding="utf-8")) == {"z": 1, "a": [None, True, 0.1, "é"]}
    assert names(tmp_path) == ["a", "b", "c.json"]


def test_the_temporary_path_lies_in_the_same_folder_and_the_target_changes_only_at_the_end(tmp_path: Path) -> None:
    target = tmp_path / "t"
    write_text(target, "old")
    with atomic_path(target) as partial:
        assert partial.parent == tmp_path
        partial.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()])
def test_an_exception_in_the_block_leaves_the_old_content_and_no_temporary_file(
    tmp_path: Path, error: BaseException
) -> None:
    target = tmp_path / "t"
    write_text(target, "old")

    def fail_in_the_middle() -> None:
        with atomic_path(target) as partial:
            partial.write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail_in_the_middle()
    assert target.read_text() == "old"
    assert names(tmp_path) == ["t"]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [float("-inf")]}])
def test_json_without_a_word_for_the_number_is_refused_before_the_file_is_touched(
    tmp_path: Path, value: object
) -> None:
    write_json(tmp_path / "t.json", 1)
    with pytest.raises(ValueError, match=r"t\.json as JSON: .*not touched"):
        write_json(tmp_path / "t.json", value)
    with pytest.raises(TypeError, match="set"):
        write_json(tmp_path / "t.json", {1, 2})
    assert (tmp_path / "t.json").read_text() == "1\n"


def test_the_data_is_synced_before_the_rename_and_the_folder_after_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, events = tmp_path / "t", []
    write_text(target, "old")

    def fsync(descriptor: int) -> None:
        synced = Path(f"/proc/self/fd/{descriptor}").readlink()
        events.append(("folder" if synced == tmp_path else "file", target.read_text()))

    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc to see which file a descriptor names")
    monkeypatch.setattr(os, "fsync", fsync)
    write_text(target, "new")
    assert events == [("file", "old"), ("folder", "new")]


def test_a_failing_sync_of_the_data_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    write_text(tmp_path / "t", "old")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RunError, match=r"cannot write .*t: .*Input/output error.*earlier file is intact"):
        write_text(tmp_path / "t", "new")
    assert (tmp_path / "t").read_text() == "old"
    assert names(tmp_path) == ["t"]


def test_a_failing_rename_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    write_text(tmp_path / "t", "old")
    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(RunError, match=r"No space left on device.*earlier file is intact"):
        write_text(tmp_path / "t", "new")
    assert (tmp_path / "t").read_text() == "old"
    assert names(tmp_path) == ["t"]


def test_a_folder_that_cannot_be_synced_is_reported_without_promising_the_old_content(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = files.sync

    def fail_on_folders(path: Path) -> None:
        if path.is_dir():
            raise OSError(5, "Input/output error")
        real(path)

    monkeypatch.setattr(files, "sync", fail_on_folders)
    with pytest.raises(RunError, match=r"replaced by its new content.*could not be synced"):
        write_text(tmp_path / "t", "new")
    assert (tmp_path / "t").read_text() == "new"


def test_a_missing_folder_and_a_block_that_writes_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no/t: .*No such file or directory.*No file was left there"):
        write_text(tmp_path / "no" / "t", "x")
    with pytest.raises(RunError, match="nothing was written"), atomic_path(tmp_path / "t"):
        pass
    (tmp_path / "folder").mkdir()
    with pytest.raises(RunError, match="directory"):
        write_text(tmp_path / "folder", "x")
    assert names(tmp_path) == ["folder"]


def test_a_full_disk_leaves_the_old_content_of_text_and_of_trees(tmp_path: Path) -> None:
    write_bytes(tmp_path / "bytes", b"old")
    save_tree(tmp_path / "tree", {"w": torch.ones(3)})
    _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))  # a real failure of write(), in the middle of the file
    try:
        for attempt in (
            lambda: write_bytes(tmp_path / "bytes", bytes(100_000)),
            lambda: save_tree(tmp_path / "tree", {"w": torch.zeros(100_000)}),
        ):
            with pytest.raises(RunError, match=r"File too large.*earlier file is intact"):
                attempt()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "bytes").read_bytes() == b"old"
    assert load_tree(tmp_path / "tree")["w"].tolist() == [1, 1, 1]
    assert names(tmp_path) == ["bytes", "tree"]


def test_kill_9_at_a_random_moment_leaves_the_old_or_the_new_content_never_half(tmp_path: Path) -> None:
    code = """
        import itertools, sys
        sys.modules["torch"] = None  # files.py alone, so that the writer is up within milliseconds
        from paretorch.artefacts.files import write_bytes
        for i in itertools.count():
            write_bytes(sys.argv[1], bytes([i % 251]) * 3_000_000)
            if i == 0:
                print("written", flush=True)
    """
    target = tmp_path / "t"
    leftovers = 0
    for attempt in range(60):
        with subprocess.Popen(python(code, target), stdout=subprocess.PIPE, text=True) as writer:
            try:
                assert writer.stdout.readline() == "written\n"
                time.sleep(0.0037 * (attempt % 8))
            finally:
                writer.kill()
        content = target.read_bytes()
        assert len(content) == 3_000_000
        assert content == content[:1] * 3_000_000
        leftovers += len(remove_partial(tmp_path))
        assert names(tmp_path) == ["t"]
        if attempt >= 5 and leftovers >= 2:
            return
    pytest.fail(f"only {leftovers} of 60 kills came in the middle of a write; the test proves nothing")


def test_remove_partial_takes_only_what_killed_writes_left(tmp_path: Path) -> None:
    (tmp_path / "kept.partial").write_text("user's own")
    (tmp_path / ".t.0123abcd.partial").write_text("half")
    (tmp_path / ".model.0123abcd.partial").mkdir()
    (tmp_path / ".model.0123abcd.partial" / "weights").write_text("half")
    assert remove_partial(tmp_path) == [tmp_path / ".model.0123abcd.partial", tmp_path / ".t.0123abcd.partial"]
    assert names(tmp_path) == ["kept.partial"]
