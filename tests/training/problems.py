"""Small tasks with known answers, shared by the tests of the trainer."""

import torch
from torch import Tensor, nn

from paretorch.methods.method import Method, Run
from paretorch.training.data import ArrayExamples
from paretorch.training.settings import OptimizerSpec, TrainSettings
from paretorch.training.supervised import SupervisedTask


class DoubleLinear(nn.Linear):
    """A linear layer in float64, so that closed forms can be compared to 1e-12."""

    def __init__(self) -> None:
        super().__init__(3, 1, dtype=torch.float64)


def linear_task(num_examples: int = 24) -> SupervisedTask:
    """Least squares in float64 with three features; the training set has 24 examples."""
    stream = torch.Generator().manual_seed(7)
    inputs = torch.randn(num_examples, 3, generator=stream, dtype=torch.float64)
    targets = inputs @ torch.tensor([[1.0], [-2.0], [0.5]], dtype=torch.float64) + 0.3
    examples = ArrayExamples(inputs=inputs, targets=targets)
    return SupervisedTask(DoubleLinear, train=examples, evaluation=examples, test=examples, loss="mse", name="linear")


class Normed(nn.Module):
    """Batch normalisation and dropout: a model whose mode and random stream matter."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 10), nn.BatchNorm1d(10), nn.ReLU(), nn.Dropout(0.3), nn.Linear(10, 3))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.layers(inputs)


def normed_task(num_examples: int = 64) -> SupervisedTask:
    """Three classes from six features, on a model with batch normalisation and dropout."""
    stream = torch.Generator().manual_seed(8)
    inputs = torch.randn(num_examples + 40, 6, generator=stream)
    targets = (inputs @ torch.randn(6, 3, generator=stream)).argmax(1)
    train, evaluation, test = torch.arange(num_examples + 40).split([num_examples, 20, 20])
    whole = ArrayExamples(inputs=inputs, targets=targets)
    return SupervisedTask(
        Normed, train=whole.subset(train), evaluation=whole.subset(evaluation), test=whole.subset(test), name="normed"
    )


def plain(batch_size: int, *, lr: float = 0.1, momentum: float = 0.0, **others: object) -> TrainSettings:
    """SGD on the CPU."""
    optimizer = OptimizerSpec(lr=lr, momentum=momentum)
    return TrainSettings(batch_size=batch_size, optimizer=optimizer, device="cpu", **others)  # type: ignore[arg-type]


def gradient(model: nn.Linear, inputs: Tensor, targets: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient of sum(weights * (x w + b - y)^2) for weight (1, 3) and bias (1,), by hand."""
    residuals = inputs @ model.weight.detach().T + model.bias.detach() - targets
    scaled = 2 * weights[:, None] * residuals
    return (scaled.T @ inputs), scaled.sum(0)


class Recorder(Method):
    """Writes down which hook was called at which step."""

    def __init__(self, name: str, calls: list[tuple[str, str, int]]) -> None:
        self.name, self.calls = name, calls

    def note(self, hook: str, run: Run) -> None:
        self.calls.append((self.name, hook, run.step))

    def start(self, run: Run) -> None:
        self.note("start", run)

    def data(self, run: Run) -> None:
        self.note("data", run)

    def before_forward(self, run: Run) -> None:
        self.note("before_forward", run)

    def weigh(self, run: Run, index: Tensor, losses: Tensor) -> None:
        self.note("weigh", run)

    def penalty(self, run: Run) -> None:
        self.note("penalty", run)

    def before_update(self, run: Run) -> None:
        self.note("before_update", run)

    def after_update(self, run: Run) -> None:
        self.note("after_update", run)

    def epoch_end(self, run: Run) -> None:
        self.note("epoch_end", run)

    def finish(self, run: Run) -> None:
        self.note("finish", run)
