"""Distillation: the student also learns the softened outputs of a teacher, from the forward pass it makes anyway.

    L = (1 - a) CE(s, y) + a T^2 KL(p_T(t) || p_T(s)) + b F,      p_T(z) = softmax(z / T)

s, t: logits of student and teacher; the divergence is a mean over positions that have a label; F: `features`. Hinton,
Vinyals and Dean, "Distilling the knowledge in a neural network", arXiv 1503.02531, section 2. T^2 keeps the two terms
in proportion when T changes; for large T the gradient tends to (s - t) / classes, both centred. Costs one forward pass
of the teacher per micro-batch, on the same examples, without gradients, and the teacher's memory. Saves nothing itself.
"""

import copy
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from paretorch.errors import InputError
from paretorch.methods.card import Card, HyperParameter
from paretorch.methods.cost_model import Effect, Effects, LayerShape
from paretorch.methods.distillation.captured import Captured, submodule
from paretorch.methods.distillation.features import feature_distance
from paretorch.methods.distillation.logits import IGNORED, Given, check_distillable, logits_of
from paretorch.methods.distillation.objective import (
    ALPHA,
    FEATURE_WEIGHT,
    TEMPERATURE,
    check_settings,
    check_shapes,
    divergence,
)
from paretorch.methods.method import Method, Run, implements
from paretorch.methods.sparsity.costs import EPOCHS, WEIGHT_BYTES

REMEDY = "retrain without a teacher"


def _cost(layers: Sequence[LayerShape], _batch: int, settings: Mapping[str, Any]) -> Effects:
    """Per step: the teacher's forward pass and its weights, as multiples of the student's."""
    weights = sum(layer.num_weights for layer in layers)
    return {
        "flops_forward": Effect(factor=1 + settings["teacher_macs"]),
        "param_bytes": Effect(added=WEIGHT_BYTES * settings["teacher_weights"] * weights),
        "epochs": Effect(added=settings["epochs"]),
    }


CARD = Card(
    id="distillation",
    title="Knowledge distillation",
    summary="Trains on the softened outputs of a teacher beside the labels; hidden features can be matched too.",
    year=2015,
    references=(
        "Hinton, Vinyals and Dean, Distilling the knowledge in a neural network, arXiv 1503.02531, 2015, section 2",
    ),
    cells=(("objective", "retrofit"), ("derived data", "retrofit")),
    phase=("dense_train", "retrain", "finetune"),
    hooks=("forward", "loss"),
    composes_with=("magnitude", "masks", "group-importance"),
    relieves=("steps to target",),
    worsens=("compute", "memory capacity"),
    caveat="savings at inference are those of the student, which another method made smaller",
    cost="one forward pass of the teacher per micro-batch, its weights in memory, a second loss on the same outputs",
    cost_model=_cost,
    charges=("retraining epochs", "extra models", "extra forward passes"),
    realised_by="steps to target that fall by more than the teacher's share of a step",
    hyperparams=(
        HyperParameter(name="temperature", default=TEMPERATURE, low=1, high=100, scale="log"),
        HyperParameter(name="alpha", default=ALPHA, low=0, high=1),
        HyperParameter(name="feature_weight", default=FEATURE_WEIGHT, low=0, high=1000),
        HyperParameter(name="teacher_macs", default=1, low=0, high=10_000),
        HyperParameter(name="teacher_weights", default=1, low=0, high=10_000),
        EPOCHS,
    ),
    tuning_cost=2,
    quality_risk="low",
    invariants=(
        "gradients are those of the weighted sum of both terms, written out by hand",
        "for a high temperature the teacher's term matches centred logits",
        "alpha = 0 without features is plain training, bit by bit, and runs no teacher",
        "the student makes one forward pass per micro-batch",
        "the teacher keeps its weights, its buffers and its mode, and no checkpoint holds a tensor of it",
    ),
    evidence=("sparse_soups",),
)


