"""Per-layer counts: exact totals, published ERK numbers, and the defining property of every allocation."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paretorch.errors import InputError
from paretorch.methods.sparsity.allocation import (
    custom_counts,
    erk_counts,
    lamp_counts,
    rounded_counts,
    uniform_counts,
    uniform_plus_counts,
)
from paretorch.methods.sparsity.scores import lamp_scores, random_scores, sorted_lamp_scores
from paretorch.methods.sparsity.selection import select
from tests.methods.sparsity.shapes import resnet56_shapes

SIZES = st.lists(st.integers(1, 400), min_size=1, max_size=8).map(lambda s: {f"l{i}": n for i, n in enumerate(s)})
SHAPES = st.lists(st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 3)), min_size=1, max_size=8).map(
    lambda shapes: {f"l{i}": torch.Size((o, i_, k, k)) for i, (o, i_, k) in enumerate(shapes)}
)


@given(sizes=SIZES, fraction=st.floats(0, 1))
def test_uniform_counts_add_up_and_are_equal_per_layer_to_rounding(sizes: dict[str, int], fraction: float) -> None:
    total = sum(sizes.values())
    num_pruned = round(fraction * total)
    counts = uniform_counts(sizes, num_pruned)
    assert sum(counts.values()) == num_pruned
    for name, size in sizes.items():
        assert abs(counts[name] - Fraction(num_pruned * size, total)) < 1
        assert 0 <= counts[name] <= size


def test_largest_remainders_are_rounded_up_first_and_earlier_layers_win() -> None:
    assert uniform_counts({"a": 7, "b": 2, "c": 1}, 5) == {"a": 4, "b": 1, "c": 0}  # shares 3.5, 1, 0.5
    assert uniform_counts({"a": 1, "b": 1, "c": 1}, 2) == {"a": 1, "b": 1, "c": 0}


@settings(max_examples=60)
@given(sizes=SIZES, fractions=st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_uniform_counts_never_shrink_a_layer_from_one_cycle_to_the_next(
    sizes: dict[str, int], fractions: list[float]
) -> None:
    previous = dict.fromkeys(sizes, 0)
    for fraction in sorted(fractions):
        num_pruned = round(fraction * sum(sizes.values()))
        counts = uniform_counts(sizes, num_pruned, previous=previous)
        assert sum(counts.values()) == num_pruned
        assert all(previous[name] <= counts[name] <= sizes[name] for name in sizes)
        previous = counts


def test_a_layer_that_lost_more_than_its_share_is_refused() -> None:
    with pytest.raises(InputError, match=r"b \(9 pruned, its share is 5\.0\)"):
        uniform_counts({"a": 10, "b": 10}, 10, previous={"b": 9})


def test_rounding_takes_back_a_round_up_where_earlier_cycles_already_used_it() -> None:
    shares = {"a": Fraction(1, 2), "b": Fraction(1, 2), "c": Fraction(1)}
    assert rounded_counts(shares, {"a": 1, "b": 1, "c": 1}, 2, previous={"a": 1, "b": 1}) == {"a": 1, "b": 1, "c": 0}
    with pytest.raises(InputError, match="cannot prune 4 of 3"):
        rounded_counts({"a": Fraction(3)}, {"a": 3}, 4)


def test_uniform_plus_keeps_the_first_convolution_and_a_fifth_of_the_last_layer() -> None:
    sizes = {"conv1": 432, "mid1": 2304, "mid2": 9216, "fc": 640}
    total = sum(sizes.values())
    low = uniform_plus_counts(sizes, total // 2, first="conv1", last="fc")
    share = (total // 2) / (total - 432)  # the shared sparsity is below the cap
    assert low["conv1"] == 0
    assert all(abs(low[name] - share * sizes[name]) < 1 for name in ("mid1", "mid2", "fc"))
    num_pruned = round(0.9 * total)
    high = uniform_plus_counts(sizes, num_pruned, first="conv1", last="fc")
    assert (high["conv1"], high["fc"], sum(high.values())) == (0, 512, num_pruned)
    middle = (num_pruned - 512) / (2304 + 9216)
    assert all(abs(high[name] - middle * sizes[name]) < 1 for name in ("mid1", "mid2"))


def test_uniform_plus_never_rounds_the_last_layer_above_its_cap() -> None:
    sizes = {"conv1": 100, "a": 25, "b": 25, "fc": 13}  # shares 20.3, 20.3 and 10.4, the largest remainder
    assert uniform_plus_counts(sizes, 51, first="conv1", last="fc") == {"conv1": 0, "a": 21, "b": 20, "fc": 10}


def test_uniform_plus_reaches_its_limit_and_refuses_one_more() -> None:
    sizes = {"conv1": 100, "mid": 50, "fc": 13}
    most = 50 + math.floor(0.8 * 13)
    assert uniform_plus_counts(sizes, most, first="conv1", last="fc") == {"conv1": 0, "mid": 50, "fc": 10}
    with pytest.raises(InputError, match=f"at most {most} of 163 weights .* asked for {most + 1}"):
        uniform_plus_counts(sizes, most + 1, first="conv1", last="fc")
    assert uniform_plus_counts({"conv1": 9, "fc": 10}, 8, first="conv1", last="fc") == {"conv1": 0, "fc": 8}


@pytest.mark.parametrize(
    ("sparsity", "dense", "published"),
    [
        (0.9, {"conv1", "fc"}, {"layer1.0.conv1": 0.679, "layer3.5.conv2": 0.929}),
        (0.95, {"fc"}, {"conv1": 0.442}),
        (0.98, set(), {"conv1": 0.778, "fc": 0.555}),
    ],
)
def test_erk_gives_the_published_sparsities_of_resnet56(
    sparsity: float, dense: set[str], published: dict[str, float]
) -> None:
    shapes = resnet56_shapes()
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    assert (len(sizes), sum(sizes.values())) == (56, 848_944)
    num_pruned = round(sparsity * 848_944)
    counts = erk_counts(shapes, num_pruned)
    assert {name for name, count in counts.items() if count == 0} == dense
    assert {name: round(counts[name] / sizes[name], 3) for name in published} == published
    assert sum(counts.values()) == num_pruned


@given(shapes=SHAPES, fraction=st.floats(0, 1))
def test_erk_counts_add_up_and_density_grows_with_dimensions_over_size(
    shapes: dict[str, torch.Size], fraction: float
) -> None:
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    num_pruned = round(fraction * sum(sizes.values()))
    counts = erk_counts(shapes, num_pruned)
    assert sum(counts.values()) == num_pruned
    for a in shapes:
        for b in shapes:
            if sum(shapes[a]) * sizes[b] > sum(shapes[b]) * sizes[a]:  # a is due a higher density
                assert counts[a] - 1 < Fraction(counts[b] + 1, sizes[b]) * sizes[a]


def test_lamp_scores_follow_the_formula_of_the_paper() -> None:
    weight = torch.tensor([[3.0, -1.0], [2.0, 1.0]])
    # ascending: -1, 1 (index order), 2, 3; squares 1, 1, 4, 9; tails 15, 14, 13, 9
    expected = torch.tensor([[1.0, 1 / 15], [4 / 13, 1 / 14]], dtype=torch.float64)
    torch.testing.assert_close(lamp_scores(weight), expected, rtol=1e-15, atol=0)
    kept = torch.tensor([[True, False], [True, True]])
    expected = torch.tensor([[1.0, 0.0], [4 / 13, 1 / 14]], dtype=torch.float64)
    torch.testing.assert_close(lamp_scores(weight, kept), expected, rtol=1e-15, atol=0)
    expected = torch.tensor([1 / 14, 4 / 13, 1.0], dtype=torch.float64)
    torch.testing.assert_close(sorted_lamp_scores(weight, kept), expected, rtol=1e-15, atol=0)


@pytest.mark.parametrize("scale", [1e-40, 1.0, 1e30])
def test_lamp_scores_ignore_the_scale_of_the_layer(scale: float) -> None:
    weight = torch.randint(1, 50, (40,), generator=torch.Generator().manual_seed(0)).double()
    torch.testing.assert_close(lamp_scores(weight * scale), lamp_scores(weight), rtol=1e-12, atol=0)


def test_lamp_scores_of_a_layer_of_zeros_spare_only_its_last_weight() -> None:
    assert lamp_scores(torch.zeros(2, 2)).tolist() == [[0.0, 0.0], [0.0, 1.0]]
    assert sorted_lamp_scores(torch.empty(0)).shape == (0,)


LAYERS = st.lists(
    st.lists(st.sampled_from((0.0, 1.0, -1.0, 0.5, 2.0, 1e-20, 1e20, 3.0)), min_size=1, max_size=12),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(layers=LAYERS, fraction=st.floats(0, 1), earlier=st.floats(0, 1))
def test_lamp_counts_equal_a_global_ranking_of_the_scores_and_keep_a_weight_per_layer(
    layers: list[list[float]], fraction: float, earlier: float
) -> None:
    weights = {f"l{i}": torch.tensor(values) for i, values in enumerate(layers)}
    total = sum(w.numel() for w in weights.values())
    num_pruned = round(fraction * total)
    counts = lamp_counts(weights, num_pruned)
    scores = {name: lamp_scores(w) for name, w in weights.items()}
    masks = select(scores, num_pruned)
    assert counts == {name: int((~m).sum()) for name, m in masks.items()}
    if num_pruned <= total - len(weights):
        assert all(counts[name] < w.numel() for name, w in weights.items())
    previous = select(scores, round(earlier * num_pruned))
    more = lamp_counts(weights, num_pruned, previous=previous)
    assert sum(more.values()) == num_pruned
    assert all(more[name] >= int((~previous[name]).sum()) for name in weights)


def test_lamp_counts_are_refused_for_nan_and_for_too_few() -> None:
    weights = {"a": torch.ones(4), "b": torch.tensor([1.0, math.nan])}
    with pytest.raises(InputError, match="b: 1 of 2 values are NaN"):
        lamp_counts(weights, 2)
    with pytest.raises(InputError, match="already prune 4 weights, more than the target of 2"):
        lamp_counts({"a": torch.ones(4)}, 2, previous={"a": torch.zeros(4, dtype=torch.bool)})


def test_random_scores_depend_on_seed_and_name_only() -> None:
    weight = torch.randn(1000)
    scores = random_scores(weight, name="a", seed=1)
    assert torch.equal(scores, random_scores(weight * 2, name="a", seed=1))
    assert not torch.equal(scores, random_scores(weight, name="b", seed=1))
    assert not torch.equal(scores, random_scores(weight, name="a", seed=2))
    assert abs(scores.mean().item() - 0.5) < 0.05  # five standard errors are 0.046


def test_custom_counts_take_the_first_pattern_and_leave_the_rest_dense() -> None:
    sizes = {"stem.weight": 10, "body.0.weight": 20, "body.1.weight": 30, "head.weight": 40}
    counts = custom_counts(sizes, {"body.1": 0.9, "body": 0.5, "head.*": 0.25})
    assert counts == {"stem.weight": 0, "body.0.weight": 10, "body.1.weight": 27, "head.weight": 10}


def test_custom_patterns_that_match_nothing_and_bad_sparsities_are_refused() -> None:
    sizes = {"body.0.weight": 20, "head.weight": 40}
    with pytest.raises(InputError, match=r"'haed' \(nearest: .*head"):
        custom_counts(sizes, {"haed": 0.5})
    with pytest.raises(InputError, match=r"allocation\['head'\] is the fraction .* got 90"):
        custom_counts(sizes, {"head": 90})
