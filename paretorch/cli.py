"""The command line: `paretorch demo`, `run`, `report`, `methods`, `doctor`.

Exit codes: 0 done, 1 failed after work had begun, 2 bad input, 130 interrupted with the state saved.
"""

import functools
import itertools
import logging
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paretorch import __version__
from paretorch.errors import InputError, ParetorchError, RunError

if TYPE_CHECKING:
    from paretorch.pipelines.sweep import Sweep

app = typer.Typer(
    help="Make a PyTorch model cheaper to train and cheaper to run, and prove it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
logger = logging.getLogger("paretorch")

PIPE_WIDTH = 110

Data = Annotated[
    Path | None,
    typer.Option("--data", envvar="PARETORCH_DATA", help="Folder with the data sets."),
]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Output folder; a new one below runs/ if not given.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with the run in the output folder.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print results and errors only.")]
Verbose = Annotated[bool, typer.Option("--verbose", help="Print what is done in detail.")]


def readable_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Errors become one paragraph and an exit code, never a traceback for bad input; an interruption becomes 130."""

    @functools.wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except ParetorchError as error:
            typer.echo(f"paretorch: {error}", err=True)
            raise typer.Exit(2 if isinstance(error, InputError) else 1) from None
        except KeyboardInterrupt:
            typer.echo("Interrupted; the state is saved. Go on with --resume and the same --out.", err=True)
            raise typer.Exit(130) from None

    return wrapped


def _version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _global_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
@readable_errors
def demo(out: Out = None, resume: Resume = False, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Train a small network on embedded digits, prune and retrain it in several ways, and show the front."""
    from paretorch.recipes import load_recipe

    _start_logging(quiet=quiet, verbose=verbose)
    sweep = load_recipe("digits").sweep(data=None, command=_command())
    _sweep_and_report(sweep, _folder(out, "demo", resume=resume), resume=resume)


@app.command()
@readable_errors
def run(
    recipe: Annotated[str, typer.Argument(help="A TOML file, or the name of a recipe that ships.")],
    task: Annotated[str | None, typer.Option(help="Replace the recipe's task: a name or file.py:factory.")] = None,
    data: Data = None,
    out: Out = None,
    resume: Resume = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print phases and steps, and train nothing.")] = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Run a recipe: one dense model per seed, then every arm; ends with the front and a report."""
    from paretorch.recipes import load_recipe

    _start_logging(quiet=quiet, verbose=verbose)
    overrides: dict[str, Any] = {} if task is None else {"task": task, "task_options": {}}
    loaded = load_recipe(recipe, overrides=overrides)
    sweep = loaded.sweep(data=data, command=_command())
    if dry_run:
        for line in sweep.plan():
            typer.echo(line)
        return
    _sweep_and_report(sweep, _folder(out, loaded.name, resume=resume), resume=resume)


@app.command()
@readable_errors
def report(
    runs: Annotated[list[Path], typer.Argument(help="Output folders of runs, or folders with a record.json.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The HTML file to write.")] = Path("report.html"),
) -> None:
    """Write one HTML page about a run, a sweep, or several side by side: findings, fronts, curves, every figure."""
    from paretorch.evidence.report import write_report
    from paretorch.evidence.sources import load_sources

    path = write_report(load_sources(runs), out, command=_command())
    typer.echo(f"Report: {path}")


@app.command()
@readable_errors
def methods() -> None:
    """List every method that ships, with what it changes and the condition under which it pays."""
    from rich.console import Console
    from rich.table import Table

    from paretorch.methods.catalogue import cards

    table = Table("id", "what it does", "changes", "becomes time or bytes when")
    for card in cards().values():
        table.add_row(card.id, card.summary, ", ".join(f"{c}: {a}" for c, a in card.cells), card.realised_by)
    Console().print(table)


@app.command()
@readable_errors
def doctor() -> None:
    """Print versions, devices and which optional features are installed; exit 1 if something required is missing."""
    from rich.console import Console
    from rich.table import Table

    from paretorch.measurement.environment import environment
    from paretorch.measurement.installation import extras, required

    console = Console()
    table = Table("what", "found", title="This machine", title_justify="left")
    for name, value in environment().items():
        table.add_row(name, str(value))
    console.print(table)
    table = Table("package", "installed", "needed by", title="Packages", title_justify="left")
    for package in (*required(), *extras()):
        found = package.version or ("missing" if package.extra is None else "not installed")
        needed = "paretorch" if package.extra is None else f"extra {package.extra!r}"
        table.add_row(package.name, found, needed)
    console.print(table)
    if missing := [package.name for package in required() if package.version is None]:
        raise RunError(f"required packages are missing: {', '.join(missing)}; run: pip install --upgrade paretorch")
    console.print("Everything that is required is installed.")


def _start_logging(*, quiet: bool, verbose: bool) -> None:
    if quiet and verbose:
        raise InputError("--quiet and --verbose exclude each other")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers = [handler]
    logger.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)


def _command() -> str:
    return shlex.join(["paretorch", *sys.argv[1:]])


def _folder(out: Path | None, name: str, *, resume: bool) -> Path:
    """As given, else the first free of runs/NAME, runs/NAME-2, ...; with `resume` the last one that exists."""
    if out is not None:
        return out
    candidates = (Path("runs") / (name if number == 1 else f"{name}-{number}") for number in itertools.count(1))
    newest = None
    for folder in candidates:
        if not folder.exists():
            return newest if resume and newest is not None else folder
        newest = folder
    raise AssertionError("unreachable: the candidates do not end")


def _sweep_and_report(sweep: "Sweep", folder: Path, *, resume: bool) -> None:
    from rich.console import Console

    from paretorch.evidence.report import write_report
    from paretorch.evidence.terminal import print_front
    from paretorch.evidence.verdict import verdict

    if resume and not folder.exists():
        logger.warning("there is nothing to resume in %s; starting from the beginning", folder)
    records = sweep.run(folder, resume=resume)
    path = write_report(records, folder / "report.html", title=f"Recipe {sweep.name}", command=sweep.command)
    console = Console(width=None if sys.stdout.isatty() else PIPE_WIDTH)
    print_front(records, console)
    typer.echo(f"Report: {path}")
    typer.echo(f"Records, checkpoints and models: {folder / 'runs'}")
    typer.echo(verdict(records)[0])
    if diverged := [record.run_id for record in records if record.status == "diverged"]:
        raise RunError(
            f"{len(diverged)} of {len(records)} runs diverged: {', '.join(diverged)}; the others are complete"
        )


def main() -> None:
    """Entry point of the `paretorch` command."""
    app()
