"""`paretorch demo` and `paretorch run`: a recipe's sweep, then the front and a report."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paretorch.cli.options import (
    PIPE_WIDTH,
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
from paretorch.errors import InputError, RunError

if TYPE_CHECKING:
    from paretorch.pipelines.sweep import Sweep
    from paretorch.recipes import Recipe


def demo(out: Out = None, resume: Resume = False, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Train a small network on embedded digits, prune and retrain it in several ways, and show the front."""
    from paretorch.recipes import load_recipe

    start_logging(quiet=quiet, verbose=verbose)
    sweep = load_recipe("digits").sweep(data=None, command=command_line())
    _sweep_and_report(sweep, output_folder(out, "demo", resume=resume), resume=resume)


def run(
    recipe: Annotated[str, typer.Argument(help="A TOML file, or the name of a recipe that ships.")],
    task: Annotated[str | None, typer.Option(help="Replace the recipe's task: a name or file.py:factory.")] = None,
    data: Data = None,
    out: Out = None,
    resume: Resume = False,
    workers: Annotated[
        int,
        typer.Option(
            min=1, help="Local processes for what one arm can train at the same time, as the copies of a soup."
        ),
    ] = 1,
    search: Annotated[bool, typer.Option("--search", help="Search the ranges of the recipe's table `search`.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print phases and steps, and train nothing.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Run a recipe: one dense model per seed, then every arm; ends with the front and a report."""
    from paretorch.recipes import load_recipe

    start_logging(quiet=quiet, verbose=verbose)
    overrides: dict[str, Any] = {} if task is None else {"task": task, "task_options": {}}
    loaded = load_recipe(recipe, overrides=overrides)
    if search:
        if workers > 1:
            raise InputError("a search runs its trials in this process; leave --workers out")
        _search(loaded, data=data, out=out, resume=resume, dry_run=dry_run)
        return
    sweep = loaded.sweep(data=data, command=command_line())
    if dry_run:
        for line in sweep.plan():
            typer.echo(line)
        return
    _sweep_and_report(sweep, output_folder(out, loaded.name, resume=resume), resume=resume, workers=workers)


def _sweep_and_report(sweep: "Sweep", folder: Path, *, resume: bool, workers: int = 1) -> None:
    from rich.console import Console

    from paretorch.evidence.report import write_report
    from paretorch.evidence.terminal import print_front
    from paretorch.evidence.verdict import closing

    records = sweep.run(folder, resume=resume, workers=workers)
    path = write_report(records, folder / "report.html", title=f"Recipe {sweep.name}", command=sweep.command)
    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
    print_front(records, console)
    typer.echo(f"Report: {path}")
    typer.echo(f"Records, checkpoints and models: {folder / 'runs'}")
    for sentence in closing(records):
        typer.echo(sentence)
    warn_of_diverged([record for record in records if not record.is_baseline])


def _search(recipe: "Recipe", *, data: Path | None, out: Path | None, resume: bool, dry_run: bool) -> None:
    from paretorch.search import RESULT, Search

    if recipe.search is None:
        raise InputError(f"recipe {recipe.name!r} has no [search] table, so it names no ranges to search")
    found = Search(recipe, recipe.search, data=data, command=command_line())
    if dry_run:
        for line in found.plan():
            typer.echo(line)
        return
    folder = output_folder(out, f"{recipe.name}-search", resume=resume)
    result = found.run(folder, resume=resume)
    for line in result.lines():
        typer.echo(line)
    typer.echo(f"Recipes and runs of the trials: {folder / 'trials'}")
    typer.echo(f"Result: {folder / RESULT}")
    if not result.front:
        raise RunError(f"none of {len(result.trials)} trials is complete; {result.trials[0].note}")
