"""`paretorch report`: one HTML page about finished runs."""

from pathlib import Path
from typing import Annotated

import typer

from paretorch.cli.options import command_line


def report(
    runs: Annotated[list[Path], typer.Argument(help="Output folders of runs, or folders with a record.json.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The HTML file to write.")] = Path("report.html"),
) -> None:
    """Write one HTML page about a run, a sweep, a comparison, or sweeps side by side: findings and every figure."""
    from paretorch.comparisons import load_comparison
    from paretorch.evidence.report import write_report
    from paretorch.evidence.sources import load_sources

    if len(runs) == 1 and (found := load_comparison(runs[0])) is not None:
        path = found.write_page(out, title=f"Comparison {runs[0].name}", command=command_line())
    else:
        path = write_report(load_sources(runs), out, command=command_line())
    typer.echo(f"Report: {path}")
