"""The cycles of Sparse Model Soups, up to the copies of the last one: prune once, retrain m copies, average, again.

Cycles before the last end in a uniform average, so that the next one prunes one model and its copies have one mask. The
last copies are what soups of several kinds are made of. Of a cycle that is over only its average stays on the disk, and
of the last cycle one file of weights per copy.
"""

import copy
import hashlib
import json
import shutil
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from paretorch.methods.schedules import DenseSchedule
from paretorch.methods.sparsity.masks import Masks
from paretorch.pipelines.imp import IMP
from paretorch.pipelines.pruning_step import PruningStep
from paretorch.pipelines.retraining import budget_steps
from paretorch.pipelines.sms.copy_unit import CopyUnit, save_start
from paretorch.pipelines.sms.merge import Copies, Merge
from paretorch.pipelines.sms.units import Done, Units, check_processes
from paretorch.pipelines.sms.variation import Variation
from paretorch.training.plain import to_plain
from paretorch.training.run import RunDirectory
from paretorch.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class LastCopies:
    """The copies of the last cycle, and what led to them.

    Attributes:
        copies: their files and masks.
        entries: ledger lines from the dense model on.
        done: how they were trained.
    """

    copies: Copies
    entries: list[dict[str, Any]]
    done: Done


@dataclass(frozen=True, kw_only=True)
class CopiesRun:
    """Everything but the last merge.

    Args:
        imp: what is pruned in each cycle, and how each copy is retrained; its budget is that of one copy.
        variation: how many copies, and in what they differ.
        guard: for the averages of the cycles before the last.
    """

    imp: IMP
    variation: Variation
    guard: bool = True

    @property
    def key(self) -> str:
        """Equal for two runs exactly if they train the same copies."""
        text = json.dumps(to_plain(self, where="run"))  # unsorted: of sparsities by pattern the first that fits counts
        return f"sms-copies-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    def check(self, trainer: Trainer, model: nn.Module, *, dense: DenseSchedule) -> None:
        """Refuse what `train` would refuse.

        Raises:
            InputError: as `IMP.check`; for a weight decay or a peak that cannot be set; or as `check_processes`.
        """
        self._check_copies(trainer, dense)
        first = replace(self.imp, retraining=self.variation.retraining(self.imp.retraining, 0))
        first.check(trainer, model, dense=dense)

    def num_steps(self, trainer: Trainer) -> int | None:
        """Optimizer steps of all copies together; None if they are not known before."""
        if self.imp.epochs is None:
            return None
        return sum(sum(splits) for splits in self._splits(trainer, self._known_steps(trainer)))

    def train(self, trainer: Trainer, model: nn.Module, *, dense: DenseSchedule) -> LastCopies:
        """Prune and retrain copies of `model`, cycle by cycle, or go on where an earlier process stopped.

        Args:
            trainer: with a directory; with workers, copies of one cycle are trained at the same time.
            model: the trained dense model, which is left as it is.
            dense: the learning rates it was trained with.

        Raises:
            InputError: as `check`.
            NotFiniteError: if a copy diverges, naming it.
        """
        self._check_copies(trainer, dense)
        self.imp.retraining.check_teaching(trainer, model, dense=model)
        assert trainer.directory is not None
        with Units(trainer) as units:
            return _Cycles(self, trainer, trainer.directory, units=units, teacher=model, dense=dense).run()

    def _check_copies(self, trainer: Trainer, dense: DenseSchedule) -> None:
        """All that needs no model."""
        self.variation.check_settings(trainer.settings)
        check_processes(trainer)
        for position, splits in enumerate(self._splits(trainer, self._known_steps(trainer))):
            self.variation.retraining(self.imp.retraining, position).check_schedules(dense, splits)

    def _known_steps(self, trainer: Trainer) -> int:
        return 0 if self.imp.epochs is None else trainer.num_steps(self.imp.epochs)

    def _splits(self, trainer: Trainer, total: int) -> list[list[int]]:
        """Steps of each copy in each cycle."""
        copies = range(self.variation.copies)
        return [self.imp.split(self.variation.steps(trainer, total, position)) for position in copies]


