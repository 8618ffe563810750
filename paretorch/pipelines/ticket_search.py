"""The search for a ticket by continuous sparsification, then training of the ticket: one budgeted operation.

    search-0 .. search-(R-1)   rounds: w and s trained together; s reset between rounds, w and momentum go on
    rewind                     hard masks of the last s; weights, statistics and all else back to the rewind point, the
                               masked weights times c
    ticket                     the ticket trained anew, with a fresh optimizer and the zeros in force

All phases are of equal length unless `ticket_epochs` is given, each with the learning rates of the dense run from
their beginning. With a `sparsity`, the logits of round r are pulled to 1 - (1 - S)^((r + 1) / R), and the ticket keeps
the largest of the last round, exactly; without one it keeps what is above 0, as published.

Source: Savarese, Silva and Maire, "Winning the lottery with continuous sparsification", NeurIPS 2020, algorithm 2; the
rewind point and what is carried over are those of the authors' code, which rewinds to epoch 2 of 85. The sparsities of
the rounds are ours.
"""

import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import torch
from torch import nn

from paretorch.artefacts.mask_edit import MaskEdit
from paretorch.errors import InputError, RunError
from paretorch.methods.method import Method
from paretorch.methods.schedules import DenseSchedule
from paretorch.methods.schedules.stretched import Stretched
from paretorch.methods.sparsity.continuous.search_round import RewindPoint, RoundState, SearchRound
from paretorch.methods.sparsity.enforcement import MaskEnforcement
from paretorch.methods.sparsity.masks import Masks
from paretorch.methods.sparsity.selection import check_sparsity
from paretorch.pipelines.compression import Compressed, Compression, Start
from paretorch.pipelines.phases import Phase, check_recorded, train_phase
from paretorch.pipelines.pruning_step import facts_of
from paretorch.training.trainer import Trainer

NAMED = 3  # layers in a sentence


