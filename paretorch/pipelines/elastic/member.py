"""One model of a family: the profile found within its budgets, cut out of the shared elastic model and fine-tuned.

Phases in the ledger: those of the shared training, then `cut` (what was proposed, predicted, measured and chosen;
validation before fine-tuning) and `retrain`. Fine-tuning takes a few epochs at a fraction of the dense peak rate.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, Self

from torch import nn

from paretorch.artefacts.cut_edit import CutEdit
from paretorch.errors import InputError
from paretorch.methods.schedules import DenseSchedule
from paretorch.methods.width.cutting import Cut, plan_cut
from paretorch.methods.width.extract import extract
from paretorch.pipelines.compression import Compressed, Compression, Start
from paretorch.pipelines.cutting_step import hash_of
from paretorch.pipelines.dense import DenseResult
from paretorch.pipelines.elastic.search import Budgets, search
from paretorch.pipelines.elastic.training import ElasticResult, ElasticRun, ElasticWeights
from paretorch.pipelines.phases import Phase, check_recorded, train_phase
from paretorch.pipelines.retraining import Retraining, budget_steps, budget_words, check_budget, reestimate
from paretorch.training.trainer import Trainer

PEAKED = ("SLR", "CLR", "LLR")


@dataclass(frozen=True, kw_only=True)
class Elastic(Compression):
    """A model within `budgets` out of one elastic training that it shares with others.

    Args:
        run: the shared training. Where its centre shrinks, it must keep weights for this budget; `among` sees to it.
        budgets: fractions of the uncut model's footprints; where the centre shrinks, of the footprint it shrinks by.
        epochs: of fine-tuning, or None if `minutes` is given.
        minutes: time of fine-tuning steps; turned into steps once, by timing a few on this machine.
        finetuning: its learning rates and batch-norm batches; a rate that is not given is `peak_share` of the dense
            peak for SLR, CLR (a cosine) and LLR. Where it has a teacher, that is the elastic model at its widest.
        peak_share: see there.

    Raises:
        InputError: for numbers out of range, an unknown schedule, ALLR, or both or neither of `epochs` and `minutes`.
    """

    run: ElasticRun
    budgets: Budgets
    epochs: float | None = None
    minutes: float | None = None
    finetuning: Retraining = field(default_factory=lambda: Retraining(schedule="CLR"))
    peak_share: float = 0.2
    from_dense: bool = field(init=False)
    shared_key: str | None = field(init=False)

    def __post_init__(self) -> None:
        check_budget(self.epochs, self.minutes)
        self.finetuning.check()
        if self.finetuning.schedule.upper() == "ALLR":
            raise InputError("ALLR takes its rate from the norm that a cut removes; after elastic training choose CLR")
        if not 0 < self.peak_share <= 1:
            raise InputError(f"peak_share is a fraction of the dense peak rate, in (0, 1]; got {self.peak_share}")
        shrink = self.run.shrink
        if shrink is not None and list(self.budgets.given()) != [shrink.key]:
            raise InputError(
                f"the centre shrinks by {shrink.key}, so that a budget is one fraction of {shrink.key}; got "
                f"{self.budgets.given()}. For other budgets leave shrinking out"
            )
        if shrink is not None and self._part() == 1:
            raise InputError(f"a budget of 1 leaves nothing to shrink; give a fraction of {shrink.key} below 1")
        object.__setattr__(self, "from_dense", self.run.from_dense)
        object.__setattr__(self, "shared_key", self.run.key)

    def method_ids(self) -> list[str]:
        return [*self.run.method_ids(), *self.finetuning.method_ids()]

    def among(self, others: Sequence[Compression]) -> Self:
        """With a shared training that serves the budgets of all `others` whose training is the same but for them."""
        shrink = self.run.shrink
        if shrink is None:
            return self
        family = [other for other in others if isinstance(other, Elastic) and other._unsized() == self._unsized()]
        parts = {self._part(), *(other._part() for other in family)}
        least = min(parts)
        sized = replace(shrink, target=least, keep_at=tuple(sorted(parts - {least}, reverse=True)))
        return replace(self, run=replace(self.run, shrink=sized))

    def plan(self, trainer: Trainer) -> tuple[str, int | None]:
        words, steps = budget_words(trainer, epochs=self.epochs, minutes=self.minutes)
        return f"search {self.budgets.words()}, cut, fine-tune, {words}", steps

    def plan_shared(self, trainer: Trainer) -> tuple[str, int | None]:
        steps, shrink = trainer.num_steps(self.run.epochs), self.run.shrink
        end = "" if shrink is None else f", shrinking to {shrink.target * 100:.4g} % of the {shrink.key}"
        return f"elastic training, {self.run.sampler} widths{end}, {steps} steps", steps

    def check(self, trainer: Trainer, model: nn.Module, *, dense: DenseSchedule) -> None:
        groups = self.run.check(trainer, model, dense=dense)
        self.budgets.check(groups, self.run.widths.grids(groups))
        shrink = self.run.shrink
        if shrink is not None and self._part() not in (shrink.target, *shrink.keep_at):
            raise InputError(
                f"the elastic training keeps no weights for {self.budgets.words()}: it shrinks to {shrink.target:g}, "
                f"and keeps weights at {list(shrink.keep_at)}"
            )
        steps = 0 if self.epochs is None else trainer.num_steps(self.epochs)
        self._retraining(dense).check_schedules(dense, [steps])
        self.finetuning.check_teaching(trainer, model, dense=model)

    def at_rate(self, rate: float) -> Self:
        return replace(self, finetuning=replace(self.finetuning, lr=rate))

    def train_shared(self, trainer: Trainer, dense: DenseResult) -> Start:
        result = self.run.train(trainer, dense)
        cut = plan_cut(result.groups, result.groups.prefix(result.final.groups.full))
        edits = (CutEdit(cut),) if cut != Cut() else ()
        return Start(
            model=result.final.model,
            schedule=dense.schedule,
            entries=result.entries,
            edits=edits,
            found={"elastic": result},
        )

    def run_from(self, trainer: Trainer, start: Start) -> Compressed:
        elastic: ElasticResult = start.found["elastic"]
        weights = self._weights(elastic)
        model, cut, entry = self._cut(trainer, elastic, weights)
        retraining = self._retraining(start.schedule)
        retraining.check_teaching(trainer, model, dense=weights.model)
        taught = retraining.methods(trainer, phase="retrain", teacher=weights.model)
        steps = budget_steps(trainer, model, epochs=self.epochs, minutes=self.minutes, methods=taught)
        schedule = retraining.build(steps, start.schedule, 1.0)
        retrained, _ = train_phase(
            trainer,
            model,
            Phase(name="retrain", num_steps=steps, schedule=schedule, methods=taught),
            details={**retraining.details(schedule, start.schedule), "cut_hash": entry["cut_hash"]},
        )
        edits = (CutEdit(cut),) if cut != Cut() else ()
        return Compressed(model=model, entries=[entry, retrained], edits=edits)

    def _cut(
        self, trainer: Trainer, elastic: ElasticResult, weights: ElasticWeights
    ) -> tuple[nn.Module, Cut, dict[str, Any]]:
        """The sub-network with statistics of its own, what was cut from the uncut model, and the ledger entry."""
        directory = trainer.directory
        done = directory.finished("cut") if directory is not None else None
        uncut = elastic.groups
        began = perf_counter()
        if done is None:
            best, _, entries = search(
                weights,
                self.budgets,
                uncut=uncut,
                grids=self.run.widths.grids(uncut),
                calibration=elastic.calibration,
                seed=trainer.seed,
            )
            profile = best.profile
        else:
            profile = tuple(row["width"] for row in done["widths"])
        cut = plan_cut(uncut, uncut.prefix(profile))
        model = extract(weights.model, weights.groups, profile).to(trainer.device)
        seconds = perf_counter() - began
        raw = self._validation(trainer, model) if done is None else None
        began = perf_counter()
        layers = reestimate(trainer, model, name="cut", count=self.finetuning.reestimate_batches)
        seconds += perf_counter() - began
        if done is not None:
            check_recorded(done, cut_hash=hash_of(cut), found="the widths leave other units")
            return model, cut, done
        entry = {
            "phase": "cut",
            "kind": "cut",
            "widths": [
                {"group": group.name, "width": width, "full": group.size}
                for group, width in zip(uncut.groups, profile, strict=True)
            ],
            **{name: best.footprint[name] for name in ("params", "macs")},
            **{f"{name}_full": of(uncut.full) for name, of in (("params", uncut.num_params), ("macs", uncut.num_macs))},
            "weights": weights.name,
            "source": best.source,
            "loss": best.loss,
            "predicted": best.predicted,
            "candidates": [candidate.to_dict() for candidate in entries],
            "validation_raw": raw,
            "validation_reestimated": self._validation(trainer, model) if layers else None,
            "batchnorm_layers": layers,
            "seconds": seconds,
            "cut_hash": hash_of(cut),
        }
        if directory is not None:
            directory.append(entry)
        return model, cut, entry

    def _weights(self, elastic: ElasticResult) -> ElasticWeights:
        """The final weights, or those that were kept for this budget."""
        return elastic.final if self.run.shrink is None else elastic.kept.get(self._part(), elastic.final)

    def _retraining(self, dense: DenseSchedule) -> Retraining:
        if self.finetuning.lr is None and self.finetuning.schedule.upper() in PEAKED:
            return replace(self.finetuning, lr=self.peak_share * dense.peak)
        return self.finetuning

    def _part(self) -> float:
        """The one budget of a model whose training shrinks."""
        return next(iter(self.budgets.given().values()))

    def _unsized(self) -> ElasticRun:
        shrink = self.run.shrink
        return self.run if shrink is None else replace(self.run, shrink=replace(shrink, target=1.0, keep_at=()))

    def _validation(self, trainer: Trainer, model: nn.Module) -> float:
        return trainer.evaluate(model)[trainer.task.metric]
