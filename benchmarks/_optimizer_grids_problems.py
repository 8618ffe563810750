"""The tasks of `optimizer_grids` and one trial on them: a short training with one optimizer, rate and epsilon.

A trial that ends with a NaN is a result too: what it leaves is written as None, and it is paid for like any other.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from paretorch.errors import NotFiniteError
from paretorch.methods.method import Method, Run
from paretorch.methods.schedules import Linear
from paretorch.training.models.dcgan import Discriminator
from paretorch.training.settings import OptimizerName, OptimizerSpec, TrainSettings
from paretorch.training.task import Task
from paretorch.training.tasks.digits import digits
from paretorch.training.tasks.generative.adversarial import AdversarialImages
from paretorch.training.tasks.generative.adversarial_step import AdversarialStep
from paretorch.training.tasks.generative.diffusion import DiffusionImages
from paretorch.training.tasks.images.fashion_mnist import FashionMNIST
from paretorch.training.tasks.text.char_lm import CharLM
from paretorch.training.tasks.text.decoder import Decoder
from paretorch.training.trainer import Trainer

OURS = "AvaGrad"
NAMES: dict[str, OptimizerName] = {OURS: "avagrad", "Adam": "adam", "AdamW": "adamw", "SGD": "sgd"}
RATES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0, 1000.0)
EPSILONS = (1e-8, 1e-4, 1e-2, 100.0)
LOW_N_SEEDS = (0, 1, 2)
DECAY = 0.01  # of AdamW, torch's default; without one it is Adam
SAMPLES = 250  # generated and real images in a Frechet distance


@dataclass(frozen=True)
class Measure:
    """words: what it is. unit, factor, decimals: how its values are written. higher: whether more is better."""

    words: str
    unit: str
    higher: bool
    factor: float = 1.0
    decimals: int = 3


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One task with its grid.

    Attributes:
        name: in names of figures.
        task: from the data folder and the folder of the classifier that judges images.
        criterion: what settings are chosen by, "training loss" or the task's metric on validation.
        test: the task's metric on the test set.
        batch_size, steps: of a trial; the rate falls from its peak to 0 in a straight line.
        rates, epsilons: of the grid, ascending; the same for all optimizers, and SGD has no epsilon.
        seeds: each a whole grid.
        beta1: of the adaptive optimizers, and the momentum of SGD.
        judged: by the classifier, as generated images are.
    """

    name: str
    task: Callable[[Path, Path], Task]
    criterion: Measure
    test: Measure
    batch_size: int
    steps: int
    rates: tuple[float, ...] = RATES
    epsilons: tuple[float, ...] = EPSILONS
    seeds: tuple[int, ...] = LOW_N_SEEDS
    beta1: float = 0.9
    judged: bool = False

    def epsilons_of(self, optimizer: str) -> tuple[float | None, ...]:
        return (None,) if optimizer == "SGD" else self.epsilons

    def spec(self, optimizer: str, rate: float, epsilon: float | None) -> OptimizerSpec:
        return OptimizerSpec(
            name=NAMES[optimizer],
            lr=rate,
            momentum=self.beta1,
            weight_decay=DECAY if optimizer == "AdamW" else 0.0,
            eps=epsilon,
            betas=None if optimizer == "SGD" else (self.beta1, 0.999),
        )

    def trainer(self, optimizer: OptimizerSpec, seed: int, *, data: Path, classifier: Path) -> Trainer:
        """Without a directory; it validates once, at the end."""
        settings = TrainSettings(
            batch_size=self.batch_size,
            optimizer=optimizer,
            device="cpu",
            evaluate_epochs=sys.maxsize,
            checkpoint_seconds=1e6,
        )
        return Trainer(self.task(data, classifier), settings, seed=seed)

    def measured(self, trainer: Trainer, model: nn.Module, validation: float) -> dict[str, float]:
        """What the settings are chosen by, and the test metric."""
        task = trainer.task
        chosen = training_loss(task, model) if self.criterion == TRAINING_LOSS else validation
        return {"criterion": chosen, "test": trainer.evaluate(model, task.test_set())[task.metric]}


class SameOptimizer(AdversarialStep):
    """The discriminator learns with an optimizer of the kind and the settings that the generator has.

    Args:
        discriminator: as in `AdversarialStep`.
        optimizer: builds it.
    """

    def __init__(self, discriminator: Callable[[], nn.Module], optimizer: OptimizerSpec) -> None:
        super().__init__(discriminator)
        self.optimizer = optimizer

    def start(self, run: Run) -> None:
        super().start(run)
        run.optimizers[self.OPTIMIZER] = self.optimizer(self.discriminator.parameters())


