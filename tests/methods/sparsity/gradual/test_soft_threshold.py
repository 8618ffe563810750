"""STR: the soft threshold and its gradients, decay of the thresholds, and what is refused."""

import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import nn

from paretorch.errors import InputError, NotFiniteError
from paretorch.methods.sparsity.gradual.soft_threshold import (
    SoftThreshold,
    soft_threshold_,
    soft_threshold_gradients_,
)
from tests.methods.sparsity.gradual.reparametrised import OPTIMIZERS, WEIGHTS, Started, Watch, fit, network

VALUES = arrays.arrays("float64", (3, 4), elements=st.floats(-2, 2, width=32))


@given(VALUES, st.floats(0, 1.5))
def test_the_threshold_is_that_of_torch_and_every_zero_is_positive(values, threshold):
    weight = torch.tensor(values)
    expected = nn.functional.softshrink(weight, threshold)
    soft_threshold_(weight, torch.tensor(threshold, dtype=torch.float64))
    assert torch.equal(weight, expected)
    assert not torch.signbit(weight[weight == 0]).any()


@given(VALUES, st.floats(0.01, 1.5))
def test_the_gradients_are_differences_of_the_loss(values, threshold):
    """Central differences of sum(v^2), away from the kinks, where it has no derivative."""
    weight = torch.tensor(values)
    weight[(weight.abs() - threshold).abs() < 1e-3] = 0.0
    t, h = torch.tensor(threshold, dtype=torch.float64), 1e-6

    def loss(w: torch.Tensor, by: float) -> torch.Tensor:
        return nn.functional.softshrink(w, threshold + by).square().sum()

    gradient = 2 * nn.functional.softshrink(weight, threshold)
    of_threshold = soft_threshold_gradients_(gradient, weight, t)
    assert float(of_threshold) == pytest.approx(float(loss(weight, h) - loss(weight, -h)) / (2 * h), abs=1e-6)
    moved = torch.zeros_like(weight)
    moved[1, 2] = h
    numeric = float(loss(weight + moved, 0) - loss(weight - moved, 0)) / (2 * h)
    assert float(gradient[1, 2]) == pytest.approx(numeric, abs=1e-6)


def test_the_thresholds_have_a_group_of_their_own_that_follows_the_schedule():
    class Rates(Watch):
        def after_update(self, run):
            weights, own = run.optimizer.param_groups
            assert own["lr"] == weights["lr"]
            assert (own["weight_decay"], weights["weight_decay"]) == (0.25, 0.01)
            assert [t.shape for t in own["params"]] == [torch.Size([])] * 3
            self.seen.append({})

    method = SoftThreshold(sparsity=0.5, threshold_decay=0.25)
    watch = Rates(method)
    fit(method, watch, num_steps=4)
    assert len(watch.seen) == 4


def test_more_decay_leaves_more_zeros():
    found = []
    for decay in (0.0, 0.02, 0.06):
        method = SoftThreshold(sparsity=0.5, initial=-4.0, threshold_decay=decay)
        fit(method)
        found.append(method.masks.sparsity)
        assert method.details()["thresholds"].keys() == set(WEIGHTS)
    assert found == sorted(found)
    assert found[0] < found[-1]


def test_the_threshold_in_the_details_is_the_one_that_shrank_the_final_weights():
    method = SoftThreshold(sparsity=0.5, initial=-3.0)
    watch = Watch(method)
    model, _ = fit(method, watch, num_steps=5)
    name = "3.weight"
    shrunk = watch.seen[-1][name].abs() - model.get_parameter(name).detach().abs()
    kept = method.masks[name]
    assert shrunk[kept].max() == pytest.approx(method.details()["thresholds"][name], rel=1e-12)
    assert float(shrunk[kept].min()) == pytest.approx(float(shrunk[kept].max()), rel=1e-9)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"initial": math.nan}, "initial must be finite"),
        ({"initial": -math.inf}, "initial must be finite"),
        ({"threshold_decay": -0.1}, "threshold_decay finite and not negative; got -5.0 and -0.1"),
        ({"threshold_decay": math.inf}, "threshold_decay finite"),
        ({"sparsity": 1.0}, "fraction of weights removed"),
    ],
)
def test_numbers_out_of_range_are_refused(settings: dict[str, float], message: str):
    with pytest.raises(InputError, match=message):
        SoftThreshold(**{"sparsity": 0.5, **settings})


def test_an_optimizer_without_decay_is_refused_where_the_thresholds_need_one():
    run = Started(partial(torch.optim.Rprop, lr=0.1))
    with pytest.raises(InputError, match=r"decay by 0.005, but Rprop has no weight_decay"):
        SoftThreshold(sparsity=0.5).start(run)
    SoftThreshold(sparsity=0.5, threshold_decay=0).start(run)


def test_thresholds_that_are_not_finite_are_in_no_checkpoint_and_no_model():
    run, method = Started(OPTIMIZERS["sgd"]), SoftThreshold(sparsity=0.5)
    method.start(run)
    with torch.no_grad():
        method.thresholds["3.weight"].fill_(torch.nan)
    for act in (method.state_dict, lambda: method.finish(run)):
        with pytest.raises(NotFiniteError, match=r"thresholds of 3.weight became NaN"):
            act()
    assert torch.equal(run.model[3].weight, network()[3].weight)
