"""The training that all models of a family share: elastic, with or without a centre that shrinks, then its tables.

Phases in the ledger: `elastic`, the training; `tables`, the losses measured after it. While the centre shrinks, a copy
of the weights is kept for every budget but the smallest: those of the centre when its footprint last exceeded the
budget, so that the search for that budget sees every profile that was still to be had. What is cut out for the smallest
budget starts from the final weights.
"""

import copy
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from time import perf_counter
from typing import Any

import torch
from torch import nn

from paretorch.errors import InputError
from paretorch.methods.distillation.logits import check_distillable, logits_of
from paretorch.methods.method import Method
from paretorch.methods.schedules import DenseSchedule
from paretorch.methods.width.allocation.costs import cost_of
from paretorch.methods.width.calibration import Calibration
from paretorch.methods.width.distillation import REMEDY
from paretorch.methods.width.dpod import DPOD, restored
from paretorch.methods.width.dpod_events import ShrinkPlan
from paretorch.methods.width.elastic import ElasticTraining
from paretorch.methods.width.groups import Profile, WidthGroups
from paretorch.methods.width.importance import unit_importance
from paretorch.methods.width.ordered import OrderedModel
from paretorch.methods.width.reorder import reorder_
from paretorch.methods.width.samplers import Independent, Sampler, Sandwich, SingleLayer, Uniform
from paretorch.methods.width.tables import Table, moved, sensitivity
from paretorch.pipelines.batches import training_batches
from paretorch.pipelines.dense import DenseResult
from paretorch.pipelines.elastic.calibration import calibration_of
from paretorch.pipelines.elastic.store import WeightStore
from paretorch.pipelines.elastic.widths import Widths
from paretorch.pipelines.phases import Phase, train_phase
from paretorch.pipelines.retraining import Retraining
from paretorch.training.devices import repeatable_cudnn
from paretorch.training.trainer import Trainer

SAMPLERS: dict[str, type[Sampler]] = {
    "single-layer": SingleLayer,
    "uniform": Uniform,
    "independent": Independent,
    "sandwich": Sandwich,
}


@dataclass(frozen=True, kw_only=True)
class ElasticWeights:
    """Weights from which models can be cut out.

    Attributes:
        name: "final", or "kept at" a fraction.
        model: at the centre that it had then, in tensors of that size.
        groups: of that model; its widest profile is the centre.
        tables: errors of narrower widths at that centre.
        shrunk: the centre that the training went on with; None at its end.
    """

    name: str
    model: nn.Module
    groups: WidthGroups
    tables: tuple[Table, ...]
    shrunk: Profile | None = None


@dataclass(frozen=True, kw_only=True)
class ElasticResult:
    """What an elastic training leaves: ledger entries, groups of the uncut model, how profiles are measured, weights.

    kept: by fraction of the footprint; fractions that were never reached are missing.
    """

    entries: Sequence[dict[str, Any]]
    groups: WidthGroups
    calibration: Calibration
    final: ElasticWeights
    kept: Mapping[float, ElasticWeights]


