"""The arms of `gradual_pruning`: each trains from scratch for the same epochs, and says what zeros it left.

STR and DST reach a sparsity that follows from a setting, and LC is as strong as the weight decay. For them `search`
trains once per value and reads validation accuracy after what is missing to each sparsity was pruned; the arms then use
the best value for theirs.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

from _gradual_words import BUDGETED, DENSE, SPARSITIES

from paretorch.artefacts.mask_edit import combined_masks
from paretorch.methods.schedules import DenseSchedule, Linear
from paretorch.methods.sparsity.gradual.base import GradualMethod
from paretorch.methods.sparsity.gradual.dnw import DNW
from paretorch.methods.sparsity.gradual.dpf import DPF
from paretorch.methods.sparsity.gradual.dst import DST
from paretorch.methods.sparsity.gradual.gmp import GMP
from paretorch.methods.sparsity.gradual.gsm import GSM
from paretorch.methods.sparsity.gradual.lc import LC
from paretorch.methods.sparsity.gradual.rigl import RigL
from paretorch.methods.sparsity.gradual.soft_threshold import SoftThreshold
from paretorch.pipelines.bimp import BIMP
from paretorch.pipelines.compression import Compression, Start
from paretorch.pipelines.dense import train_dense
from paretorch.pipelines.gradual import GradualPruning, pruned_to_target
from paretorch.pipelines.retraining import Retraining
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.task import Task
from paretorch.training.tasks.digits import digits
from paretorch.training.tasks.images.fashion_mnist import FashionMNIST
from paretorch.training.trainer import Trainer

PEAK, WEIGHT_DECAY = 0.1, 1e-4
DECAY = "weight_decay"  # a setting of the optimizer, not of a method
SEARCH_SEED = 100
IMAGES = 20_000  # of the 54,000 for training, so that an arm takes seconds
MADE: dict[str, Callable[..., GradualMethod]] = {
    "GMP": GMP,
    "GSM": GSM,
    "LC": LC,
    "DPF": DPF,
    "DNW": DNW,
    "STR": partial(SoftThreshold, initial=-8.0),  # the searched decay draws it up from there
    "DST": DST,
    "RigL": RigL,
}
# method: the setting that its effect follows from, and the values that are tried
SEARCH = {
    "LC": (DECAY, (1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)),
    "STR": ("threshold_decay", (1.5e-3, 2e-3, 3e-3, 4.5e-3, 7e-3, 1e-2, 1.5e-2, 2e-2)),
    "DST": ("penalty", (1e-4, 2e-4, 5e-4, 1e-3, 2e-3)),
}


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What all arms share.

    Attributes:
        task: the task from the data folder.
        batch_size: SGD with momentum 0.9, weight decay 1e-4, the rate falling from 0.1 to 0 in a straight line.
        epochs: of all training of an arm.
        seeds: paired.
    """

    task: Callable[[Path], Task]
    batch_size: int
    epochs: float
    seeds: tuple[int, ...]

    def trainer(self, data: Path, seed: int, *, weight_decay: float = WEIGHT_DECAY) -> Trainer:
        """Without a directory."""
        optimizer = OptimizerSpec(lr=PEAK, weight_decay=weight_decay)
        settings = TrainSettings(
            batch_size=self.batch_size, optimizer=optimizer, device="cpu", evaluate_epochs=1000, checkpoint_seconds=1e6
        )
        return Trainer(self.task(data), settings, seed=seed)

    def schedule(self, trainer: Trainer) -> Linear:
        return Linear(num_steps=trainer.num_steps(self.epochs), peak=PEAK)


@cache
def fashion_mnist(data: Path) -> Task:
    """The task, of a part of its training images; read once per process."""
    return FashionMNIST(data=data, train_limit=IMAGES)


FULL = Budget(task=fashion_mnist, batch_size=128, epochs=10, seeds=(0, 1, 2, 3, 4))
QUICK = Budget(task=lambda _data: digits(hidden=(16,)), batch_size=50, epochs=4, seeds=(0, 1, 2))


def compression_of(budget: Budget, method: str, sparsity: float, options: Mapping[str, Any]) -> Compression:
    """The pipeline of one arm; half of BIMP's budget is dense training, above 90 % it prunes in three cycles."""
    if method == BUDGETED:
        return BIMP(
            sparsity=sparsity,
            epochs=budget.epochs,
            dense_epochs=budget.epochs / 2,
            cycles=1 if sparsity <= 0.9 else 3,
            retraining=Retraining(schedule="ALLR", reestimate_batches=0),  # there is no batch norm
        )
    made = partial(MADE[method], sparsity=sparsity, **own_settings(options))
    return GradualPruning(method=made, epochs=budget.epochs, reestimate_batches=0)


def own_settings(options: Mapping[str, float]) -> dict[str, float]:
    """Those of the method, without the optimizer's."""
    return {name: value for name, value in options.items() if name != DECAY}


def run_arm(
    budget: Budget, method: str, sparsity: float, options: Mapping[str, Any], seed: int, *, data: Path
) -> dict[str, Any]:
    """Train once; test accuracy, zeros at the end and before a last pruning, and training examples."""
    trainer = budget.trainer(data, seed, weight_decay=options.get(DECAY, WEIGHT_DECAY))
    if method == DENSE:
        dense = train_dense(trainer, budget.schedule(trainer))
        return {
            "accuracy": trainer.evaluate(dense.model, trainer.task.test_set())["accuracy"],
            "samples": dense.entry["samples"],
        }
    start = Start(model=trainer.model(), schedule=DenseSchedule.of(budget.schedule(trainer)))
    done = compression_of(budget, method, sparsity, options).run_from(trainer, start)
    masks = combined_masks(done.edits)
    assert masks is not None
    return {
        "accuracy": trainer.evaluate(done.model, trainer.task.test_set())["accuracy"],
        "zeros": masks.num_pruned,
        "before": done.entries[-1].get("pruned_by_method", masks.num_pruned),
        "weights": masks.num_weights,
        "samples": sum(entry.get("samples", 0) for entry in done.entries),
    }


def search(budget: Budget, method: str, value: float, *, data: Path) -> dict[str, Any]:
    """Train once with a value; validation accuracy at every sparsity, and the zeros before anything was pruned."""
    options = {SEARCH[method][0]: value}
    trainer = budget.trainer(data, SEARCH_SEED, weight_decay=options.get(DECAY, WEIGHT_DECAY))
    model, schedule = trainer.model(), budget.schedule(trainer)
    acting = MADE[method](sparsity=SPARSITIES[0], **own_settings(options))
    trainer.fit(model, phase="gradual", num_steps=schedule.num_steps, schedule=schedule, methods=[acting])
    found: dict[str, Any] = {"zeros": acting.masks.num_pruned, "weights": acting.masks.num_weights}
    for sparsity in SPARSITIES:
        acting.sparsity = sparsity
        pruned = copy.deepcopy(model)
        pruned_to_target(pruned, acting).apply_(pruned)
        found[f"{sparsity:g}"] = trainer.evaluate(pruned)["accuracy"]
    return found
