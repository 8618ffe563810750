"""A task in float64, a teacher with batch norm and dropout, and the distilled loss written out by hand."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from paretorch.methods.method import Method
from paretorch.training.data import ArrayExamples
from paretorch.training.supervised import SupervisedTask
from paretorch.training.task import Task
from paretorch.training.trainer import PhaseResult, Trainer
from tests.training.problems import plain

CLASSES = 3


class Student(nn.Module):
    """A perceptron with batch normalisation."""

    def __init__(self, hidden: int = 7, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(6, hidden, dtype=dtype), nn.BatchNorm1d(hidden, dtype=dtype)
        self.last = nn.Linear(hidden, CLASSES, dtype=dtype)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(torch.tanh(self.norm(self.first(inputs))))


class Plain(nn.Module):
    """A perceptron whose outputs do not depend on how a batch is divided."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 7, dtype=torch.float64), nn.Linear(7, CLASSES, dtype=torch.float64)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(inputs)))


def large_teacher(dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """A wider model than the student, with layers whose mode matters, left in training mode."""
    torch.manual_seed(11)
    layers = [nn.Linear(6, 20, dtype=dtype), nn.BatchNorm1d(20, dtype=dtype), nn.ReLU(), nn.Dropout(0.5)]
    return nn.Sequential(*layers, nn.Linear(20, CLASSES, dtype=dtype)).train()


def classes(dtype: torch.dtype = torch.float64, model: Any = None) -> SupervisedTask:
    """Three classes from six features; 48 training examples."""
    stream = torch.Generator().manual_seed(8)
    inputs = torch.randn(88, 6, generator=stream, dtype=dtype)
    targets = (inputs @ torch.randn(6, CLASSES, generator=stream, dtype=dtype)).argmax(1)
    whole = ArrayExamples(inputs=inputs, targets=targets)
    train, evaluation, test = (whole.subset(part) for part in torch.arange(88).split([48, 20, 20]))
    make = model or partial(Student, dtype=dtype)
    return SupervisedTask(make, train=train, evaluation=evaluation, test=test, name="classes")


def fit(
    *methods: Method, task: Task | None = None, num_steps: int = 1, batch_size: int = 48, **settings: Any
) -> tuple[nn.Module, PhaseResult]:
    """A model of the task after some steps of gradient descent at rate 0.1."""
    trainer = Trainer(task or classes(), plain(batch_size, **settings), seed=4)
    model = trainer.model()
    return model, trainer.fit(model, phase="only", num_steps=num_steps, methods=methods)


def start(task: SupervisedTask | None = None) -> tuple[nn.Module, Tensor, Tensor]:
    """The model before the first step of `fit`, and the whole training set, which is the batch of that step."""
    trainer = Trainer(task or classes(), plain(48), seed=4)
    batch = trainer.train_set.batch(torch.arange(48))
    return trainer.model(), batch["inputs"], batch["targets"]


def by_hand(student: Tensor, teacher: Tensor, targets: Tensor, *, alpha: float, temperature: float) -> Tensor:
    """(1 - a) CE + a T^2 KL over rows of logits (n, classes), from exponentials and sums alone."""

    def probabilities(logits: Tensor, t: float) -> Tensor:
        powers = (logits / t - (logits / t).amax(1, keepdim=True).detach()).exp()
        return powers / powers.sum(1, keepdim=True)

    p, q = probabilities(teacher.detach(), temperature), probabilities(student, temperature)
    soft = (p * (p.log() - q.log())).sum(1).mean()
    hard = -probabilities(student, 1.0)[torch.arange(len(targets)), targets].log().mean()
    return (1 - alpha) * hard + alpha * temperature**2 * soft


def stepped(model: nn.Module, loss: Tensor, lr: float = 0.1) -> dict[str, Tensor]:
    """The parameters after one step of gradient descent."""
    gradients = torch.autograd.grad(loss, list(model.parameters()))
    named = zip(model.named_parameters(), gradients, strict=True)
    return {name: parameter.detach() - lr * gradient for (name, parameter), gradient in named}


def tensors(tree: Any) -> Iterator[Tensor]:
    """All tensors of nested dicts and lists."""
    if isinstance(tree, Tensor):
        yield tree
    elif isinstance(tree, dict | list | tuple):
        for part in tree.values() if isinstance(tree, dict) else tree:
            yield from tensors(part)
