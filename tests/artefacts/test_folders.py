"""A folder is replaced whole or not at all; a kill between the two renames keeps the old one beside its place."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from paretorch.artefacts.files import PARTIAL_SUFFIX
from paretorch.artefacts.folders import RETIRED_SUFFIX, atomic_folder, retired
from paretorch.errors import RunError


def fill(path: Path, text: str) -> None:
    with atomic_folder(path) as partial:
        (partial / "a").write_text(text)
        (partial / "b").write_text(text)


def content(path: Path) -> set[str]:
    assert {entry.name for entry in path.iterdir()} == {"a", "b"}
    return {(path / name).read_text() for name in ("a", "b")}


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_a_folder_is_made_with_the_folders_above_it_and_replaced_with_everything_in_it(tmp_path: Path) -> None:
    target = tmp_path / "x" / "y" / "model"
    fill(target, "old")
    (target / "stray").write_text("goes away")
    fill(target, "new")
    assert content(target) == {"new"}
    assert names(target.parent) == ["model"]


def test_an_exception_in_the_block_leaves_the_old_folder_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "model"
    fill(target, "old")

    def fail() -> None:
        with atomic_folder(target) as partial:
            (partial / "a").write_text("half")
            raise KeyError("x")

    with pytest.raises(KeyError):
        fail()
    assert content(target) == {"old"}
    assert names(tmp_path) == ["model"]


@pytest.mark.parametrize("failing_rename", [1, 2])
def test_a_failing_rename_brings_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing_rename: int
) -> None:
    target = tmp_path / "model"
    fill(target, "old")
    real, calls = Path.rename, []

    def rename(self: Path, to: Path) -> Path:
        calls.append(self)
        if len(calls) == failing_rename:
            raise OSError(28, "No space left on device")
        return real(self, to)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(RunError, match=r"No space left on device.*earlier folder is intact"):
        fill(target, "new")
    assert content(target) == {"old"}
    assert names(tmp_path) == ["model"]


def test_a_failing_sync_leaves_the_old_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(RunError, match=r"Input/output error.*No folder was left there"):
        fill(tmp_path / "model", "new")
    assert names(tmp_path) == []


def test_what_an_earlier_kill_moved_aside_is_kept_until_there_is_a_whole_folder_again(tmp_path: Path) -> None:
    target = tmp_path / "model"
    fill(target, "old")
    target.rename(tmp_path / ".model.0123abcd.retired")
    assert [content(path) for path in retired(target)] == [{"old"}]

    def fail() -> None:
        with atomic_folder(target):
            raise KeyError("x")

    with pytest.raises(KeyError):
        fail()
    assert [content(path) for path in retired(target)] == [{"old"}]
    fill(target, "new")
    assert content(target) == {"new"}
    assert names(tmp_path) == ["model"]


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_kill_9_leaves_a_whole_folder_under_its_name_or_the_old_one_beside_it(tmp_path: Path) -> None:
    code = """
        import itertools, sys
        from pathlib import Path
        sys.modules["torch"] = None  # not needed here, so that the writer is up within milliseconds
        from paretorch.artefacts.folders import atomic_folder
        for i in itertools.count():
            with atomic_folder(sys.argv[1]) as partial:
                for name in "ab":
                    (partial / name).write_bytes(bytes([i % 251]) * 200_000)
            if i == 0:
                print("written", flush=True)
    """
    target = tmp_path / "model"
    in_the_middle = 0
    for attempt in range(60):
        arguments = [sys.executable, "-c", textwrap.dedent(code), str(target)]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as writer:
            try:
                assert writer.stdout.readline() == "written\n"
                time.sleep(0.0037 * (attempt % 8))
            finally:
                writer.kill()
        assert target.exists() or len(retired(target)) == 1
        for whole in [*retired(target), *([target] if target.exists() else [])]:
            a, b = ((whole / name).read_bytes() for name in "ab")
            assert len(a) == 200_000
            assert a == b == a[:1] * len(a)
        in_the_middle += any(entry.suffix in (PARTIAL_SUFFIX, RETIRED_SUFFIX) for entry in tmp_path.iterdir())
        if attempt >= 5 and in_the_middle >= 2:
            break
    else:
        pytest.fail(f"only {in_the_middle} of 60 kills came in the middle of a write; the test proves nothing")
    fill(target, "new")
    assert content(target) == {"new"}
    assert retired(target) == []


def test_a_retired_folder_beside_a_partial_one_of_the_same_letters_is_removed(tmp_path: Path) -> None:
    """What two kills leave: the first between the renames, the second while what it left was removed."""
    target = tmp_path / "model"
    fill(target, "old")
    fill(tmp_path / ".model.0123abcd.retired", "older")
    fill(tmp_path / ".model.0123abcd.partial", "half")
    fill(target, "new")
    assert content(target) == {"new"}
    assert retired(target) == []
