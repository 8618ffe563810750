"""Sparse Model Soups: prune once, retrain m copies under one mask, average them; again in each cycle.

    theta_p, M_j = prune(theta)         once, as in iterative magnitude pruning
    theta_i = retrain(theta_p, M_j)     i = 1..m, differing in one thing, each for k epochs
    theta = merge(theta_1 .. theta_m)   as sparse as each of them, because they share the mask

Zimmer, Spiegel and Pokutta, "Sparse model soups: a recipe for improved pruning via model averaging", ICLR 2024. One
copy is iterative magnitude pruning, bit for bit. Ours: the mask is made once and handed to all copies instead of once
per copy; cycles before the last always average uniformly; the guard.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Self

from torch import nn

from paretorch.artefacts.mask_edit import MaskEdit
from paretorch.errors import InputError
from paretorch.methods.method import Method
from paretorch.methods.schedules import DenseSchedule
from paretorch.pipelines.compression import Compressed, Compression, Start
from paretorch.pipelines.dense import DenseResult
from paretorch.pipelines.imp import IMP
from paretorch.pipelines.pruning_step import Selection
from paretorch.pipelines.retraining import Retraining, budget_words
from paretorch.pipelines.sms.copies import CopiesRun, LastCopies, soup_name
from paretorch.pipelines.sms.merge import SOUPS, Merge, SoupKind
from paretorch.pipelines.sms.units import check_teacher
from paretorch.pipelines.sms.variation import Variation
from paretorch.pipelines.sms.working_directory import in_some_directory
from paretorch.training.trainer import Trainer

FOUND = "copies"  # what the shared training leaves for the arms


@dataclass(frozen=True, kw_only=True)
class SMS(Compression):
    """Prune to `sparsity` and retrain within a budget, m times over, and average.

    Arms that differ only in the last merge share the copies: see `train_shared`.

    Args:
        sparsity: as in `IMP`.
        epochs: retraining epochs of one copy over all cycles, or None if `minutes` is given; the cost is `copies` times
            as much. Where lengths differ, their mean.
        minutes: time of retraining steps of one copy, turned into steps as in `IMP`.
        cycles: prune-retrain-average cycles; 1 is one-shot.
        copies: m, at least 1.
        vary: in what they differ: "seed", "weight_decay", "lr" (the peak) or "length" (epochs).
        values: one per copy, for all but the seed.
        soup: the last merge: "uniform", "greedy" or "best"; earlier ones are uniform.
        guard: put the best copy in the place of a uniform average that validation finds worse, with a warning.
        selection, retraining: as in `IMP`; the optimizer cannot be kept.

    Raises:
        InputError: for numbers out of range, an unknown soup, values that do not fit, a teacher that is not the dense
            model, or as `IMP`.
    """

    sparsity: float | None
    epochs: float | None = None
    minutes: float | None = None
    cycles: int = 1
    copies: int = 3
    vary: str = "seed"
    values: tuple[float, ...] | None = None
    soup: SoupKind = "uniform"
    guard: bool = True
    selection: Selection = field(default_factory=Selection)
    retraining: Retraining = field(default_factory=Retraining)
    shared_key: str | None = field(init=False)

    def __post_init__(self) -> None:
        if self.soup not in SOUPS:
            raise InputError(f"soup = {self.soup!r} is unknown; choose from {', '.join(SOUPS)}")
        if self.retraining.keep_optimizer:
            raise InputError(
                "a soup has no optimizer to keep: each cycle starts from an average of copies, and their momentum "
                "belongs to none of it; leave keep_optimizer out"
            )
        if self.vary == "lr" and self.retraining.lr is not None:
            raise InputError(f"vary = 'lr' gives each copy a peak of its own; leave lr = {self.retraining.lr:g} out")
        check_teacher(self.retraining)
        self._variation.check_epochs(self.epochs)
        object.__setattr__(self, "shared_key", self._run.key)

    @cached_property
    def _variation(self) -> Variation:
        return Variation(copies=self.copies, vary=self.vary, values=self.values)

    @cached_property
    def _run(self) -> CopiesRun:
        imp = IMP(
            sparsity=self.sparsity,
            epochs=self.epochs,
            minutes=self.minutes,
            cycles=self.cycles,
            selection=self.selection,
            retraining=self.retraining,
        )
        return CopiesRun(imp=imp, variation=self._variation, guard=self.guard or self.cycles == 1)

    @property
    def granted_epochs(self) -> float | None:
        return None if self.epochs is None else self.epochs * self.copies

    def method_ids(self) -> list[str]:
        return [*self._run.imp.method_ids(), "sms"]

    def plan(self, trainer: Trainer) -> tuple[str, int | None]:
        merge = {"uniform": "average", "greedy": "greedy soup", "best": "best"}[self.soup]
        return f"{merge} of {self.copies} copies", 0

    def plan_shared(self, trainer: Trainer) -> tuple[str, int | None]:
        words, _ = budget_words(trainer, epochs=self.epochs, minutes=self.minutes)
        average = ", average" if self.cycles > 1 else ""
        differing = "" if self.copies == 1 else f" that differ in {self.vary.replace('_', ' ')}"
        text = f"{self.cycles} x (prune, retrain {self.copies} copies{differing}{average}), {words} per copy"
        return text, self._run.num_steps(trainer)

    def at_rate(self, rate: float) -> Self:
        return replace(self, retraining=replace(self.retraining, lr=rate))

    def check(self, trainer: Trainer, model: nn.Module, *, dense: DenseSchedule) -> None:
        self._run.check(trainer, model, dense=dense)

    def rehearsal(self, trainer: Trainer) -> tuple[nn.Module, Sequence[Method]]:
        return self._run.imp.rehearsal(trainer)

    def train_shared(self, trainer: Trainer, dense: DenseResult) -> Start:
        """Train the copies, which arms of one key merge in different ways.

        Raises:
            NotFiniteError: if a copy diverges, naming it.
        """
        last = self._run.train(trainer, dense.model, dense=dense.schedule)
        return Start(model=dense.model, schedule=dense.schedule, entries=last.entries, found={FOUND: last})

    def run_from(self, trainer: Trainer, start: Start) -> Compressed:
        """Merge the copies that `start` holds, or train them first where it holds none."""
        with in_some_directory(trainer) as own:
            found: LastCopies | None = start.found.get(FOUND)
            last = found or self._run.train(own, start.model, dense=start.schedule)
            merge = Merge(
                own,
                name=soup_name(self.cycles - 1),
                soup=self.soup,
                guard=self.guard,
                reestimate_batches=self.retraining.reestimate_batches,
            )
            details = {"wall_s": last.done.wall_s, "workers": last.done.workers}
            model, entry = merge.merge(last.copies, details=details)
        entries = [entry] if found is not None else [*last.entries, entry]
        merges = [line for line in [*last.entries, entry] if line.get("guarded")]
        notes = tuple(
            f"{line['phase']}: the average scored worse on validation than {line['members'][0]}, which took its place."
            for line in merges
        )
        return Compressed(model=model, entries=entries, edits=(*start.edits, MaskEdit(last.copies.masks)), notes=notes)
