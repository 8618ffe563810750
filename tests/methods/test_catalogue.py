"""The catalogue finds every card once, and every card is filled in."""

import dataclasses
import sys
from pathlib import Path

import pytest

import paretorch.methods
from paretorch.methods import catalogue
from paretorch.methods.card import Card

PLANTED = """
from paretorch.methods.card import Card
CARD = Card(id={id!r}, title="t", summary="s", cells=(("parameters", "remove"),), phase=("prune",),
            semantic_class="semantic", relieves=(), worsens=(), cost_model="c", realised_by="r",
            invariants=("i",), reference="x")
"""


@pytest.fixture
def plant(tmp_path, monkeypatch):
    """Write modules into `paretorch.methods` for the length of one test."""
    monkeypatch.setattr(paretorch.methods, "__path__", [*paretorch.methods.__path__, str(tmp_path)])
    written = []

    def write(module, *, card_id):
        (tmp_path / f"{module}.py").write_text(PLANTED.format(id=card_id), encoding="utf-8")
        written.append(module)

    yield write
    for module in written:
        sys.modules.pop(f"paretorch.methods.{module}", None)
        vars(paretorch.methods).pop(module, None)


def test_every_card_is_filled_in():
    cards = catalogue.cards()
    assert cards
    for name, card in cards.items():
        assert name == card.id == card.id.lower()
        assert card.invariants, name
        assert card.phase, name
        for field in ("title", "summary", "cost_model", "realised_by", "reference"):
            assert getattr(card, field).strip(), f"{name}: {field} is empty"
        for field in ("invariants", "relieves", "worsens", "phase", "evidence", "cells"):
            assert isinstance(getattr(card, field), tuple), f"{name}: {field} is not a tuple"


def test_every_declared_card_is_listed_under_its_own_id():
    declared = [card.id for module in catalogue.modules() for card in catalogue.module_cards(module)]
    assert len(declared) == len(set(declared))
    assert sorted(declared) == list(catalogue.cards())


def test_the_retraining_schedules_and_batch_norm_are_listed():
    assert {"ft", "lrw", "slr", "clr", "llr", "allr", "bn-reestimate"} <= catalogue.cards().keys()


def test_a_new_file_is_found_without_being_registered(plant):
    plant("planted_method", card_id="planted")
    assert catalogue.cards()["planted"].title == "t"


def test_two_methods_of_one_id_are_refused(plant):
    plant("planted_method", card_id="planted")
    plant("planted_twin", card_id="planted")
    with pytest.raises(ValueError, match=r"'planted' is used by .*planted_method and by .*planted_twin"):
        catalogue.cards()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cells": (("parameters", "shrink"),)}, "outside the taxonomy"),
        ({"cells": (("weights", "remove"),)}, "outside the taxonomy"),
        ({"phase": ("training",)}, "unknown phase"),
        ({"semantic_class": "exact"}, "choose from"),
        ({"cells": ()}, "name the cell"),
    ],
)
def test_a_card_outside_the_vocabulary_is_refused(change, message):
    card = catalogue.cards()["allr"]
    assert isinstance(card, Card)
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(card, **change)


def test_the_evidence_of_every_card_is_a_result_file_of_this_project():
    results = {
        path.name.partition(".")[0] for path in (Path(__file__).parents[2] / "benchmarks" / "results").glob("*.json")
    }
    named = {name for card in catalogue.cards().values() for name in card.evidence}
    assert named
    assert named <= results
