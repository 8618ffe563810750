"""Orderings by several costs: Kendall's tau by counting pairs, flips by name, noise and unknown values."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretorch.errors import InputError
from paretorch.evidence.misnomer import Flip, cost_orderings

NETS = {
    "dense": {"params": 100.0, "macs": 100.0, "latency_s": 1.00},
    "shared": {"params": 20.0, "macs": 100.0, "latency_s": 1.01},
    "masked": {"params": 10.0, "macs": 10.0, "latency_s": 1.02},
    "narrow": {"params": 50.0, "macs": 50.0, "latency_s": 0.60},
}
columns = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=7)


def table(pairs):
    return {f"m{i}": {"a": float(a), "b": float(b)} for i, (a, b) in enumerate(pairs)}


@given(columns)
def test_tau_and_flips_equal_a_count_over_pairs(pairs):
    found = cost_orderings(table(pairs))
    signs = [
        ((x[0] > y[0]) - (x[0] < y[0]), (x[1] > y[1]) - (x[1] < y[1])) for x, y in itertools.combinations(pairs, 2)
    ]
    untied = [sum(s[k] != 0 for s in signs) for k in (0, 1)]
    if min(untied) == 0:
        assert found.tau["a", "b"] is None
    else:
        expected = sum(a * b for a, b in signs) / math.sqrt(untied[0] * untied[1])
        assert found.tau["a", "b"] == pytest.approx(expected)
    assert len(found.flips) == sum(a * b < 0 for a, b in signs)
    assert (found.warning is None) == (not found.flips)


@given(columns)
def test_every_flip_is_cheaper_by_one_cost_and_dearer_by_the_other(pairs):
    costs = table(pairs)
    for flip in cost_orderings(costs).flips:
        assert costs[flip.cheaper][flip.cost] < costs[flip.dearer][flip.cost]
        assert costs[flip.cheaper][flip.other] > costs[flip.dearer][flip.other]


def test_warning_names_costs_and_models():
    found = cost_orderings(NETS)
    assert Flip("masked", "narrow", "params", "latency_s") in found.flips
    assert found.warning.startswith("The order of the models depends on the cost: params puts ")
    assert "macs puts masked before dense, " in found.warning
    assert "A conclusion that holds for one cost must name it." in found.warning


def test_costs_that_agree_give_no_warning():
    found = cost_orderings({"a": {"x": 1.0, "y": 10.0}, "b": {"x": 2.0, "y": 20.0}, "c": {"x": 3.0, "y": 20.0}})
    assert found.warning is None
    assert found.tau["x", "y"] == pytest.approx(2 / math.sqrt(3 * 2))


def test_differences_within_the_noise_are_no_flip():
    with_noise = cost_orderings(NETS, noise={"latency_s": 0.05})
    assert {(f.cheaper, f.dearer) for f in with_noise.flips if f.other == "latency_s"} == {
        ("masked", "narrow"),
        ("shared", "narrow"),
    }
    assert len(with_noise.flips) < len(cost_orderings(NETS).flips)


def test_unknown_values_leave_a_model_out_of_the_pairs_that_need_them():
    costs = NETS | {"unknown": {"params": 1.0, "macs": None, "latency_s": 9.0}}
    found = cost_orderings(costs)
    assert found.tau["params", "macs"] == cost_orderings(NETS).tau["params", "macs"]
    assert found.tau["params", "latency_s"] != cost_orderings(NETS).tau["params", "latency_s"]
    nobody = {m: row | {"energy_j": None} for m, row in NETS.items()}
    assert cost_orderings(nobody).tau["params", "energy_j"] is None


@pytest.mark.parametrize(
    ("costs", "noise", "match"),
    [
        ({}, None, "at least two models and two costs"),
        ({"a": {"x": 1.0, "y": 1.0}}, None, "got 1 and"),
        ({"a": {"x": 1.0}, "b": {"x": 1.0}}, None, r"got 2 and \['x'\]"),
        ({"a": {"x": 1.0, "y": 1.0}, "b": {"x": 1.0}}, None, "b names the costs"),
        ({"a": {"x": 1.0, "y": 1.0}, "b": {"x": 1.0, "y": math.nan}}, None, "b: costs must be finite"),
        ({"a": {"x": 1.0, "y": 1.0}, "b": {"x": -1.0, "y": 1.0}}, None, "b: costs must be finite"),
        (NETS, {"flops": 0.1}, "noise is a fraction"),
        (NETS, {"macs": 5}, "noise is a fraction"),
    ],
)
def test_bad_input_is_refused_in_words(costs, noise, match):
    with pytest.raises(InputError, match=match):
        cost_orderings(costs, noise=noise)