class _Cycles:
    """One run of them."""

    def __init__(
        self,
        run: CopiesRun,
        trainer: Trainer,
        directory: RunDirectory,
        *,
        units: Units,
        teacher: nn.Module,
        dense: DenseSchedule,
    ) -> None:
        self.imp, self.variation, self.guard = run.imp, run.variation, run.guard
        self.trainer, self.directory, self.units = trainer, directory, units
        self.teacher, self.dense = teacher, dense
        self.model = copy.deepcopy(teacher).to(trainer.device)
        self.masks: Masks | None = None
        self.taught = self.imp.retraining.methods(trainer, phase="calibrate", teacher=teacher)
        total = budget_steps(trainer, self.model, epochs=self.imp.epochs, minutes=self.imp.minutes, methods=self.taught)
        self.splits = run._splits(trainer, total)
        self.entries: list[dict[str, Any]] = []

    def run(self) -> LastCopies:
        first = self._resumed()
        for cycle in range(first, self.imp.cycles):
            copies, done = self._cycle(cycle)
            if cycle < self.imp.cycles - 1:
                self._average(cycle, copies, done)
        return LastCopies(copies=copies, entries=self.entries, done=done)

    def _cycle(self, cycle: int) -> tuple[Copies, Done]:
        """Prune, and retrain the copies."""
        retraining = self.imp.retraining
        step = PruningStep(
            self.trainer,
            self.model,
            name=f"prune-{cycle}",
            selection=self.imp.selections(self.model)[cycle],
            norm_scope=retraining.norm_scope,
            reestimate_batches=retraining.reestimate_batches,
        )
        self.masks, pruned = step.prune(self.masks)
        own = [self.variation.retraining(retraining, position) for position in range(self.variation.copies)]
        schedules = [
            one.build(splits[cycle], self.dense, pruned["d1"]) for one, splits in zip(own, self.splits, strict=True)
        ]
        units = self._units(cycle)
        if not all(unit.result.exists() for unit in units):
            save_start(
                self.directory,
                _start_name(cycle),
                model=self.model,
                masks=self.masks,
                schedules=schedules,
                retraining=retraining,
                teacher=self.teacher if self.taught else None,
            )
        done = self.units.run(units)
        self.directory.remove(_start_name(cycle))
        lines = [
            {
                **one.details(schedule, self.dense),
                "zeros": self.masks.num_pruned,
                "mask_hash": self.masks.hash(),
                "copy": unit.copy,
                "seed": unit.seed,
                **self.variation.details(unit.copy),
                "beside": f"cycle-{cycle}",
            }
            for one, schedule, unit in zip(own, schedules, units, strict=True)
        ]
        self.entries += [pruned, *(self._line(cycle, unit, line) for unit, line in zip(units, lines, strict=True))]
        return Copies(files={_copy_name(unit.copy): unit.result for unit in units}, masks=self.masks), done

    def _units(self, cycle: int) -> list[CopyUnit]:
        return [
            CopyUnit(
                name=f"{_copy_name(position)} of cycle {cycle}",
                folder=self.directory.path / "copies" / f"cycle-{cycle}-copy-{position}",
                seed=self.variation.seed(self.trainer, position),
                start=self.directory.checkpoint_path(_start_name(cycle)),
                copy=position,
                phase=f"retrain-{cycle}",
                weight_decay=self.variation.weight_decay(position),
            )
            for position in range(self.variation.copies)
        ]

    def _line(self, cycle: int, unit: CopyUnit, details: dict[str, Any]) -> dict[str, Any]:
        """The line of a finished copy in the ledger of the run."""
        name = _line_name(cycle, unit.copy)
        found = unit.collect()
        if (done := self.directory.finished(name)) is not None:
            return done
        curve = found.pop("curve")
        entry = {**found, "phase": name, **details, "curve": curve}
        self.directory.append(entry)
        return entry

    def _average(self, cycle: int, copies: Copies, done: Done) -> None:
        """What the next cycle starts from; the copies are deleted."""
        batches = self.imp.retraining.reestimate_batches
        merge = Merge(self.trainer, name=soup_name(cycle), soup="uniform", guard=self.guard, reestimate_batches=batches)
        self.model, entry = merge.merge(copies, details={"wall_s": done.wall_s, "workers": done.workers})
        self.entries.append(entry)
        state = {"model": self.model.state_dict(), "masks": copies.masks.state_dict()}
        self.directory.save(soup_name(cycle), state)
        self._forget(cycle)

    def _resumed(self) -> int:
        """The first cycle that is not over; model, masks and ledger lines are then those before it."""
        over = [
            cycle for cycle in range(self.imp.cycles - 1) if self.directory.checkpoint_path(soup_name(cycle)).exists()
        ]
        if not over:
            return 0
        last = max(over)
        state = self.directory.load(soup_name(last))
        assert state is not None
        self.model.load_state_dict(state["model"])
        self.masks = Masks.from_state_dict(state["masks"])
        for cycle in range(last + 1):
            names = [f"prune-{cycle}", *(_line_name(cycle, i) for i in range(self.variation.copies)), soup_name(cycle)]
            self.entries += [line for line in self.directory.ledger() if line["phase"] in names]
        self._forget(last)
        return last + 1

    def _forget(self, cycle: int) -> None:
        """Delete the copies of a cycle whose average is kept, and the average before it."""
        for unit in self._units(cycle):
            if unit.folder.exists():
                shutil.rmtree(unit.folder)
        if cycle:
            self.directory.remove(soup_name(cycle - 1))


def soup_name(cycle: int) -> str:
    """Of the merge that ends a cycle, in the ledger."""
    return f"soup-{cycle}"


def _copy_name(position: int) -> str:
    return f"copy {position}"


def _line_name(cycle: int, position: int) -> str:
    return f"retrain-{cycle}-copy-{position}"


def _start_name(cycle: int) -> str:
    return f"start-{cycle}"