def training_loss(task: Task, model: nn.Module) -> float:
    """Mean loss of all training examples, which must fit into memory."""
    examples = task.train_set()
    with torch.no_grad():
        batch = examples.batch(torch.arange(len(examples)))
        batch = task.prepare(batch, training=False, generator=torch.Generator().manual_seed(0))
        loss = float(task.loss(model.eval(), batch))
    if not math.isfinite(loss):
        raise NotFiniteError(f"the training loss is {loss}")
    return loss


def trial(
    problem: Problem, optimizer: str, rate: float, epsilon: float | None, seed: int, *, data: Path, classifier: Path
) -> dict[str, Any]:
    """Train once; what it left and took, None for both measures if that was not finite."""
    spec = problem.spec(optimizer, rate, epsilon)
    trainer = problem.trainer(spec, seed, data=data, classifier=classifier)
    task = trainer.task
    methods: list[Method] = []
    if isinstance(task, AdversarialImages):
        methods = [SameOptimizer(partial(Discriminator, width=task.width), spec)]
    try:
        model = trainer.model()
        schedule = Linear(num_steps=problem.steps, peak=rate)
        done = trainer.fit(model, phase="trial", num_steps=problem.steps, schedule=schedule, methods=methods)
        measured = problem.measured(trainer, model, done.validation[task.metric])
        return {"rate": rate, **measured, "samples": done.samples}
    except NotFiniteError:
        return {"rate": rate, "criterion": None, "test": None}


def untrained(problem: Problem, seed: int, *, data: Path, classifier: Path) -> dict[str, float]:
    """The measures before any training; for images also the floor, real against real."""
    trainer = problem.trainer(OptimizerSpec(), seed, data=data, classifier=classifier)
    model = trainer.model()
    found = problem.measured(trainer, model, trainer.evaluate(model)[trainer.task.metric])
    return found | {"floor": trainer.task.references()["real against real"]} if problem.judged else found


@cache
def _digits(_data: Path, _judge: Path) -> Task:
    return digits()


@cache
def _fashion_mnist(data: Path, _judge: Path) -> Task:
    return FashionMNIST(data=data, train_limit=10_000)


@cache
def _char_lm(data: Path, _judge: Path) -> Task:
    return CharLM(data=data, model=Decoder(context=32, width=32, depth=2, heads=2))


@cache
def _dcgan(data: Path, judge: Path) -> Task:
    return AdversarialImages(data=data, classifier=judge, num_samples=SAMPLES, width=8, latent=32)


@cache
def _diffusion(data: Path, judge: Path) -> Task:
    return DiffusionImages(
        data=data, classifier=judge, num_samples=SAMPLES, width=16, multipliers=(1,), patch=4, sampling_steps=8
    )


TRAINING_LOSS = Measure("training loss", "nats", False)
VALIDATION_ACCURACY, TEST_ACCURACY = (
    Measure(f"{part} accuracy", "%", True, 100.0, 1) for part in ("validation", "test")
)
NATS = "nats per character"
DISTANCE = "Frechet distance"
GENERATIVE = {
    "criterion": Measure("validation distance", DISTANCE, False, 1.0, 1),
    "test": Measure("test distance", DISTANCE, False, 1.0, 1),
    "rates": RATES[1:6],
    "epsilons": (1e-8, 1e-2, 1.0),
    "judged": True,
}
PROBLEMS = (
    Problem(
        name="digits",
        task=_digits,
        criterion=TRAINING_LOSS,
        test=TEST_ACCURACY,
        batch_size=64,
        steps=180,
        epsilons=(1e-8, 1e-4, 1e-2, 1e-1, 1.0, 10.0, 100.0),
        seeds=(0, 1, 2, 3, 4),
    ),
    Problem(
        name="char-LM",
        task=_char_lm,
        criterion=Measure("validation loss", NATS, False),
        test=Measure("test loss", NATS, False),
        batch_size=16,
        steps=80,
    ),
    Problem(name="DCGAN", task=_dcgan, batch_size=16, steps=60, beta1=0.5, **GENERATIVE),
    Problem(name="diffusion", task=_diffusion, batch_size=16, steps=50, **GENERATIVE),
    Problem(
        name="Fashion-MNIST",
        task=_fashion_mnist,
        criterion=VALIDATION_ACCURACY,
        test=TEST_ACCURACY,
        batch_size=128,
        steps=80,
    ),
)
QUICK = (
    Problem(
        name="digits",
        task=_digits,
        criterion=TRAINING_LOSS,
        test=TEST_ACCURACY,
        batch_size=64,
        steps=6,
        rates=(1e-2, 1.0, 1e12),
        epsilons=(1e-2, 1.0),
    ),
)


def problems(*, quick: bool) -> dict[str, Problem]:
    """By name, in the order in which they run."""
    return {problem.name: problem for problem in (QUICK if quick else PROBLEMS)}
