"""Permutation tests against enumeration, exact levels, smallest p-values, non-inferiority."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from paretorch.errors import InputError, NotComparableError
from paretorch.evidence.significance import non_inferiority, permutation_p_value, seed_margin, smallest_p_value

counts = st.integers(900, 960)  # correct answers of 1000: small differences and many ties


def generator(seed=0):
    return np.random.default_rng(seed)


def doubled(null, observed):
    """Two-sided p in exact integers."""
    tails = sum(v <= observed for v in null), sum(v >= observed for v in null)
    return min(1.0, 2 * min(tails) / len(null))


@hypothesis_settings(max_examples=40)
@given(st.lists(st.tuples(counts, counts), min_size=2, max_size=7))
def test_paired_p_counts_all_sign_flips_ties_included(pairs):
    differences = [a - b for a, b in pairs]
    null = [
        sum(s * d for s, d in zip(signs, differences, strict=True))
        for signs in itertools.product((1, -1), repeat=len(pairs))
    ]
    # as fractions their differences carry rounding errors, which must not break the ties
    p = permutation_p_value([a / 1000 for a, _ in pairs], [b / 1000 for _, b in pairs], generator=generator())
    assert p == pytest.approx(doubled(null, sum(differences)))


@hypothesis_settings(max_examples=40)
@given(st.lists(counts, min_size=2, max_size=4), st.lists(counts, min_size=2, max_size=4))
def test_unpaired_p_counts_all_relabellings_ties_included(a, b):
    pooled, size = a + b, len(a)
    null = []
    for chosen in itertools.combinations(range(len(pooled)), size):
        first = sum(pooled[i] for i in chosen)
        null.append(first * len(b) - (sum(pooled) - first) * size)  # mean difference times both sizes
    observed = sum(a) * len(b) - sum(b) * size
    p = permutation_p_value([v / 1000 for v in a], [v / 1000 for v in b], paired=False, generator=generator())
    assert p == pytest.approx(doubled(null, observed))


@pytest.mark.parametrize("paired", [True, False])
def test_the_test_is_exact_over_all_arrangements_of_skewed_data(paired):
    # Given the data every arrangement is equally likely when labels mean nothing: no simulation is needed.
    values = generator(3).lognormal(sigma=2, size=8)
    if paired:
        zeros = np.zeros(8)
        p = [
            permutation_p_value(values * signs, zeros, generator=generator())
            for signs in itertools.product((1, -1), repeat=8)
        ]
    else:
        p = []
        for chosen in itertools.combinations(range(8), 4):
            rest = [i for i in range(8) if i not in chosen]
            p.append(permutation_p_value(values[list(chosen)], values[rest], paired=False, generator=generator()))
    for alpha in (0.03, 0.05, 0.1, 0.5):
        assert np.mean(np.array(p) <= alpha + 1e-12) <= alpha
    assert np.mean(np.array(p) <= 0.5 + 1e-12) > 0.4  # and no more cautious than the grid of p-values forces it to be


@pytest.mark.parametrize(("seeds", "p"), [(3, 0.10), (4, 0.029), (5, 0.008)])
def test_smallest_unpaired_p_is_the_published_one_and_that_of_exact_ranks(seeds, p):
    low, high = [float(i) for i in range(seeds)], [100.0 + i for i in range(seeds)]
    assert smallest_p_value(seeds, seeds) == pytest.approx(p, abs=5e-4)
    assert smallest_p_value(seeds, seeds) == pytest.approx(
        scipy.stats.mannwhitneyu(low, high, method="exact").pvalue, rel=1e-12
    )
    assert permutation_p_value(low, high, paired=False, generator=generator()) == pytest.approx(
        smallest_p_value(seeds, seeds)
    )


@pytest.mark.parametrize("seeds", [2, 3, 5, 6, 10])
def test_smallest_paired_p_is_that_of_exact_signed_ranks(seeds):
    differences = [1.0 + i for i in range(seeds)]
    assert smallest_p_value(seeds) == 2 / 2**seeds
    assert smallest_p_value(seeds) == pytest.approx(scipy.stats.wilcoxon(differences, method="exact").pvalue)
    assert permutation_p_value(differences, [0.0] * seeds, generator=generator()) == smallest_p_value(seeds)


def test_few_seeds_can_never_be_significant_at_five_percent():
    assert smallest_p_value(3, 3) > 0.05 > smallest_p_value(4, 4)
    assert smallest_p_value(5) > 0.05 > smallest_p_value(6)
    assert (smallest_p_value(1), smallest_p_value(1, 1), smallest_p_value(1, 39)) == (1.0, 1.0, 0.05)


@pytest.mark.parametrize("paired", [True, False])
def test_drawn_arrangements_come_close_to_all_of_them_and_are_never_zero(paired):
    a, b = generator(5).normal(0.6, 1, size=9), generator(6).normal(size=9)
    exact = permutation_p_value(a, b, paired=paired, generator=generator())
    drawn = permutation_p_value(a, b, paired=paired, generator=generator(1), arrangements=400)
    assert drawn != exact
    assert drawn == pytest.approx(exact, abs=4 * math.sqrt(exact / 400))
    assert permutation_p_value(a + 50, b, paired=paired, generator=generator(1), arrangements=400) >= 2 / 401


def test_generator_is_used_only_where_arrangements_are_drawn():
    a, b = generator(5).normal(size=12), generator(6).normal(size=12)
    random = generator(9)
    state = random.bit_generator.state
    permutation_p_value(a, b, generator=random)
    assert random.bit_generator.state == state
    drawn = [permutation_p_value(a, b, paired=False, generator=generator(s), arrangements=500) for s in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_mappings_are_compared_seed_by_seed():
    a = {seed: 10.0**seed + 1 for seed in range(6)}
    b = {seed: 10.0**seed for seed in reversed(range(6))}
    assert permutation_p_value(a, b, generator=generator()) == smallest_p_value(6)


@given(
    st.lists(st.floats(-5, 5), min_size=3, max_size=8),
    st.floats(0, 2),
    st.booleans(),
    st.booleans(),
)
def test_non_inferiority_is_claimed_where_scipys_one_sided_test_of_the_margin_is_significant(
    gains, margin, paired, higher_is_better
):
    if np.std(gains) < 1e-3:
        return
    base = [0.1 * (i % 3) for i in range(len(gains))]
    a, b = [x + g for x, g in zip(base, gains, strict=True)], base
    shifted = [x + margin for x in a]
    p = (
        scipy.stats.ttest_rel(shifted, b, alternative="greater")
        if paired
        else scipy.stats.ttest_ind(shifted, b, equal_var=False, alternative="greater")
    ).pvalue
    sign = 1 if higher_is_better else -1
    result = non_inferiority(
        [sign * x for x in a],
        [sign * x for x in b],
        margin=margin,
        higher_is_better=higher_is_better,
        paired=paired,
    )
    assert result.gain.mean == pytest.approx(np.mean(gains), abs=1e-9)
    if abs(p - 0.05) > 1e-9:
        assert result.claimed == (p < 0.05)


def test_error_lower_by_more_than_the_margin_is_not_mistaken_for_worse():
    errors = [5.0, 5.1, 4.9, 5.0, 5.05], [6.0, 6.1, 5.9, 6.05, 6.0]  # percent wrong: a is better by 1
    assert non_inferiority(*errors, margin=0.5, higher_is_better=False).claimed
    assert not non_inferiority(*errors, margin=0.5, higher_is_better=True).claimed


def test_equal_means_of_few_noisy_seeds_do_not_show_equality():
    noisy = [0.80, 0.90, 0.85], [0.85, 0.80, 0.90]
    result = non_inferiority(*noisy, margin=0.01, higher_is_better=True)
    assert result.gain.mean == pytest.approx(0.0)
    assert result.bound == result.gain.low < -0.01
    assert not result.claimed
    assert result.gain.confidence == pytest.approx(0.90)  # a one-sided bound of 95 % is the end of a 90 % interval


def test_a_loss_of_the_whole_margin_is_claimed_harmless_in_five_percent_of_cases():
    random = generator(8)
    claims = [
        non_inferiority(list(row), [0.0] * 5, margin=1.0, higher_is_better=True).claimed
        for row in random.normal(loc=-1.0, size=(3000, 5))
    ]
    assert 0.035 < np.mean(claims) < 0.065


def test_one_seed_supports_no_claim():
    result = non_inferiority([1.0], [0.0], margin=0.5, higher_is_better=True)
    assert (result.claimed, result.bound) == (False, None)


def test_default_margin_is_the_spread_of_the_baselines_seeds():
    assert seed_margin([1.0, 2.0, 4.0]) == pytest.approx(math.sqrt(7 / 3))
    assert seed_margin({0: 0.5, 1: 0.5}) == 0.0


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: permutation_p_value([1.0], [2.0], generator=generator()), InputError, "got 1 and 1"),
        (lambda: permutation_p_value([1.0, math.nan], [2.0, 1.0], generator=generator()), InputError, "finite"),
        (lambda: permutation_p_value([1.0, 2.0, 3.0], [2.0, 1.0], generator=generator()), NotComparableError, "3 val"),
        (lambda: smallest_p_value(0), InputError, "got 0 and None"),
        (lambda: smallest_p_value(3, 0), InputError, "got 3 and 0"),
        (lambda: seed_margin([1.0]), InputError, "got 1; declare a margin"),
        (lambda: non_inferiority([1.0], [1.0], margin=-1, higher_is_better=True), InputError, "got -1"),
        (lambda: non_inferiority([1.0], [1.0], margin=math.nan, higher_is_better=True), InputError, "got nan"),
        (
            lambda: non_inferiority([1.0], [1.0], margin=1, higher_is_better=True, confidence=0.05),
            InputError,
            "above 0.5, got 0.05",
        ),
        (
            lambda: non_inferiority([1.0], [1.0], margin=1, higher_is_better=True, confidence=95),
            InputError,
            "pass 0.95",
        ),
    ],
)
def test_impossible_input_is_refused(call, error, match):
    with pytest.raises(error, match=match):
        call()
