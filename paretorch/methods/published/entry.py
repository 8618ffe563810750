"""How the card of a published method that does not ship is written: briefly, with what is known for certain.

Its relations to resources are our reading of the method; no figure of a paper is given unless we read it there or
computed it from published data. A method that is built here deletes its entry and brings its own card.
"""

from typing import Any

from paretorch.methods.card import Card
from paretorch.methods.taxonomy import Phase, Resource, parse_cell


def published(
    name: str,
    year: int,
    title: str,
    summary: str,
    *references: str,
    cells: str,
    phase: Phase | tuple[Phase, ...] = "dense_train",
    relieves: tuple[Resource, ...] = (),
    worsens: tuple[Resource, ...] = (),
    **more: Any,
) -> Card:
    """A card with `implemented=False`.

    Args:
        name: the id.
        year, title, summary, references: as in `Card`.
        cells: "parameters:remove, objective:retrofit", the main one first; "" where nothing semantic changes.
        phase: one, or several.
        relieves, worsens: as in `Card`.
        more: every other field of `Card`.

    Raises:
        ValueError: as `Card` does. InputError: for a cell that does not exist.
    """
    return Card(
        id=name,
        year=year,
        title=title,
        summary=summary,
        references=references,
        implemented=False,
        cells=tuple(parse_cell(cell) for cell in cells.split(",") if cell.strip()),
        phase=(phase,) if isinstance(phase, str) else phase,
        relieves=relieves,
        worsens=worsens,
        **more,
    )
