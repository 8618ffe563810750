"""The arms of `continuous_sparsification`: each trains from scratch for the same epochs, and is tested with hard masks.

    dense                     no zeros
    BIMP                      dense for half of the epochs, then pruned and retrained with ALLR in one cycle or three
    BIMP, equal time          the same with as many more epochs as a step of CS takes longer
    GMP, DNW                  as in `gradual_pruning`, with their defaults
    CS                        continuous sparsification to the last step
    CS, fixed temperature     beta stays 1, and the largest logits are kept at the end
    ..., fine-tuned           the last quarter of the epochs under the hard masks

The options of BIMP, of CS and of CS with a fixed temperature are searched, on another seed and on validation, each with
the first of its arms.
"""

import warnings
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from _cs_problem import CYCLES, Options, Problem
from _cs_tickets import TICKETS, ticket_arm
from _cs_words import BUDGETED, CS, DENSE, EQUAL_TIME, FIXED, FIXED_TUNED, IMP_LONG, IMP_ONE, OTHERS, TUNED
from _gradual_arms import MADE

from paretorch.artefacts.mask_edit import combined_masks
from paretorch.methods.schedules import DenseSchedule
from paretorch.methods.sparsity.continuous.method import ContinuousSparsification
from paretorch.pipelines.bimp import BIMP
from paretorch.pipelines.compression import Compressed, Compression, Start
from paretorch.pipelines.dense import train_dense
from paretorch.pipelines.gradual import GradualPruning
from paretorch.pipelines.retraining import Retraining, reestimate
from paretorch.training.trainer import Trainer

SEARCH_SEED = 100
UNSEARCHED = (DENSE, *OTHERS, IMP_LONG, IMP_ONE)
SEARCHED_WITH = {EQUAL_TIME: BUDGETED, FIXED: FIXED, FIXED_TUNED: FIXED, BUDGETED: BUDGETED}


def searched_with(arm: str) -> str | None:
    """The arm whose search the options come from; None of an arm without options."""
    return None if arm in UNSEARCHED else SEARCHED_WITH.get(arm, CS)


def tried(problem: Problem) -> dict[str, tuple[Options, ...]]:
    """What is tried, by the arm that it is tried with."""
    return {CS: problem.tried, BUDGETED: CYCLES, **({FIXED: problem.tried_fixed} if problem.tried_fixed else {})}


def compression_of(problem: Problem, arm: str, sparsity: float, options: Options) -> Compression:
    """BIMP, another method, or one of the arms of CS."""
    if arm in (BUDGETED, EQUAL_TIME):
        epochs = problem.epochs * (problem.slower if arm == EQUAL_TIME else 1)
        return BIMP(
            sparsity=sparsity,
            epochs=epochs,
            dense_epochs=epochs / 2,
            cycles=int(options["cycles"]),
            retraining=Retraining(schedule="ALLR", reestimate_batches=0),  # all finished models have that, see run_arm
        )
    if arm in OTHERS:
        made = partial(MADE[arm], sparsity=sparsity)
        return GradualPruning(method=made, epochs=problem.epochs, reestimate_batches=0)
    fixed = {"final_beta": 1.0} if arm in (FIXED, FIXED_TUNED) else {}
    return GradualPruning(
        method=partial(ContinuousSparsification, sparsity=sparsity, **options, **fixed),
        epochs=problem.epochs,
        finetune_epochs=problem.finetune_epochs if arm in (TUNED, FIXED_TUNED) else 0.0,
        reestimate_batches=0,
    )


def run_arm(
    problem: Problem,
    arm: str,
    sparsity: float,
    options: Options,
    seed: int,
    *,
    data: Path,
    classifier: Path,
) -> dict[str, Any]:
    """Train once; the test metric, zeros at the end, training examples, and what became of the gates."""
    trainer = problem.trainer(data, classifier, seed)
    if arm == DENSE:
        dense = train_dense(trainer, problem.schedule(trainer))
        done = Compressed(model=dense.model, entries=[dense.entry])
    elif arm in TICKETS:
        done = ticket_arm(problem, trainer, TICKETS[arm], sparsity, options)
    else:
        done = trained(problem, trainer, arm, sparsity, options)
    reestimate(trainer, done.model, name="finished", count=problem.batches)
    masks = combined_masks(done.edits)
    return {
        "quality": trainer.evaluate(done.model, trainer.task.test_set())[trainer.task.metric],
        "zeros": 0 if masks is None else masks.num_pruned,
        "weights": None if masks is None else masks.num_weights,
        "samples": sum(entry.get("samples", 0) for entry in done.entries),
        **gates(done.entries),
        **({"references": trainer.task.references()} if arm == DENSE else {}),
    }


def gates(entries: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The fractions of undecided and of open gates at the end, of a search those of its last round."""
    found = [one for entry in entries for one in (*entry.get("rounds", ()), entry) if "undecided" in one]
    return {key: one[key] for one in found for key in ("undecided", "open")}


def trained(problem: Problem, trainer: Trainer, arm: str, sparsity: float, options: Options) -> Compressed:
    """One arm from scratch; that gates are undecided is a figure, and not said as a warning."""
    start = Start(model=trainer.model(), schedule=DenseSchedule.of(problem.schedule(trainer)))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*neither open nor shut", category=UserWarning)
        return compression_of(problem, arm, sparsity, options).run_from(trainer, start)


def search(
    problem: Problem, arm: str, sparsity: float, options: Options, *, data: Path, classifier: Path
) -> dict[str, float]:
    """Train once with these options on the seed of the search; the validation metric with hard masks."""
    trainer = problem.trainer(data, classifier, SEARCH_SEED)
    done = trained(problem, trainer, arm, sparsity, options)
    reestimate(trainer, done.model, name="finished", count=problem.batches)
    return {"validation": trainer.evaluate(done.model)[trainer.task.metric]}
