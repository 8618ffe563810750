"""One step of a pipeline that cuts units out of a model: which, how hard the norm fell, quality before and after.

The step is a function of the weights alone, so a resumed run does it again instead of storing it, and checks that the
units are those of the ledger.
"""

import copy
import hashlib
import json
import math
import time
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.schedules import norm_drop, removed_square, total_square
from paretorch.methods.sparsity.prunable import prunable_parameters
from paretorch.methods.width.cutting import Cut, plan_cut
from paretorch.methods.width.groups import WidthGroups
from paretorch.methods.width.importance import Importance, Kind, unit_importance
from paretorch.methods.width.keeping import keep_within
from paretorch.methods.width.tracing import find_groups
from paretorch.pipelines.batches import training_batches
from paretorch.pipelines.phases import check_recorded
from paretorch.pipelines.retraining import Retraining, reestimate
from paretorch.training.trainer import Trainer

CALIBRATION_BATCHES = 8  # for scores that need data


@dataclass(frozen=True, kw_only=True)
class Units:
    """Which units stay.

    Args:
        params: at most this fraction of the parameters, in (0, 1].
        macs: at most this fraction of the MACs of one example, in (0, 1].
        width: this fraction of the units, in (0, 1], as `paretorch.methods.width.keeping` spreads them.
        spread: "uniform" (the same fraction of every group) or "global" (one ranking of all units).
        importance: by what units are ranked.
        round_to: widths are multiples of it.
        pins: name patterns of layers that are left as they are.

    Raises:
        InputError: without a budget, or for a number out of range.
    """

    params: float | None = None
    macs: float | None = None
    width: float | None = None
    spread: Literal["uniform", "global"] = "uniform"
    importance: Kind = "l2"
    round_to: int = 1
    pins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.budgets():
            raise InputError("say what stays: params, macs or width, each a fraction of the dense model's")
        for name, value in self.budgets().items():
            if not 0 < value <= 1:
                raise InputError(f"{name} is the fraction that stays, in (0, 1]; got {value}. For half pass 0.5")
        if self.spread not in ("uniform", "global"):
            raise InputError(f"spread must be 'uniform' or 'global'; got {self.spread!r}")
        if self.importance not in get_args(Kind):
            raise InputError(f"importance must be one of {', '.join(get_args(Kind))}; got {self.importance!r}")
        if type(self.round_to) is not int or self.round_to < 1:
            raise InputError(f"round_to is a number of units of at least 1; got {self.round_to!r}")

    def budgets(self) -> dict[str, float]:
        """The fractions that are given, by name."""
        given = {"params": self.params, "macs": self.macs, "width": self.width}
        return {name: value for name, value in given.items() if value is not None}

    def groups(self, trainer: Trainer, model: nn.Module) -> WidthGroups:
        """What can be cut in `model`.

        Raises:
            InputError: as `find_groups`: if nothing can be cut, with the reasons, or for a pin that matches nothing.
        """
        return find_groups(model, trainer.task.example_inputs(), pins=self.pins)

    def keep(self, groups: WidthGroups, importance: Importance) -> tuple[Tensor, ...]:
        """The units of each group that stay.

        Raises:
            InputError: if no model of this family is so small, with the smallest value that one has.
        """
        return keep_within(
            groups,
            importance,
            params=_cap(self.params, groups.num_params(groups.full)),
            macs=_cap(self.macs, groups.num_macs(groups.full)),
            ratio=self.width,
            spread=self.spread,
            round_to=self.round_to,
        )


def _cap(fraction: float | None, whole: int) -> int | None:
    return None if fraction is None else math.floor(Fraction(str(fraction)) * whole)


