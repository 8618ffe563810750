"""`paretorch methods` and `paretorch doctor`: what ships, what else is published, and what this machine has."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from paretorch.errors import InputError, RunError

if TYPE_CHECKING:
    from rich.console import Console

    from paretorch.methods.card import Card

Everything = Annotated[bool, typer.Option("--all", help="List published methods that do not ship, too.")]
Grid = Annotated[bool, typer.Option("--grid", help="Show what ships on the grid of what a method changes, and how.")]
InCell = Annotated[str | None, typer.Option("--cell", help='Every method of a cell, such as "parameters:remove".')]
Relieves = Annotated[str | None, typer.Option("--relieves", help='Every method that saves it, such as "compute".')]


def methods(everything: Everything = False, grid: Grid = False, cell: InCell = None, relieves: Relieves = None) -> None:
    """List every method that ships, with what it changes and the condition under which it pays."""
    from rich.console import Console

    from paretorch.methods import queries
    from paretorch.methods.catalogue import all_cards
    from paretorch.methods.taxonomy import parse_cell, parse_resource

    if grid and (everything or cell or relieves):
        raise InputError("--grid shows every cell and method; leave out --all, --cell and --relieves")
    wanted_cell = None if cell is None else parse_cell(cell)
    wanted_resource = None if relieves is None else parse_resource(relieves)
    console = Console()
    known = tuple(all_cards().values())
    if grid:
        _print_grid(known, console)
        return
    chosen = known if wanted_cell is None else queries.in_cell(known, wanted_cell)
    chosen = chosen if wanted_resource is None else queries.relieving(chosen, wanted_resource)
    _print_shipped([card for card in chosen if card.implemented], console)
    if everything or cell is not None or relieves is not None:
        _print_published([card for card in chosen if not card.implemented], console)


def _print_shipped(chosen: "list[Card]", console: "Console") -> None:
    """A table of methods that ship."""
    from rich.table import Column, Table

    from paretorch.methods.taxonomy import cell_name

    if not chosen:
        console.print("No such method ships.")
        return
    table = Table(Column("id", no_wrap=True), "what it does", "changes", "becomes time or bytes when")
    for card in chosen:
        table.add_row(card.id, card.summary, ", ".join(map(cell_name, card.cells)), card.realised_by)
    console.print(table)


def _print_published(chosen: "list[Card]", console: "Console") -> None:
    """Published methods that do not ship, oldest first, a paragraph each."""
    from rich.padding import Padding
    from rich.text import Text

    from paretorch.methods.taxonomy import cell_name

    console.print(f"\nPublished, and not part of this package: {len(chosen)}", highlight=False)
    for card in sorted(chosen, key=lambda card: (card.year, card.id)):
        facts = [
            card.summary,
            f"Changes {', '.join(map(cell_name, card.cells)) or 'nothing semantic'}; relieves "
            f"{', '.join(card.relieves) or 'nothing'}.",
            f"{'; '.join(card.references)}.",
            *(
                f"Reported, {said.workload}, {said.environment}: {said.metric} {said.value:g}."
                for said in card.reported
            ),
        ]
        console.print(Text(f"{card.id} ({card.year}): {card.title}", style="bold"))
        console.print(Padding(Text(" ".join(facts)), (0, 0, 0, 4)))


def _print_grid(known: "Iterable[Card]", console: "Console") -> None:
    """For every cell the numbers of methods that ship and of published ones that do not; below, what ships where."""
    from rich.table import Table

    from paretorch.methods import queries
    from paretorch.methods.taxonomy import ACTIONS, CELLS, COMPONENTS

    cards = list(known)
    cells = queries.grid(cards)
    table = Table("", *ACTIONS, title="What methods change, and how", title_justify="left")
    for component in COMPONENTS:
        entries = []
        for action in ACTIONS:
            found = cells[component, action]
            built = sum(card.implemented for card in found)
            entries.append(f"{built} + {len(found) - built}" if found else "none known")
        table.add_row(component, *entries)
    console.print(table)
    for (component, action), found in cells.items():
        if ids := [card.id for card in found if card.implemented]:
            console.print(f"{component}:{action}: {', '.join(ids)}", highlight=False)
    console.print(
        "\nIn a cell, methods that ship + published ones that do not. "
        f"Nothing ships in {len(queries.not_built(cards))} of {len(CELLS)} cells; in "
        f"{len(queries.field_gaps(cards))} no method is known.\nOne cell: "
        'paretorch methods --cell "parameters:remove"',
        highlight=False,
    )


def doctor() -> None:
    """Print versions, devices and which optional features are installed; exit 1 if something required is missing."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from paretorch.measurement.energy import energy_meters
    from paretorch.measurement.environment import environment
    from paretorch.measurement.installation import extras, required

    console = Console()
    table = Table("what", "found", title="This machine", title_justify="left")
    for name, value in environment().items():
        table.add_row(name, str(value))
    energy = energy_meters()
    for meter in energy.meters:
        table.add_row(f"energy ({meter.source})", meter.scope)
    for source, reason in energy.absent.items():
        table.add_row(f"energy ({source})", escape(f"no: {reason}"))  # a reason may name an extra in brackets
    console.print(table)
    table = Table("package", "installed", "needed by", title="Packages", title_justify="left")
    for package in (*required(), *extras()):
        found = package.version or ("missing" if package.extra is None else "not installed")
        needed = "paretorch" if package.extra is None else f"extra {package.extra!r}"
        table.add_row(package.name, found, needed)
    console.print(table)
    if missing := [package.name for package in required() if package.version is None]:
        raise RunError(f"required packages are missing: {', '.join(missing)}; run: pip install --upgrade paretorch")
    console.print("Everything that is required is installed.")
