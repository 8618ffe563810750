"""The registry of checks: each invariant of each card that ships is asserted by one function.

A new method adds a file `invariants_of_*.py` beside this one; `test_invariants.py` imports them all.
"""

from collections.abc import Callable

Check = Callable[[], None]
CHECKS: dict[tuple[str, str], Check] = {}


def invariant(card_id: str, text: str) -> Callable[[Check], Check]:
    """Register a function without arguments as the check of one invariant, word for word as on the card."""

    def register(check: Check) -> Check:
        if (card_id, text) in CHECKS:
            raise ValueError(f"{card_id}: {text!r} has a check already, {CHECKS[card_id, text].__name__}")
        CHECKS[card_id, text] = check
        return check

    return register
