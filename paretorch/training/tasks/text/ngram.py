"""Interpolated n-gram models with Witten-Bell smoothing: what counting alone predicts, beside every language model.

    p_0(w) = 1 / V,     p_k(w | h) = (c(h w) + t(h) p_{k-1}(w | h')) / (c(h) + t(h))

h: the k - 1 tokens before w; h': the last k - 2 of them; c(h w): how often w followed h in training; c(h): how often
anything did; t(h): how many different tokens did. A history never seen leaves p_{k-1}. Nothing is tuned. Witten and
Bell 1991 (method C), in the interpolated form of Chen and Goodman 1998, section 2.5.
"""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Ids = NDArray[np.int64]


def ngram_nll(train: Tensor, test: Tensor, *, vocab_size: int, order: int) -> list[float]:
    """Mean negative log likelihood in nats per token of `test[1:]`, for n = 1 to `order`.

    Args:
        train: tokens (n,), integers in [0, vocab_size), at least one.
        test: tokens (m,), at least two; the first is only read as history.
        vocab_size: V above.
        order: longest n-gram. Costs one sorting of `train` for each n.
    """
    known, asked = train.numpy().astype(np.int64), test.numpy().astype(np.int64)
    likelihood = np.full(len(asked), 1 / vocab_size)
    before, before_asked = np.zeros_like(known), np.zeros_like(asked)  # numbers of the histories; -1: none
    histories = 1  # how many there are: the empty one
    found: list[float] = []
    for _ in range(order):
        counted = before >= 0
        if not counted.any():  # the training text is shorter than the n-gram, which then adds nothing
            found.append(found[-1])
            continue
        keys, numbers, counts = np.unique(
            before[counted] * vocab_size + known[counted], return_inverse=True, return_counts=True
        )
        total = np.bincount(before[counted], minlength=histories)
        different = np.bincount(keys // vocab_size, minlength=histories)
        place, hit = _find(keys, before_asked * vocab_size + asked)
        hit &= before_asked >= 0
        seen = (before_asked >= 0) & (total[before_asked] > 0)  # the last history of all is followed by nothing
        history = before_asked[seen]
        likelihood[seen] = (np.where(hit, counts[place], 0)[seen] + different[history] * likelihood[seen]) / (
            total[history] + different[history]
        )
        found.append(-float(np.log(likelihood[1:]).mean()))
        histories, ended = len(keys), np.full_like(known, -1)
        ended[counted] = numbers
        before, before_asked = _shifted(ended), _shifted(np.where(hit, place, -1))
    return found


def _find(keys: Ids, asked: Ids) -> tuple[Ids, NDArray[np.bool_]]:
    """Where each of `asked` stands in the sorted `keys`, and whether it does."""
    place = np.searchsorted(keys, asked).clip(max=len(keys) - 1)
    return place, keys[place] == asked


def _shifted(ended: Ids) -> Ids:
    """The history of each position: the n-gram that ended one position before it."""
    return np.concatenate([[-1], ended[:-1]])
