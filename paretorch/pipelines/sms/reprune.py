"""What Sparse Model Soups must beat: m independent runs of iterative pruning, averaged at the end and pruned again.

Each run makes masks of its own, so the average is less sparse than any of them; pruning it back to S costs what the
common mask of a soup saves. The baseline "IMP-RePrune" of Zimmer, Spiegel and Pokutta, "Sparse model soups", ICLR 2024.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from typing import Any, Self

from torch import nn

from paretorch.artefacts.mask_edit import MaskEdit
from paretorch.methods.averaging.streaming import average_state_dicts
from paretorch.methods.method import Method
from paretorch.methods.schedules import DenseSchedule
from paretorch.methods.sparsity.masks import Masks
from paretorch.pipelines.compression import Compressed, Compression, Start
from paretorch.pipelines.imp import IMP
from paretorch.pipelines.pruning_step import PruningStep, Selection
from paretorch.pipelines.retraining import Retraining, budget_steps
from paretorch.pipelines.sms.imp_unit import ImpUnit, save_start
from paretorch.pipelines.sms.merge import Copies
from paretorch.pipelines.sms.units import Done, Units, check_processes, check_teacher
from paretorch.pipelines.sms.variation import Variation
from paretorch.pipelines.sms.working_directory import in_some_directory
from paretorch.training.trainer import Trainer

START = "start"


@dataclass(frozen=True, kw_only=True)
class RePrune(Compression):
    """Run `IMP` m times with different seeds, average the models, and prune the average to `sparsity`.

    One run is IMP.

    Args:
        epochs, minutes: retraining budget of one run; the cost is `copies` times as much.
        copies: m, at least 1.
        sparsity, cycles, selection, retraining: as in `IMP`.

    Raises:
        InputError: as `IMP`, for fewer than one copy, or for a teacher that is not the dense model.
    """

    sparsity: float | None
    epochs: float | None = None
    minutes: float | None = None
    cycles: int = 1
    copies: int = 3
    selection: Selection = field(default_factory=Selection)
    retraining: Retraining = field(default_factory=Retraining)

    def __post_init__(self) -> None:
        check_teacher(self.retraining)
        _ = self._imp, self._variation  # refuse what they refuse

    @cached_property
    def _imp(self) -> IMP:
        return IMP(
            sparsity=self.sparsity,
            epochs=self.epochs,
            minutes=self.minutes,
            cycles=self.cycles,
            selection=self.selection,
            retraining=self.retraining,
        )

    @cached_property
    def _variation(self) -> Variation:
        return Variation(copies=self.copies)

    @property
    def granted_epochs(self) -> float | None:
        return None if self.epochs is None else self.epochs * self.copies

    def method_ids(self) -> list[str]:
        return self._imp.method_ids()

    def plan(self, trainer: Trainer) -> tuple[str, int | None]:
        words, steps = self._imp.plan(trainer)
        total = None if steps is None else steps * self.copies
        return f"{self.copies} times {words}; average, prune again", total

    def at_rate(self, rate: float) -> Self:
        return replace(self, retraining=replace(self.retraining, lr=rate))

    def check(self, trainer: Trainer, model: nn.Module, *, dense: DenseSchedule) -> None:
        check_processes(trainer)
        self._imp.check(trainer, model, dense=dense)

    def rehearsal(self, trainer: Trainer) -> tuple[nn.Module, Sequence[Method]]:
        return self._imp.rehearsal(trainer)

    def run_from(self, trainer: Trainer, start: Start) -> Compressed:
        with in_some_directory(trainer) as own:
            units, done = self._runs(own, start)
            collected = [unit.collect() for unit in units]
            lines = [
                _line(own, unit, {**line, "beside": "runs"}) for unit, (_, line) in zip(units, collected, strict=True)
            ]
            model, masks, last = self._merge(own, units, [masks for masks, _ in collected])
        last |= {"wall_s": done.wall_s, "workers": done.workers}
        return Compressed(model=model, entries=[*lines, last], edits=(*start.edits, MaskEdit(masks)))

    def _runs(self, trainer: Trainer, start: Start) -> tuple[list[ImpUnit], Done]:
        directory = trainer.directory
        assert directory is not None
        units = [
            ImpUnit(
                name=f"run {position}",
                folder=directory.path / "copies" / f"run-{position}",
                seed=self._variation.seed(trainer, position),
                start=directory.checkpoint_path(START),
            )
            for position in range(self.copies)
        ]
        with Units(trainer) as running:
            if not all(unit.result.exists() for unit in units):
                save_start(
                    directory, START, model=start.model, imp=self._in_steps(trainer, start), dense=start.schedule
                )
            done = running.run(units)
        directory.remove(START)
        return units, done

    def _in_steps(self, trainer: Trainer, start: Start) -> IMP:
        """The same with a budget in minutes turned into epochs, once for all runs."""
        taught = self.retraining.methods(trainer, phase="calibrate", teacher=start.model)
        steps = budget_steps(trainer, start.model, epochs=self.epochs, minutes=self.minutes, methods=taught)
        return replace(self._imp, epochs=steps / trainer.steps_per_epoch, minutes=None)

    def _merge(
        self, trainer: Trainer, units: Sequence[ImpUnit], masks: Sequence[Masks]
    ) -> tuple[nn.Module, Masks, dict[str, Any]]:
        """The average, pruned, with masks and the ledger line of that."""
        model = trainer.model().to(trainer.device)
        kept = reduce(_union, masks)
        runs = Copies(files={unit.name: unit.result for unit in units}, masks=kept).candidates()
        model.load_state_dict(average_state_dicts(runs))
        alone = len(units) == 1
        step = PruningStep(
            trainer,
            model,
            name="reprune",
            selection=self._imp.selections(model)[-1],
            norm_scope=self.retraining.norm_scope,
            reestimate_batches=0 if alone else self.retraining.reestimate_batches,
        )
        pruned, entry = step.prune(None)
        found = entry["validation_reestimated"]
        return model, pruned, {**entry, "validation": entry["validation_raw"] if found is None else found}


def _line(trainer: Trainer, unit: ImpUnit, details: dict[str, Any]) -> dict[str, Any]:
    """The line of a finished run in the ledger of all."""
    assert trainer.directory is not None
    entry = {"phase": unit.name.replace(" ", "-"), "seed": unit.seed, **details}
    done = trainer.directory.finished(entry["phase"])
    if done is None:
        trainer.directory.append(entry)
    return done or entry


def _union(one: Masks, other: Masks) -> Masks:
    """Keep what either keeps: the zeros that an average of both has."""
    return Masks({name: mask | other[name] for name, mask in one.items()})
