"""The arms of `shared_networks`: one network from scratch, unshared or with k templates per stage, and folded.

Groups are those of the authors' network: in each stage all 3x3 convolutions but the two of the first block. What is
trained is the pipeline of `method = "share"`; folding is done on a copy, so that one training gives the accuracy before
and after it, with the batch-norm statistics of training, and with re-estimated ones.
"""

import copy
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from paretorch.methods.schedules import DenseSchedule, Linear
from paretorch.methods.sharing.absorbing import following_norms
from paretorch.methods.sharing.fold import THRESHOLD, fold_
from paretorch.methods.sharing.similarity import layer_similarity
from paretorch.methods.sharing.soft_sharing import SoftSharing
from paretorch.pipelines.compression import Start
from paretorch.pipelines.dense import train_dense
from paretorch.pipelines.retraining import reestimate
from paretorch.pipelines.shared import SharedTraining
from paretorch.training.data import ArrayExamples
from paretorch.training.models.wide_resnet import WideResNet
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.supervised import SupervisedTask
from paretorch.training.task import Task
from paretorch.training.tasks.digits import digits
from paretorch.training.tasks.images.fashion_mnist import FashionMNIST
from paretorch.training.trainer import Trainer

PEAK, WEIGHT_DECAY = 0.1, 5e-4
BATCHES = 20  # for batch-norm statistics, the default of the pipeline
STAGES = ("layer1", "layer2", "layer3")
POWER = 2


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One way to train: k templates per stage, None for the unshared network, and the recurrence penalty at its end."""

    templates: int | None = None
    recurrence: float = 0.0

    @property
    def name(self) -> str:
        if self.templates is None:
            return "unshared"
        return f"k = {self.templates}" + (", recurrence" if self.recurrence else "")

    @property
    def folded(self) -> bool:
        """Whether folding is measured: where layers are alike, by a penalty or because there is one template."""
        return self.templates == 1 or self.recurrence > 0


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What all arms share.

    Attributes:
        task: from the data folder; its model is a wide residual network.
        depth: of that network.
        batch_size: SGD with Nesterov momentum 0.9, weight decay 5e-4, the rate falling from 0.1 to 0 along a line.
        epochs: of every arm.
        seeds: paired.
        arms: the unshared one first.
    """

    task: Callable[[Path], Task]
    depth: int
    batch_size: int
    epochs: float
    seeds: tuple[int, ...]
    arms: tuple[Arm, ...]

    def trainer(self, data: Path, seed: int) -> Trainer:
        """Without a directory."""
        optimizer = OptimizerSpec(lr=PEAK, nesterov=True, weight_decay=WEIGHT_DECAY)
        settings = TrainSettings(
            batch_size=self.batch_size, optimizer=optimizer, device="cpu", evaluate_epochs=1000, checkpoint_seconds=1e6
        )
        return Trainer(self.task(data), settings, seed=seed)

    def sharing(self, arm: Arm) -> Callable[[], SoftSharing]:
        """Makes the method of an arm that shares."""
        blocks = range(1, (self.depth - 4) // 6)
        groups = {stage: [f"{stage}.{block}.conv?" for block in blocks] for stage in STAGES}
        power = POWER if arm.recurrence else 1
        return partial(SoftSharing, templates=arm.templates, groups=groups, recurrence=arm.recurrence, power=power)


@cache
def fashion_mnist(data: Path) -> Task:
    """The task, of a part of its training images and small; read once per process."""
    return FashionMNIST(data=data, model="wrn-28-1", pool=POOL, train_limit=IMAGES)


@cache
def small_digits(_data: Path) -> Task:
    """Digits for a network of 16 layers."""
    plain = digits()

    def pictures(part: Any) -> ArrayExamples:
        tensors = part.tensors
        return ArrayExamples(inputs=tensors["inputs"].view(-1, 1, 8, 8), targets=tensors["targets"])

    return SupervisedTask(
        partial(WideResNet, depth=16, widen=1, channels=1),
        train=pictures(plain.train_set()),
        evaluation=pictures(plain.eval_set()),
        test=pictures(plain.test_set()),
        name="digits",
    )


POOL, IMAGES = 4, 10_000
UNSHARED = Arm()
RECURRENT = (Arm(templates=2, recurrence=0.01), Arm(templates=6, recurrence=0.01))
FULL = Problem(
    task=fashion_mnist,
    depth=28,
    batch_size=128,
    epochs=4,
    seeds=(0, 1, 2, 3, 4),
    arms=(UNSHARED, *(Arm(templates=number) for number in range(1, 7)), *RECURRENT),
)
QUICK = Problem(
    task=small_digits,
    depth=16,
    batch_size=50,
    epochs=1,
    seeds=(0, 1, 2),
    arms=(UNSHARED, Arm(templates=1), Arm(templates=2), Arm(templates=2, recurrence=0.01)),
)


def run_arm(problem: Problem, arm: Arm, seed: int, *, data: Path) -> dict[str, Any]:
    """Train once: test accuracy, parameters, examples; of a shared network also similarities, and what folding does."""
    trainer = problem.trainer(data, seed)
    schedule = Linear(num_steps=trainer.num_steps(problem.epochs), peak=PEAK)
    if arm.templates is None:
        dense = train_dense(trainer, schedule)
        return _facts(trainer, dense.model) | {"samples": dense.entry["samples"]}
    pipeline = SharedTraining(sharing=problem.sharing(arm), epochs=problem.epochs)
    start = Start(model=trainer.model(), schedule=DenseSchedule.of(schedule))
    done = pipeline.run_from(trainer, start)
    found = _facts(trainer, done.model) | {"samples": done.entries[0]["samples"]}
    found["similarity"] = {name: one.to_dict() for name, one in layer_similarity(done.model).items()}
    if arm.folded:
        found["folded"] = folded(trainer, done.model)
    return found


def folded(trainer: Trainer, model: nn.Module) -> dict[str, Any]:
    """What folding a copy of the model does to it, with the batch-norm statistics of training and with new ones.

    New statistics change a model that is not folded too, so both have them from the same batches.
    """
    unfolded, copied = copy.deepcopy(model), copy.deepcopy(model)
    norms = following_norms(copied, trainer.task.example_inputs())
    with warnings.catch_warnings():  # that it has more parameters than the templates is reported
        warnings.simplefilter("ignore", UserWarning)
        folding = fold_(copied, norms=norms)
    raw = _facts(trainer, copied)
    for each in (unfolded, copied):
        reestimate(trainer, each, name="templates", count=BATCHES)
    return {
        "unfolded": _facts(trainer, unfolded)["accuracy"],
        "accuracy_raw": raw["accuracy"],
        "accuracy": _facts(trainer, copied)["accuracy"],
        "parameters": raw["parameters"],
        "weights": len(folding.clusters),
        "layers": len(folding.changes),
        "change": folding.max_change,
        "threshold": THRESHOLD,
    }


def _facts(trainer: Trainer, model: nn.Module) -> dict[str, Any]:
    with torch.no_grad():
        accuracy = trainer.evaluate(model, trainer.task.test_set())["accuracy"]
    return {"accuracy": accuracy, "parameters": sum(parameter.numel() for parameter in model.parameters())}
