"""A process that dies at a chosen write of its run directory, and another one that goes on from there."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
import torch
from torch import nn

from paretorch.training.run import RunDirectory

Result = TypeVar("Result")


class KilledError(Exception):
    """Stands for a process that dies."""


def killed_and_resumed(
    run: Callable[[RunDirectory], Result], folder: Path, *, fatal_write: int
) -> tuple[Result, list[str]]:
    """What `run` gives when it is called again after a death, and the phases in its ledger.

    Args:
        run: given the directory.
        folder: of the directory, new.
        fatal_write: of a checkpoint or a line of the ledger, from 1; the first call must come to it.
    """
    writes = 0

    def counted(real: Callable[..., None]) -> Callable[..., None]:
        def write(self: RunDirectory, *args: object) -> None:
            nonlocal writes
            writes += 1
            if writes == fatal_write:
                raise KilledError
            real(self, *args)

        return write

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(RunDirectory, "save", counted(RunDirectory.save))
        patch.setattr(RunDirectory, "append", counted(RunDirectory.append))
        with pytest.raises(KilledError), RunDirectory(folder, recipe="x") as directory:
            run(directory)
    with RunDirectory(folder, recipe="x", resume=True) as directory:
        return run(directory), [entry["phase"] for entry in directory.ledger()]


def assert_same_weights(found: nn.Module, expected: nn.Module) -> None:
    """Bitwise, buffers included."""
    assert found.state_dict().keys() == expected.state_dict().keys()
    for name, value in expected.state_dict().items():
        assert torch.equal(value, found.state_dict()[name]), name
