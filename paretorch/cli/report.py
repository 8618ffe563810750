"""`paretorch report`: one HTML page about finished runs."""

from pathlib import Path
from typing import Annotated

import typer

from paretorch.cli.options import command_line


def report(
    runs: Annotated[list[Path], typer.Argument(help="Output folders of runs, or folders with a record.json.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The HTML file to write.")] = Path("report.html"),
) -> None:
    """Write one HTML page about a run, a sweep, or several side by side: findings, fronts, curves, every figure."""
    from paretorch.evidence.report import write_report
    from paretorch.evidence.sources import load_sources

    path = write_report(load_sources(runs), out, command=command_line())
    typer.echo(f"Report: {path}")
