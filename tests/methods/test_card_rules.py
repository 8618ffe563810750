"""A card that breaks a rule of the catalogue cannot be made, and the message says which rule and which word."""

import math

import pytest

from paretorch.errors import InputError
from paretorch.methods.card import Card, HyperParameter, Reported
from paretorch.methods.cost_model import Effect, LayerShape
from paretorch.methods.published.entry import published
from paretorch.methods.taxonomy import CELLS, RESOURCES, cell_name, parse_cell, parse_resource

LAYERS = (LayerShape(name="a", weight=(4, 3), macs=12),)


def no_effect(layers, batch, settings):
    return {}


def card(**fields) -> Card:
    """The smallest method that ships, with other fields."""
    given = {
        "id": "smallest", "title": "t", "summary": "s.", "year": 2000, "references": ("Somebody, 2000",),
        "cells": (("parameters", "remove"),), "phase": ("prune",), "invariants": ("i",), "cost_model": no_effect,
    }  # fmt: skip
    return Card(**(given | fields))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"id": "Big"}, "an id is lower case"),
        ({"id": " "}, "not empty"),
        ({"cells": (("parameters", "shrink"),)}, r"cell \('parameters', 'shrink'\) is outside the taxonomy"),
        ({"cells": (("weights", "remove"),)}, "outside the taxonomy"),
        ({"cells": (("remove", "parameters"),)}, "outside the taxonomy"),
        ({"cells": ()}, "a semantic method changes at least one component; name the cell"),
        ({"phase": ()}, "at least one phase"),
        ({"phase": ("train",)}, "phase: unknown word 'train'; did you mean 'retrain'.*'dense_train'"),
        ({"phase": ("retrain",)}, "charges the retraining epochs"),
        ({"phase": ("prune", "retrain"), "charges": ("search",)}, "charges the retraining epochs"),
        ({"semantic_class": "exact"}, "semantic_class: unknown word 'exact'; did you mean 'bit_exact'"),
        ({"status": "new"}, "status: unknown word 'new'"),
        ({"hooks": ("poststep",)}, "hooks: unknown word 'poststep'; did you mean 'post_step'"),
        ({"relieves": ("weights",)}, "relieves: unknown word 'weights'"),
        ({"worsens": ("computing",)}, "worsens: unknown word 'computing'; did you mean 'compute'"),
        ({"charges": ("retraining",)}, "charges: unknown word 'retraining'; did you mean 'retraining epochs'"),
        ({"excludes": ("bias",)}, "excludes: unknown word 'bias'; did you mean 'biases'"),
        ({"cost_scope": "test"}, "cost_scope: unknown word 'test'"),
        ({"quality_risk": "huge"}, "quality_risk: unknown word 'huge'"),
        ({"references": ()}, "at least one reference"),
        ({"references": ("",)}, "at least one reference"),
        ({"needs_total_duration": True}, "lists its moments in schedule_params"),
        ({"schedule_params": (("end", 1.01),)}, r"fractions of the duration in \[0, 1\]; end=1.01"),
        ({"schedule_params": (("end", -0.5),)}, "end=-0.5"),
        ({"schedule_params": (("end", math.nan),)}, "end=nan"),
        ({"relieves": ("compute",), "worsens": ("compute",)}, "both relieves and worsens compute"),
        ({"conflicts": ("smallest",)}, "names itself"),
        ({"tuning_cost": 1}, "tuning_cost=1 of 0 hyperparams"),
        ({"invariants": ()}, "a method that ships has invariants"),
        ({"cost_model": None}, "a method that ships has a callable cost_model"),
        ({"cost_model": "half"}, "a method that ships has a callable cost_model"),
    ],
)
def test_a_card_that_breaks_a_rule_is_refused(change, message):
    card()
    with pytest.raises(ValueError, match=message):
        card(**change)


