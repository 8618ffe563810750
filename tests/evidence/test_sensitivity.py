"""What follows from qualities by layer and sparsity: losses, the order of layers, how much of each may go."""

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretorch.errors import ArtefactError, InputError
from paretorch.evidence.sensitivity import PrunedLayer, SensitivityRecord
from tests.evidence.sensitivities import LEVELS, sensitivities


def test_a_loss_is_dense_minus_pruned_and_the_other_way_round_where_lower_is_better() -> None:
    found = sensitivities()
    assert found.loss("stem.weight", 0.98) == pytest.approx(0.5)
    assert found.loss("b.weight", 0.9) == pytest.approx(0.1)  # a tied weight by its other name
    assert found.loss("head.weight", 0.5) == pytest.approx(-0.01)
    assert found.mean_loss("stem.weight") == pytest.approx(0.2)
    lower = sensitivities(higher_is_better=False, metric="nll")
    assert lower.loss("stem.weight", 0.98) == pytest.approx(-0.5)


def test_layers_are_ordered_by_their_loss_and_equal_ones_as_in_the_model() -> None:
    found = sensitivities("x.weight", "y.weight")
    names = ["stem.weight", "body.weight", "x.weight", "y.weight", "head.weight"]
    assert [layer.name for layer in found.ordered()] == names
    at_half = ["body.weight", "stem.weight", "x.weight", "y.weight", "head.weight"]
    assert [layer.name for layer in found.ordered(0.5)] == at_half
    assert [layer.name for layer in found.ordered(0.9)] == [
        *("stem.weight", "body.weight", "head.weight", "x.weight", "y.weight"),
    ]


def test_the_largest_sparsity_is_the_last_one_before_the_first_loss_that_is_too_large() -> None:
    found = sensitivities()
    assert found.largest_sparsities(0.01) == {"stem.weight": 0.5, "body.weight": 0.9, "head.weight": 0.98}
    assert found.largest_sparsities(0.0) == {"stem.weight": 0.5, "body.weight": 0.0, "head.weight": 0.98}
    assert found.largest_sparsities(1.0) == dict.fromkeys(("stem.weight", "body.weight", "head.weight"), 0.98)
    recovering = PrunedLayer(name="a", weights=10, pruned=(5, 9, 10), quality=(0.9, 0.2, 0.9))
    assert sensitivities(layers=(recovering,)).largest_sparsities(0.1) == {"a": 0.5}


def test_a_loss_of_exactly_the_tolerance_is_within_it_whatever_the_rounding() -> None:
    layer = PrunedLayer(name="a", weights=10, pruned=(5, 9, 10), quality=(0.91 - 0.01, 0.91 - 0.011, 0.9))
    found = sensitivities(layers=(layer,), dense=0.91)
    assert found.dense - layer.quality[0] > 0.01  # in float64
    assert found.largest_sparsities(0.01) == {"a": 0.5}


@given(
    st.lists(st.floats(-1, 1), min_size=3, max_size=3),
    st.tuples(st.floats(0, 1), st.floats(0, 1)).map(sorted),
    st.booleans(),
)
def test_more_tolerance_never_gives_less_sparsity(quality: list[float], tolerances: list[float], higher: bool) -> None:
    layer = PrunedLayer(name="a", weights=10, pruned=(5, 9, 10), quality=tuple(quality))
    found = sensitivities(layers=(layer,), higher_is_better=higher)
    small, large = (found.largest_sparsities(tolerance)["a"] for tolerance in tolerances)
    assert small <= large
    for level in LEVELS:
        assert level > small or found.loss("a", level) <= tolerances[0] + 1e-8


def test_it_survives_json_unchanged() -> None:
    found = sensitivities(include=("stem*",))
    again = SensitivityRecord.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False)))
    assert again == found
    assert isinstance(again.layers[0], PrunedLayer)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.update(schema="paretorch-record-1"), "found 'paretorch-record-1'"),
        (lambda data: data.pop("dense"), r"missing or unknown fields \['dense'\]"),
        (lambda data: data.update(more=1), r"missing or unknown fields \['more'\]"),
        (lambda data: data["layers"][0].pop("pruned"), "damaged sensitivities: .*pruned"),
        (lambda data: data["layers"][0].update(pruned=[1, 2]), "2 counts and 3 values for 3 sparsities"),
        (lambda data: data.update(layers=[3]), "damaged sensitivities"),
        (lambda data: data.update(sparsities=3), "damaged sensitivities"),
    ],
)
def test_a_damaged_file_is_refused(change, message: str) -> None:
    data = json.loads(json.dumps(sensitivities().to_dict()))
    change(data)
    with pytest.raises(ArtefactError, match=message):
        SensitivityRecord.from_dict(data)
    with pytest.raises(ArtefactError, match="found 'list'"):
        SensitivityRecord.from_dict([])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sparsities": (0.9, 0.5, 0.98)}, "sparsities ascend"),
        ({"sparsities": (0.5, 0.9, 1.0)}, "sparsities ascend"),
        ({"sparsities": (0.5, 0.5, 0.9)}, "each once"),
        ({"layers": ()}, "layers have names of their own"),
        ({"dense": float("nan")}, "must be finite"),
        ({"layers": (PrunedLayer(name="a", weights=3, pruned=(1, 2, 4), quality=(0.0,) * 3),)}, "cannot be pruned"),
    ],
)
def test_numbers_that_do_not_fit_together_are_refused(changes: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        sensitivities(**changes)
    layer = sensitivities().layers[0]
    with pytest.raises(InputError, match="names of their own"):
        sensitivities(layers=(layer, replace(layer)))


def test_what_was_not_measured_is_refused_with_what_was() -> None:
    found = sensitivities()
    with pytest.raises(InputError, match=r"no layer 'tail' was measured; there are \['stem\.weight'"):
        found.loss("tail", 0.5)
    with pytest.raises(InputError, match=r"sparsity 0\.7 was not measured; there are 50 %, 90 %, 98 %"):
        found.ordered(0.7)
    with pytest.raises(InputError, match="tolerance is a loss in units of the metric"):
        found.largest_sparsities(-0.1)
