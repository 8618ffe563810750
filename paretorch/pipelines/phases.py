"""One trained phase of a pipeline: fit, keep the state, write the ledger; or take it from an earlier process.

The order of writes makes a kill harmless at any moment: the phase's last state (by `fit`), then its ledger line, then
the removal of what is no longer needed. A finished phase is loaded by the same call of `fit`, which replays what its
methods did to the shapes of the model.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from paretorch.errors import RunError
from paretorch.methods.method import Method
from paretorch.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class Phase:
    """What to train: a name unique in the run, steps, a learning rate per step, methods after those of the task."""

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
        The ledger entry, with the details of the task's own methods (a pipeline enters those of its own), and the state
        of the main optimizer at the end.

    Raises:
        RunError: if the ledger names the phase and its checkpoint is gone; and as `Trainer.fit` raises.
    """
    directory = trainer.directory
    done = directory.finished(phase.name) if directory is not None else None
    if directory is not None and done is not None and not directory.checkpoint_path(phase.name).exists():
        raise RunError(
            f"{directory.path}: phase {phase.name!r} is in the ledger, but its checkpoint is gone; remove the "
            "directory and run again"
        )
    standing = list(trainer.task.methods())
    result = trainer.fit(
        model,
        phase=phase.name,
        num_steps=phase.num_steps,
        schedule=phase.schedule,
        methods=[*standing, *phase.methods],
        optimizer_state=optimizer_state,
    )
    if done is not None:
        return done, result.optimizer_state
    passes = sum(method.teacher_passes for method in phase.methods)
    entry = {
        "phase": phase.name,
        "steps": result.steps,
        "epochs": result.epochs,
        "samples": result.samples,
        **({"teacher_samples": passes * result.samples} if passes else {}),
        "seconds": result.seconds,
        "step_time": result.step_time,
        "overhead": result.overhead,
        "energy": result.energy,
        "validation": result.validation[trainer.task.metric],
        **{name: fact for method in standing for name, fact in method.details().items()},
        **details,
        "curve": result.curve,
    }
    if directory is not None:
        directory.append(entry)
        directory.remove("current")
    return entry, result.optimizer_state


def check_recorded(done: Mapping[str, Any], *, found: str, **made: str) -> None:
    """Refuse what a resumed run makes anew and is not what its ledger records.

    Args:
        done: the ledger line.
        found: what the message begins with.
        made: hashes of what was made anew, by their keys in the line.

    Raises:
        RunError: if one differs.
    """
    if any(done[name] != value for name, value in made.items()):
        raise RunError(
            f"{found} than the ledger of this run records: what it starts from or the installed version changed; start "
            "again in an empty directory"
        )
