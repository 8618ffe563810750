"""Iterative magnitude pruning as one budgeted operation: a final sparsity and a total retraining budget.

Cycle j of n removes the smallest magnitudes until K_j = round(N (1 - (1 - S)^((j+1)/n))) of the N prunable weights are
zero, then retrains with exact zeros. The last cycle takes the steps that n does not divide. Han et al. 2015; Renda,
Frankle and Carbin 2020; Zimmer, Spiegel and Pokutta, "How I learned to stop worrying and love retraining", ICLR 2023.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from torch import nn

from paretorch.artefacts.mask_edit import MaskEdit
from paretorch.errors import InputError
from paretorch.methods.method import Method
from paretorch.methods.schedules import DenseSchedule
from paretorch.methods.sparsity.enforcement import MaskEnforcement
from paretorch.methods.sparsity.masks import Masks
from paretorch.methods.sparsity.prunable import prunable_parameters
from paretorch.methods.sparsity.selection import cumulative_counts
from paretorch.pipelines.compression import Compressed, Compression, Start
from paretorch.pipelines.phases import Phase, train_phase
from paretorch.pipelines.pruning_step import PruningStep, Selection, select
from paretorch.pipelines.retraining import Retraining, budget_steps, budget_words, check_budget
from paretorch.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class IMPResult:
    """The pruned and retrained model, its masks, and one ledger entry per phase."""

    model: nn.Module
    masks: Masks
    entries: list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class IMP(Compression):
    """Prune to `sparsity` and retrain within a budget.

    Args:
        sparsity: fraction of the prunable weights removed at the end, in [0, 1); None if `selection.allocation` gives a
            sparsity per layer.
        epochs: total retraining epochs over all cycles, or None if `minutes` is given.
        minutes: total time of retraining steps, without evaluation and checkpoints; turned into steps once, by timing a
            few on this machine, so that a resumed run keeps the same number.
        cycles: prune-retrain cycles; 1 is one-shot.
        selection: what to prune.
        retraining: how to retrain.

    Raises:
        InputError: for numbers out of range, an unknown schedule, or both or neither of `epochs` and `minutes`.
    """

    sparsity: float | None
    epochs: float | None = None
    minutes: float | None = None
    cycles: int = 1
    selection: Selection = field(default_factory=Selection)
    retraining: Retraining = field(default_factory=Retraining)

    def __post_init__(self) -> None:
        if (self.sparsity is None) == isinstance(self.selection.allocation, str):
            raise InputError("give a sparsity, or sparsities per layer as selection.allocation, and not both")
        if self.sparsity is not None and not 0 <= self.sparsity < 1:
            raise InputError(
                f"sparsity is the fraction of weights removed, in [0, 1); got {self.sparsity}. For 90 % pass 0.9"
            )
        check_budget(self.epochs, self.minutes)
        if self.cycles < 1:
            raise InputError(f"cycles must be at least 1; got {self.cycles}")
        self.retraining.check()

    def method_ids(self) -> list[str]:
        """Cards of the methods that act."""
        random = self.selection.allocation == "random"
        return [*([] if random else ["magnitude"]), "masks", *self.retraining.method_ids()]

    def plan(self, trainer: Trainer) -> tuple[str, int | None]:
        words, steps = budget_words(trainer, epochs=self.epochs, minutes=self.minutes)
        return f"{self.cycles} x (prune, retrain), {words}", steps

    def at_rate(self, rate: float) -> Self:
        return replace(self, retraining=replace(self.retraining, lr=rate))

    def check(self, trainer: Trainer, model: nn.Module, *, dense: DenseSchedule) -> None:
        """Refuse what `run` would refuse, before a dense model is trained; `model` may be fresh and is not changed.

        Raises:
            InputError: as `run`.
        """
        self._check_schedules(trainer, dense)
        select(model, self._final_selection(), previous=None, seed=trainer.seed)
        self.retraining.check_teaching(trainer, model, dense=model)

    def rehearsal(self, trainer: Trainer) -> tuple[nn.Module, Sequence[Method]]:
        model = trainer.model()
        masks = select(model, self._final_selection(), previous=None, seed=trainer.seed)
        taught = self.retraining.methods(trainer, phase="rehearsal", teacher=trainer.model())
        return model, [MaskEnforcement(masks), *taught]

    def run_from(self, trainer: Trainer, start: Start) -> Compressed:
        result = self.run(trainer, start.model, dense=start.schedule)
        return Compressed(model=result.model, entries=result.entries, edits=(*start.edits, MaskEdit(result.masks)))

    def _final_selection(self) -> Selection:
        """What is pruned in all."""
        return self.selection if self.sparsity is None else replace(self.selection, sparsity=self.sparsity)

    def run(self, trainer: Trainer, model: nn.Module, *, dense: DenseSchedule) -> IMPResult:
        """Prune and retrain a copy of `model`.

        Args:
            trainer: its directory, if it has one, makes every phase resumable.
            model: the trained dense model, which is left as it is.
            dense: the learning rates it was trained with.

        Raises:
            InputError: if FT is asked for without a rate and the dense schedule ended near zero, if nothing is
                prunable, if a weight is NaN or infinite, or if a teacher cannot teach.
            NotFiniteError: if a loss becomes NaN or infinite.
        """
        self._check_schedules(trainer, dense)
        self.retraining.check_teaching(trainer, model, dense=model)
        teacher, model = model, copy.deepcopy(model).to(trainer.device)
        taught = self.retraining.methods(trainer, phase="calibrate", teacher=teacher)
        budgets = self.split(budget_steps(trainer, model, epochs=self.epochs, minutes=self.minutes, methods=taught))
        entries: list[dict[str, Any]] = []
        masks: Masks | None = None
        optimizer_state: dict[str, Any] | None = None
        for cycle, (selection, steps) in enumerate(zip(self.selections(model), budgets, strict=True)):
            step = PruningStep(
                trainer,
                model,
                name=f"prune-{cycle}",
                selection=selection,
                norm_scope=self.retraining.norm_scope,
                reestimate_batches=self.retraining.reestimate_batches,
            )
            masks, pruned = step.prune(masks)
            schedule = self.retraining.build(steps, dense, pruned["d1"])
            retrained, state = train_phase(
                trainer,
                model,
                Phase(
                    name=f"retrain-{cycle}",
                    num_steps=steps,
                    schedule=schedule,
                    methods=[
                        MaskEnforcement(masks),
                        *self.retraining.methods(trainer, phase=f"retrain-{cycle}", teacher=teacher),
                    ],
                ),
                details={
                    **self.retraining.details(schedule, dense),
                    "zeros": masks.num_pruned,
                    "mask_hash": masks.hash(),
                },
                optimizer_state=optimizer_state,
            )
            optimizer_state = state if self.retraining.keep_optimizer else None
            masks.check(model)
            entries += [pruned, retrained]
        assert masks is not None
        return IMPResult(model=model, masks=masks, entries=entries)

    def selections(self, model: nn.Module) -> list[Selection]:
        """What each cycle selects: cumulative sparsities whose integer counts end exactly at the target."""
        selection = self.selection
        if self.sparsity is None:
            assert not isinstance(selection.allocation, str)
            layers = selection.allocation
            earlier = [
                replace(selection, allocation={name: 1 - (1 - s) ** (j / self.cycles) for name, s in layers.items()})
                for j in range(1, self.cycles)
            ]
            return [*earlier, self._final_selection()]
        parameters = prunable_parameters(model, include=selection.include, exclude=selection.exclude)
        num_weights = sum(p.numel() for p in parameters.values())
        counts = cumulative_counts(num_weights, self.sparsity, self.cycles)
        earlier = [replace(selection, sparsity=count / num_weights) for count in counts[:-1]]
        return [*earlier, self._final_selection()]

    def _check_schedules(self, trainer: Trainer, dense: DenseSchedule) -> None:
        total = 0 if self.epochs is None else trainer.num_steps(self.epochs)
        self.retraining.check_schedules(dense, self.split(total))

    def split(self, total_steps: int) -> list[int]:
        """Equal shares of the budget; the last cycle takes the remainder."""
        share = total_steps // self.cycles
        return [share] * (self.cycles - 1) + [total_steps - share * (self.cycles - 1)]
