"""Mask logits: the course of beta, hard masks, what counts as undecided, and the reset between rounds."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from paretorch.errors import NotFiniteError
from paretorch.methods.sparsity.continuous.logits import MaskLogits, inverse_temperature


def logits(*values: float) -> MaskLogits:
    return MaskLogits({"a": torch.tensor(values, dtype=torch.float64)})


@given(st.integers(2, 500), st.floats(1, 1000))
def test_beta_is_exactly_1_first_and_exactly_the_final_one_last_and_grows_by_one_factor(steps: int, final: float):
    course = [inverse_temperature(step, steps, final=final) for step in range(steps)]
    assert course[0] == 1.0
    assert course[-1] == inverse_temperature(steps, steps, final=final) == final
    for before, after in pairwise(course):
        assert after / before == pytest.approx(final ** (1 / (steps - 1)), rel=1e-9)


def test_a_phase_of_one_step_stays_at_1():
    assert inverse_temperature(0, 1, final=200.0) == 1.0


def test_the_threshold_prunes_an_s_of_0_and_the_top_k_breaks_ties_by_position():
    s = logits(0.0, 1e-30, -1.0, 2.0, 0.0)
    assert s.masks(None)["a"].tolist() == [False, True, False, True, False]
    assert s.masks(2)["a"].tolist() == [False, True, False, True, True]
    assert s.masks(3)["a"].tolist() == [False, True, False, True, False]
    assert s.open_fraction() == 2 / 5


@given(st.lists(st.floats(-3, 3), min_size=2, max_size=12), st.data())
def test_the_top_k_keeps_the_largest_exactly(values: list[float], data: st.DataObject):
    pruned = data.draw(st.integers(0, len(values) - 1))
    s = torch.tensor(values, dtype=torch.float64)
    kept = MaskLogits({"a": s[: len(s) // 2], "b": s[len(s) // 2 :]}).masks(pruned)
    whole = torch.cat([kept["a"], kept["b"]])
    assert int((~whole).sum()) == pruned
    assert pruned == 0 or s[~whole].max() <= s[whole].min()


def test_undecided_gates_are_those_more_than_one_in_fifty_away_from_both_ends():
    s = logits(-0.0201, -0.0199, 0.0, 0.0199, 0.0201)
    assert s.undecided(200.0) == 3 / 5
    gates = torch.sigmoid(200.0 * s["a"].detach())
    assert ((gates > 0.018) & (gates < 0.982)).tolist() == [False, True, True, True, False]


@given(st.lists(st.floats(-2, 2), min_size=1, max_size=20), st.floats(-0.5, 0.5), st.floats(1, 300))
def test_the_reset_leaves_the_gates_of_what_is_shut_and_sets_all_others_to_the_start(
    values: list[float], initial: float, final: float
):
    s = logits(*values)
    before = torch.sigmoid(final * s["a"].detach())
    s.reset_(initial=initial, final_beta=final)
    after = torch.sigmoid(s["a"].detach())  # of the next round's first step, where beta is 1
    start = torch.sigmoid(torch.tensor(initial, dtype=torch.float64))
    for value, one, other in zip(values, before, after, strict=True):
        assert other == (one if final * value <= initial else start)


def test_the_legacy_reset_forgets_how_decided_an_entry_was():
    ours, legacy = logits(-0.1, -0.001, 0.3), logits(-0.1, -0.001, 0.3)
    ours.reset_(initial=0.05, final_beta=200.0)
    legacy.reset_(initial=0.05, final_beta=200.0, legacy=True)
    assert ours["a"].tolist() == pytest.approx([-20.0, -0.2, 0.05])
    assert legacy["a"].tolist() == [-0.1, -0.001, 0.05]
    assert legacy.undecided(1.0) == 1.0
    assert ours.undecided(1.0) == pytest.approx(2 / 3)


def test_logits_stay_finite_and_shut_over_many_rounds():
    s = MaskLogits({"a": torch.tensor([-0.5, -0.1, 0.3])})
    for _ in range(40):
        s.reset_(initial=0.05, final_beta=200.0)
    s.check()
    assert torch.sigmoid(s["a"].detach()[:2]).tolist() == [0.0, 0.0]
    assert float(s["a"].detach()[2]) == pytest.approx(0.05)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_logits_of_narrow_weights_are_in_float32(dtype: torch.dtype):
    made = MaskLogits.constant({"a": torch.zeros(3, dtype=dtype)}, -0.1)
    assert made["a"].dtype == torch.float32
    assert made.num_weights() == 3


def test_logits_that_are_not_finite_are_named():
    with pytest.raises(NotFiniteError, match=r"the mask logits of a became NaN"):
        logits(0.0, math.nan).check()
