"""Two directives: `method-card`, the facts of one method's card, and `method-index`, a table of all methods."""

from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from paretorch.methods.card import Card
from paretorch.methods.catalogue import cards

CLASSES = {
    "bit_exact": "none: the same bits",
    "math_equivalent": "rounding only",
    "distribution_preserving": "other random draws, the same distribution",
    "semantic": "the result is another one",
}


def setup(app: Sphinx) -> dict[str, Any]:
    app.add_directive("method-card", MethodCard)
    app.add_directive("method-index", MethodIndex)
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


def facts(card: Card) -> dict[str, str]:
    """The card's fields under the words of the documentation, each ready for a Markdown table."""
    values = {
        "id": f"`{card.id}`",
        "changes": ", ".join(f"{component}: {action}" for component, action in card.cells) or "nothing semantic",
        "acts in": ", ".join(phase.replace("_", " ") for phase in card.phase),
        "difference to a run without it": CLASSES[card.semantic_class],
        "relieves": ", ".join(card.relieves) or "none",
        "worsens": ", ".join(card.worsens) or "none",
        "cost": card.cost_model,
        "becomes time or bytes when": card.realised_by,
        "holds exactly": "; ".join(card.invariants),
        "source": card.reference,
    }
    return {name: value if name == "id" else plain(value) for name, value in values.items()}


def plain(text: str) -> str:
    """The text with everything escaped that Markdown would take for markup in a table."""
    return "".join(f"\\{sign}" if sign in "|*_<>[]" else sign for sign in text)
