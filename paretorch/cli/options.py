"""What the commands share: options, errors as one paragraph, logging and output folders.

Exit codes: 0 done, 1 failed after work had begun, 2 bad input, 130 interrupted with the state saved. A run that
diverges is a result: a warning names it, and only where no run is left the command has failed.
"""

import functools
import itertools
import logging
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from paretorch.errors import InputError, ParetorchError, RunError

if TYPE_CHECKING:
    from paretorch.evidence.records import RunRecord

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


def start_logging(*, quiet: bool, verbose: bool) -> None:
    """Send the package's messages to the terminal.

    Raises:
        InputError: for both at once.
    """
    if quiet and verbose:
        raise InputError("--quiet and --verbose exclude each other")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger.handlers = [handler]
    logger.setLevel(logging.WARNING if quiet else logging.DEBUG if verbose else logging.INFO)


def command_line() -> str:
    """What the user typed."""
    return shlex.join(["paretorch", *sys.argv[1:]])


def output_folder(out: Path | None, name: str, *, resume: bool) -> Path:
    """As given, else the first free of runs/NAME, runs/NAME-2, ...; with `resume` the last one, or a warning."""
    folder = _in_runs(name, resume=resume) if out is None else out
    if resume and not folder.exists():
        logger.warning("there is nothing to resume in %s; starting from the beginning", folder)
    return folder


def _in_runs(name: str, *, resume: bool) -> Path:
    candidates = (Path("runs") / (name if number == 1 else f"{name}-{number}") for number in itertools.count(1))
    newest = None
    for folder in candidates:
        if not folder.exists():
            return newest if resume and newest is not None else folder
        newest = folder
    raise AssertionError("unreachable: the candidates do not end")


def warn_of_diverged(runs: "Sequence[RunRecord]") -> None:
    """Name the runs that diverged.

    Args:
        runs: without the dense models that the others start from.

    Raises:
        RunError: if all of them did.
    """
    diverged = [run.run_id for run in runs if run.status == "diverged"]
    if not diverged:
        return
    words = f"{len(diverged)} of {len(runs)} runs diverged: {', '.join(diverged)}"
    if len(diverged) == len(runs):
        raise RunError(f"{words}; none is left. A lower learning rate, a warm-up or clip_norm usually helps")
    logger.warning("%s; their records say so, and the others are complete", words)
