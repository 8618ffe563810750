"""The catalogue finds every card once, every card is filled in, and published ones stand beside those that ship."""

import re
import sys
from collections import Counter
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import paretorch.methods
from paretorch.methods import catalogue
from paretorch.methods.taxonomy import CELLS

PLANTED = """
from paretorch.methods.published.entry import published
CARD = published({id!r}, 2000, "t", "s", "x", cells="parameters:remove", composes_with={others!r})
"""
SPECIFIED = {  # the methods that the specification of the catalogue places on the grid and that do not ship
    "sfw-compression-aware", "perp", "smol",
    "adaptive-weight-coding", "linear-outputs", "greedy-layerwise", "analytic-learning",
}  # fmt: skip


@pytest.fixture
def plant(tmp_path, monkeypatch):
    """Write modules into `paretorch.methods` for the length of one test."""
    monkeypatch.setattr(paretorch.methods, "__path__", [*paretorch.methods.__path__, str(tmp_path)])
    written = []

    def write(module, *, card_id, others=()):
        (tmp_path / f"{module}.py").write_text(PLANTED.format(id=card_id, others=others), encoding="utf-8")
        written.append(module)

    yield write
    for module in written:
        sys.modules.pop(f"paretorch.methods.{module}", None)
        vars(paretorch.methods).pop(module, None)


def test_every_card_is_filled_in():
    cards = catalogue.all_cards()
    assert cards
    for name, card in cards.items():
        assert name == card.id == card.id.lower()
        for field in ("title", "summary"):
            assert getattr(card, field).strip(), f"{name}: {field} is empty"
        assert card.summary.endswith("."), name
        assert 1943 <= card.year <= 2026, name
        for field in ("invariants", "relieves", "worsens", "phase", "evidence", "cells", "references", "charges"):
            assert isinstance(getattr(card, field), tuple), f"{name}: {field} is not a tuple"
    for name, card in catalogue.cards().items():
        assert card.implemented
        assert card.cost.strip(), name
        assert card.realised_by.strip(), name


def test_every_declared_card_is_listed_under_its_own_id():
    declared = [card.id for module in catalogue.modules() for card in catalogue.module_cards(module)]
    assert len(declared) == len(set(declared))
    assert sorted(declared) == list(catalogue.all_cards())


def test_what_ships_is_listed_apart_from_what_is_only_published():
    assert {"ft", "lrw", "slr", "clr", "llr", "allr", "bn-reestimate"} <= catalogue.cards().keys()
    published = catalogue.all_cards().keys() - catalogue.cards().keys()
    assert published >= SPECIFIED
    assert len(published) >= 60
    assert not any(catalogue.all_cards()[name].invariants for name in published)


def test_published_methods_stand_on_every_cell_of_the_grid():
    assert {cell for card in catalogue.all_cards().values() for cell in card.cells} == set(CELLS)


def test_a_published_card_stands_in_the_file_of_its_main_component():
    for module in catalogue.modules():
        if not module.__name__.startswith("paretorch.methods.published."):
            continue
        file = module.__name__.rpartition(".")[2]
        for card in catalogue.module_cards(module):
            component = card.cells[0][0].replace(" ", "_") if card.cells else "equivalent"
            assert file.startswith(component) or file == "parameters_removed", f"{card.id} in {file}"


def test_references_name_authors_and_agree_with_the_year():
    for card in catalogue.all_cards().values():
        text = "; ".join(card.references)
        assert all(len(reference.split()) >= 2 for reference in card.references), card.id
        years = {int(year) for year in re.findall(r"\b(?:19|20)\d\d\b(?!\.\d)", text)}
        assert not years or card.year in years, f"{card.id}: {card.year} is none of {sorted(years)}"


def test_no_two_cards_describe_one_publication_under_two_titles():
    titles = Counter(card.title.lower() for card in catalogue.all_cards().values())
    assert [title for title, count in titles.items() if count > 1] == []
    numbers = Counter(
        number
        for card in catalogue.all_cards().values()
        for number in set(re.findall(r"\d{4}\.\d{5}", " ".join(card.references)))
        if not card.implemented
    )
    assert [number for number, count in numbers.items() if count > 1] == []


def test_a_new_file_is_found_without_being_registered(plant):
    plant("planted_method", card_id="planted")
    assert catalogue.all_cards()["planted"].title == "t"


def test_two_methods_of_one_id_are_refused(plant):
    plant("planted_method", card_id="planted")
    plant("planted_twin", card_id="planted")
    with pytest.raises(ValueError, match=r"'planted' is used by .*planted_method and by .*planted_twin"):
        catalogue.cards()


def test_a_method_that_is_built_must_replace_the_published_card(plant):
    plant("planted_method", card_id="snip")
    with pytest.raises(ValueError, match=r"'snip' is used by .*published\.parameters_removed and by .*planted"):
        catalogue.cards()


def test_a_card_that_names_no_card_is_refused(plant):
    plant("planted_method", card_id="planted", others=("llr", "nowhere"))
    with pytest.raises(ValueError, match=r"card 'planted' names 'nowhere', which no card has"):
        catalogue.all_cards()


def test_conflicts_are_mutual_and_nothing_conflicts_with_what_it_goes_with():
    cards = catalogue.all_cards()
    for name, card in cards.items():
        assert not set(card.conflicts) & set(card.composes_with), name
        for other in card.conflicts:
            assert name in cards[other].conflicts, f"{name} excludes {other}, and not the other way round"


def test_the_order_of_methods_has_no_circle():
    cards = catalogue.all_cards()
    order = TopologicalSorter({name: card.after for name, card in cards.items()})
    for name, card in cards.items():
        for later in card.before:
            order.add(later, name)
    steps = list(order.static_order())  # raises CycleError
    assert steps.index("magnitude") < min(steps.index("masks"), steps.index("llr"), steps.index("bn-reestimate"))


def test_the_evidence_of_every_card_is_a_result_file_of_this_project():
    results = {
        path.name.partition(".")[0] for path in (Path(__file__).parents[2] / "benchmarks" / "results").glob("*.json")
    }
    named = {name for card in catalogue.all_cards().values() for name in card.evidence}
    assert named
    assert named <= results
    assert not any(card.evidence for card in catalogue.all_cards().values() if not card.implemented)
