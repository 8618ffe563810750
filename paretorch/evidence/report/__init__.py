"""A report: one HTML file that says what was found, shows the figures, and lists every number.

There are three pages, chosen by what is given: one run, one sweep, or several of them side by side. A fourth, of two
recipes compared over their durations, needs more than records: `write_speedup_page`. A file works offline and in any
current browser: plotly.js travels inside (compressed), nothing is loaded from elsewhere, and a content-security policy
in the page forbids it. All numbers are also in tables that need no script.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from paretorch.errors import InputError
from paretorch.evidence.comparison import workloads_of
from paretorch.evidence.records import RunRecord
from paretorch.evidence.report.comparison_page import write_comparison
from paretorch.evidence.report.run_page import write_run
from paretorch.evidence.report.speedup_page import write_speedup_page
from paretorch.evidence.report.sweep_page import write_sweep

__all__ = ["write_report", "write_speedup_page"]


def write_report(
    records: Iterable[RunRecord] | Mapping[str, Iterable[RunRecord]],
    path: str | Path,
    *,
    title: str | None = None,
    command: str,
) -> Path:
    """Write the report of a run, of a sweep, or of several sweeps.

    Args:
        records: runs; or runs by the name of the folder they come from, as `load_sources` returns them. One run gets a
            page of its own; the runs of one workload from one folder are a sweep; anything else is a comparison with
            a section per workload, and folders are never pooled.
        path: the HTML file to write; an existing one is replaced atomically.
        title: heading of the page; made from the workloads by default.
        command: the command that repeats everything, shown as it is.

    Returns:
        The path. The file is under 2 MB plus its data.

    Raises:
        InputError: there are no records, or they belong to a comparison.
        NotComparableError: no runs can be compared with each other (see `arms_of`).
    """
    given = records if isinstance(records, Mapping) else {"these runs": records}
    sources = {folder: list(found) for folder, found in given.items()}
    every = [record for found in sources.values() for record in found]
    if len(every) > 1 and (families := sorted({record.family for record in every if record.family})):
        raise InputError(
            f"these are runs of a comparison (families {', '.join(families)}), which is judged as a whole; give its "
            "output folder, and nothing else"
        )
    workloads = workloads_of(sources)
    if len(every) == 1:
        return write_run(every[0], Path(path), title=title, command=command)
    if len(workloads) == 1 and len(sources) == 1:
        return write_sweep(every, Path(path), title=title, command=command)
    return write_comparison(workloads, Path(path), title=title, command=command)
