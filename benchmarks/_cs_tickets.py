"""The search for a ticket by continuous sparsification, and iterative magnitude pruning with rewinding of the weights.

    IMP with rewinding:   train, prune the smallest to 1 - (1 - S)^(j / R), put what is left back to the weights and
                          statistics of the rewind point, train again; R times

Its trainings are as long as the phases of `TicketSearch` of as many rounds, with the same learning rates, and it
rewinds to the same step, so that the two cost the same. Source: Frankle, Dziugaite, Roy and Carbin, "Linear mode
connectivity and the lottery ticket hypothesis", ICML 2020.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from _cs_problem import Problem
from _cs_words import IMP_LONG, IMP_ONE, SEARCH_LONG, SEARCH_ONE, SEARCH_SHORT

from paretorch.artefacts.mask_edit import MaskEdit
from paretorch.methods.schedules import DenseSchedule
from paretorch.methods.schedules.stretched import Stretched
from paretorch.methods.sparsity.continuous.search_round import RewindPoint, SearchRound
from paretorch.methods.sparsity.enforcement import MaskEnforcement
from paretorch.methods.sparsity.magnitude import magnitude_masks
from paretorch.pipelines.compression import Compressed, Start
from paretorch.pipelines.phases import Phase, train_phase
from paretorch.pipelines.ticket_search import TicketSearch, rewind_
from paretorch.training.trainer import Trainer

REWIND_SHARE = 0.05  # of all epochs: where weights are rewound to


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """One way to a ticket.

    Attributes:
        rounds: of the search, or prunings.
        share: of the problem's epochs, for everything together.
        searched: by continuous sparsification, or else by magnitude.
    """

    rounds: int
    share: float = 1.0
    searched: bool = True


TICKETS = {
    SEARCH_LONG: Ticket(rounds=3),
    IMP_LONG: Ticket(rounds=3, searched=False),
    SEARCH_ONE: Ticket(rounds=1),
    IMP_ONE: Ticket(rounds=1, searched=False),
    SEARCH_SHORT: Ticket(rounds=1, share=0.5),
}


def ticket_arm(
    problem: Problem, trainer: Trainer, ticket: Ticket, sparsity: float, options: Mapping[str, float]
) -> Compressed:
    """The ticket, trained; `options` are of the search's rounds."""
    pipeline = TicketSearch(
        sparsity=sparsity,
        epochs=ticket.share * problem.epochs,
        rounds=ticket.rounds,
        rewind_epochs=REWIND_SHARE * problem.epochs,
        search=partial(SearchRound, **options),
    )
    dense = DenseSchedule.of(problem.schedule(trainer))
    if ticket.searched:
        return pipeline.run_from(trainer, Start(model=trainer.model(), schedule=dense))
    return rewound_imp(trainer, pipeline, dense=dense)


def rewound_imp(trainer: Trainer, budget: TicketSearch, *, dense: DenseSchedule) -> Compressed:
    """Iterative magnitude pruning with rewinding, in phases of the lengths of `budget`, and to its sparsity.

    Args:
        trainer: without a directory.
        budget: a search of as many rounds as there are prunings, with a sparsity.
        dense: learning rates of the dense run.
    """
    assert budget.sparsity is not None
    each, last = budget.split(trainer)
    model, point = trainer.model().to(trainer.device), RewindPoint(trainer.num_steps(budget.rewind_epochs))
    masks, entries = None, []
    for number in range(budget.rounds + 1):
        steps = last if number == budget.rounds else each
        entry, _ = train_phase(
            trainer,
            model,
            Phase(
                name=f"train-{number}",
                num_steps=steps,
                schedule=Stretched(num_steps=steps, dense=dense),
                methods=[point] if masks is None else [MaskEnforcement(masks)],
            ),
            details={"kind": "retrain"},
        )
        entries.append(entry)
        if number < budget.rounds:
            part = 1 - (1 - budget.sparsity) ** ((number + 1) / budget.rounds)
            goal = budget.sparsity if number + 1 == budget.rounds else part
            masks = magnitude_masks(model, sparsity=goal, previous=masks)
            rewind_(model, point, masks, scale=1.0)
    assert masks is not None
    masks.check(model)
    return Compressed(model=model, entries=entries, edits=(MaskEdit(masks),))