def test_what_changes_nothing_semantic_needs_no_cell_and_what_does_not_ship_no_invariant():
    for kind in ("bit_exact", "math_equivalent", "distribution_preserving"):
        assert card(cells=(), semantic_class=kind).cells == ()
    assert not card(implemented=False, invariants=(), cost_model=None).implemented
    assert card(phase=("retrain",), charges=("retraining epochs",)).phase == ("retrain",)
    assert card(needs_total_duration=True, schedule_params=(("end", 1.0), ("begin", 0.0))).needs_total_duration


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"low": 1.0, "high": 0.5}, "range 1.0 to 0.5 is empty"),
        ({"low": 0.0}, "range 0.0 to None is empty"),
        ({"low": 0.0, "high": 1.0, "scale": "log"}, "a log scale begins above 0"),
        ({"low": 0.0, "high": 1.0, "default": 2.0}, r"default 2.0 is outside 0.0 to 1.0"),
        ({"low": 0.0, "high": 1.0, "default": "l1"}, "default 'l1' is outside"),
        ({"scale": "choice", "choices": ("l1", "l2"), "default": "l3"}, "'l3' is not among"),
        ({"low": 0.0, "high": 1.0, "scale": "cubic"}, "unknown scale 'cubic'"),
    ],
)
def test_a_setting_with_an_impossible_range_is_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        HyperParameter(name="x", **fields)


def test_a_reported_figure_is_finite_and_tagged():
    with pytest.raises(ValueError, match="tagged R"):
        Reported(workload="w", environment="e", metric="m", value=1.0, tag="M")
    with pytest.raises(ValueError, match="finite number; got nan"):
        Reported(workload="w", environment="e", metric="m", value=math.nan, tag="R")


def test_a_prediction_takes_defaults_and_refuses_what_it_does_not_know():
    seen = {}

    def remember(layers, batch, settings):
        seen.update(settings, batch=batch)
        return {"launches": Effect(added=1)}

    settings = (HyperParameter(name="rank", default=4, low=1, high=8), HyperParameter(name="keep", low=0, high=1))
    made = card(cost_model=remember, hyperparams=settings)
    assert made.effects(LAYERS, batch=3, keep=0.5) == {"launches": Effect(added=1)}
    assert seen == {"rank": 4, "keep": 0.5, "batch": 3}
    with pytest.raises(InputError, match=r"unknown setting 'keeps'; did you mean 'keep'"):
        made.effects(LAYERS, keeps=0.5)
    with pytest.raises(InputError, match="no value for keep, which have no default"):
        made.effects(LAYERS)
    with pytest.raises(InputError, match="at least one layer and one example; got 0 and 1"):
        made.effects((), keep=0.5)
    with pytest.raises(InputError, match="at least one layer and one example; got 1 and 0"):
        made.effects(LAYERS, batch=0, keep=0.5)
    with pytest.raises(InputError, match="does not ship and has no cost model; it says: nothing"):
        card(implemented=False, invariants=(), cost_model=None).effects(LAYERS)


def test_an_effect_scales_and_adds_and_is_never_negative():
    assert Effect(factor=0.5, added=3.0).of(10.0) == 8.0
    assert Effect().of(7.0) == 7.0
    with pytest.raises(ValueError, match="cannot become negative: factor=-1"):
        Effect(factor=-1)


def test_every_cell_and_resource_is_read_back_from_its_name():
    assert len(CELLS) == 30
    assert [parse_cell(cell_name(cell)) for cell in CELLS] == list(CELLS)
    assert parse_cell("  Training   DATA : Remove ") == ("training data", "remove")
    assert [parse_resource(resource.upper()) for resource in RESOURCES] == list(RESOURCES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("parameter:remove", "unknown cell 'parameter:remove'; did you mean 'parameters:remove'"),
        ("parameters", "unknown cell 'parameters'; did you mean 'parameters:re"),
        ("data:drop", "unknown cell 'data:drop'"),
        ("", "unknown cell ''"),
    ],
)
def test_an_unknown_cell_names_the_nearest(text, message):
    with pytest.raises(InputError, match=message):
        parse_cell(text)


def test_an_unknown_resource_names_the_nearest_and_lists_all():
    with pytest.raises(InputError, match=r"unknown resource 'memory'.*'memory bandwidth'.*'inference compute'"):
        parse_resource("memory")


def test_a_published_entry_reads_its_cells_in_order_and_does_not_ship():
    entry = published(
        "x", 2001, "X", "Does x.", "A, 2001", "B, 2002", cells="objective:replace, training data:remove", phase="init"
    )
    assert entry.cells == (("objective", "replace"), ("training data", "remove"))
    assert entry.references == ("A, 2001", "B, 2002")
    assert entry.phase == ("init",)
    assert not entry.implemented
    with pytest.raises(InputError, match="unknown cell 'objective:swap'"):
        published("x", 2001, "X", "Does x.", "A, 2001", cells="objective:swap")
