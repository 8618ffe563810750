"""Directives that show cards: `method-card`, `method-index`, `method-grid`, `published-methods`, `field-gaps`."""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from paretorch.methods.card import Card, HyperParameter
from paretorch.methods.catalogue import all_cards, cards
from paretorch.methods.queries import field_gaps, grid
from paretorch.methods.taxonomy import ACTIONS, COMPONENTS, cell_name

CLASSES = {
    "bit_exact": "none: the same bits",
    "math_equivalent": "rounding only",
    "distribution_preserving": "other random draws, the same distribution",
    "semantic": "the result is another one",
}


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("method-card", MethodCard)
    app.add_directive("method-index", MethodIndex)
    app.add_directive("method-grid", MethodGrid)
    app.add_directive("published-methods", PublishedMethods)
    app.add_directive("field-gaps", FieldGaps)
    return {"parallel_read_safe": True}


class MethodCard(SphinxDirective):
    """The card of the method whose id is the argument."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        card = cards().get(self.arguments[0])
        if card is None:
            raise self.error(f"no method has the id {self.arguments[0]!r}; there are {', '.join(cards())}")
        head, *rows = [f"| {name} | {value} |" for name, value in facts(card).items()]
        return self.parse_text_to_nodes("\n".join([head, "|---|---|", *rows]))


class MethodIndex(SphinxDirective):
    """Every method with a link to its page and the condition under which it becomes time or bytes."""

    def run(self) -> list[nodes.Node]:
        rows = ["| method | what it does | becomes time or bytes when |", "|---|---|---|"]
        rows += [
            f"| [{card.title}]({card.id}.md) | {plain(card.summary)} | {plain(card.realised_by)} |"
            for card in cards().values()
        ]
        return self.parse_text_to_nodes("\n".join(rows))


class MethodGrid(SphinxDirective):
    """The grid of cells: the methods that ship by name with a link, and how many published ones stand beside them."""

    def run(self) -> list[nodes.Node]:
        rows = [f"| | {' | '.join(ACTIONS)} |", "|---" * (len(ACTIONS) + 1) + "|"]
        cells = grid(all_cards().values())
        for component in COMPONENTS:
            entries = []
            for action in ACTIONS:
                found = cells[component, action]
                built = [f"[{card.id}](methods/{card.id}.md)" for card in found if card.implemented]
                others = len(found) - len(built)
                entries.append(", ".join([*built, *([f"{others} published"] if others else [])]) or "none known")
            rows.append(f"| **{component}** | {' | '.join(entries)} |")
        return self.parse_text_to_nodes("\n".join(rows))


class PublishedMethods(SphinxDirective):
    """The published methods that do not ship whose main cell belongs to the component that is the argument."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        component = self.arguments[0]
        rows = ["| method | what it does | cells | relieves | source |", "|---|---|---|---|---|"]
        for card in sorted(all_cards().values(), key=lambda card: (card.year, card.title)):
            main = card.cells[0][0] if card.cells else "none"
            if not card.implemented and main == component:
                cells = ", ".join(map(cell_name, card.cells)) or "none"
                relieved = ", ".join(card.relieves) or "none"
                words = map(plain, (card.title, card.summary, cells, relieved, "; ".join(card.references)))
                rows.append(f"| {' | '.join(words)} |")
        if len(rows) == 2:
            raise self.error(f"no published method has its main cell in {component!r}")
        return self.parse_text_to_nodes("\n".join(rows))


class FieldGaps(SphinxDirective):
    """The cells for which no card exists, built or published."""

    def run(self) -> list[nodes.Node]:
        gaps = [f"`{cell_name(cell)}`" for cell in field_gaps(all_cards().values())]
        return self.parse_text_to_nodes(f"Cells without any card: {', '.join(gaps) or 'none'}.")


def facts(card: Card) -> dict[str, str]:
    """The card's fields under the words of the documentation, each ready for a Markdown table."""
    values = {
        "id": f"`{card.id}`",
        "changes": ", ".join(map(cell_name, card.cells)) or "nothing semantic",
        "acts in": ", ".join(phase.replace("_", " ") for phase in card.phase),
        "difference to a run without it": CLASSES[card.semantic_class],
        "relieves": ", ".join(card.relieves) or "none",
        "worsens": ", ".join(card.worsens) or "none",
        "beware": card.caveat or "see below",
        "risk for quality": card.quality_risk,
        "cost": card.cost,
        "to be charged": ", ".join(card.charges) or "nothing beside its steps",
        "becomes time or bytes when": card.realised_by,
        "settings": "; ".join(map(setting, card.hyperparams)) or "none",
        "leaves alone": ", ".join(card.excludes) or "nothing",
        "goes with": ", ".join(card.composes_with) or "not known",
        "excludes": ", ".join(card.conflicts) or "none",
        "holds exactly": "; ".join(card.invariants),
        "source": "; ".join(card.references),
    }
    return {name: value if name == "id" else plain(value) for name, value in values.items()}


def setting(given: HyperParameter) -> str:
    """One setting in words: name, default, range."""
    default = "no default" if given.default is None else f"default {given.default}"
    span = " or ".join(given.choices) if given.scale == "choice" else f"{given.low:g} to {given.high:g}"
    return f"{given.name} ({default}; {span})"


def plain(text: str) -> str:
    """The text with everything escaped that Markdown would take for markup in a table."""
    return "".join(f"\\{sign}" if sign in "|*_<>[]" else sign for sign in text)
