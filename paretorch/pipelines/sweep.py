"""A sweep: for every seed one dense model, and from it every arm; each run has its own resumable directory.

Layout of the output folder: `recipe.toml`, `runs/dense-s0/`, `runs/<arm>-s0/`, ..., `report.html`.
"""

import copy
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from paretorch.artefacts.mask_edit import MaskEdit
from paretorch.artefacts.model import save_model
from paretorch.errors import InputError, NotFiniteError
from paretorch.evidence.records import FILE_NAME, RunRecord, load_record, save_record
from paretorch.measurement.environment import environment
from paretorch.methods.schedules import DenseSchedule, Schedule
from paretorch.methods.sparsity.masks import Masks
from paretorch.pipelines.dense import DenseResult, DenseSource, TrainedDense
from paretorch.pipelines.imp import IMP
from paretorch.pipelines.pricing import compare_latency, price
from paretorch.pipelines.tuning import tuned
from paretorch.training.data import Head
from paretorch.training.run import RunDirectory
from paretorch.training.settings import TrainSettings
from paretorch.training.task import Task
from paretorch.training.trainer import Trainer

logger = logging.getLogger("paretorch")


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to compress the dense model.

    Attributes:
        id: for directory names, unique in the sweep.
        label: for people.
        factors: what distinguishes the arm, for grouping in reports.
        imp: what is done; with `rates`, once per rate.
        rates: learning rates to choose from on validation, every trial charged; empty: nothing is tuned.
    """

    id: str
    label: str
    factors: dict[str, Any]
    imp: IMP
    rates: tuple[float, ...] = ()


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

    def check(self) -> None:
        """Refuse, before anything is trained or written, what an arm could not do with the task's model.

        Raises:
            InputError: naming the arm; or for a repeated seed, or a dense run without a step.
        """
        if len(set(self.seeds)) < len(self.seeds):
            raise InputError(f"seeds = {list(self.seeds)} holds a seed twice, and a repeated seed is no new sample")
        trainer = Trainer(self.task, self.settings, seed=self.seeds[0])
        model = trainer.model()
        steps = trainer.num_steps(self.dense_epochs)
        if steps == 0:
            raise InputError(
                f"dense training of {self.dense_epochs:g} epochs is less than one optimizer step; an epoch has "
                f"{trainer.steps_per_epoch}"
            )
        self.dense.check(model, task=self.task)
        dense = DenseSchedule.of(self.dense_schedule(steps))
        for arm in self.arms:
            rate = arm.rates[0] if arm.rates else arm.imp.retraining.lr
            trial = replace(arm.imp, retraining=replace(arm.imp.retraining, lr=rate))
            try:
                trial.check(trainer, model, dense=dense)
            except InputError as error:
                raise InputError(f"arm {arm.label!r}: {error}") from error

    def plan(self) -> list[str]:
        """What `run` would do, in words: phases and optimizer steps, without training anything."""
        self.check()
        trainer = Trainer(self.task, self.settings, seed=self.seeds[0])
        lines = [f"{len(self.seeds)} seeds x (1 dense model + {len(self.arms)} arms), task {self.task.name}"]
        words, total = self.dense.plan(
            self.dense_epochs, trainer.num_steps(self.dense_epochs), self.settings.batch_size
        )
        lines.append(words)
        for arm in self.arms:
            rates = f" x {len(arm.rates)} rates" if arm.rates else ""
            if arm.imp.epochs is None:
                lines.append(f"{arm.label}: {arm.imp.cycles} x (prune, retrain), {arm.imp.minutes:g} minutes{rates}")
                continue
            steps = trainer.num_steps(arm.imp.epochs)
            total += steps * max(1, len(arm.rates))
            lines.append(f"{arm.label}: {arm.imp.cycles} x (prune, retrain), {steps} steps{rates}")
        return [*lines, f"in all: {total * len(self.seeds)} optimizer steps, not counting arms given in minutes"]

    def run(self, out: Path, *, resume: bool = False) -> list[RunRecord]:
        """Run, or finish, everything; one record per run, in order.

        An arm that diverges gets a record that says so, and the sweep goes on.

        Raises:
            InputError: if `out` holds another sweep, or one without `resume`; or as the runs themselves raise.
            NotFiniteError: if dense training diverges.
        """
        self.check()
        with RunDirectory(out, recipe=self.recipe, resume=resume):
            records: list[RunRecord] = []
            for position, seed in enumerate(self.seeds):
                logger.info("seed %d (%d of %d)", seed, position + 1, len(self.seeds))
                records += self._run_seed(out, seed, timed=position == 0)
            return records

    def _run_seed(self, out: Path, seed: int, *, timed: bool) -> Iterator[RunRecord]:
        with self._directory(out, f"dense-s{seed}") as directory:
            trainer = Trainer(self.task, self.settings, seed=seed, directory=directory)
            schedule = self.dense_schedule(trainer.num_steps(self.dense_epochs))
            dense = self.dense(trainer, schedule)
            yield self._finish(directory, trainer, dense.model, [dense.entry], timed=timed)
        for arm in self.arms:
            yield self._run_arm(out, arm, seed, dense, timed=timed)
            logger.info("  %s", arm.label)

    def _run_arm(self, out: Path, arm: Arm, seed: int, dense: DenseResult, *, timed: bool) -> RunRecord:
        with self._directory(out, f"{arm.id}-s{seed}") as directory:
            if (directory.path / FILE_NAME).exists():
                return load_record(directory.path / FILE_NAME)
            trainer = Trainer(self.task, self.settings, seed=seed, directory=directory)
            try:
                result, trials = tuned(arm.imp, arm.rates, trainer, dense)
            except NotFiniteError as error:
                logger.warning("%s diverged: %s", arm.label, error)
                return self._write(
                    directory, seed, [dense.entry], arm=arm, status="diverged", notes=[f"diverged: {error}"]
                )
            entries = [dense.entry, *trials, *result.entries]
            if timed:
                entries.append(compare_latency(_on_cpu(dense.model), _on_cpu(result.model), self.task.example_inputs()))
            return self._finish(directory, trainer, result.model, entries, timed=timed, arm=arm, masks=result.masks)

    def _directory(self, out: Path, name: str) -> RunDirectory:
        return RunDirectory(out / "runs" / name, recipe=self.recipe, resume=True)

    def _finish(
        self,
        directory: RunDirectory,
        trainer: Trainer,
        model: nn.Module,
        entries: list[dict[str, Any]],
        *,
        timed: bool,
        arm: Arm | None = None,
        masks: Masks | None = None,
    ) -> RunRecord:
        """Measure, save the model and write the record; a record that is there already is returned as it is."""
        if (directory.path / FILE_NAME).exists():
            return load_record(directory.path / FILE_NAME)
        return self._write(
            directory,
            trainer.seed,
            entries,
            arm=arm,
            quality=trainer.evaluate(model, self.task.test_set())[self.task.metric],
            train_quality=self._train_quality(trainer, model),
            references=self._references,
            validation=[entry["validation"] for entry in entries if "validation" in entry][-1],
            cost=price(_on_cpu(model), entries, self.task.example_inputs(), latency=timed).to_dict(),
            notes=[*self.dense.notes(), *self._save_artefact(directory, model, masks)],
        )

    @cached_property
    def _references(self) -> dict[str, float]:
        """The task's references, which some tasks train or sample something for: once per sweep, not per run."""
        return self.task.references()

    def _train_quality(self, trainer: Trainer, model: nn.Module) -> float | None:
        """The metric on the first training examples, as they are stored; None if the task wants none."""
        sample = self.task.train_sample
        return trainer.evaluate(model, Head(trainer.train_set, sample))[self.task.metric] if sample else None

    def _write(
        self, directory: RunDirectory, seed: int, entries: list[dict[str, Any]], *, arm: Arm | None, **outcome: Any
    ) -> RunRecord:
        """The record of one run: what it was, its phases, and its `outcome`."""
        record = RunRecord(
            run_id=directory.path.name,
            arm=arm.label if arm else "dense",
            group=dict(arm.factors) if arm else self.dense.factors(self.dense_epochs),
            seed=seed,
            workload=self.task.name,
            metric=self.task.metric,
            higher_is_better=self.task.higher_is_better,
            curves=_joined_curves(entries),
            phases=[{key: value for key, value in entry.items() if key != "curve"} for entry in entries],
            env=environment(),
            command=self.command,
            recipe_hash=self.recipe_hash,
            **outcome,
        )
        save_record(record, directory.path / FILE_NAME)
        return record

    def _save_artefact(self, directory: RunDirectory, model: nn.Module, masks: Masks | None) -> list[str]:
        """Write `model/`; a note instead if the model's constructor cannot be named."""
        constructor = self.task.constructor()
        if constructor is None:
            return [
                "no artefact was written: the task does not name its model's constructor (give a module-level class or "
                "function, or functools.partial of one, as `model`)"
            ]
        reference, kwargs = constructor
        edits = [MaskEdit(masks)] if masks is not None else []
        save_model(
            directory.path / "model",
            _on_cpu(model),
            constructor=reference,
            kwargs=kwargs,
            edits=edits,
            example_inputs=self.task.example_inputs(),
        )
        return []


def _on_cpu(model: nn.Module) -> nn.Module:
    """The model in evaluation mode, copied if it lives on an accelerator."""
    on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
    return model.eval() if on_cpu else copy.deepcopy(model).cpu().eval()


def _joined_curves(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The curves of consecutive phases on one axis of steps, epochs and seconds."""
    joined: list[dict[str, Any]] = []
    start = {"step": 0, "epoch": 0.0, "seconds": 0.0}
    for entry in entries:
        if "curve" not in entry:
            continue
        for point in entry["curve"]:
            joined.append({**point, "phase": entry["phase"], **{key: point[key] + start[key] for key in start}})
        start = {
            "step": start["step"] + entry["steps"],
            "epoch": start["epoch"] + entry["epochs"],
            "seconds": start["seconds"] + entry["seconds"],
        }
    return joined
