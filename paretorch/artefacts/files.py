"""Files that are there whole or not at all: written beside their place, synced, then renamed over it.

POSIX `rename` within a folder replaces the old name in one step, so a reader, or a process started after `kill -9`,
sees either the old content or the new. The data is synced before the rename and the folder after it, so the same holds
after a power cut. A kill in the middle leaves a `.NAME.XXXXXXXX.partial` behind; `remove_partial` clears those away.
"""

import json
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from paretorch.errors import RunError

PARTIAL_SUFFIX = ".partial"


@contextmanager
def atomic_path(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path in the same folder to write to; it takes the place of `path` when the block ends without an error.

    Args:
        path: the file to create or replace. Its folder must exist.

    Yields:
        The path of a file that does not exist yet. The block must create and close it.

    Raises:
        RunError: the disk is full, the folder cannot be written, or the block wrote nothing; `path` is as it was
            before. Any other exception of the block passes through unchanged, with `path` as it was before.
    """
    target = Path(path)
    partial = partial_path(target)
    try:
        yield partial
        if not partial.exists():
            raise RunError(f"nothing was written for {target}: the block must create {partial.name}. {_intact(target)}")
        sync(partial)
        partial.replace(target)
    except (OSError, SafetensorError) as error:  # safetensors reports a full disk with its own exception
        raise RunError(f"cannot write {target}: {error}. {_intact(target)}") from error
    finally:
        partial.unlink(missing_ok=True)
    try:
        sync(target.parent)
    except OSError as error:
        raise RunError(
            f"{target} was replaced by its new content, but {target.parent} could not be synced to disk: {error}. "
            "A power cut may bring the earlier file back; check the disk."
        ) from error


def write_bytes(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace the file by `content` in one step; see `atomic_path` for what is raised."""
    with atomic_path(path) as partial:
        partial.write_bytes(content)


def write_text(path: str | os.PathLike[str], content: str) -> None:
    """Replace the file by `content`, in UTF-8 and with its line ends as given; see `atomic_path` for what is raised."""
    write_bytes(path, content.encode("utf-8"))


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Replace the file by `content` as indented JSON, keys in their own order.

    Raises:
        ValueError: a number is NaN or infinite, which JSON has no word for. The file is untouched.
        TypeError: something in `content` has no JSON form. The file is untouched.
        RunError: see `atomic_path`.
    """
    try:
        text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise type(error)(f"cannot write {Path(path)} as JSON: {error}. The file was not touched.") from error
    write_text(path, text + "\n")


def remove_partial(folder: str | os.PathLike[str]) -> list[Path]:
    """Remove the files and folders that killed writes left directly in `folder`, and return what was removed.

    Call it only while no other process writes there (under the run directory's lock, say): a write in progress looks
    the same as one that was killed.
    """
    leftovers = sorted(Path(folder).glob(f".*{PARTIAL_SUFFIX}"))
    for leftover in leftovers:
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()
    return leftovers


def partial_path(target: Path) -> Path:
    """A fresh hidden name beside `target`, not yet created."""
    return target.with_name(f".{target.name}.{secrets.token_hex(4)}{PARTIAL_SUFFIX}")


def sync(path: Path) -> None:
    """Wait until the file's content, or the folder's list of names, is on the disk."""
    if os.name == "nt" and path.is_dir():  # Windows cannot open a folder; NTFS journals renames itself
        return
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _intact(target: Path) -> str:
    """The promise at the end of every error."""
    return "The earlier file is intact." if target.exists() else "No file was left there."
