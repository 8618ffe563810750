"""What the grid answers: which methods stand in a cell, where none does, what relieves what, what goes together.

All functions take cards, not the catalogue, so that they work on any selection; orders are those of the ids.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations

from paretorch.errors import InputError
from paretorch.methods.card import Card
from paretorch.methods.taxonomy import CELLS, Cell, Resource, unknown


def grid(cards: Iterable[Card]) -> dict[Cell, tuple[Card, ...]]:
    """Every one of the 30 cells with the cards that stand in it; a card of several cells stands in each."""
    ordered = _by_id(cards)
    return {cell: tuple(card for card in ordered if cell in card.cells) for cell in CELLS}


def in_cell(cards: Iterable[Card], cell: Cell) -> tuple[Card, ...]:
    """The cards of one cell.

    Raises:
        KeyError: if there is no such cell; `taxonomy.parse_cell` reads what a user typed.
    """
    return grid(cards)[cell]


def field_gaps(cards: Iterable[Card]) -> tuple[Cell, ...]:
    """Cells without any card: nothing published is known there, to those who wrote the catalogue."""
    return tuple(cell for cell, found in grid(cards).items() if not found)


def not_built(cards: Iterable[Card]) -> tuple[Cell, ...]:
    """Cells with published methods, of which none ships."""
    return tuple(cell for cell, found in grid(cards).items() if found and not any(card.implemented for card in found))


def relieving(
    cards: Iterable[Card], resource: Resource, *, without_worsening: Iterable[Resource] = ()
) -> tuple[Card, ...]:
    """The cards that save `resource` and spend none of `without_worsening`."""
    forbidden = set(without_worsening)
    return tuple(card for card in _by_id(cards) if resource in card.relieves and not forbidden & set(card.worsens))


def redundant_pairs(cards: Iterable[Card]) -> tuple[tuple[str, str], ...]:
    """Pairs in the same role, that is, with a common cell and a common phase: the second likely adds little."""
    return tuple((a.id, b.id) for a, b in _pairs(cards) if set(a.cells) & set(b.cells) and set(a.phase) & set(b.phase))


def multiplicative_pairs(cards: Iterable[Card]) -> tuple[tuple[str, str], ...]:
    """Pairs whose savings likely multiply.

    They have no common cell, relieve different resources and do not exclude each other. Whether their savings do
    multiply is for a measurement of the interaction to say.
    """
    return tuple(
        (a.id, b.id)
        for a, b in _pairs(cards)
        if a.relieves
        and b.relieves
        and not set(a.cells) & set(b.cells)
        and not set(a.relieves) & set(b.relieves)
        and b.id not in a.conflicts
        and a.id not in b.conflicts
    )


def tried(named: Iterable[Iterable[str]], cards: Mapping[str, Card]) -> dict[Cell, Counter[str]]:
    """How often each method was tried, laid on the grid.

    Args:
        named: for each record the ids of the methods that acted, as `record.methods` gives them; one that is named
            twice in a record counts once.
        cards: by id, all that may be named.

    Returns:
        For each of the 30 cells the number of records by id. A method without a cell changes nothing semantic and
        appears nowhere.

    Raises:
        InputError: for an id that is not among the cards; it names the nearest.
    """
    counts: Counter[str] = Counter()
    for methods in named:
        for name in sorted(set(methods)):
            if name not in cards:
                raise InputError(unknown("method", name, sorted(cards)))
            counts[name] += 1
    return {
        cell: Counter({card.id: counts[card.id] for card in found if card.id in counts})
        for cell, found in grid(cards.values()).items()
    }


def _by_id(cards: Iterable[Card]) -> list[Card]:
    return sorted(cards, key=lambda card: card.id)


def _pairs(cards: Iterable[Card]) -> Iterator[tuple[Card, Card]]:
    return combinations(_by_id(cards), 2)
