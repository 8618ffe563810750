"""What a finished run leaves behind: measured, described and written, once for sweeps and for comparisons.

A run directory holds `record.json`, which the verdict and the report read, and `model/`, the artefact.
"""

import copy
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, reduce
from pathlib import Path
from typing import Any

from torch import nn

from paretorch.artefacts.edits import Edit
from paretorch.artefacts.model import save_model
from paretorch.evidence.records import FILE_NAME, RunRecord, load_record, save_record
from paretorch.measurement.energy.reading import EnergyReading
from paretorch.measurement.environment import environment
from paretorch.pipelines.counted_step import counted_step
from paretorch.pipelines.pricing import compare_latency, price
from paretorch.pipelines.target_hits import target_hits
from paretorch.training.data import Head
from paretorch.training.run import RunDirectory
from paretorch.training.side_effects import side_effects
from paretorch.training.task import Task
from paretorch.training.trainer import Trainer

logger = logging.getLogger("paretorch")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who a run is, for its record; see `RunRecord` for the fields.

    Attributes:
        label: of the arm.
        factors: of the arm.
        others: fields of the record beyond these, such as family, role, methods, duration and tuning.
    """

    label: str
    factors: Mapping[str, Any]
    others: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """A model at the end of a run, and where it comes from.

    Attributes:
        model: finished.
        entries: ledger lines of all phases that led to it.
        edits: what turns a fresh model of the task into one of this shape with these zeros.
        dense: the model that it is a compressed version of, for what compression changed; None for a dense model.
        notes: what readers of this record must know.
    """

    model: nn.Module
    entries: Sequence[dict[str, Any]]
    edits: tuple[Edit, ...] = ()
    dense: nn.Module | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RunWriter:
    """Measures finished runs and writes their records.

    Attributes:
        task: what was learned.
        recipe: canonical text; a folder is only resumed with the same text.
        recipe_hash: of that text.
        command: repeats the whole.
        notes: what readers of every record must know.
        trained: the task with the model that was trained, where it is a variant of `task` with another model.
    """

    task: Task
    recipe: str
    recipe_hash: str
    command: str
    notes: Sequence[str] = ()
    trained: Task | None = None

    def directory(self, out: Path, name: str, *, wait_s: float = 0.0) -> RunDirectory:
        """The folder of one run below `out`."""
        return RunDirectory(out / "runs" / name, recipe=self.recipe, resume=True, wait_s=wait_s)

    def finished(self, directory: RunDirectory) -> RunRecord | None:
        """The record of a run that was written before, or None."""
        return load_record(directory.path / FILE_NAME) if (directory.path / FILE_NAME).exists() else None

    def finish(
        self, directory: RunDirectory, trainer: Trainer, trained: Trained, identity: Identity, *, timed: bool
    ) -> RunRecord:
        """Measure, save the model and write the record; a record that is there already is returned as it is.

        Args:
            directory: of the run.
            trainer: that trained it.
            trained: what came of it.
            identity: who it is.
            timed: also measure latency, beside the dense model where there is one.
        """
        if (record := self.finished(directory)) is not None:
            return record
        model, dense, entries = trained.model, trained.dense, list(trained.entries)
        inputs = self.task.example_inputs()
        changed: dict[str, Any] = {}
        if dense is not None:
            changed = side_effects(self.task, trainer, dense=dense, candidate=model)
            if timed:
                entries.append(compare_latency(_on_cpu(dense), _on_cpu(model), inputs))
        return self._write(
            directory,
            trainer.seed,
            entries,
            identity,
            quality=trainer.evaluate(model, self.task.test_set())[self.task.metric],
            train_quality=self._train_quality(trainer, model),
            references=self._references,
            validation=[entry["validation"] for entry in entries if "validation" in entry][-1],
            cost=price(_on_cpu(model), entries, inputs, latency=timed).to_dict(),
            side_effects=changed,
            **counted_step(trainer, model),
            notes=[*self.notes, *trained.notes, *self._save_artefact(directory, model, trained.edits)],
        )

    def diverged(
        self,
        directory: RunDirectory,
        seed: int,
        entries: Sequence[dict[str, Any]],
        identity: Identity,
        *,
        error: Exception,
    ) -> RunRecord:
        """The record of a run that ended in a number that is not finite."""
        return self._write(directory, seed, entries, identity, status="diverged", notes=[f"diverged: {error}"])

    @cached_property
    def _references(self) -> dict[str, float]:
        """The task's references, which some tasks train or sample something for: once, not per run."""
        return self.task.references()

    @cached_property
    def _task(self) -> dict[str, Any]:
        examples = [len(part) for part in (self.task.train_set(), self.task.eval_set(), self.task.test_set())]
        return self.task.describe() | {"examples": examples}

    def _train_quality(self, trainer: Trainer, model: nn.Module) -> float | None:
        """The metric on the first training examples, as they are stored; None if the task wants none."""
        sample = self.task.train_sample
        return trainer.evaluate(model, Head(trainer.train_set, sample))[self.task.metric] if sample else None

    def _write(
        self,
        directory: RunDirectory,
        seed: int,
        entries: Sequence[dict[str, Any]],
        identity: Identity,
        **outcome: Any,
    ) -> RunRecord:
        env: dict[str, Any] = environment()
        curves = _joined_curves(entries)
        record = RunRecord(
            run_id=directory.path.name,
            arm=identity.label,
            group=dict(identity.factors),
            seed=seed,
            workload=self.task.name,
            metric=self.task.metric,
            higher_is_better=self.task.higher_is_better,
            curves=curves,
            hits=target_hits(curves, self._references, higher_is_better=self.task.higher_is_better),
            phases=[{key: value for key, value in entry.items() if key != "curve"} for entry in entries],
            env=env,
            command=self.command,
            recipe_hash=self.recipe_hash,
            task=self._task,
            step_time=_last_step_time(entries),
            overhead=_overhead(entries),
            energy=_energy(entries),
            code_rev=f"paretorch {env['packages'].get('paretorch', 'not installed')}",
            **identity.others,
            **outcome,
        )
        save_record(record, directory.path / FILE_NAME)
        return record

    def _save_artefact(self, directory: RunDirectory, model: nn.Module, edits: Sequence[Edit]) -> list[str]:
        """Write `model/`; a note instead if the model's constructor cannot be named."""
        constructor = (self.trained or self.task).constructor()
        if constructor is None:
            return [
                "no artefact was written: the task does not name its model's constructor (give a module-level class or "
                "function, or functools.partial of one, as `model`)"
            ]
        reference, kwargs = constructor
        save_model(
            directory.path / "model",
            _on_cpu(model),
            constructor=reference,
            kwargs=kwargs,
            edits=list(edits),
            example_inputs=self.task.example_inputs(),
        )
        return []


def _on_cpu(model: nn.Module) -> nn.Module:
    """The model in evaluation mode, copied if it lives on an accelerator."""
    on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
    return model.eval() if on_cpu else copy.deepcopy(model).cpu().eval()


def _joined_curves(entries: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
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


def _last_step_time(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    found = [entry["step_time"] for entry in entries if entry.get("step_time") and entry.get("kind") != "trial"]
    return dict(found[-1]) if found else {}


def _overhead(entries: Sequence[dict[str, Any]]) -> dict[str, float]:
    total: dict[str, float] = {}
    for entry in entries:
        for name, seconds in entry.get("overhead", {}).items():
            total[name] = total.get(name, 0.0) + seconds
    return total


def _energy(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Of all training together; {} unless every phase was measured."""
    readings = [entry.get("energy") for entry in entries if entry.get("steps") and entry.get("kind") != "trial"]
    known = [EnergyReading.from_dict(reading) for reading in readings if reading]
    return reduce(EnergyReading.plus, known).to_dict() if known and len(known) == len(readings) else {}
