"""Finds every method's card by walking the package: a new method is a new file, and nothing else is edited."""

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

import paretorch.methods
from paretorch.methods.card import Card


def modules() -> Iterator[ModuleType]:
    """Every module below `paretorch.methods`, in alphabetical order of its path."""
    for found in pkgutil.walk_packages(paretorch.methods.__path__, "paretorch.methods."):
        yield importlib.import_module(found.name)


def cards() -> dict[str, Card]:
    """All cards by id.

    Raises:
        ValueError: if two methods claim the same id.
    """
    found: dict[str, Card] = {}
    origin: dict[str, str] = {}
    for module in modules():
        for card in module_cards(module):
            if card.id in found:
                raise ValueError(f"card id {card.id!r} is used by {origin[card.id]} and by {module.__name__}")
            found[card.id], origin[card.id] = card, module.__name__
    return dict(sorted(found.items()))


def module_cards(module: ModuleType) -> tuple[Card, ...]:
    """The cards a module declares: `CARD` for one method, `CARDS` where one file holds a family of formulas."""
    if isinstance(card := getattr(module, "CARD", None), Card):
        return (card,)
    return tuple(getattr(module, "CARDS", ()))
