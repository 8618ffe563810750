"""What `continuous_sparsification` trains: the tasks, the epochs that all arms share, and the settings that are tried.

LeNet-300-100 as in `gradual_pruning`; ResNet-20 on a part of CIFAR-10 in half its resolution; a small U-Net that learns
denoising diffusion of a part of Fashion-MNIST, and a DCGAN of the same images. An arm takes seconds to two minutes on
one thread. Digits are for a quick look.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from _gradual_arms import FULL, PEAK, WEIGHT_DECAY

from paretorch.methods.schedules import Linear
from paretorch.training.data import Batch
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.task import Task
from paretorch.training.tasks.digits import digits
from paretorch.training.tasks.generative.factory import generative
from paretorch.training.tasks.images.cifar10 import CIFAR10
from paretorch.training.trainer import Trainer

SGD = OptimizerSpec(lr=PEAK, weight_decay=WEIGHT_DECAY)
CIFAR_IMAGES, CIFAR_EVALUATION = 10_000, 1000
GENERATIVE_IMAGES, GENERATIVE_SAMPLES, SAMPLING_STEPS = 6000, 500, 10

Options = Mapping[str, float]  # of an arm
CYCLES: tuple[Options, ...] = ({"cycles": 1}, {"cycles": 3})
PULLS: tuple[Options, ...] = ({"mask_lr": 1.0, "strength": 1.0}, {"mask_lr": 1.0, "strength": 10.0})
FIXED_PULLS: tuple[Options, ...] = (*PULLS, *({"mask_lr": rate, "strength": 1.0} for rate in (10.0, 100.0, 1000.0)))


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One task with its grid; the learning rate falls from that of the optimizer to 0 in a straight line.

    Attributes:
        name: as tables and file names say it.
        task: the task from the data folder and the folder of the classifier that judges generated images.
        batch_size, optimizer, clip_norm: of every step.
        epochs: of all training of an arm.
        finetune_epochs: of them, in the arm that fine-tunes.
        seeds, sparsities: paired; what matters most first.
        early: how many of the sparsities are run before the rest.
        tried: options of CS of every training of its search; those of BIMP are `CYCLES`.
        tried_fixed: the same of the ablation with a fixed temperature, which is left out where there are none.
        search_at: sparsities at which is searched; the others take what is chosen at the nearest of them.
        slower: the time of a step of CS over that of a dense step, where it is longer; BIMP is run with so many times
            the epochs too.
        batches: for batch-norm statistics of every finished model; 0 where there is no batch normalisation.
        metric: of the task.
        tickets: whether the searches for a ticket are run.
        others: further methods that prune while they train, by their names in `gradual_pruning`, with their defaults.
    """

    name: str
    task: Callable[[Path, Path], Task]
    batch_size: int
    optimizer: OptimizerSpec
    epochs: float
    finetune_epochs: float
    seeds: tuple[int, ...]
    sparsities: tuple[float, ...]
    early: int
    tried: tuple[Options, ...]
    search_at: tuple[float, ...]
    tried_fixed: tuple[Options, ...] = ()
    slower: float = 1.0
    batches: int = 0
    clip_norm: float | None = None
    metric: str = "accuracy"
    tickets: bool = False
    others: tuple[str, ...] = ()

    def trainer(self, data: Path, classifier: Path, seed: int) -> Trainer:
        """Without a directory."""
        settings = TrainSettings(
            batch_size=self.batch_size,
            optimizer=self.optimizer,
            clip_norm=self.clip_norm,
            device="cpu",
            evaluate_epochs=1000,
            checkpoint_seconds=1e6,
        )
        return Trainer(self.task(data, classifier), settings, seed=seed)

    def schedule(self, trainer: Trainer) -> Linear:
        """Of dense training for all epochs."""
        return Linear(num_steps=trainer.num_steps(self.epochs), peak=self.optimizer.lr)

    @property
    def higher_is_better(self) -> bool:
        """Or a distance."""
        return self.metric == "accuracy"

    def searched_at(self, sparsity: float) -> float:
        """The sparsity of the search whose choice is taken."""
        return min(self.search_at, key=lambda other: abs(other - sparsity))


