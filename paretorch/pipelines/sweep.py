"""A sweep: for every seed one dense model, and from it every arm; each run has its own resumable directory.

Layout of the output folder: `recipe.toml`, `runs/dense-s0/`, `runs/<arm>-s0/`, ..., `report.html`.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from paretorch.errors import InputError
from paretorch.evidence.records import RunRecord
from paretorch.methods.schedules import DenseSchedule, Schedule
from paretorch.pipelines.arm import Arm
from paretorch.pipelines.dense import DenseResult, DenseSource, TrainedDense
from paretorch.pipelines.run_writer import Identity, RunWriter, Trained
from paretorch.pipelines.shared_start import SharedStarts, num_sharing
from paretorch.training.run import RunDirectory
from paretorch.training.settings import TrainSettings
from paretorch.training.task import Task
from paretorch.training.trainer import Trainer

logger = logging.getLogger("paretorch")


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Everything a recipe says.

    Attributes:
        name: of the recipe.
        task: what is learned.
        settings: how every phase is trained.
        seeds: one dense model each.
        dense_epochs: length of dense training, also where published weights stand for it.
        dense_schedule: learning rate of the dense run, given its number of steps.
        dense: where the dense model comes from.
        arms: run from every seed's dense model.
        recipe: canonical text; a folder is only resumed with the same text.
        recipe_hash: of that text.
        command: repeats the sweep.
    """

    name: str
    task: Task
    settings: TrainSettings
    seeds: Sequence[int]
    dense_epochs: float
    dense_schedule: Callable[[int], Schedule]
    arms: Sequence[Arm]
    recipe: str
    recipe_hash: str
    command: str
    dense: DenseSource = field(default_factory=TrainedDense)

    def check(self, *, workers: int = 1) -> None:
        """Refuse, before anything is trained or written, what an arm could not do with the task's model.

        Args:
            workers: as in `run`.

        Raises:
            InputError: naming the arm; or for a repeated seed, two arms of one id, or a dense run without a step.
        """
        if len(set(self.seeds)) < len(self.seeds):
            raise InputError(f"seeds = {list(self.seeds)} holds a seed twice, and a repeated seed is no new sample")
        folders: dict[str, Arm] = {}
        for arm in self.arms:
            if (other := folders.setdefault(arm.id, arm)) is not arm:
                raise InputError(
                    f"the arms {other.label!r} and {arm.label!r} have the same id {arm.id!r} and would share a folder; "
                    "give each its own"
                )
        trainer = Trainer(self.task, self.settings, seed=self.seeds[0], workers=workers)
        model = trainer.model()
        steps = trainer.num_steps(self.dense_epochs)
        trainer.check_steps(steps, epochs=self.dense_epochs, where="dense training: ")
        self.dense.check(model, task=self.task)
        dense = DenseSchedule.of(self.dense_schedule(steps))
        for arm in self.arms:
            arm.check(trainer, dense)

    def plan(self) -> list[str]:
        """What `run` would do, in words: phases and optimizer steps, without training anything."""
        self.check()
        trainer = Trainer(self.task, self.settings, seed=self.seeds[0])
        lines = [f"{len(self.seeds)} seeds x (1 dense model + {len(self.arms)} arms), task {self.task.name}"]
        words, total = self.dense.plan(
            self.dense_epochs, trainer.num_steps(self.dense_epochs), self.settings.batch_size
        )
        lines.append(words)
        compressions = [arm.compression for arm in self.arms]
        keyed = {compression.shared_key: compression for compression in reversed(compressions)}
        for key, compression in reversed(keyed.items()):
            if key is not None:
                words, steps = compression.plan_shared(trainer)
                sharing = num_sharing(compressions, key)
                lines.append(f"{key}, {f'once for {sharing} arms' if sharing > 1 else 'for one arm'}: {words}")
                total += steps or 0
        for arm in self.arms:
            words, steps = arm.compression.plan(trainer)
            lines.append(f"{arm.label}: {words}{f' x {len(arm.rates)} rates' if arm.rates else ''}")
            total += (steps or 0) * max(1, len(arm.rates))
        return [*lines, f"in all: {total * len(self.seeds)} optimizer steps, not counting arms given in minutes"]

    def run(self, out: Path, *, resume: bool = False, workers: int = 1) -> list[RunRecord]:
        """Run, or finish, everything; one record per run, in order.

        An arm that diverges gets a record that says so, and the sweep goes on.

        Args:
            out: the output folder.
            resume: go on in a folder that holds this sweep.
            workers: local processes for phases of one arm that do not wait for one another, as the copies of a soup;
                1 trains them in this process.

        Raises:
            InputError: if `out` holds another sweep, or one without `resume`; or as the runs themselves raise.
            NotFiniteError: if dense training diverges.
        """
        self.check(workers=workers)
        with RunDirectory(out, recipe=self.recipe, resume=resume):
            records: list[RunRecord] = []
            for position, seed in enumerate(self.seeds):
                logger.info("seed %d (%d of %d)", seed, position + 1, len(self.seeds))
                records += self._run_seed(out, seed, timed=position == 0, workers=workers)
            return records

    @cached_property
    def _writer(self) -> RunWriter:
        return RunWriter(
            task=self.task,
            recipe=self.recipe,
            recipe_hash=self.recipe_hash,
            command=self.command,
            notes=self.dense.notes(),
        )

    def _run_seed(self, out: Path, seed: int, *, timed: bool, workers: int) -> Iterator[RunRecord]:
        writer = self._writer
        outside = Trainer(self.task, self.settings, seed=seed, metered=True, workers=workers)
        with writer.directory(out, f"dense-s{seed}") as directory:
            trainer = outside.in_directory(directory)
            schedule = self.dense_schedule(trainer.num_steps(self.dense_epochs))
            dense = self.dense(trainer, schedule)
            identity = Identity(label="dense", factors=self.dense.factors(self.dense_epochs))
            yield writer.finish(
                directory, trainer, Trained(model=dense.model, entries=[dense.entry]), identity, timed=timed
            )
        shared = SharedStarts(
            compressions=[arm.compression for arm in self.arms],
            writer=writer,
            out=out,
            trainer=outside,
            dense=dense,
        )
        for arm in self.arms:
            yield self._run_arm(out, arm, dense, shared, timed=timed)
            logger.info("  %s", arm.label)

    def _run_arm(self, out: Path, arm: Arm, dense: DenseResult, shared: SharedStarts, *, timed: bool) -> RunRecord:
        identity = Identity(label=arm.label, factors=arm.factors, others={"methods": arm.compression.method_ids()})
        with self._writer.directory(out, f"{arm.id}-s{shared.trainer.seed}") as directory:
            if (record := self._writer.finished(directory)) is not None:
                return record
            trainer = shared.trainer.in_directory(directory)
            return arm.run(dense, self._writer, directory, trainer, identity, timed=timed, shared=shared)
