"""Which candidates a soup takes, against brute force over a score that is known in closed form."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from paretorch.errors import InputError
from paretorch.methods.averaging.candidates import Candidate
from paretorch.methods.averaging.soup import (
    Soup,
    best_candidate,
    candidate_scores,
    greedy_soup,
    guarded,
    uniform_soup,
)
from tests.methods.averaging.states import candidates, same_bits, state


def points(*values: float) -> list[Candidate]:
    """Candidates with one weight each."""
    return candidates([{"w": torch.tensor([value], dtype=torch.float64)} for value in values])


def nearness(target: float = 0.0) -> Callable[[dict[str, Tensor]], float]:
    """Higher is better, best at the target."""
    return lambda state: -abs(float(state["w"]) - target)


def test_a_uniform_soup_is_the_mean_of_all() -> None:
    soup = uniform_soup(points(1.0, 2.0, 6.0))
    assert float(soup.state["w"]) == 3.0
    assert soup.members == ("copy-0", "copy-1", "copy-2")
    assert (soup.score, dict(soup.scores), soup.guarded) == (None, {}, False)


def test_a_greedy_soup_takes_exactly_those_that_help_in_the_order_of_their_scores() -> None:
    # best first: 1 alone has -1; with -2 the mean is -1/2; with 6 it would be 5/3; with -7 it would be -8/3
    soup = greedy_soup(points(6.0, -2.0, 1.0, -7.0), score=nearness(), higher_is_better=True)
    assert soup.members == ("copy-2", "copy-1")
    assert float(soup.state["w"]) == -0.5
    assert soup.score == -0.5
    assert soup.scores == {"copy-0": -6.0, "copy-1": -2.0, "copy-2": -1.0, "copy-3": -7.0}


def test_an_equal_score_joins_unless_the_soup_is_strict() -> None:
    same = points(1.0, 1.0, 1.0)
    assert greedy_soup(same, score=nearness(), higher_is_better=True).members == ("copy-0", "copy-1", "copy-2")
    strict = greedy_soup(same, score=nearness(), higher_is_better=True, strict=True)
    assert strict.members == ("copy-0",)


def test_a_loss_is_better_when_it_is_lower() -> None:
    soup = greedy_soup(points(6.0, -2.0, 1.0), score=lambda s: abs(float(s["w"])), higher_is_better=False)
    assert soup.members == ("copy-2", "copy-1")
    assert soup.score == 0.5


def brute_force(values: list[float], strict: bool) -> tuple[set[int], float]:
    """The definition, on numbers."""
    order = sorted(range(len(values)), key=lambda i: (abs(values[i]), f"copy-{i}"))
    members, best = [order[0]], abs(values[order[0]])
    for i in order[1:]:
        trial = abs(sum(values[j] for j in [*members, i]) / (len(members) + 1))
        if trial < best or (trial == best and not strict):
            members, best = [*members, i], trial
    return set(members), best


@given(values=st.lists(st.integers(-64, 64).map(float), min_size=1, max_size=6), strict=st.booleans(), data=st.data())
def test_a_greedy_soup_is_never_worse_than_the_best_and_does_not_depend_on_the_order(
    values: list[float], strict: bool, data: st.DataObject
) -> None:
    named = points(*values)
    soup = greedy_soup(named, score=nearness(), higher_is_better=True, strict=strict)
    assert soup.score is not None
    assert soup.score >= max(soup.scores.values())
    assert soup.score == nearness()(soup.state)
    members, best = brute_force(values, strict)
    assert {int(name.removeprefix("copy-")) for name in soup.members} == members
    assert soup.score == pytest.approx(-best, abs=1e-12)
    again = greedy_soup(data.draw(st.permutations(named)), score=nearness(), higher_is_better=True, strict=strict)
    assert again.members == soup.members
    assert same_bits(again.state["w"], soup.state["w"])


def test_scores_that_are_known_are_not_measured_again() -> None:
    seen: list[float] = []

    def score(state: dict[str, Tensor]) -> float:
        seen.append(float(state["w"]))
        return nearness()(state)

    named = points(1.0, -2.0, 6.0)
    own = candidate_scores(named, score)
    assert seen == [1.0, -2.0, 6.0]
    assert own == {"copy-0": -1.0, "copy-1": -2.0, "copy-2": -6.0}
    greedy_soup(named, score=score, higher_is_better=True, scores=own)
    assert seen[3:] == [-0.5, pytest.approx(5 / 3)]  # the averages that were tried, and nothing else


def test_the_guard_puts_the_best_candidate_in_the_place_of_a_worse_average_and_says_so() -> None:
    named = points(1.0, 9.0, 20.0)
    with pytest.warns(UserWarning, match=r"3 candidates scores -10 .* worse than candidate 'copy-0' alone with -1"):
        soup = guarded(uniform_soup(named), named, score=nearness(), higher_is_better=True)
    assert soup.members == ("copy-0",)
    assert float(soup.state["w"]) == 1.0
    assert (soup.score, soup.guarded) == (-1.0, True)


def test_the_guard_keeps_an_average_that_is_as_good_as_the_best() -> None:
    for values, reached in (((1.0, -3.0), -1.0), ((2.0, -3.0), -0.5)):
        named = points(*values)
        soup = guarded(uniform_soup(named), named, score=nearness(), higher_is_better=True)
        assert soup.members == ("copy-0", "copy-1")
        assert (soup.score, soup.guarded) == (reached, False)
        assert set(soup.scores) == {"copy-0", "copy-1"}


def test_the_guard_uses_the_scores_that_a_greedy_soup_has() -> None:
    named = points(1.0, -2.0)
    soup = greedy_soup(named, score=nearness(), higher_is_better=True)

    def never(_state: dict[str, Tensor]) -> float:
        raise AssertionError("scored again")

    assert guarded(soup, named, score=never, higher_is_better=True).members == soup.members


def test_the_best_candidate_is_the_first_by_name_of_equal_ones() -> None:
    named = points(5.0, -3.0, 3.0)
    own = candidate_scores(named, nearness())
    soup = best_candidate(named[::-1], scores=own, higher_is_better=True)
    assert soup.members == ("copy-1",)
    assert (float(soup.state["w"]), soup.score) == (-3.0, -3.0)
    assert best_candidate(named, scores=own, higher_is_better=False).members == ("copy-0",)


def test_equal_copies_make_a_soup_that_is_the_copy_bitwise() -> None:
    copies = candidates([state(4) for _ in range(3)])
    soups: list[Soup] = [
        uniform_soup(copies),
        greedy_soup(copies, score=lambda s: float(s["scalar"]), higher_is_better=True),
    ]
    for soup in soups:
        assert soup.members == ("copy-0", "copy-1", "copy-2")
        assert all(same_bits(soup.state[name], value) for name, value in state(4).items())


def test_a_score_that_is_not_finite_is_refused_by_the_name_of_the_candidate() -> None:
    with pytest.raises(InputError, match="the score of candidate 'copy-1' is nan"):
        greedy_soup(
            points(1.0, 2.0),
            score=lambda s: float("nan") if float(s["w"]) == 2 else 0.0,
            higher_is_better=True,
        )
    with pytest.raises(InputError, match="the score of the average with 'copy-1' is inf"):
        greedy_soup(
            points(1.0, 2.0),
            score=lambda s: float("inf") if float(s["w"]) == 1.5 else -float(s["w"]),
            higher_is_better=True,
        )


def test_a_candidate_without_a_score_is_named() -> None:
    with pytest.raises(InputError, match=r"candidate 'copy-1' has no score; there are scores of \['copy-0'\]"):
        best_candidate(points(1.0, 2.0), scores={"copy-0": 1.0}, higher_is_better=True)


def test_a_candidate_that_does_not_fit_is_refused_before_anything_is_scored() -> None:
    def never(_state: dict[str, Tensor]) -> float:
        raise AssertionError("scored")

    with pytest.raises(InputError, match="candidate 'copy-1' is of another architecture"):
        greedy_soup(candidates([{"w": torch.ones(1)}, {"v": torch.ones(1)}]), score=never, higher_is_better=True)
    with pytest.raises(InputError, match="got none"):
        uniform_soup([])
    with pytest.raises(InputError, match="got none"):
        candidate_scores([], never)
