"""A comparison: families x durations x seeds, cut into units that any process can run and that a kill cannot lose.

Layout of the output folder: `recipe.toml`, `timing.json`, `runs/dense-s0/` (the model that families which prune start
from), `runs/<family>-<duration>ep-s0/`, ..., `report.html`. The order of the units is seed by seed and duration by
duration, all families in turns, so that a comparison that is cut short holds pairs.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from statistics import median

from torch import nn

from paretorch.artefacts.files import write_json
from paretorch.errors import ArtefactError, InputError
from paretorch.evidence.records import FILE_NAME, RunRecord, load_record
from paretorch.methods.schedules import DenseSchedule, Schedule
from paretorch.pipelines.dense import DenseResult, DenseSource, TrainedDense
from paretorch.pipelines.family import Family
from paretorch.pipelines.run_writer import RunWriter
from paretorch.pipelines.step_timing import Rehearsed, time_in_turns
from paretorch.training.settings import TrainSettings
from paretorch.training.task import Task
from paretorch.training.trainer import Trainer
from paretorch.training.worker import GRACE_S

TIMING = "timing.json"
LONGEST_NAME = 200  # bytes; file systems take 255, and what is written beside a folder adds to its name
DENSE_WAIT_S = 600.0  # two runs of one seed may read the dense model at the same time
ORPHAN_WAIT_S = GRACE_S + 10.0  # a worker whose parent was killed may still be saving the run that is to go on


@dataclass(frozen=True)
class Unit:
    """One run: of a family at a duration, or, without a family, of the dense model that families start from."""

    id: str
    seed: int
    family: str | None = None
    duration: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything a recipe with a `[compare]` table says about its runs.

    Attributes:
        name: of the recipe.
        task, settings, seeds: of all families, unless one has its own task or settings.
        families: candidate, baseline and controls.
        dense_epochs, dense_schedule, dense: the model that families which prune start from.
        recipe, recipe_hash, command: as in `RunWriter`.
    """

    name: str
    task: Task
    settings: TrainSettings
    seeds: Sequence[int]
    families: Sequence[Family]
    dense_epochs: float
    dense_schedule: Callable[[int], Schedule]
    recipe: str
    recipe_hash: str
    command: str
    dense: DenseSource = field(default_factory=TrainedDense)

    def check(self) -> None:
        """Refuse, before anything is trained or written, what a unit could not do.

        Raises:
            InputError: naming the family; or for a repeated seed, two families whose folders would be the same, or a
                name that is too long for a folder.
        """
        if len(set(self.seeds)) < len(self.seeds):
            raise InputError(f"seeds = {list(self.seeds)} holds a seed twice, and a repeated seed is no new sample")
        units = [unit.id for unit in self.starts() + self.units()]
        if twice := sorted({unit for unit in units if units.count(unit) > 1}):
            raise InputError(
                f"two families or durations would share the folder {twice[0]!r}; give the arms names that differ in "
                "letters or digits"
            )
        if long := [unit for unit in units if len(unit.encode()) > LONGEST_NAME]:
            raise InputError(
                f"the folder {long[0][:40]!r}... would have a name of {len(long[0].encode())} bytes; give the arm a "
                f"shorter `name`: {LONGEST_NAME} are the most"
            )
        trainer = Trainer(self.task, self.settings, seed=self.seeds[0])
        steps = trainer.num_steps(self.dense_epochs)
        if self._prunes:
            trainer.check_steps(steps, epochs=self.dense_epochs, where="dense training: ")
            self.dense.check(trainer.model(), task=self.task)
        dense = DenseSchedule.of(self.dense_schedule(max(1, steps)))
        for family in self.families:
            family.check(dense)
            model = Trainer(
                family.task, family.settings, seed=self.seeds[0]
            ).model()  # a control may have one of its own
            if family.role == "control:smaller" and not _size(model) < _size(trainer.model()):
                raise InputError(
                    f"[compare] smaller gives a model of {_size(model):,} parameters, and that of the task has "
                    f"{_size(trainer.model()):,}; a smaller model is the control, so give it smaller task options"
                )

    def plan(self) -> list[str]:
        """What would be run, in words, without training anything."""
        self.check()
        lines = [f"{len(self.seeds)} seeds, {len(self.starts()) + len(self.units())} runs, task {self.task.name}"]
        total = 0
        if self._prunes:
            steps = Trainer(self.task, self.settings, seed=self.seeds[0]).num_steps(self.dense_epochs)
            words, total = self.dense.plan(self.dense_epochs, steps, self.settings.batch_size)
            lines.append(words)
        for family in self.families:
            words, steps = family.plan()
            total += steps
            lines.append(f"{words}, {steps} steps per seed ({family.role})")
        return [*lines, f"in all: {total * len(self.seeds)} optimizer steps"]

    def starts(self) -> list[Unit]:
        """The dense models that other units need; none if no family prunes."""
        return [Unit(f"dense-s{seed}", seed) for seed in self.seeds] if self._prunes else []

    def units(self) -> list[Unit]:
        """One per seed, duration and family, families in turns."""
        longest = max(len(family.durations) for family in self.families)
        return [
            Unit(family.folder(family.durations[i], seed), seed, family.name, family.durations[i])
            for seed in self.seeds
            for i in range(longest)
            for family in self.families
            if i < len(family.durations)
        ]

    def time_steps(self, out: Path) -> None:
        """Time the training steps of all families in turns, once, and keep the times in `out`.

        Families whose steps are the same, such as two schedules of one pruned model, share one measurement.
        """
        path = out / TIMING
        if path.exists():
            return
        recipes: dict[str, Rehearsed] = {}
        for family in self.families:
            trainer = Trainer(family.task, family.settings, seed=self.seeds[0])
            for kind, rehearsal in family.rehearsed(trainer).items():
                recipes.setdefault(rehearsal.key(kind), (trainer, rehearsal.model, rehearsal.methods))
        write_json(path, time_in_turns(recipes, seeds=self.seeds))

    def step_seconds(self, family: Family, seed: int, out: Path) -> dict[str, float]:
        """Kind of phase -> median seconds of a training step in the turns of this seed.

        Raises:
            ArtefactError: if the kept times are damaged.
        """
        path = out / TIMING
        trainer = Trainer(family.task, family.settings, seed=self.seeds[0])
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            return {
                kind: median(kept[rehearsal.key(kind)][str(seed)])
                for kind, rehearsal in family.rehearsed(trainer).items()
            }
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtefactError(f"{path} is damaged ({error!r}); remove it, and the steps are timed again") from error

    def run_unit(self, unit: Unit, out: Path) -> RunRecord | None:
        """Run, or finish, one unit; None for a dense model, which is no contestant.

        Raises:
            InputError: if the folder holds another run, or another process works in it.
            NotFiniteError: if the dense model diverges.
        """
        if unit.family is None:
            self._dense(unit.seed, out)
            return None
        family = next(family for family in self.families if family.name == unit.family)
        writer = replace(self._writer, trained=family.task)
        with writer.directory(out, unit.id, wait_s=ORPHAN_WAIT_S) as directory:
            if (record := writer.finished(directory)) is not None:
                return record
            step_s = self.step_seconds(family, unit.seed, out)
            dense = None
            if family.prunes:
                dense = self._dense(unit.seed, out)
                dense = replace(dense, entry={**dense.entry, "step_s": step_s["dense"]})
            trainer = Trainer(family.task, family.settings, seed=unit.seed, directory=directory)
            return family.run(unit.duration, writer, directory, trainer, dense=dense, step_s=step_s)

    def records(self, out: Path) -> list[RunRecord]:
        """The records of all units that have finished, in the order of `units`."""
        paths = [out / "runs" / unit.id / FILE_NAME for unit in self.units()]
        return [load_record(path) for path in paths if path.exists()]

    @property
    def _prunes(self) -> bool:
        return any(family.prunes for family in self.families)

    @cached_property
    def _writer(self) -> RunWriter:
        notes = self.dense.notes() if self._prunes else []
        return RunWriter(
            task=self.task, recipe=self.recipe, recipe_hash=self.recipe_hash, command=self.command, notes=notes
        )

    def _dense(self, seed: int, out: Path) -> DenseResult:
        with self._writer.directory(out, f"dense-s{seed}", wait_s=DENSE_WAIT_S) as directory:
            trainer = Trainer(self.task, self.settings, seed=seed, directory=directory)
            return self.dense(trainer, self.dense_schedule(trainer.num_steps(self.dense_epochs)))


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
