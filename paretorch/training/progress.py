"""A progress bar on a terminal, plain log lines in a pipe."""

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int, str], None]
logger = logging.getLogger("paretorch")

PLAIN_LINE_SECONDS = 15.0


@contextmanager
def progress(label: str, total: int) -> Iterator[Advance]:
    """Yield `advance(done, text)`, to be called with the number of finished steps and a short text.

    Nothing is shown when the `paretorch` logger is above INFO (`--quiet`).
    """
    if not logger.isEnabledFor(logging.INFO):
        yield lambda _done, _text: None
    elif sys.stderr.isatty():
        yield from _bar(label, total)
    else:
        yield from _lines(label, total)


def _bar(label: str, total: int) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        handle = bar.add_task(label, total=total, text="")
        yield lambda done, text: bar.update(handle, completed=done, text=text)


def _lines(label: str, total: int) -> Iterator[Advance]:
    shown = time.monotonic()

    def advance(done: int, text: str) -> None:
        nonlocal shown
        if time.monotonic() - shown >= PLAIN_LINE_SECONDS:
            shown = time.monotonic()
            logger.info("%s: step %d of %d %s", label, done, total, text)

    yield advance
