"""Finds every method's card by walking the package: a new method is a new file, and nothing else is edited."""

import importlib
import pkgutil
from collections.abc import Iterator, Mapping
from types import ModuleType

import paretorch.methods
from paretorch.methods.card import Card


def modules() -> Iterator[ModuleType]:
    """Every module below `paretorch.methods`, in alphabetical order of its path."""
    for found in pkgutil.walk_packages(paretorch.methods.__path__, "paretorch.methods."):
        yield importlib.import_module(found.name)


def cards() -> dict[str, Card]:
    """The cards of the methods that ship, by id.

    Raises:
        ValueError: as `all_cards` does.
    """
    return {name: card for name, card in all_cards().items() if card.implemented}


def all_cards() -> dict[str, Card]:
    """The cards of the methods that ship and of published ones that do not, by id.

    Raises:
        ValueError: if two cards claim the same id, or one names an id that no card has.
    """
    found: dict[str, Card] = {}
    origin: dict[str, str] = {}
    for module in modules():
        for card in module_cards(module):
            if card.id in found:
                raise ValueError(f"card id {card.id!r} is used by {origin[card.id]} and by {module.__name__}")
            found[card.id], origin[card.id] = card, module.__name__
    check_references(found)
    return dict(sorted(found.items()))


def check_references(cards: Mapping[str, Card]) -> None:
    """Every id that a card names is the id of a card.

    Raises:
        ValueError: names the card and what it names in vain.
    """
    for card in cards.values():
        if lost := sorted(set(card.related) - set(cards)):
            raise ValueError(f"card {card.id!r} names {', '.join(map(repr, lost))}, which no card has as its id")


def module_cards(module: ModuleType) -> tuple[Card, ...]:
    """The cards a module declares: `CARD` for one method, `CARDS` for several."""
    if isinstance(card := getattr(module, "CARD", None), Card):
        return (card,)
    return tuple(getattr(module, "CARDS", ()))
