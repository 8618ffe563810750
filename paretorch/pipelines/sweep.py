"""A sweep: for every seed one dense model, and from it every arm; each run has its own resumable directory.

Layout of the output folder: `recipe.toml`, `runs/dense-s0/`, `runs/<arm>-s0/`, ..., `report.html`.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from paretorch.artefacts.mask_edit import MaskEdit
from paretorch.artefacts.model import save_model
from paretorch.evidence.records import FILE_NAME, RunRecord, load_record, save_record
from paretorch.measurement.environment import environment
from paretorch.methods.schedules import Schedule
from paretorch.methods.sparsity.masks import Masks
from paretorch.pipelines.dense import DenseResult, train_dense
from paretorch.pipelines.imp import IMP
from paretorch.pipelines.pricing import LatencyBook, price
from paretorch.pipelines.tuning import tuned
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
        dense_epochs: length of dense training.
        dense_schedule: learning rate of the dense run, given its number of steps.
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

    def run(self, out: Path, *, resume: bool = False) -> list[RunRecord]:
        """Run, or finish, everything; one record per run, in order.

        Raises:
            InputError: if `out` holds another sweep, or one without `resume`; or as the runs themselves raise.
        """
        with RunDirectory(out, recipe=self.recipe, resume=resume):
            book = LatencyBook(self.task.example_inputs())
            records: list[RunRecord] = []
            for position, seed in enumerate(self.seeds):
                logger.info("seed %d (%d of %d)", seed, position + 1, len(self.seeds))
                records += self._run_seed(out, seed, book)
            return records

    def _run_seed(self, out: Path, seed: int, book: LatencyBook) -> Iterator[RunRecord]:
        with self._directory(out, f"dense-s{seed}") as directory:
            trainer = Trainer(self.task, self.settings, seed=seed, directory=directory)
            schedule = self.dense_schedule(trainer.num_steps(self.dense_epochs))
            dense = train_dense(trainer, schedule)
            weights = {name: tensor.clone() for name, tensor in dense.model.state_dict().items()}
            yield self._finish(directory, trainer, dense.model, [dense.entry], book)
        for arm in self.arms:
            yield self._run_arm(out, arm, seed, dense, weights, book)
            logger.info("  %s", arm.label)

    def _run_arm(
        self, out: Path, arm: Arm, seed: int, dense: DenseResult, weights: dict[str, Any], book: LatencyBook
    ) -> RunRecord:
        with self._directory(out, f"{arm.id}-s{seed}") as directory:
            if (directory.path / FILE_NAME).exists():
                return load_record(directory.path / FILE_NAME)
            trainer = Trainer(self.task, self.settings, seed=seed, directory=directory)

            def fresh() -> nn.Module:
                model = trainer.model()
                model.load_state_dict(weights)
                return model

            result, trials = tuned(arm.imp, arm.rates, trainer, fresh, dense=dense.schedule)
            entries = [dense.entry, *trials, *result.entries]
            return self._finish(directory, trainer, result.model, entries, book, arm=arm, masks=result.masks)

    def _directory(self, out: Path, name: str) -> RunDirectory:
        return RunDirectory(out / "runs" / name, recipe=self.recipe, resume=True)

    def _finish(
        self,
        directory: RunDirectory,
        trainer: Trainer,
        model: nn.Module,
        entries: list[dict[str, Any]],
        book: LatencyBook,
        *,
        arm: Arm | None = None,
        masks: Masks | None = None,
    ) -> RunRecord:
        """Measure, save the model and write the record; a record that is there already is returned as it is."""
        if (directory.path / FILE_NAME).exists():
            return load_record(directory.path / FILE_NAME)
        task = self.task
        record = RunRecord(
            run_id=directory.path.name,
            arm=arm.label if arm else "dense",
            group=dict(arm.factors) if arm else {"method": "dense", "epochs": float(self.dense_epochs)},
            seed=trainer.seed,
            workload=task.name,
            metric=task.metric,
            higher_is_better=task.higher_is_better,
            quality=trainer.evaluate(model, task.test_set())[task.metric],
            validation=entries[-1]["validation"],
            cost=price(model, entries, book.latency(arm.id if arm else "dense", model), task.example_inputs()),
            curves=_joined_curves(entries),
            phases=[{key: value for key, value in entry.items() if key != "curve"} for entry in entries],
            env=environment(),
            command=self.command,
            recipe_hash=self.recipe_hash,
            notes=self._save_artefact(directory, model, masks),
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
        save_model(directory.path / "model", model, constructor=reference, kwargs=kwargs, edits=edits)
        return []


def _joined_curves(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The curves of consecutive phases on one axis of steps, epochs and seconds."""
    joined: list[dict[str, Any]] = []
    start = {"step": 0, "epoch": 0.0, "seconds": 0.0}
    for entry in entries:
        if "curve" not in entry or entry.get("kind") == "trial":
            continue
        for point in entry["curve"]:
            joined.append({**point, "phase": entry["phase"], **{key: point[key] + start[key] for key in start}})
        start = {
            "step": start["step"] + entry["steps"],
            "epoch": start["epoch"] + entry["epochs"],
            "seconds": start["seconds"] + entry["seconds"],
        }
    return joined
