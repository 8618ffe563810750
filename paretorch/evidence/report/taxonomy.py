"""The taxonomy grid of a comparison: six components by five actions, with the methods that were tried marked."""

from collections.abc import Sequence
from dataclasses import dataclass

from paretorch.evidence.records import RunRecord
from paretorch.evidence.report.table import UNKNOWN, Table, without_empty_columns
from paretorch.evidence.words import grouped, plural
from paretorch.methods.catalogue import all_cards
from paretorch.methods.queries import grid, tried
from paretorch.methods.taxonomy import ACTIONS, COMPONENTS, Action, Component


@dataclass(frozen=True)
class Box:
    """One cell: titles of the methods that acted, with the number of their runs, and how many others are known."""

    tried: tuple[str, ...]
    others: str


@dataclass(frozen=True)
class Grid:
    """Component -> its cells in the order of `actions`; and the ids that acted and have no card."""

    rows: dict[Component, tuple[Box, ...]]
    unknown: tuple[str, ...]
    actions: tuple[Action, ...] = ACTIONS


def taxonomy_grid(records: Sequence[RunRecord]) -> Grid:
    """The grid for the methods that acted in these runs; a method stands in every cell of its card."""
    cards = all_cards()
    counts = tried([[name for name in record.methods if name in cards] for record in records], cards)
    known = grid(cards.values())
    rows: dict[Component, tuple[Box, ...]] = {}
    for component in COMPONENTS:
        boxes = []
        for action in ACTIONS:
            acted = counts[component, action]
            rest = len(known[component, action]) - len(acted)
            more = f"{grouped(rest)} more" if acted and rest else plural(rest, "method") if rest else "nothing known"
            titles = tuple(f"{cards[name].title} ({plural(number, 'run')})" for name, number in acted.items())
            boxes.append(Box(titles, more if rest or not acted else ""))
        rows[component] = tuple(boxes)
    return Grid(rows, tuple(name for name in _names(records) if name not in cards))


def method_table(records: Sequence[RunRecord]) -> Table | None:
    """One row per method that acted and has a card; None without any."""
    cards = all_cards()
    found = [cards[name] for name in _names(records) if name in cards]
    if not found:
        return None
    rows = [
        [
            card.title,
            "; ".join(f"{component}: {action}" for component, action in card.cells) or "none",
            card.semantic_class.replace("_", " "),
            ", ".join(card.relieves) or UNKNOWN,
            ", ".join(card.worsens) or UNKNOWN,
            ", ".join(card.charges) or UNKNOWN,
            card.realised_by or UNKNOWN,
            card.references[0],
        ]
        for card in found
    ]
    table = Table(
        key="methods",
        title="Methods that were tried",
        caption="From their cards. A change that is not semantic gives an implementation speed-up, not an algorithmic "
        "one.",
        head=[
            *["method", "cells", "class of change", "relieves", "worsens", "also to be charged"],
            *["becomes time or bytes if", "reference"],
        ],
        rows=rows,
    )
    return without_empty_columns(table)


def _names(records: Sequence[RunRecord]) -> list[str]:
    return list(dict.fromkeys(name for record in records for name in record.methods))
