"""The command line: one file per group of commands.

Exit codes: 0 done, 1 failed after work had begun, 2 bad input, 130 interrupted with the state saved.
"""

from typing import Annotated

import typer

from paretorch import __version__
from paretorch.cli.compare import compare
from paretorch.cli.information import doctor, methods
from paretorch.cli.options import readable_errors
from paretorch.cli.report import report
from paretorch.cli.run import demo, run

__all__ = ["app", "main"]

app = typer.Typer(
    help="Make a PyTorch model cheaper to train and cheaper to run, and prove it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


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


for _command in (demo, run, compare, report, methods, doctor):
    app.command()(readable_errors(_command))


def main() -> None:
    """Entry point of the `paretorch` command."""
    app()
