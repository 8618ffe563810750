"""What scripts with a grid share: their command line, running or reading the grid, and notes on unfinished cells.

    parser = grid_parser(__doc__, work="runs/my-grid", quick="digits, one epoch")
    arguments = parser.parse_args()
    progress = progress_of(cells, arguments, version=VERSION)
    if not arguments.no_write:
        write_result(..., notes=[..., *unfinished(progress)])

What a cell is, and how a grid is run in pieces, is in `_grid`.
"""

import argparse
from collections.abc import Sequence

from _grid import Cell, Progress, add_arguments, finished, run_grid


def grid_parser(description: str | None, *, work: str, quick: str) -> argparse.ArgumentParser:
    """The options of a script with a grid, but for `--data`.

    Args:
        description: the script's docstring.
        work: the default of `--work`.
        quick: what `--quick` does.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--write-only", action="store_true", help="run no cell")
    parser.add_argument("--no-write", action="store_true", help="run cells, and write no result file")
    add_arguments(parser, work=work)
    return parser


def progress_of(cells: Sequence[Cell], arguments: argparse.Namespace, *, version: int) -> Progress:
    """Run what is missing of the grid, or with `--write-only` read what is finished; see `_grid`."""
    if arguments.write_only:
        return finished(cells, arguments.work, version=version)
    options = {"minutes": arguments.minutes, "retry_failed": arguments.retry_failed}
    return run_grid(cells, arguments.work, version=version, **options)


def unfinished(*grids: Progress) -> list[str]:
    """Notes on the cells that were not run, and on those that failed."""
    left = sum(len(grid.left) for grid in grids)
    notes = [f"{left} of the grid's cells are not run yet."] if left else []
    return notes + [f"{name} failed: {reason}" for grid in grids for name, reason in grid.failed.items()]
