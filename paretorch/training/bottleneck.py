"""Times whole training steps in turns with steps that lack one stage, and says which stage binds (`diagnosis`).

What a stage costs is told by taking it away (`ablated`), not by timing it: time that other work hides is not counted,
and nothing is put into the step that would slow it down.
"""

import copy
from collections.abc import Sequence

from torch import nn

from paretorch.errors import InputError
from paretorch.methods.method import Method, implements
from paretorch.methods.taxonomy import Resource
from paretorch.training.ablated import Part, ablated
from paretorch.training.diagnosis import Diagnosis, diagnosis_of
from paretorch.training.trainer import Trainer

_REMOVED: dict[Resource, tuple[Part, ...]] = {
    "data loading": ("fetch", "prepare"),
    "host-to-device copy": ("copy",),
    "optimizer step": ("update",),
}


def bottleneck(
    trainer: Trainer,
    model: nn.Module | None = None,
    *,
    methods: Sequence[Method] = (),
    steps: int = 10,
    rounds: int = 9,
) -> Diagnosis:
    """Find out what binds the training steps of a trainer; nothing is evaluated and nothing is written.

    In every round whole steps, steps without each stage, and steps without all of them are timed, in reverse order in
    every second round; the first round only warms up. On the CPU there is no host-to-device copy. The learning rate is
    0. Batches that are given again and again may stay in a cache that fresh ones would miss.

    Args:
        trainer: of one process.
        model: what is trained, left as it is; None takes a fresh one.
        methods: that act in every step, besides those of the task; started anew on a copy of the model in every turn.
        steps: training steps of each kind in each round; the first of a turn makes the optimizer's state as well, so
            that very few of them overstate the update.
        rounds: at least 1; an interval of 95 % needs 6, and with 9 it ignores one disturbed round.

    Raises:
        InputError: without a step or a round; if a method or the task owns the training step, whose stages cannot be
            told apart; with several processes, whose communication would pass for compute; and as `Trainer.rehearse`.
    """
    acting = [*trainer.task.methods(), *methods]
    _check(trainer, acting, steps=steps, rounds=rounds)
    model = trainer.model() if model is None else model
    stages = [name for name in _REMOVED if name != "host-to-device copy" or trainer.device.type != "cpu"]
    forward: list[float] = []
    kinds = [
        ablated(trainer, ()),
        *(ablated(trainer, _REMOVED[name]) for name in stages),
        ablated(trainer, [part for name in stages for part in _REMOVED[name]], forward=forward.append),
    ]
    seconds: list[list[float]] = [[] for _ in kinds]
    for number in range(rounds + 1):
        turns = list(zip(kinds, seconds, strict=True))
        for kind, found in turns if number % 2 else turns[::-1]:
            found.append(kind.rehearse(copy.deepcopy(model), num_steps=steps, methods=acting))
        if number == 0:
            for values in (forward, *seconds):
                values.clear()
    whole, *without, bare = seconds
    return diagnosis_of(
        whole,
        dict(zip(stages, without, strict=True)),
        forward=sum(forward) / (steps * sum(bare)),
        steps=steps,
        device=trainer.device.type,
    )


def _check(trainer: Trainer, methods: Sequence[Method], *, steps: int, rounds: int) -> None:
    if steps < 1 or rounds < 1:
        raise InputError(f"steps = {steps} and rounds = {rounds} leave nothing to time; give at least 1 of each")
    if owners := [method.name for method in methods if implements(method, "training_step")]:
        raise InputError(
            f"{owners[0]!r} owns the training step, so that its stages cannot be told apart; diagnose a task and "
            "methods that leave the step to the trainer (forward, backward, update)"
        )
    if (world := trainer.accelerator.num_processes) > 1:
        raise InputError(
            f"there are {world} processes, and what they say to each other would pass for compute; diagnose in one"
        )
