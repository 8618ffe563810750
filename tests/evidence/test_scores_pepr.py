"""PePR: a published row, the range, and why anchors must not come from the pool."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from paretorch.errors import InputError
from paretorch.evidence.scores.pepr import pepr


def test_published_row_comes_out():
    # hardcorenas_a on the derma set in the paper's tables, with its normalised resource.
    assert pepr(0.6003989, 0.0305127, low=0.0, high=1.0) == pytest.approx(0.5826216, abs=1e-7)


@given(st.floats(0, 1), st.floats(1, 1000), st.sampled_from(["linear", "logarithmic"]))
def test_score_lies_between_half_and_all_of_the_performance(performance, resource, scale):
    score = pepr(performance, resource, low=1.0, high=1000.0, scale=scale)
    assert performance / 2 <= score <= performance


@pytest.mark.parametrize("scale", ["linear", "logarithmic"])
def test_cheapest_keeps_its_performance_and_dearest_keeps_half(scale):
    assert pepr(0.9, 2.0, low=2.0, high=50.0, scale=scale) == 0.9
    assert pepr(0.9, 50.0, low=2.0, high=50.0, scale=scale) == pytest.approx(0.45)


def test_scales_put_their_middle_at_the_arithmetic_and_the_geometric_mean():
    assert pepr(0.9, 50.5, low=1.0, high=100.0) == pytest.approx(0.6)
    assert pepr(0.9, 10.0, low=1.0, high=100.0, scale="logarithmic") == pytest.approx(0.6)


def test_anchors_of_the_pool_would_raise_everybody_when_one_huge_model_joins():
    models = {"small": (0.8, 2.0), "middle": (0.85, 5.0), "large": (0.9, 10.0)}
    pools = [models, models | {"huge": (0.91, 1000.0)}]

    def of_pool(pool, name):
        resources = [r for _, r in pool.values()]
        return pepr(*pool[name], low=min(resources), high=max(resources))

    for name in ("middle", "large"):
        assert of_pool(pools[1], name) > of_pool(pools[0], name) + 0.1
    order = [sorted(models, key=lambda name, pool=pool: of_pool(pool, name)) for pool in pools]
    assert order[0] == ["large", "middle", "small"]
    assert order[1] == ["small", "middle", "large"]  # and even the order flips
    declared = [{n: pepr(*pool[n], low=1.0, high=1000.0) for n in models} for pool in pools]
    assert declared[0] == declared[1]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"performance": 91.0}, "fraction in"),
        ({"performance": math.nan}, "fraction in"),
        ({"low": 5.0, "high": 5.0}, "low < high"),
        ({"high": math.inf}, "low < high"),
        ({"low": 0.0, "scale": "logarithmic"}, "low > 0 on the logarithmic scale"),
        ({"resource": 0.5}, r"outside the declared anchors \[1.0, 10.0\]"),
        ({"resource": 11.0}, "outside the declared anchors"),
        ({"scale": "log"}, "'linear' or 'logarithmic', got 'log'"),
    ],
)
def test_bad_input_is_refused_in_words(arguments, match):
    valid = {"performance": 0.9, "resource": 2.0, "low": 1.0, "high": 10.0}
    with pytest.raises(InputError, match=match):
        pepr(**valid | arguments)
