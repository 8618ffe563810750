"""Structured continuous sparsification as one budgeted operation: train with gates, cut what they shut, done.

There is no retraining: the gates are binary at the end of the one phase, which starts from scratch or from the dense
model. Phases in the ledger: `gates`, the training; `cut`, the widths it found, and quality with re-estimated batch-norm
statistics.
"""

import copy
import time
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Self

from torch import nn

from paretorch.artefacts.cut_edit import CutEdit
from paretorch.errors import InputError
from paretorch.methods.schedules import DenseSchedule
from paretorch.methods.width.cutting import Cut
from paretorch.methods.width.groups import WidthGroups
from paretorch.methods.width.structured_continuous import StructuredContinuous
from paretorch.methods.width.tracing import find_groups
from paretorch.pipelines.compression import Compressed, Compression, Start
from paretorch.pipelines.cutting_step import hash_of
from paretorch.pipelines.phases import Phase, check_recorded, train_phase
from paretorch.pipelines.retraining import Retraining, budget_steps, budget_words, check_budget, reestimate
from paretorch.training.trainer import Trainer


@dataclass(frozen=True, kw_only=True)
class GateSettings:
    """The gates; see `StructuredContinuous` for the fields.

    Attributes:
        pins: name patterns of layers that are left as they are.
    """

    target: float
    cost: Literal["macs", "params"] = "macs"
    window: int = 50
    open_ratio: float = 1.0
    final_beta: float = 200.0
    strength: float = 60.0
    lr: float = 0.1
    pins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self.method(None)

    def groups(self, trainer: Trainer, model: nn.Module) -> WidthGroups:
        """What can be cut in `model`."""
        return find_groups(model, trainer.task.example_inputs(), pins=self.pins)

    def method(self, groups: WidthGroups | None) -> StructuredContinuous:
        """The method for a model of these groups."""
        return StructuredContinuous(
            target=self.target,
            cost=self.cost,
            groups=groups,
            window=self.window,
            open_ratio=self.open_ratio,
            final_beta=self.final_beta,
            strength=self.strength,
            lr=self.lr,
        )


@dataclass(frozen=True, kw_only=True)
class StructuredRun(Compression):
    """Train with gates within a budget, and leave a smaller plain model.

    Args:
        gates: how the widths are found.
        epochs: of the training, or None if `minutes` is given.
        minutes: time of training steps of the uncut model; turned into steps once, by timing a few on this machine.
        training: its learning rates; SLR is the whole schedule of the dense run. And the batch-norm batches.
        from_dense: start from the dense model instead of from scratch.

    Raises:
        InputError: for numbers out of range, an unknown schedule, ALLR, or both or neither of `epochs` and `minutes`.
    """

    gates: GateSettings
    epochs: float | None = None
    minutes: float | None = None
    training: Retraining = field(default_factory=lambda: Retraining(schedule="SLR"))
    from_dense: bool = False

    def __post_init__(self) -> None:
        check_budget(self.epochs, self.minutes)
        if self.epochs == 0 or self.minutes == 0:
            raise InputError("gates are found by training; a budget of 0 finds none")
        self.training.check()
        self.training.refuse_teaching("training with gates")
        if self.training.schedule.upper() == "ALLR":
            raise InputError("ALLR takes its rate from a cut that comes before; with gates choose SLR, LLR or CLR")

    def method_ids(self) -> list[str]:
        return ["structured-cs", *self.training.method_ids()]

    def plan(self, trainer: Trainer) -> tuple[str, int | None]:
        words, steps = budget_words(trainer, epochs=self.epochs, minutes=self.minutes)
        name = {"macs": "MACs", "params": "parameters"}[self.gates.cost]
        origin = "the dense model" if self.from_dense else "scratch"
        return f"train with gates from {origin} to about {100 * self.gates.target:.4g} % of the {name}, {words}", steps

    def check(self, trainer: Trainer, model: nn.Module, *, dense: DenseSchedule) -> None:
        if self.epochs is not None:
            where = "gates are found by training: "
            trainer.check_steps(trainer.num_steps(self.epochs), epochs=self.epochs, where=where)
        self.training.check_schedules(dense, [0 if self.epochs is None else trainer.num_steps(self.epochs)])
        self.gates.method(None).check_model(model, self.gates.groups(trainer, model))

    def at_rate(self, rate: float) -> Self:
        return replace(self, training=replace(self.training, lr=rate))

    def run_from(self, trainer: Trainer, start: Start) -> Compressed:
        model = copy.deepcopy(start.model) if self.from_dense else trainer.model()
        model.to(trainer.device)
        groups = self.gates.groups(trainer, model)
        steps = budget_steps(trainer, model, epochs=self.epochs, minutes=self.minutes)
        schedule = self.training.build(steps, start.schedule, 1.0)
        method = self.gates.method(groups)
        trained, _ = train_phase(
            trainer,
            model,
            Phase(name="gates", num_steps=steps, schedule=schedule, methods=[method]),
            details={**self.training.details(schedule, start.schedule), "kind": "gates"},
        )
        assert method.cut is not None  # the phase has finished
        entry = self._cut(trainer, model, groups, method)
        edits = (*start.edits, CutEdit(method.cut)) if method.cut != Cut() else start.edits
        return Compressed(model=model, entries=[trained, entry], edits=edits)

    def _cut(
        self, trainer: Trainer, model: nn.Module, groups: WidthGroups, method: StructuredContinuous
    ) -> dict[str, Any]:
        """Statistics of the cut model, and the ledger entry."""
        directory = trainer.directory
        done = directory.finished("cut") if directory is not None else None
        assert method.cut is not None
        raw = self._validation(trainer, model) if done is None else None
        began = time.perf_counter()
        layers = reestimate(trainer, model, name="cut", count=self.training.reestimate_batches)
        seconds = time.perf_counter() - began
        if done is not None:
            check_recorded(done, cut_hash=hash_of(method.cut), found="the gates leave other units")
            return done
        profile = tuple(map(len, method.gates.staying()))
        entry = {
            "phase": "cut",
            "kind": "cut",
            "widths": [
                {"group": group.name, "width": width, "full": group.size}
                for group, width in zip(groups.groups, profile, strict=True)
            ],
            "seconds": seconds,
            "params": groups.num_params(profile),
            "params_full": groups.num_params(groups.full),
            "macs": groups.num_macs(profile),
            "macs_full": groups.num_macs(groups.full),
            "undecided": method.undecided(),
            "ungated": method.gated.ungated,
            "validation_raw": raw,
            "validation_reestimated": self._validation(trainer, model) if layers else None,
            "validation": self._validation(trainer, model),
            "batchnorm_layers": layers,
            "cut_hash": hash_of(method.cut),
        }
        if directory is not None:
            directory.append(entry)
        return entry

    def _validation(self, trainer: Trainer, model: nn.Module) -> float:
        return trainer.evaluate(model)[trainer.task.metric]