@dataclass(frozen=True, kw_only=True)
class TicketSearch(Compression):
    """Search a ticket from scratch and train it; the sweep's dense model is not used or charged.

    Args:
        sparsity: fraction of the prunable weights that the ticket has not, in [0, 1); None: what s <= 0 prunes.
        epochs: of all training together, rounds and ticket.
        rounds: of the search, at least 1.
        ticket_epochs: of them, for the ticket; None shares all equally among rounds and ticket.
        rewind_epochs: epochs of the first round after which weights and statistics are kept for the ticket.
        search: makes a round; `partial(SearchRound, initial=0.05)`, say.
        lr: highest learning rate of every phase; None leaves the dense run's as they were.

    Raises:
        InputError: for numbers out of range, or as `search` raises.
    """

    sparsity: float | None
    epochs: float
    rounds: int = 3
    ticket_epochs: float | None = None
    rewind_epochs: float = 2.0
    search: Callable[..., SearchRound] = SearchRound
    lr: float | None = None
    from_dense: bool = field(default=False, init=False)
    trial_kind: ClassVar[str] = "search"

    def __post_init__(self) -> None:
        if not (math.isfinite(self.epochs) and self.epochs > 0):
            raise InputError(f"a search takes a positive, finite number of epochs; got {self.epochs}")
        if type(self.rounds) is not int or self.rounds < 1:
            raise InputError(f"rounds must be an integer of at least 1; got {self.rounds!r}")
        if self.ticket_epochs is not None and not 0 < self.ticket_epochs < self.epochs:
            raise InputError(
                f"ticket_epochs are a part of epochs={self.epochs:g}, above 0 and below it; got {self.ticket_epochs}"
            )
        if not (math.isfinite(self.rewind_epochs) and self.rewind_epochs >= 0):
            raise InputError(f"rewind_epochs must be finite and not negative; got {self.rewind_epochs}")
        if self.sparsity is not None:
            check_sparsity(self.sparsity)
        for number in range(self.rounds):
            self._round(number, None)

    def method_ids(self) -> list[str]:
        return [SearchRound.name, "masks"]

    def plan(self, trainer: Trainer) -> tuple[str, int | None]:
        each, ticket = self.split(trainer)
        goal = "" if self.sparsity is None else f" of {self.sparsity * 100:.4g} % sparsity"
        words = (
            f"search a ticket{goal} in {self.rounds} x {each} steps, then train it from step {self._rewind(trainer)}"
        )
        return f"{words}, {ticket} steps", self.rounds * each + ticket

    def split(self, trainer: Trainer) -> tuple[int, int]:
        """Optimizer steps of every round, and of the ticket, which takes what the rounds leave over."""
        total = trainer.num_steps(self.epochs)
        parts = self.rounds + 1
        if self.ticket_epochs is not None:
            parts, searched = self.rounds, total - trainer.num_steps(self.ticket_epochs)
        else:
            searched = total
        each = searched // parts
        return each, total - self.rounds * each

    def check(self, trainer: Trainer, model: nn.Module, *, dense: DenseSchedule) -> None:
        each, ticket = self.split(trainer)
        if each == 0 or ticket == 0:
            raise InputError(
                f"{self.epochs:g} epochs leave {each} steps for each of {self.rounds} rounds and {ticket} for the "
                f"ticket; an epoch has {trainer.steps_per_epoch}"
            )
        if self._rewind(trainer) >= each:
            raise InputError(
                f"the ticket is rewound to {self.rewind_epochs:g} epochs of the first round, which has only "
                f"{each / trainer.steps_per_epoch:g}; rewind earlier, or give more epochs"
            )
        for steps in (each, ticket):
            self._schedule(steps, dense)
        method = self._round(self.rounds - 1, None)
        method.check_optimizer(trainer.settings.optimizer(model.parameters()))
        method.check(model, num_steps=each, steps_per_epoch=trainer.steps_per_epoch)

    def at_rate(self, rate: float) -> Self:
        return replace(self, lr=rate)

    def rehearsal(self, trainer: Trainer) -> tuple[nn.Module, Sequence[Method]]:
        return trainer.model(), [self._round(self.rounds - 1, None)]

    def rehearsals(self, trainer: Trainer) -> Mapping[str, tuple[nn.Module, Sequence[Method]]]:
        model = trainer.model()
        ticket = self._round(self.rounds - 1, None).smallest(model)
        return {self.trial_kind: self.rehearsal(trainer), "ticket": (model, [MaskEnforcement(ticket)])}

    def run_from(self, trainer: Trainer, start: Start) -> Compressed:
        """Search and train; of `start` only the learning rates are used.

        Warns:
            UserWarning: before the ticket is trained, of layers of which it has no weight.
        """
        each, ticket_steps = self.split(trainer)
        model = trainer.model().to(trainer.device)
        point = RewindPoint(self._rewind(trainer))
        schedule = self._schedule(each, start.schedule)
        entries, found = [], []
        previous: RoundState | None = None
        optimizer_state: dict[str, Any] | None = None
        for number in range(self.rounds):
            method = self._round(number, previous)
            phase = Phase(
                name=f"search-{number}",
                num_steps=each,
                schedule=schedule,
                methods=[point, method] if number == 0 else [method],
            )
            entry, optimizer_state = train_phase(
                trainer,
                model,
                phase,
                details={"kind": "search", "round": number, "lr_peak": max(schedule.trace(), default=0.0)},
                optimizer_state=optimizer_state,
            )
            previous = method.left
            entries.append(entry)
            found.append({**method.details(), "mask_hash": method.masks.hash()})
        masks = method.masks
        notes = without_weights(masks)
        for note in notes:
            warnings.warn(note, stacklevel=2)
        entries.append(self._rewound(trainer, model, point, method, found))
        schedule = self._schedule(ticket_steps, start.schedule)
        ticket, _ = train_phase(
            trainer,
            model,
            Phase(name="ticket", num_steps=ticket_steps, schedule=schedule, methods=[MaskEnforcement(masks)]),
            details={"kind": "ticket", "zeros": masks.num_pruned, "lr_peak": max(schedule.trace(), default=0.0)},
        )
        masks.check(model)
        return Compressed(model=model, entries=[*entries, ticket], edits=(MaskEdit(masks),), notes=notes)

    def _round(self, number: int, previous: RoundState | None) -> SearchRound:
        if self.sparsity is None:
            return self.search(sparsity=0.0, strength=0.0, ending="threshold", previous=previous)
        sparsity = (
            1 - (1 - self.sparsity) ** ((number + 1) / self.rounds) if number + 1 < self.rounds else self.sparsity
        )
        return self.search(sparsity=sparsity, previous=previous)

    def _rewind(self, trainer: Trainer) -> int:
        """The step of the first round that the ticket is rewound to."""
        return trainer.num_steps(self.rewind_epochs)

    def _schedule(self, num_steps: int, dense: DenseSchedule) -> Stretched:
        return Stretched(num_steps=num_steps, dense=dense, peak=self.lr)

    def _rewound(
        self,
        trainer: Trainer,
        model: nn.Module,
        point: RewindPoint,
        method: SearchRound,
        found: list[dict[str, Any]],
    ) -> dict[str, Any]:
        """Make of `model` the ticket before its training; the ledger entry."""
        began = time.perf_counter()
        masks = method.masks
        rewind_(model, point, masks, scale=method.scale)
        seconds = time.perf_counter() - began
        directory = trainer.directory
        if directory is not None and (done := directory.finished("rewind")) is not None:
            check_recorded(done, mask_hash=masks.hash(), found="the search leaves another ticket")
            return done
        entry = {
            "phase": "rewind",
            "kind": "prune",
            "step": point.step,
            **facts_of(masks),
            "rounds": found,
            "validation": trainer.evaluate(model)[trainer.task.metric],
            "seconds": seconds,
        }
        if directory is not None:
            directory.append(entry)
        return entry


def without_weights(masks: Masks) -> tuple[str, ...]:
    """A sentence about the layers that keep no weight, and what follows; () if every layer keeps some."""
    empty = [name for name, (kept, _) in masks.counts().items() if not kept]
    if not empty:
        return ()
    if not masks.num_kept:
        said = "The ticket has no weight at all, so that its outputs are the same for every input"
    else:
        named = f"{', '.join(empty[:NAMED])}{' and more' if len(empty) > NAMED else ''}"
        said = (
            f"The ticket has no weight of {named}: what these layers put out is the same for every input, and so is "
            "the output of the model unless something leads around them"
        )
    return (f"{said}. Ask for a sparsity, or a lower one; or give a higher initial or a lower penalty.",)


@torch.no_grad()
def rewind_(model: nn.Module, point: RewindPoint, masks: Masks, *, scale: float) -> None:
    """Put the model back to the rewind point, with the masked weights times c and the pruned ones zero.

    Args:
        model: changed in place.
        point: passed by the training.
        masks: of the ticket.
        scale: c.
    """
    if point.state is None:
        raise RunError(f"the training never came to step {point.step}, to which the ticket is to be rewound")
    model.load_state_dict(point.state)
    for name in masks:
        model.get_parameter(name).mul_(scale)
    masks.apply_(model)
