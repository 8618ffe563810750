"""`paretorch compare`: a candidate against its baseline at several durations, and what may be claimed."""

from typing import Annotated

import typer

from paretorch.cli.options import (
    Data,
    Out,
    Quiet,
    Resume,
    Verbose,
    command_line,
    output_folder,
    start_logging,
    warn_of_diverged,
)


def compare(
    recipe: Annotated[str, typer.Argument(help="A TOML file with a table `compare`, or the name of one that ships.")],
    data: Data = None,
    out: Out = None,
    workers: Annotated[int | None, typer.Option(help="Runs at the same time; one per core if not given.")] = None,
    resume: Resume = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print runs and steps, and train nothing.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Compare two ways of training at equal quality: arms x seeds x durations, then a verdict of three lines."""
    from paretorch.comparisons import compare as run_comparison
    from paretorch.measurement.timing import usable_cores
    from paretorch.recipes import load_recipe

    start_logging(quiet=quiet, verbose=verbose)
    loaded = load_recipe(recipe)
    if dry_run:
        for line in loaded.comparison(data=data, command=command_line()).plan():
            typer.echo(line)
        return
    folder = output_folder(out, loaded.name, resume=resume)
    found = run_comparison(
        recipe,
        folder,
        data=data,
        workers=usable_cores() if workers is None else workers,
        resume=resume,
        command=command_line(),
    )
    path = found.write_page(folder / "report.html", title=f"Comparison {loaded.name}", command=command_line())
    for sentence in (*found.verdict.lines, *found.verdict.refusals, *found.verdict.warnings):
        typer.echo(sentence)
    typer.echo(f"Report: {path}")
    warn_of_diverged([run for family in found.families.values() for run in family.runs])
