"""Records by the folder of the sweep they belong to, so that a report can put folders side by side.

The folder of `sweep/runs/arm-s0/record.json` is `sweep`; outside such a layout it is the folder that holds the run's.
Folders are named by the shortest end of their path that tells them apart.
"""

from collections.abc import Iterable
from pathlib import Path

from paretorch.errors import InputError
from paretorch.evidence.records import FILE_NAME, RunRecord, load_record

RUNS = "runs"


def load_sources(paths: Iterable[str | Path]) -> dict[str, list[RunRecord]]:
    """Read all records below `paths`.

    Args:
        paths: record files, run directories, or directories that hold run directories at any depth.

    Returns:
        Name of a folder -> its records, both in a stable order.

    Raises:
        InputError: a path holds no record, one folder holds a run twice, or a folder is a copy of another.
        ArtefactError: a file is not a record.
    """
    folders: dict[Path, dict[Path, RunRecord]] = {}
    for path in map(Path, paths):
        found = sorted(path.rglob(FILE_NAME)) if path.is_dir() else [path]
        if not found:
            raise InputError(f"no {FILE_NAME} under {path}; has the run finished?")
        for file in (file.resolve() for file in found):
            folders.setdefault(_folder(file), {}).setdefault(file, load_record(file))
    _refuse_copies(folders)
    names = names_of(list(folders))
    return {names[folder]: list(records.values()) for folder, records in folders.items()}


def names_of(folders: list[Path]) -> dict[Path, str]:
    """Folder -> the shortest end of its path that no other folder shares, at least its own name."""
    for length in range(1, max((len(folder.parts) for folder in folders), default=0) + 1):
        names = {folder: "/".join(folder.parts[-length:]) for folder in folders}
        if len(set(names.values())) == len(folders):
            return names
    return {folder: str(folder) for folder in folders}


def _folder(file: Path) -> Path:
    run = file.parent
    return run.parent.parent if run.parent.name == RUNS else run.parent


def _refuse_copies(folders: dict[Path, dict[Path, RunRecord]]) -> None:
    """A run that is counted twice would look like a second sample of the same size."""
    seen: dict[tuple[str, str, str], tuple[Path, RunRecord]] = {}
    for folder, records in folders.items():
        for file, record in records.items():
            within = record.recipe_hash, record.run_id, str(folder)
            across = record.recipe_hash, record.run_id, ""
            if within in seen:
                raise InputError(f"{file} and {seen[within][0]} hold the same run {record.run_id!r}; leave one out")
            if across in seen and seen[across][1].to_dict() == record.to_dict():
                raise InputError(f"{file} is a copy of {seen[across][0]}, no second run; leave one out")
            seen[within] = seen[across] = (file, record)
