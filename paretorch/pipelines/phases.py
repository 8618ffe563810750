"""One trained phase of a pipeline: fit, keep the state, write the ledger; or take it from an earlier process.

The order of writes makes a kill harmless at any moment: the phase's final state, then its ledger line, then the removal
of what is no longer needed. A phase without a ledger line is done again, from the same start, with the same result.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from paretorch.errors import ArtefactError, RunError
from paretorch.methods.method import Method
from paretorch.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What to train: a name unique in the run, a number of optimizer steps, a learning rate per step, methods."""

    name: str
    num_steps: int
    schedule: Callable[[int], float]
    methods: Sequence[Method] = ()


def train_phase(
    trainer: Trainer,
    model: nn.Module,
    phase: Phase,
    *,
    details: Mapping[str, Any],
    optimizer_state: dict[str, Any] | None = None,
) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Train `model` in place, or load what an earlier process made of it.

    Args:
        trainer: with or without a directory.
        model: holds the state at the start of the phase; afterwards the state at its end.
        phase: what to do.
        details: facts for the ledger line, beside what the trainer measures.
        optimizer_state: to go on with; None starts a fresh optimizer.

    Returns:
        The ledger entry, and the state of the main optimizer at the end.

    Raises:
        RunError: if the ledger names the phase and its checkpoint is gone.
        ArtefactError: if that checkpoint is of something else.
    """
    directory = trainer.directory
    if directory is not None and (entry := directory.finished(phase.name)) is not None:
        saved = directory.load(phase.name)
        if saved is None:
            raise RunError(
                f"{directory.path}: phase {phase.name!r} is in the ledger, but its checkpoint is gone; remove the "
                "directory and run again"
            )
        try:
            model.to(trainer.device).load_state_dict(saved["model"])
            optimizer = saved["optimizer"]
        except (RuntimeError, TypeError, KeyError) as error:
            raise ArtefactError(
                f"{directory.checkpoint_path(phase.name)} is not the end of phase {phase.name!r} of this run: "
                f"{' '.join(str(error).split())}"
            ) from error
        model.eval()
        return entry, optimizer
    result = trainer.fit(
        model,
        phase=phase.name,
        num_steps=phase.num_steps,
        schedule=phase.schedule,
        methods=phase.methods,
        optimizer_state=optimizer_state,
    )
    entry = {
        "phase": phase.name,
        "steps": result.steps,
        "epochs": result.epochs,
        "samples": result.samples,
        "seconds": result.seconds,
        "validation": result.validation[trainer.task.metric],
        **details,
        "curve": result.curve,
    }
    if directory is not None:
        directory.save(phase.name, {"model": model.state_dict(), "optimizer": result.optimizer_state})
        directory.append(entry)
        directory.remove("current")
    return entry, result.optimizer_state
