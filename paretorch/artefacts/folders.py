"""Folders that are there whole or not at all: filled beside their place, synced, then renamed into it.

A folder that is not empty cannot be renamed over, so a replaced one is first moved aside, as `.NAME.XXXXXXXX.retired`.
A kill between the two renames leaves the old content there and nothing under its own name; `retired` finds it.
"""

import glob
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from paretorch.artefacts.files import partial_path, sync
from paretorch.errors import RunError

RETIRED_SUFFIX = ".retired"


@contextmanager
def atomic_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder beside `path`; it takes the place of `path` when the block ends without an error.

    Args:
        path: the folder to create or replace, with everything in it. The folder it lies in is created if need be.

    Yields:
        The folder to fill. Files must be closed when the block ends.

    Raises:
        RunError: the disk is full or a folder cannot be written; `path` is as it was before. Any other exception of the
            block passes through unchanged, with `path` as it was before.
    """
    target = Path(path)
    partial = partial_path(target)
    try:
        partial.mkdir(parents=True)
        yield partial
        for entry in [*partial.rglob("*"), partial]:
            sync(entry)
        _swap(partial, target)
    except (OSError, SafetensorError) as error:  # safetensors reports a full disk with its own exception
        kept = "The earlier folder is intact." if target.exists() else "No folder was left there."
        raise RunError(f"cannot write {target}: {error}. {kept}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    _discard_retired(target)


def retired(path: str | os.PathLike[str]) -> list[Path]:
    """Whole earlier contents of `path` that a kill left beside it; at most one if there is nothing at `path` itself."""
    target = Path(path)
    return sorted(target.parent.glob(f".{glob.escape(target.name)}.*{RETIRED_SUFFIX}"))


def _discard_retired(target: Path) -> None:
    for superseded in retired(target):
        # Renamed first: a kill in the middle of removing it must not leave half a folder under this suffix. To a name
        # of its own: a kill may have left a partial folder under the same eight letters.
        shutil.rmtree(superseded.rename(partial_path(target)), ignore_errors=True)


def _swap(partial: Path, target: Path) -> None:
    """Put `partial` in the place of `target`, or leave `target` as it was."""
    if not target.exists():
        partial.rename(target)
    else:
        _discard_retired(target)  # so that what is moved aside now is the only one there
        aside = partial.with_suffix(RETIRED_SUFFIX)
        target.rename(aside)
        try:
            partial.rename(target)
        except OSError:
            aside.rename(target)
            raise
    sync(target.parent)