class CuttingStep:
    """Cuts the model of `trainer` in place.

    Args:
        name: of the phase in the ledger.
        units: which stay.
        retraining: whose norm scope and batch-norm batches hold.
    """

    def __init__(self, trainer: Trainer, model: nn.Module, *, name: str, units: Units, retraining: Retraining) -> None:
        self.trainer, self.model, self.name, self.units, self.retraining = trainer, model, name, units, retraining

    def cut(self) -> tuple[Cut, dict[str, Any]]:
        """Cut what is not to stay; what was cut, and the ledger entry."""
        began = time.perf_counter()
        groups = self.units.groups(self.trainer, self.model)
        keep = self.units.keep(groups, self._importance(groups))
        cut = plan_cut(groups, keep)
        norms = self._norms(cut)
        cut.apply_(self.model)
        seconds = time.perf_counter() - began
        directory = self.trainer.directory
        done = directory.finished(self.name) if directory is not None else None
        raw = self._validation() if done is None else None
        began = time.perf_counter()
        layers = reestimate(self.trainer, self.model, name=self.name, count=self.retraining.reestimate_batches)
        seconds += time.perf_counter() - began
        if done is not None:
            check_recorded(done, cut_hash=hash_of(cut), found=f"{self.name} selects other units")
            return cut, done
        profile = tuple(len(units) for units in keep)
        entry = {
            "phase": self.name,
            "kind": "cut",
            "widths": [
                {"group": group.name, "width": width, "full": group.size}
                for group, width in zip(groups.groups, profile, strict=True)
            ],
            "params": groups.num_params(profile),
            "params_full": groups.num_params(groups.full),
            "macs": groups.num_macs(profile),
            "macs_full": groups.num_macs(groups.full),
            **norms,
            "validation_raw": raw,
            "validation_reestimated": self._validation() if layers else None,
            "batchnorm_layers": layers,
            "seconds": seconds,
            "cut_hash": hash_of(cut),
        }
        if directory is not None:
            directory.append(entry)
        return cut, entry

    def _importance(self, groups: WidthGroups) -> Importance:
        task, kind = self.trainer.task, self.units.importance
        if kind not in ("taylor", "activation"):
            return unit_importance(self.model, groups, kind=kind)
        batches = training_batches(self.trainer, name=self.name, count=CALIBRATION_BATCHES, augmented=False)
        if kind == "taylor":
            return unit_importance(self.model, groups, kind=kind, batches=batches, loss=task.loss)
        return unit_importance(self.model, groups, kind=kind, batches=batches, forward=task.loss)

    def _norms(self, cut: Cut) -> dict[str, Any]:
        """d1 of the cut, from which ALLR takes its rate: the entries of prunable weights that go, as if pruned.

        d1 = |W_gone| / (|W| sqrt(s)), s = entries that go / entries of the prunable weights. A unit takes its row of
        the weights that make it and its column of those that read it. The norm is that of the model before the cut.
        """
        weights = prunable_parameters(self.model)
        stays = {name: _stays(weight, cut.slices.get(name, {})) for name, weight in weights.items()}
        scope = self.retraining.norm_scope
        total = total_square(self.model, names=list(weights), scope=scope)
        removed = removed_square(weights, kept_before=None, kept_after=stays)
        entries = sum(mask.numel() for mask in stays.values())
        fraction = 1 - sum(int(mask.count_nonzero()) for mask in stays.values()) / entries
        return {
            "fraction": fraction,
            "norm": total**0.5,
            "removed_norm": removed**0.5,
            "norm_scope": scope,
            "d1": norm_drop(total_square=total, removed_square=removed, fraction=fraction),
        }

    def _validation(self) -> float:
        return self.trainer.evaluate(self.model)[self.trainer.task.metric]


def hash_of(cut: Cut) -> str:
    """A content hash of what a cut removes."""
    return hashlib.sha256(json.dumps(cut.to_dict(), sort_keys=True).encode()).hexdigest()


def cut_fresh(units: Units, trainer: Trainer) -> nn.Module:
    """A fresh model of the task with the widths that a uniform cut leaves, whichever units these are."""
    model = copy.deepcopy(trainer.model())
    groups = units.groups(trainer, model)
    plan_cut(groups, units.keep(groups, equal_importance(groups))).apply_(model)
    return model


def equal_importance(groups: WidthGroups) -> Importance:
    """One for every unit, for what does not depend on which units stay."""
    return tuple(torch.ones(size, dtype=torch.float64) for size in groups.full)


def _stays(weight: Tensor, slices: Any) -> Tensor:
    """Which entries of a weight are left by a cut, bool, of its shape."""
    mask = torch.ones(weight.shape, dtype=torch.bool)
    for dim, kept in slices.items():
        along = torch.zeros(weight.shape[dim], dtype=torch.bool)
        along[kept.index] = True
        mask &= along.view([-1 if d == dim else 1 for d in range(weight.dim())])
    return mask
