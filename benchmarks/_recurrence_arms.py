"""The arms of `implicit_recurrence`: one stack of layers, sharing its weights in different ways."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from _recurrence_words import HARD, PENALTY, SOFT, UNSHARED, WEAK
from torch import nn

from paretorch.methods.schedules import Linear
from paretorch.methods.sharing.fold import THRESHOLD, fold_
from paretorch.methods.sharing.soft_sharing import SoftSharing
from paretorch.methods.sharing.tied import tie_by_name_
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.tasks.grids.grid_paths import GridPaths
from paretorch.training.trainer import Trainer

PATTERN_SEED = 1000  # of the first pattern's training: no arm has it


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What all arms share.

    Attributes:
        options: of the task.
        epochs: of one training.
        batch_size: grids per step.
        lr: of Adam; falls to 0 in a straight line.
        templates: of soft sharing.
        strengths: of the penalty at the end of its ramp, by arm.
        seeds: paired.
        patterns: of the random search, each trained once.
    """

    options: dict[str, Any] = field(default_factory=dict)
    epochs: float = 10
    batch_size: int = 50
    lr: float = 0.03
    templates: int = 4
    strengths: Mapping[str, float] = field(default_factory=lambda: {SOFT: 0.0, WEAK: 0.01, PENALTY: 0.1})
    seeds: tuple[int, ...] = tuple(range(10, 20))
    patterns: int = 16

    def trainer(self, seed: int) -> Trainer:
        """Without a directory."""
        settings = TrainSettings(
            batch_size=self.batch_size,
            optimizer=OptimizerSpec(name="adam", lr=self.lr),
            clip_norm=1.0,
            device="cpu",
            evaluate_epochs=1000,
            checkpoint_seconds=1e6,
        )
        return Trainer(GridPaths(**self.options), settings, seed=seed)


FULL = Budget()
QUICK = Budget(
    options={"size": 4, "test_size": 6, "reach": 3, "layers": 3, "channels": 4, "num_examples": 80},
    epochs=2,
    batch_size=20,
    templates=2,
    seeds=(0, 1, 2),
    patterns=3,
)


def run_arm(budget: Budget, arm: str, seed: int) -> dict[str, Any]:
    """Train once; see `_trained`. Soft arms also say how similar layers became and what folding made of them."""
    trainer = budget.trainer(seed)
    model = trainer.model()
    if arm == UNSHARED:
        return _trained(budget, trainer, model)
    if arm == HARD:
        tie_by_name_(model, [stack_of(model)], scaled=())
        return _trained(budget, trainer, model)
    sharing = SoftSharing(
        templates=budget.templates, groups={"stack": stack_of(model)}, unit_rows=True, recurrence=budget.strengths[arm]
    )
    found = _trained(budget, trainer, model, sharing)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that folding stores more: the counts are in the result
        folding = fold_(model, threshold=THRESHOLD)
    return found | {
        "similarity": sharing.similarities["stack"].mean,
        "weights": len(folding.clusters),
        "folded": trainer.evaluate(model, trainer.task.test_set())["accuracy"],
        "folded_parameters": folding.params_after,
    }


def run_pattern(budget: Budget, number: int) -> dict[str, Any]:
    """Train one sharing pattern once."""
    trainer = budget.trainer(PATTERN_SEED + number)
    model = trainer.model()
    names = stack_of(model)
    labels = random_pattern(len(names), generator=torch.Generator().manual_seed(number))
    clusters = [
        [name for name, label in zip(names, labels, strict=True) if label == own] for own in dict.fromkeys(labels)
    ]
    tie_by_name_(model, clusters, scaled=())
    return _trained(budget, trainer, model) | {"weights": len(clusters)}


def random_pattern(layers: int, *, generator: torch.Generator) -> list[int]:
    """Which weight each layer has: how many there are at most is drawn uniformly, then one of them for each layer.

    Uniform over all patterns would hardly ever draw one with few weights.
    """
    number = int(torch.randint(1, layers + 1, (), generator=generator))
    labels: list[int] = torch.randint(number, (layers,), generator=generator).tolist()
    return labels


def stack_of(model: nn.Module) -> list[str]:
    """Names of the layers that may share."""
    return [f"layers.{number}" for number in range(len(model.get_submodule("layers")))]


def _trained(budget: Budget, trainer: Trainer, model: nn.Module, *methods: SoftSharing) -> dict[str, Any]:
    """Accuracy on grids of the size of training and on larger ones, larger grids without a mistake, what it took."""
    steps = trainer.num_steps(budget.epochs)
    schedule = Linear(num_steps=steps, peak=budget.lr)
    done = trainer.fit(model, phase="dense", num_steps=steps, schedule=schedule, methods=list(methods))
    larger = trainer.evaluate(model, trainer.task.test_set())
    return {
        "small": done.validation["accuracy"],
        "larger": larger["accuracy"],
        "solved": larger["solved"],
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "samples": done.samples,
    }
