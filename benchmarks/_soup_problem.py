"""What `sparse_soups` trains: the dense models, how long copies are retrained, and at which sparsities.

LeNet-300-100 on Fashion-MNIST is trained here; ResNet-20 has published weights, and on a CPU its epochs are reduced to
2,560 images (20 steps), so that its accuracies are below what full retraining reaches. Digits are for a quick look.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from torch import nn

from paretorch.methods.schedules import DenseSchedule, MultiStep
from paretorch.pipelines.dense import train_dense
from paretorch.training.published import load_published
from paretorch.training.run import RunDirectory
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.task import Task
from paretorch.training.tasks.digits import digits
from paretorch.training.tasks.images.cifar10 import CIFAR10
from paretorch.training.tasks.images.fashion_mnist import FashionMNIST
from paretorch.training.trainer import Trainer

COPIES = 3
REDUCED_IMAGES, REDUCED_EVALUATION = 2560, 500
WAIT_S = 1800.0  # for another process that trains the same dense model

Dense = tuple[nn.Module, DenseSchedule]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One task with its grid.

    Attributes:
        name: as tables and file names say it.
        task: the task from the data folder.
        dense: the dense model of a trainer, kept below a folder of work.
        batch_size: of every step; SGD with momentum 0.9, weight decay 1e-4 and a peak rate of 0.1.
        seeds, sparsities, cycles: the grid, what matters most first.
        epochs: of one copy in one cycle.
        batches: for batch-norm statistics.
    """

    name: str
    task: Callable[[Path], Task]
    dense: Callable[[Trainer, Path], Dense]
    batch_size: int
    seeds: tuple[int, ...]
    sparsities: tuple[float, ...]
    cycles: tuple[int, ...]
    epochs: float
    batches: int

    def trainer(self, data: Path, seed: int) -> Trainer:
        """Without a directory."""
        optimizer = OptimizerSpec(lr=0.1, weight_decay=1e-4)
        settings = TrainSettings(
            batch_size=self.batch_size, optimizer=optimizer, device="cpu", evaluate_epochs=1000, checkpoint_seconds=1e6
        )
        return Trainer(self.task(data), settings, seed=seed)


def trained(trainer: Trainer, work: Path, *, epochs: float) -> Dense:
    """Trained from scratch, once per seed for all cells and processes."""
    path = work / f"dense-{trainer.task.name}-s{trainer.seed}"
    with RunDirectory(path, recipe=f"{epochs:g} epochs", resume=True, wait_s=WAIT_S) as directory:
        steps = trainer.num_steps(epochs)
        schedule = MultiStep(num_steps=steps, peak=0.1, milestones=(0.5, 0.75))
        dense = train_dense(trainer.in_directory(directory), schedule)
    return dense.model, dense.schedule


@cache
def resnet20(data: Path) -> nn.Module:
    """The published weights, checked once per process."""
    return load_published("resnet20", data=data)


@cache
def cifar10(data: Path) -> Task:
    """The reduced task with the scaling of the published weights; read once per process."""
    limits = {"train_limit": REDUCED_IMAGES, "eval_limit": REDUCED_EVALUATION}
    return CIFAR10(data=data, model="resnet20", normalisation="imagenet", **limits)


def published(_trainer: Trainer, _work: Path, *, data: Path) -> Dense:
    """The published ResNet-20 and the schedule it had: 200 epochs of 391 steps."""
    return resnet20(data), DenseSchedule.of(MultiStep(num_steps=200 * 391, peak=0.1, milestones=(0.5, 0.75)))


@cache
def fashion_mnist(data: Path) -> Task:
    """The task; read once per process."""
    return FashionMNIST(data=data)


def problems(data: Path, *, quick: bool) -> dict[str, Problem]:
    """The tasks by name."""
    if quick:
        return {"digits": DIGITS}
    resnet = Problem(
        name="CIFAR-10, reduced",
        task=cifar10,
        dense=partial(published, data=data),
        batch_size=128,
        seeds=(0, 1, 2),
        sparsities=(0.9, 0.98, 0.95),
        cycles=(1,),
        epochs=2,
        batches=8,
    )
    return {problem.name: problem for problem in (FASHION, resnet)}


FASHION = Problem(
    name="Fashion-MNIST",
    task=fashion_mnist,
    dense=partial(trained, epochs=20),
    batch_size=128,
    seeds=(0, 1, 2, 3, 4),
    sparsities=(0.98, 0.9, 0.95),
    cycles=(3, 1),
    epochs=2,
    batches=0,  # there is no batch norm
)
DIGITS = Problem(
    name="digits",
    task=lambda _data: digits(hidden=(16,)),
    dense=partial(trained, epochs=3),
    batch_size=50,
    seeds=(0, 1, 2),
    sparsities=(0.9, 0.5),
    cycles=(2,),
    epochs=1,
    batches=0,
)
