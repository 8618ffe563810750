"""What runs say about themselves beside numbers: where they ran, with which command, and their warnings."""

from collections.abc import Mapping, Sequence
from typing import Any

from paretorch.evidence.records import RunRecord
from paretorch.evidence.words import grouped, plural


def facts(records: Sequence[RunRecord]) -> dict[str, Any]:
    """Environment, commands and notes, for the end of every page."""
    return {
        "environment": environments(records),
        "commands": list(dict.fromkeys(record.command for record in records if record.command)),
        "notes": notes(records),
    }


def environments(records: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """Name -> value over all runs; where runs differ, every value, separated by " | "."""
    found: dict[str, dict[str, None]] = {}
    for record in records:
        for name, value in rows_of(record.env):
            found.setdefault(name, {})[value] = None
    return [(name, " | ".join(values)) for name, values in found.items()]


def notes(records: Sequence[RunRecord]) -> list[str]:
    """Notes of the runs, each once, with the number of runs that carry it; the runs' own names make no difference.

    A grid has many runs that diverge, and each names its own folder.
    """
    found: dict[str, list[str]] = {}
    for record in records:
        for note in dict.fromkeys(record.notes):
            found.setdefault(note.replace(record.run_id, "\0"), []).append(note)
    if len(records) == 1:
        return list(dict.fromkeys(records[0].notes))
    named = {True: "; the first is named", False: ""}
    return [f"{same[0]} ({plural(len(same), 'run')}{named[len(set(same)) > 1]})" for same in found.values()]


def rows_of(env: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Name -> value of one environment."""
    rows = []
    for name, value in env.items():
        words = name.replace("_", " ")
        if isinstance(value, Mapping):
            rows += [(inner if name == "packages" else f"{words}: {inner}", str(item)) for inner, item in value.items()]
        elif isinstance(value, list | tuple):
            rows.append((words, ", ".join(map(str, value)) or "none"))
        elif isinstance(value, bool):
            rows.append((words, "yes" if value else "no"))
        elif isinstance(value, int) and value >= 10_000:
            rows.append((words, grouped(value)))
        else:
            rows.append((words, "not set" if value is None else str(value)))
    return rows
