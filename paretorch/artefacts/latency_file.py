"""A measured latency table as a JSON file."""

import json
import os
from pathlib import Path

from paretorch.artefacts.files import write_json
from paretorch.errors import ArtefactError, InputError
from paretorch.methods.width.latency import LatencyTable


def save_latency_table(path: str | os.PathLike[str], table: LatencyTable) -> None:
    """Write the table, whole or not at all.

    Raises:
        RunError: if the file cannot be written; an earlier one is then intact.
    """
    write_json(path, table.to_json())


def load_latency_table(path: str | os.PathLike[str]) -> LatencyTable:
    """The table that `save_latency_table` wrote. It may come from another machine; its `machine` says which.

    Raises:
        ArtefactError: if the file cannot be read or holds no latency table.
    """
    file = Path(path)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ArtefactError(f"{file} cannot be read ({error.strerror}); expected a latency table") from error
    except ValueError as error:
        raise ArtefactError(f"{file} is not valid JSON ({error}); it was cut off or changed") from error
    try:
        return LatencyTable.from_json(content)
    except InputError as error:
        raise ArtefactError(f"{file}: {error}") from error
