"""How a student is taught while it is retrained: the settings of `Distillation`, and the checks before training."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from paretorch.errors import InputError
from paretorch.methods.distillation.captured import Captured
from paretorch.methods.distillation.features import feature_distance
from paretorch.methods.distillation.logits import IGNORED, Given, check_distillable, logits_of
from paretorch.methods.distillation.objective import (
    ALPHA,
    FEATURE_WEIGHT,
    TEMPERATURE,
    check_settings,
    check_shapes,
)
from paretorch.methods.distillation.teacher import REMEDY, Distillation, frozen_copy


@dataclass(frozen=True, kw_only=True)
class DistillationSettings:
    """Who teaches, and how; see `Distillation` for the numbers.

    Args:
        teacher: any module of the same task; None is the dense model that was compressed. The training of a teacher
            that is given is not charged to the student; its forward passes are.
        temperature, alpha, features, feature_weight: as in `Distillation`.

    Raises:
        InputError: as `Distillation`.
    """

    teacher: nn.Module | None = None
    temperature: float = TEMPERATURE
    alpha: float = ALPHA
    features: Sequence[str] = ()
    feature_weight: float = FEATURE_WEIGHT

    def __post_init__(self) -> None:
        check_settings(
            temperature=self.temperature,
            alpha=self.alpha,
            features=self.features,
            feature_weight=self.feature_weight,
        )
        if self.teacher is not None and not isinstance(self.teacher, nn.Module):
            raise InputError(f"the teacher must be a torch module; got {type(self.teacher).__name__}")

    def method(self, dense: nn.Module) -> Distillation:
        """The method for one phase; `dense` teaches unless there is another teacher."""
        return Distillation(
            dense if self.teacher is None else self.teacher,
            temperature=self.temperature,
            alpha=self.alpha,
            features=self.features,
            feature_weight=self.feature_weight,
        )

    def check(self, task: Any, student: nn.Module, dense: nn.Module, batch: Any, *, device: torch.device) -> None:
        """Refuse what training would refuse; all modules are left as they are.

        Args:
            task: what is learned.
            student: of the shape in which it is taught.
            dense: the dense model or one of its shape, which teaches unless there is another teacher.
            batch: prepared, on `device`.
            device: where to compute.

        Raises:
            InputError: for a task without class scores, a loss that calls the model more than once, or shapes that
                differ, by the name of the module.
        """
        check_distillable(task, remedy=REMEDY)
        models = [frozen_copy(model, device) for model in (student, self.method(dense).teacher)]
        watched = [Captured(model, self.features) for model in models]
        owner = type(task).__name__
        with torch.no_grad():
            task.loss(models[0], batch, "mean")
            output, mine = watched[0].take(f"the loss of {owner}", remedy=REMEDY)
            logits = logits_of(task, Given(output), batch, remedy=REMEDY)
            targets = logits_of(task, models[1], batch, remedy=REMEDY)
            _, its = watched[1].take(f"`logits` of {owner}", remedy=REMEDY)
            check_shapes(logits, targets, task.labels(batch) != IGNORED)
            if self.features:
                feature_distance(mine, its)

    def details(self) -> dict[str, Any]:
        """For the ledger."""
        given = self.teacher
        who = "dense" if given is None else f"{type(given).__name__}, {sum(p.numel() for p in given.parameters())}"
        return {
            "teacher": who if given is None else f"{who} parameters, whose own training is not counted",
            "temperature": self.temperature,
            "alpha": self.alpha,
            "features": list(self.features),
            "feature_weight": self.feature_weight,
        }
