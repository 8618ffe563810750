"""Documents from text files: `NAME.txt` or `NAME.txt.xz`, UTF-8, separated by lines that hold one form feed.

Also folders that the library `datasets` wrote, whose column `text` holds one document per row. A file without form
feeds is one document. Files are read only as far as documents are asked for.
"""

import lzma
from collections.abc import Iterable, Iterator
from pathlib import Path

from paretorch.errors import InputError
from paretorch.training.tasks.saved_dataset import column, saved_splits, split_named

SEPARATOR = "\n\f\n"
CHUNK = 2**20  # characters read at once
HUB_NAMES = {"train": "train", "valid": "validation", "test": "test"}


def documents(folder: Path, name: str, *, megabytes: float | None = None) -> list[str]:
    """The documents of one file, empty ones left out.

    Args:
        folder: where the file is.
        name: "train", "valid", "test", or that of any other file, without its ending.
        megabytes: only the first documents that together have at least so many million bytes; None for all.

    Raises:
        InputError: for a missing or damaged file, text that is not UTF-8, or no document at all.
    """
    found: list[str] = []
    size = 0
    for document in _read(folder, name):
        found.append(document)
        size += len(document.encode())
        if megabytes is not None and size >= megabytes * 1e6:
            break
    if not found:
        raise InputError(f"{name} in {folder} holds no text")
    return found


def other_names(folder: Path) -> list[str]:
    """The names of the texts that are neither "train", "valid" nor "test", sorted."""
    if (splits := saved_splits(folder)) is not None:
        return sorted(splits.keys() - HUB_NAMES.values())
    return sorted({path.name.removesuffix(".xz").removesuffix(".txt") for path in _texts(folder)} - HUB_NAMES.keys())


def _texts(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.name.endswith((".txt", ".txt.xz"))]


def _read(folder: Path, name: str) -> Iterator[str]:
    if (splits := saved_splits(folder)) is not None:
        rows = column(split_named(splits, HUB_NAMES.get(name, name), folder=folder), "text")
        yield from (row for row in rows if row.strip())
        return
    path = _path(folder, name)
    try:
        if path.suffix == ".xz":
            with lzma.open(path, "rt", encoding="utf-8", newline="") as file:
                yield from _split(iter(lambda: file.read(CHUNK), ""))
        else:
            with path.open(encoding="utf-8", newline="") as file:
                yield from _split(iter(lambda: file.read(CHUNK), ""))
    except (lzma.LZMAError, EOFError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is damaged ({type(error).__name__}: {error}); get it again") from error


def _path(folder: Path, name: str) -> Path:
    choices = [folder / f"{name}.txt", folder / f"{name}.txt.xz"]
    if not (there := [path for path in choices if path.is_file()]):
        known = sorted(path.name for path in _texts(folder))
        raise InputError(f"there is neither {choices[0]} nor {choices[1].name}; the folder holds {known}")
    if len(there) == 2:
        raise InputError(f"{folder} holds both {there[0].name} and {there[1].name}; keep one of them")
    return there[0]


def _split(chunks: Iterable[str]) -> Iterator[str]:
    """The parts between separators, which may lie across two chunks."""
    rest = ""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(SEPARATOR)
        yield from (document for document in whole if document.strip())
    if rest.strip():
        yield rest
