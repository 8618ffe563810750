"""Structured pruning of a trained model as one budgeted operation: cut units out for good, then retrain what is left.

Units (channels, heads, hidden units) are ranked once on the dense model's weights, the least important are cut so that
what stays fits the budget, batch-norm statistics are re-estimated, and the smaller model, in plain dense tensors, is
retrained with the same schedules as after magnitude pruning.

Source: filter pruning is Li et al., "Pruning filters for efficient ConvNets", ICLR 2017; cutting coupled layers
together is Fang et al., "DepGraph", CVPR 2023. The schedules come from unstructured pruning (Zimmer, Spiegel and
Pokutta, ICLR 2023); ALLR's norm drop for a cut is ours, see `CuttingStep`.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from torch import nn

from paretorch.artefacts.cut_edit import CutEdit
from paretorch.errors import InputError
from paretorch.methods.method import Method
from paretorch.methods.schedules import DenseSchedule
from paretorch.pipelines.compression import Compressed, Compression, Start
from paretorch.pipelines.cutting_step import CuttingStep, Units, cut_fresh, equal_importance
from paretorch.pipelines.phases import Phase, train_phase
from paretorch.pipelines.retraining import Retraining, budget_steps, budget_words, check_budget
from paretorch.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class CutAndRetrain(Compression):
    """Cut a trained model down to `units` and retrain within a budget.

    Args:
        units: which stay.
        epochs: retraining epochs, or None if `minutes` is given.
        minutes: time of retraining steps; turned into steps once, by timing a few on this machine.
        retraining: how to retrain; one cycle, so that `keep_optimizer` has no meaning.

    Raises:
        InputError: for numbers out of range, an unknown schedule, or both or neither of `epochs` and `minutes`.
    """

    units: Units
    epochs: float | None = None
    minutes: float | None = None
    retraining: Retraining = field(default_factory=Retraining)

    def __post_init__(self) -> None:
        check_budget(self.epochs, self.minutes)
        self.retraining.check()
        if self.retraining.keep_optimizer:
            raise InputError("a cut is retrained once, with a fresh optimizer; leave keep_optimizer out")

    def method_ids(self) -> list[str]:
        return ["group-importance", *self.retraining.method_ids()]

    def plan(self, trainer: Trainer) -> tuple[str, int | None]:
        names = {"params": "parameters", "macs": "MACs", "width": "units"}
        what = " and ".join(f"{100 * part:.4g} % of the {names[name]}" for name, part in self.units.budgets().items())
        words, steps = budget_words(trainer, epochs=self.epochs, minutes=self.minutes)
        return f"cut to {what}, retrain, {words}", steps

    def check(self, trainer: Trainer, model: nn.Module, *, dense: DenseSchedule) -> None:
        self._check_schedule(trainer, dense)
        groups = self.units.groups(trainer, model)
        self.units.keep(groups, equal_importance(groups))
        if self.retraining.distillation is not None:
            known = self.units.spread == "uniform"  # else the widths depend on the trained weights
            self.retraining.check_teaching(trainer, cut_fresh(self.units, trainer) if known else model, dense=model)

    def at_rate(self, rate: float) -> Self:
        return replace(self, retraining=replace(self.retraining, lr=rate))

    def rehearsal(self, trainer: Trainer) -> tuple[nn.Module, Sequence[Method]]:
        if self.units.spread == "global":
            raise InputError(
                'with spread = "global" the widths depend on the trained weights, so that the training steps cannot be '
                'timed beforehand, as a comparison does; use spread = "uniform"'
            )
        taught = self.retraining.methods(trainer, phase="rehearsal", teacher=trainer.model())
        return cut_fresh(self.units, trainer), tuple(taught)

    def run_from(self, trainer: Trainer, start: Start) -> Compressed:
        self._check_schedule(trainer, start.schedule)
        model = copy.deepcopy(start.model).to(trainer.device)
        step = CuttingStep(trainer, model, name="cut", units=self.units, retraining=self.retraining)
        cut, entry = step.cut()
        self.retraining.check_teaching(trainer, model, dense=start.model)
        taught = self.retraining.methods(trainer, phase="retrain", teacher=start.model)
        steps = budget_steps(trainer, model, epochs=self.epochs, minutes=self.minutes, methods=taught)
        schedule = self.retraining.build(steps, start.schedule, entry["d1"])
        retrained, _ = train_phase(
            trainer,
            model,
            Phase(name="retrain", num_steps=steps, schedule=schedule, methods=taught),
            details={**self.retraining.details(schedule, start.schedule), "cut_hash": entry["cut_hash"]},
        )
        return Compressed(model=model, entries=[entry, retrained], edits=(*start.edits, CutEdit(cut)))

    def _check_schedule(self, trainer: Trainer, dense: DenseSchedule) -> None:
        self.retraining.check_schedules(dense, [0 if self.epochs is None else trainer.num_steps(self.epochs)])
