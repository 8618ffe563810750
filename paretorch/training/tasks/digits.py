"""Handwritten digits, 8x8 pixels, 1,797 examples: embedded in scikit-learn, so that it needs no download.

Alpaydin and Kaynak 1998 (UCI Optical Recognition of Handwritten Digits, test part). Split at random with a fixed seed:
1,197 to train, 200 to choose, 400 to test.
"""

from functools import partial

import torch

from paretorch.training.data import ArrayExamples, split
from paretorch.training.models.mlp import mlp
from paretorch.training.picture import Picture
from paretorch.training.supervised import SupervisedTask


def digits(*, hidden: tuple[int, ...] = (64, 32)) -> SupervisedTask:
    """The digits task.

    Args:
        hidden: widths of the hidden layers of the multilayer perceptron.
    """
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    whole = ArrayExamples(inputs=torch.tensor(pixels / 16, dtype=torch.float32), targets=torch.tensor(labels))
    rest, test = split(len(whole), 400 / len(whole))
    train, evaluation = split(len(rest), 200 / len(rest), seed=43)

    return SupervisedTask(
        partial(mlp, sizes=[64, *hidden, 10]),
        train=whole.subset(rest[train]),
        evaluation=whole.subset(rest[evaluation]),
        test=whole.subset(test),
        name="digits",
        picture=Picture(shape=(1, 8, 8)),
    )