class HalvedCIFAR10(CIFAR10):
    """CIFAR-10 whose images have half the side: every pixel is the mean of 2 x 2."""

    def prepare(self, batch: Batch, *, training: bool, generator: torch.Generator) -> Batch:
        batch = super().prepare(batch, training=training, generator=generator)
        return batch | {"inputs": F.avg_pool2d(batch["inputs"], 2)}


@cache
def halved_cifar10(data: Path, _classifier: Path) -> Task:
    """The task, of a part of its training images; read once per process."""
    return HalvedCIFAR10(data=data, train_limit=CIFAR_IMAGES, eval_limit=CIFAR_EVALUATION)


@cache
def diffusion(data: Path, classifier: Path) -> Task:
    """The task, of a part of its training images, with small samples; read once per process."""
    return generative(
        data=data,
        model="unet",
        classifier=classifier,
        train_limit=GENERATIVE_IMAGES,
        num_samples=GENERATIVE_SAMPLES,
        sampling_steps=SAMPLING_STEPS,
    )


@cache
def dcgan(data: Path, classifier: Path) -> Task:
    """The task, of a part of its training images, with small samples; read once per process."""
    return generative(
        data=data,
        model="dcgan",
        classifier=classifier,
        train_limit=GENERATIVE_IMAGES,
        num_samples=GENERATIVE_SAMPLES,
    )


FASHION = Problem(
    name="Fashion-MNIST",
    task=lambda data, _classifier: FULL.task(data),
    batch_size=FULL.batch_size,
    optimizer=SGD,
    epochs=FULL.epochs,
    finetune_epochs=2.5,
    seeds=FULL.seeds,
    sparsities=(0.9, 0.98, 0.95),
    early=3,
    tried=PULLS,
    search_at=(0.9, 0.98),
    tried_fixed=FIXED_PULLS,
    slower=1.45,
    tickets=True,
    others=("GMP", "DNW"),
)
CIFAR = Problem(
    name="CIFAR-10, 16x16",
    task=halved_cifar10,
    batch_size=128,
    optimizer=SGD,
    epochs=10,
    finetune_epochs=2.5,
    seeds=FULL.seeds,
    sparsities=(0.9, 0.98, 0.95),
    early=2,
    tried=PULLS,
    search_at=(0.95,),
    batches=20,
    others=("GMP",),
)
DIFFUSION = Problem(
    name="diffusion",
    task=diffusion,
    batch_size=16,
    optimizer=OptimizerSpec(name="adam", lr=2e-3),
    clip_norm=1.0,
    epochs=1,
    finetune_epochs=0.25,
    seeds=FULL.seeds,
    sparsities=(0.8, 0.9),
    early=1,
    tried=({"mask_lr": 10.0}, {"mask_lr": 100.0}),
    search_at=(0.8,),
    metric="frechet_distance",
)
DCGAN = Problem(
    name="DCGAN",
    task=dcgan,
    batch_size=32,
    optimizer=OptimizerSpec(name="adam", lr=3e-4),
    epochs=2,
    finetune_epochs=0.5,
    seeds=FULL.seeds,
    sparsities=(0.8, 0.9),
    early=1,
    tried=({"mask_lr": 1.0}, {"mask_lr": 10.0}),
    search_at=(0.8,),
    metric="frechet_distance",
)
DIGITS = Problem(
    name="digits",
    task=lambda _data, _classifier: digits(hidden=(16,)),
    batch_size=50,
    optimizer=SGD,
    epochs=4,
    finetune_epochs=1,
    seeds=(0, 1, 2),
    sparsities=(0.8,),
    early=1,
    tried=PULLS,
    search_at=(0.8,),
    tried_fixed=PULLS,
    slower=1.5,
    tickets=True,
    others=("GMP", "DNW"),
)


def problems(*, quick: bool) -> dict[str, Problem]:
    """The tasks by name."""
    return {problem.name: problem for problem in ((DIGITS,) if quick else (FASHION, DIFFUSION, CIFAR, DCGAN))}
