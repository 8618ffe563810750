"""The arms of `sparse_soups`, one cell each: retrain, read the test set, and say what it cost.

A cell of SMS gives four accuracies of the same copies: of their mean as weights (uniform soup), of the greedy soup, of
the copy that is best on validation, and the mean of the copies' accuracies. Earlier cycles merge uniformly in all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from _soup_problem import COPIES, Problem
from _soup_words import BEST, GREEDY, LONG, LONG_SWA, MEAN, REPRUNE, SOUP, SWA, TEACHER_SHARE, Setting
from torch import nn

from paretorch.artefacts.mask_edit import combined_masks
from paretorch.methods.averaging import swa
from paretorch.methods.averaging.streaming import average_state_dicts
from paretorch.methods.distillation.settings import DistillationSettings
from paretorch.methods.method import Method
from paretorch.pipelines.compression import Compressed, Compression, Start
from paretorch.pipelines.dense import DenseResult
from paretorch.pipelines.imp import IMP
from paretorch.pipelines.pricing import longest_chain
from paretorch.pipelines.retraining import Retraining, reestimate
from paretorch.pipelines.sms.copies import soup_name
from paretorch.pipelines.sms.reprune import RePrune
from paretorch.pipelines.sms.sms import FOUND, SMS
from paretorch.training.run import RunDirectory
from paretorch.training.trainer import Trainer

LAST_QUARTER, MOMENT_STEPS = 0.75, 10  # SWA takes a moment every so many steps of the last quarter of a phase


@dataclass(frozen=True, kw_only=True)
class Averaged(Retraining):
    """Retraining whose phases end in the mean of their last weights; phases are too short for one moment per epoch."""

    def methods(self, trainer: Trainer, *, phase: str, teacher: nn.Module) -> list[Method]:
        own = partial(reestimate, trainer, name=f"{phase}-average", count=self.reestimate_batches)
        average = swa.SWA(begin=LAST_QUARTER, every=MOMENT_STEPS, reestimate=own)
        return [*super().methods(trainer, phase=phase, teacher=teacher), average]


def run_arm(problem: Problem, arm: str, setting: Setting, seed: int, *, data: Path, work: Path) -> dict[str, Any]:
    """Test accuracies by what is read, zeros, and examples seen: in all, and on the longest path."""
    trainer = problem.trainer(data, seed)
    model, schedule = problem.dense(trainer, work)
    compression = compression_of(problem, arm, setting)
    if isinstance(compression, SMS):
        with TemporaryDirectory() as folder, RunDirectory(Path(folder) / "run", recipe=arm) as directory:
            dense = DenseResult(model=model, schedule=schedule, entry={})
            shared = compression.train_shared(trainer.in_directory(directory), dense)
            accuracy, done = soups(compression, trainer, shared)
        entries = [*shared.entries, *done.entries]
    else:
        done = compression.run_from(trainer, Start(model=model, schedule=schedule))
        accuracy, entries = {arm: tested(trainer, done.model)}, list(done.entries)
    masks = combined_masks(done.edits)
    assert masks is not None
    return {"accuracy": accuracy, "zeros": masks.num_pruned, "weights": masks.num_weights, **costs(entries)}


def compression_of(problem: Problem, arm: str, setting: Setting) -> Compression:
    """The pipeline of one arm; a distilled one has fewer steps, so that teacher and student together cost as much."""
    share = 1 / (1 + TEACHER_SHARE) if setting.distilled else 1.0
    epochs = problem.epochs * setting.cycles * share * (COPIES if arm in (LONG, LONG_SWA) else 1)
    kind = Averaged if arm in (SWA, LONG_SWA) else Retraining
    retraining = kind(
        schedule="LLR",
        reestimate_batches=problem.batches,
        distillation=DistillationSettings() if setting.distilled else None,
    )
    options: dict[str, Any] = {
        "sparsity": setting.sparsity,
        "epochs": epochs,
        "cycles": setting.cycles,
        "retraining": retraining,
    }
    if arm == SOUP:
        return SMS(copies=COPIES, guard=False, **options)
    return RePrune(copies=COPIES, **options) if arm == REPRUNE else IMP(**options)


def soups(sms: SMS, trainer: Trainer, shared: Start) -> tuple[dict[str, float], Compressed]:
    """Everything that is read from the copies of the last cycle, and the uniform soup.

    Args:
        sms: with a uniform soup.
        trainer: without a directory: each merge keeps its own ledger.
        shared: the copies.
    """
    model = trainer.model()
    batches = sms.retraining.reestimate_batches
    alone = {}
    for candidate in shared.found[FOUND].copies.candidates():
        model.load_state_dict(average_state_dicts([candidate]))
        reestimate(trainer, model, name=soup_name(sms.cycles - 1), count=batches)  # as the merge does
        alone[candidate.name] = tested(trainer, model)
    uniform = sms.run_from(trainer, shared)
    accuracy = {SOUP: tested(trainer, uniform.model), MEAN: sum(alone.values()) / len(alone)}
    greedy = replace(sms, soup="greedy").run_from(trainer, shared)
    members = greedy.entries[-1]["members"]
    known = {1: alone[members[0]], len(alone): accuracy[SOUP]}  # an average does not depend on the order
    accuracy[GREEDY] = known[len(members)] if len(members) in known else tested(trainer, greedy.model)
    accuracy[BEST] = alone[replace(sms, soup="best").run_from(trainer, shared).entries[-1]["members"][0]]
    return accuracy, uniform


def tested(trainer: Trainer, model: nn.Module) -> float:
    """Accuracy on the test set."""
    return trainer.evaluate(model, trainer.task.test_set())["accuracy"]


def costs(entries: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """Examples that were trained on and that a teacher saw, and those of the longest chain of phases that wait for one
    another: of phases that ran beside each other only the longest counts."""
    chain = longest_chain(entries, "samples")
    return {
        "samples": _sum(entries, "samples"),
        "teacher_samples": _sum(entries, "teacher_samples"),
        "path_samples": _sum(chain, "samples"),
        "path_teacher_samples": _sum(chain, "teacher_samples"),
    }


def _sum(entries: Sequence[Mapping[str, Any]], name: str) -> int:
    return sum(entry.get(name, 0) for entry in entries)