class Distillation(Method):
    """The teacher's terms of the loss.

    Hooks: start (copy the teacher), before_forward and before_update (watch the student's forward pass), penalty
    (a (T^2 KL - CE) + b F, so that the sum with the task's own loss is L above), finish (let the teacher go). Touches
    the loss alone; a checkpoint holds a hash of the teacher and no tensor of it.

    The labels' term is computed again from the student's output, by the task's own loss: its reduction is the task's.
    What teaches is a copy, in evaluation mode and without gradients, so that the module that is given cannot change.

    Args:
        teacher: any module that the task's `logits` can call, with logits of the student's shape; it may be larger.
        temperature: T, positive; the default is ours.
        alpha: the teacher's part of the loss, in [0, 1]; the default is ours, after the advice of section 2 to give the
            labels the considerably lower weight.
        features: names of modules whose outputs are matched, which both models have.
        feature_weight: b, not negative.

    Raises:
        InputError: for a number out of range, a teacher that is no module, or a feature that is named twice or that it
            lacks. In training: for a task without class scores, a loss that calls the model more than once, or shapes
            that differ, before a weight moves; on resuming: for another teacher than before.
    """

    name = "distillation"

    def __init__(
        self,
        teacher: nn.Module,
        *,
        temperature: float = TEMPERATURE,
        alpha: float = ALPHA,
        features: Sequence[str] = (),
        feature_weight: float = FEATURE_WEIGHT,
    ) -> None:
        check_settings(temperature=temperature, alpha=alpha, features=features, feature_weight=feature_weight)
        if not isinstance(teacher, nn.Module):
            raise InputError(f"the teacher must be a torch module; got {type(teacher).__name__}")
        for name in features:
            submodule(teacher, name)
        self.teacher, self.temperature, self.alpha = teacher, temperature, alpha
        self.features, self.feature_weight = tuple(features), feature_weight
        self.teacher_passes = int(self.acts)
        if self.acts:
            self.step_key = f"taught by {sum(p.numel() for p in teacher.parameters())} {list(self.features)}"
        self._student: Captured | None = None
        self._teacher: nn.Module | None = None
        self._watched: Captured | None = None
        self._hash = ""

    @property
    def acts(self) -> bool:
        """Whether the teacher has any part in the loss."""
        return self.alpha > 0 or self._matches

    @property
    def _matches(self) -> bool:
        return bool(self.features) and self.feature_weight > 0

    def start(self, run: Run) -> None:
        if not self.acts:
            return
        check_distillable(run.task, remedy=REMEDY)
        others = getattr(run, "methods", ())
        if unequal := [m.name for m in others if implements(m, "weigh") or implements(m, "training_step")]:
            raise InputError(
                f"distillation weighs all examples alike, in the one forward pass of the trainer's own step; {unequal} "
                "weigh examples or own the step: use them in different phases"
            )
        for name in self.features:
            submodule(run.model, name)
        self._teacher = frozen_copy(self.teacher, run.device)
        self._watched = Captured(self._teacher, self.features)
        self._hash = state_hash(self._teacher)

    def before_forward(self, run: Run) -> None:
        if self.acts:
            self._release()
            self._student = Captured(run.model, self.features)

    def penalty(self, run: Run) -> Tensor | None:
        if not self.acts:
            return None
        assert self._student is not None
        assert self._teacher is not None
        assert self._watched is not None
        output, mine = self._student.take(f"the loss of {type(run.task).__name__}", remedy=REMEDY)
        with torch.no_grad():
            targets = logits_of(run.task, self._teacher, run.batch, remedy=REMEDY)
        _, its = self._watched.take(f"`logits` of {type(run.task).__name__}", remedy=REMEDY)
        terms = []
        if self.alpha > 0:
            terms.append(self.alpha * (self._soft(run, Given(output), targets) - self._hard(run, Given(output))))
        if self._matches:
            terms.append(self.feature_weight * feature_distance(mine, its))
        return sum(terms[1:], terms[0])

    def before_update(self, run: Run) -> None:
        self._release()

    def finish(self, run: Run) -> None:
        self._release()
        if self._watched is not None:
            self._watched.close()
        self._teacher = self._watched = None

    def state_dict(self) -> dict[str, Any]:
        return {"teacher": self._hash}

    def load_state_dict(self, run: Run, state: dict[str, Any]) -> None:
        if state["teacher"] != self._hash:
            raise InputError(
                "the checkpoint was written with another teacher: its weights differ from those of this one; give the "
                "same teacher, or start again in an empty directory"
            )

    def _soft(self, run: Run, student: nn.Module, targets: Tensor) -> Tensor:
        logits = logits_of(run.task, student, run.batch, remedy=REMEDY)
        labelled = run.task.labels(run.batch) != IGNORED
        check_shapes(logits, targets, labelled)
        return self.temperature**2 * divergence(logits[labelled], targets[labelled], temperature=self.temperature)

    def _hard(self, run: Run, student: nn.Module) -> Tensor:
        loss: Tensor = run.task.loss(student, run.batch, "mean")
        return loss

    def _release(self) -> None:
        if self._student is not None:
            self._student.close()
        self._student = None


def frozen_copy(model: nn.Module, device: torch.device) -> nn.Module:
    """A copy on `device`, in evaluation mode and without gradients."""
    return copy.deepcopy(model).to(device).eval().requires_grad_(False)


def state_hash(model: nn.Module) -> str:
    """A hash of all parameters and buffers, by name and bit by bit."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()