@dataclass(frozen=True, kw_only=True)
class ElasticRun:
    """How the shared model is trained.

    Args:
        epochs: of the elastic training.
        sampler: "single-layer", "uniform", "independent" or "sandwich".
        shrink: how far the centre shrinks; None leaves it at full widths.
        widths: which are allowed.
        full_pass: in every step the centre learns from labels and teaches the sampled profiles.
        training: its learning rates; SLR is the whole schedule of the dense run. And the batch-norm batches.
        from_dense: start from the dense model, its units in the order of their importance, instead of from scratch.
        calibration_examples: training examples on which profiles are measured.

    Raises:
        InputError: for an unknown sampler, or numbers out of range.
    """

    epochs: float
    sampler: str = "single-layer"
    shrink: ShrinkPlan | None = None
    widths: Widths = field(default_factory=Widths)
    full_pass: bool = False
    training: Retraining = field(default_factory=lambda: Retraining(schedule="SLR"))
    from_dense: bool = False
    calibration_examples: int = 1000

    def __post_init__(self) -> None:
        if self.sampler not in SAMPLERS:
            raise InputError(f"{self.sampler!r} is no sampler of widths; choose from {', '.join(SAMPLERS)}")
        if not self.epochs > 0:
            raise InputError(f"the elastic training needs a positive number of epochs; got {self.epochs}")
        self.training.check()
        self.training.refuse_teaching("the elastic training")
        if self.training.schedule.upper() == "ALLR":
            raise InputError("ALLR takes its rate from a cut that comes before; choose SLR, LLR or CLR")

    @property
    def key(self) -> str:
        """Names the training, the same for all models that share it."""
        described = asdict(self)
        for refused in ("distillation", "average_from"):  # folders are named as before there could be any
            del described["training"][refused]
        text = json.dumps(described, sort_keys=True)
        return f"elastic-{hashlib.sha256(text.encode()).hexdigest()[:8]}"

    def method_ids(self) -> list[str]:
        """Cards of the methods that act."""
        sampled = "universally-slimmable" if self.sampler == "sandwich" else "ordered-dropout"
        return [sampled, *(["dpod"] if self.shrink is not None else [])]

    def check(self, trainer: Trainer, model: nn.Module, *, dense: DenseSchedule) -> WidthGroups:
        """Refuse what `train` would refuse; the groups of the uncut model.

        Raises:
            InputError: saying what does not fit.
        """
        steps = trainer.num_steps(self.epochs)
        trainer.check_steps(steps, epochs=self.epochs, where="elastic training: ")
        self.training.check_schedules(dense, [steps])
        if self.full_pass:
            _check_teacher(trainer, model)
        groups = self.widths.groups(trainer, model)
        allowed = self.widths.grids(groups)
        if self.shrink is not None:
            self.shrink.check(groups, allowed, num_steps=steps)
        return groups

    def train(self, trainer: Trainer, dense: DenseResult) -> ElasticResult:
        """Train it, or load what an earlier process made of it.

        Raises:
            NotFiniteError: if a loss becomes NaN or infinite.
            RunError: if weights that were kept are gone from the directory.
        """
        model = copy.deepcopy(dense.model).to(trainer.device) if self.from_dense else trainer.model().to(trainer.device)
        groups = self.widths.groups(trainer, model)
        if self.from_dense:
            reorder_(model, groups, unit_importance(model, groups))
        measured = calibration_of(trainer, examples=self.calibration_examples, batches=self.training.reestimate_batches)
        uncut = copy.deepcopy(model)
        store = WeightStore(trainer.directory)
        method = self._method(groups, measured, store)
        steps = trainer.num_steps(self.epochs)
        schedule = self.training.build(steps, dense.schedule, 1.0)
        phase = Phase(name="elastic", num_steps=steps, schedule=schedule, methods=[method])
        facts = {**self.training.details(schedule, dense.schedule), "kind": "elastic", "sampler": self.sampler}
        entry, _ = train_phase(trainer, model, phase, details=facts)
        began = perf_counter()
        found: dict[float | None, tuple[nn.Module, WidthGroups]] = {None: (model, method.groups)}
        shrunk: dict[float | None, Profile] = {}
        for fraction in self._reached(groups, method.groups):
            own, kept = copy.deepcopy(uncut), store.load(fraction)
            found[fraction] = (own, restored(own, groups, kept))
            shrunk[fraction] = _after(method, kept["step"], found[fraction][1])
        tables, measured_entry = self._tables(trainer, groups, measured, found, method, began)
        weights = {
            fraction: ElasticWeights(
                name=_name(fraction),
                model=own,
                groups=narrow,
                tables=tables[_name(fraction)],
                shrunk=shrunk.get(fraction),
            )
            for fraction, (own, narrow) in found.items()
        }
        return ElasticResult(
            entries=[entry, measured_entry],
            groups=groups,
            calibration=measured,
            final=weights[None],
            kept={fraction: held for fraction, held in weights.items() if fraction is not None},
        )

    def _reached(self, groups: WidthGroups, final: WidthGroups) -> list[float]:
        """The fractions at which weights were kept, given the groups before and after the training."""
        if self.shrink is None:
            return []
        cost = cost_of(groups, self.shrink.key)
        return [part for part in self.shrink.keep_at if cost(final.full) <= part * cost(groups.full)]

    def _method(self, groups: WidthGroups, measured: Calibration, store: WeightStore) -> ElasticTraining:
        settings: dict[str, Any] = {
            "groups": groups,
            "quantum": self.widths.quantum,
            "min_ratio": self.widths.min_ratio,
            "full_pass": self.full_pass,
        }
        sampler = SAMPLERS[self.sampler]()
        if self.shrink is None:
            return ElasticTraining(sampler, **settings)
        return DPOD(self.shrink, calibration=measured, on_kept=store.save, sampler=sampler, **settings)

    def _tables(
        self,
        trainer: Trainer,
        groups: WidthGroups,
        measured: Calibration,
        found: Mapping[float | None, tuple[nn.Module, WidthGroups]],
        method: Method,
        began: float,
    ) -> tuple[dict[str, tuple[Table, ...]], dict[str, Any]]:
        """The tables of all weights by name, measured once, and their ledger entry."""
        directory = trainer.directory
        done = directory.finished("tables") if directory is not None else None
        if done is not None:
            return {name: tuple(map(_table, rows)) for name, rows in done["tables"].items()}, done
        allowed = self.widths.grids(groups)
        tables: dict[str, tuple[Table, ...]] = {}
        with repeatable_cudnn():
            for fraction, (model, narrow) in found.items():
                ordered = OrderedModel(model, narrow)
                tables[_name(fraction)] = sensitivity(
                    narrow, narrow.full, grids=allowed, losses_at=partial(measured.measured, ordered)
                )
        entry = {
            "phase": "tables",
            "kind": "tables",
            "tables": {name: [asdict(table) for table in rows] for name, rows in tables.items()},
            "events": getattr(method, "events", []),
            "trace": [entry.to_dict() for entry in getattr(method, "trace", [])],
            "stopped_by_tolerance": getattr(method, "stopped", False),
            "seconds": perf_counter() - began,
        }
        if directory is not None:
            directory.append(entry)
        return tables, entry


def _check_teacher(trainer: Trainer, model: nn.Module) -> None:
    """Refuse a task without class scores, from which a full pass makes soft targets; the model is left as it is."""
    check_distillable(trainer.task, remedy=REMEDY)
    own = copy.deepcopy(model).to(trainer.device).eval()
    for batch in training_batches(trainer, name="elastic-check", count=1, augmented=False):
        with torch.no_grad():
            logits_of(trainer.task, own, batch, remedy=REMEDY)


def _after(method: ElasticTraining, step: int, groups: WidthGroups) -> Profile:
    """The centre after the event at `step`, given the groups before it."""
    assert isinstance(method, DPOD)
    event = next(event for event in method.events if event["step"] == step)
    return moved(groups.full, groups.names.index(event["group"]), event["width"])


def _name(fraction: float | None) -> str:
    return "final" if fraction is None else f"kept at {fraction:g}"


def _table(row: Mapping[str, Any]) -> Table:
    """The table of a ledger line."""
    spread = None if row["spread"] is None else tuple(row["spread"])
    return Table(row["group"], tuple(row["widths"]), tuple(row["errors"]), spread)
