"""A run directory for pipelines whose parts pass files on: the trainer's own, or a temporary one that is removed."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from paretorch.training.run import RunDirectory
from paretorch.training.trainer import Trainer


@contextmanager
def in_some_directory(trainer: Trainer) -> Iterator[Trainer]:
    """The trainer with a directory; without one of its own, nothing is left and nothing can be resumed."""
    if trainer.directory is not None:
        yield trainer
        return
    with TemporaryDirectory(prefix="paretorch-") as folder, RunDirectory(Path(folder) / "run", recipe="") as directory:
        yield trainer.in_directory(directory)
