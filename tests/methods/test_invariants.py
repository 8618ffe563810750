"""Every invariant of every card that ships is asserted by one check, and nothing is checked that no card promises."""

import pytest

from paretorch.methods.catalogue import cards
from tests.methods import (  # noqa: F401 -- they register their checks
    invariants_of_allocation,
    invariants_of_averaging,
    invariants_of_continuous,
    invariants_of_cutting,
    invariants_of_distillation,
    invariants_of_dpod,
    invariants_of_gradients,
    invariants_of_gradual,
    invariants_of_optim,
    invariants_of_rank,
    invariants_of_schedules,
    invariants_of_sharing,
    invariants_of_sparsity,
    invariants_of_structured,
    invariants_of_substitution,
    invariants_of_width,
)
from tests.methods.invariants import CHECKS, invariant

PROMISED = [(card.id, text) for card in cards().values() for text in card.invariants]


def test_every_invariant_has_a_check_and_every_check_an_invariant() -> None:
    assert sorted(CHECKS) == sorted(PROMISED)


def test_no_card_promises_the_same_thing_twice() -> None:
    assert len(set(PROMISED)) == len(PROMISED)


def test_a_second_check_of_one_invariant_is_refused() -> None:
    with pytest.raises(ValueError, match=r"ft: .* has a check already, ft_is_constant"):
        invariant("ft", "the learning rate is the same at every step")(lambda: None)


@pytest.mark.parametrize(("card_id", "text"), PROMISED)
def test_the_invariant_holds(card_id: str, text: str) -> None:
    CHECKS[card_id, text]()
