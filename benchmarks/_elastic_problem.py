"""What `elastic_width` trains: two tasks with models that can be built at any widths, budgets, and steps.

Digits (1,197 training images of 8 x 8) with a perceptron of four hidden layers, and Fashion-MNIST with a plain
convolutional network. Both are small, so that a family of models and as many separate trainings fit into minutes; with
them come few steps, and accuracies below what the same models reach when they are trained longer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from pathlib import Path

from torch import nn

from paretorch.methods.width.grid import Grids
from paretorch.methods.width.groups import Profile, WidthGroups
from paretorch.training.models.mlp import mlp
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.supervised import SupervisedTask
from paretorch.training.task import Task
from paretorch.training.tasks.digits import digits
from paretorch.training.tasks.images.fashion_mnist import FashionMNIST

BUDGETS = (0.5, 0.25, 0.12)  # of the uncut model's parameters
ONE_RUN, EACH = "DPOD, one run", "DPOD, a run each"
SCRATCH = {ONE_RUN: "scratch, profile of the one run", EACH: "scratch, profile of a run each"}
SCRATCH_UNIFORM = "scratch, uniform widths"
CLASSES = 10


@dataclass(frozen=True, kw_only=True)
class Problem:
    """A task, its model at any widths, and how long it is trained.

    Attributes:
        name: of the task.
        widths: of the uncut model's hidden layers.
        quantum: widths of sub-networks are multiples of it.
        build: a model with hidden layers of given widths.
        task: the task from the data folder.
        seeds: paired over all arms.
        steps: of the elastic training, and of plain training; `finetune_steps` come on top for all.
        batch_size, lr: SGD with momentum 0.9, the rate falling to 0 along a cosine.
        calibration: training examples on which profiles are measured and chosen.
    """

    name: str
    widths: Profile
    quantum: int
    build: Callable[[Sequence[int]], nn.Module]
    task: Callable[[Path], Task]
    seeds: tuple[int, ...]
    steps: int
    batch_size: int
    lr: float
    calibration: int

    @property
    def finetune_steps(self) -> int:
        """15 % of the steps."""
        return round(0.15 * self.steps)

    @property
    def settings(self) -> TrainSettings:
        optimizer = OptimizerSpec(lr=self.lr, weight_decay=1e-4)
        return TrainSettings(batch_size=self.batch_size, optimizer=optimizer, device="cpu", evaluate_epochs=1000)


def label(budget: float) -> str:
    """A budget as it stands in names of figures: "25%"."""
    return f"{budget:.0%}"


def perceptron(widths: Sequence[int]) -> nn.Module:
    """A perceptron on 8 x 8 images."""
    return mlp((64, *widths, CLASSES))


def convolutional(widths: Sequence[int]) -> nn.Module:
    """3x3 convolutions with batch norm and ReLU on 28 x 28 images, halving the side in all but the third; their mean,
    and a linear layer."""
    layers: list[nn.Module] = []
    for position, (inputs, outputs) in enumerate(pairwise((1, *widths))):
        stride = 1 if position == 2 else 2
        layers += [nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False), nn.BatchNorm2d(outputs)]
        layers.append(nn.ReLU())
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], CLASSES))


class PlainFashionMNIST(FashionMNIST):
    """Fashion-MNIST with the convolutional network of this file."""

    def __init__(self, data: Path, widths: Profile) -> None:
        super().__init__(data=data)
        self.widths = widths

    def model(self) -> nn.Module:
        return convolutional(self.widths)


@cache
def fashion_mnist(data: Path, widths: Profile) -> Task:
    """The task; read once per process."""
    return PlainFashionMNIST(data, widths)


def digits_task(_data: Path, widths: Profile) -> SupervisedTask:
    """The task, which needs no data folder."""
    return digits(hidden=widths)


DIGITS = Problem(
    name="digits",
    widths=(96, 96, 96, 96),
    quantum=4,
    build=perceptron,
    task=partial(digits_task, widths=(96, 96, 96, 96)),
    seeds=(0, 1, 2, 3, 4),
    steps=2000,
    batch_size=64,
    lr=0.1,
    calibration=1000,
)
FASHION = Problem(
    name="Fashion-MNIST",
    widths=(16, 32, 32, 32),
    quantum=2,
    build=convolutional,
    task=partial(fashion_mnist, widths=(16, 32, 32, 32)),
    seeds=(0, 1, 2, 3, 4),
    steps=1000,
    batch_size=64,
    lr=0.1,
    calibration=512,
)
PROBLEMS = {problem.name: problem for problem in (DIGITS, FASHION)}


def uniform_profile(groups: WidthGroups, grids: Grids, limit: float) -> Profile:
    """The widest level that uniform training draws and whose parameters are at most `limit`.

    Raises:
        ValueError: if the narrowest level exceeds it.
    """
    levels = max(map(len, grids))
    for level in range(levels, 0, -1):
        profile = tuple(widths[-(-level * len(widths) // levels) - 1] for widths in grids)
        if groups.num_params(profile) <= limit:
            return profile
    raise ValueError(f"even the narrowest uniform widths have {groups.num_params(profile)} parameters, above {limit}")
