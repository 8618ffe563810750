"""A regression task with a known answer: a random two-layer teacher network plus Gaussian noise.

    y = W2 tanh(W1 x) + noise,   x ~ N(0, I)

No model can have a lower mean squared error than the variance of the noise.
"""

from functools import partial

import torch

from paretorch.errors import InputError
from paretorch.training.data import ArrayExamples
from paretorch.training.models.mlp import mlp
from paretorch.training.supervised import SupervisedTask

TEACHER_UNITS = 16


def regression(
    *, inputs: int = 16, num_examples: int = 4000, noise: float = 0.1, hidden: tuple[int, ...] = (64, 64)
) -> SupervisedTask:
    """The regression task; the data are the same for every run (fixed seed 0).

    Args:
        inputs: number of features.
        num_examples: 80 % to train, 10 % to choose, 10 % to test.
        noise: standard deviation of the noise, so the best reachable mean squared error is `noise ** 2`.
        hidden: widths of the hidden layers.

    Raises:
        InputError: for fewer than 100 examples, no inputs, or negative noise.
    """
    if num_examples < 100 or inputs < 1 or noise < 0:
        raise InputError(
            f"regression needs at least 100 examples, one input and noise >= 0; got {num_examples}, {inputs}, {noise}"
        )
    stream = torch.Generator().manual_seed(0)
    x = torch.randn(num_examples, inputs, generator=stream)
    first = torch.randn(inputs, TEACHER_UNITS, generator=stream) / inputs**0.5
    second = torch.randn(TEACHER_UNITS, 1, generator=stream) / TEACHER_UNITS**0.5
    y = (x @ first).tanh() @ second + noise * torch.randn(num_examples, 1, generator=stream)
    whole = ArrayExamples(inputs=x, targets=y)
    train, evaluation, test = torch.arange(num_examples).split(
        [num_examples - 2 * (num_examples // 10), num_examples // 10, num_examples // 10]
    )

    return SupervisedTask(
        partial(mlp, sizes=[inputs, *hidden, 1]),
        train=whole.subset(train),
        evaluation=whole.subset(evaluation),
        test=whole.subset(test),
        loss="mse",
        name="regression",
    )
