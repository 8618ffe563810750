"""n-gram baselines: closed forms, a plain recursion as a second implementation, and what must always hold."""

import math
from collections.abc import Sequence
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paretorch.training.tasks.text.ngram import ngram_nll


def nll(train: Sequence[int], test: Sequence[int], *, vocab_size: int, order: int) -> list[float]:
    return ngram_nll(torch.tensor(train), torch.tensor(test), vocab_size=vocab_size, order=order)


def probability(train: Sequence[int], history: tuple[int, ...], token: int, *, vocab_size: int) -> float:
    """p(token | history) by the recursion as it is written in the module's docstring."""
    gram = (*history, token)
    followers = [
        train[start + len(history)]
        for start in range(len(train) - len(history))
        if tuple(train[start : start + len(history)]) == history
    ]
    assert gram[-1] == token
    shorter = 1 / vocab_size if not history else probability(train, history[1:], token, vocab_size=vocab_size)
    if not followers:
        return shorter
    different = len(set(followers))
    return (followers.count(token) + different * shorter) / (len(followers) + different)


def test_unigram_is_the_closed_form() -> None:
    # train: 0 0 0 1 of V = 3; two different tokens, so p(0) = (3 + 2/3) / 6, p(1) = (1 + 2/3) / 6, p(2) = (2/3) / 6
    (found,) = nll([0, 0, 0, 1], [2, 0, 1, 2], vocab_size=3, order=1)
    expected = -sum(math.log(p) for p in ((3 + 2 / 3) / 6, (1 + 2 / 3) / 6, (2 / 3) / 6)) / 3
    assert found == pytest.approx(expected, rel=1e-12)


def test_bigram_is_the_closed_form() -> None:
    # train: 0 1 0 1 0. p_1(1) = (2 + 2/2) / 7 = 3/7; 0 was followed twice, by 1 alone: p(1 | 0) = (2 + 3/7) / 3
    found = nll([0, 1, 0, 1, 0], [0, 1], vocab_size=2, order=2)
    assert found == pytest.approx([-math.log(3 / 7), -math.log((2 + 3 / 7) / 3)], rel=1e-12)


@settings(max_examples=40)
@given(
    train=st.lists(st.integers(0, 3), min_size=1, max_size=30),
    test=st.lists(st.integers(0, 3), min_size=2, max_size=12),
)
def test_every_order_equals_the_plain_recursion(train: list[int], test: list[int]) -> None:
    @cache
    def log_probability(history: tuple[int, ...], token: int) -> float:
        return math.log(probability(train, history, token, vocab_size=4))

    expected = []
    for order in range(1, 5):
        terms = [log_probability(tuple(test[max(0, i - order + 1) : i]), test[i]) for i in range(1, len(test))]
        expected.append(-sum(terms) / len(terms))
    assert nll(train, test, vocab_size=4, order=4) == pytest.approx(expected, rel=1e-9)


def test_probabilities_of_all_continuations_sum_to_one() -> None:
    train = [0, 1, 2, 0, 1, 1, 2, 0, 1, 2, 2]
    for history in ([0, 1], [2, 2], [1, 3]):  # seen, seen at the end, never seen
        found = [nll(train, [*history, token], vocab_size=4, order=3)[2] for token in range(4)]
        first = [nll(train, history, vocab_size=4, order=3)[2]] * 4  # the mean is over the history's second token too
        likelihoods = [math.exp(-(2 * both - one)) for both, one in zip(found, first, strict=True)]
        assert sum(likelihoods) == pytest.approx(1)


def test_a_text_that_repeats_is_predicted_better_by_longer_histories() -> None:
    pattern = [0, 0, 1, 0, 2, 1, 1, 2]
    found = nll(pattern * 20, pattern * 5, vocab_size=3, order=4)
    assert found == sorted(found, reverse=True)
    assert found[3] < 0.3 * found[0]
