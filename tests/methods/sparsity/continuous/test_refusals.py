"""What continuous sparsification refuses, and says: settings, weights, optimizers, company, and numbers not finite."""

import copy
import math
from functools import partial
from typing import Any

import pytest
import torch

from paretorch.errors import InputError, NotFiniteError
from paretorch.integrations.host import HostRun
from paretorch.methods.sparsity.enforcement import MaskEnforcement
from paretorch.methods.sparsity.gradual.dpf import DPF
from paretorch.methods.sparsity.gradual.schedule import Interval
from paretorch.methods.sparsity.magnitude import magnitude_masks
from tests.methods.sparsity.continuous.soft_problem import fit_whatever_is_undecided, method
from tests.methods.sparsity.gradual.reparametrised import OPTIMIZERS, STEPS, Started, network


def test_what_makes_zeros_of_the_same_weights_in_the_same_phase_is_refused_by_name() -> None:
    standing = magnitude_masks(network(), sparsity=0.5, include="3")
    growing = DPF(sparsity=0.5, interval=Interval(steps=6), refresh_steps=4, include="3")
    for other, name in ((MaskEnforcement(standing), "masks"), (growing, "dpf")):
        message = f"'continuous-sparsification' and '{name}' both make zeros of 3.weight in one phase"
        with pytest.raises(InputError, match=message):
            fit_whatever_is_undecided(method(), other)
    own = method(exclude="3")
    model, _ = fit_whatever_is_undecided(own, MaskEnforcement(standing))
    standing.check(model)
    own.masks.check(model)


def test_loops_outside_this_package_refuse_by_name() -> None:
    model = network()
    with pytest.raises(InputError, match=r"'continuous-sparsification' needs evaluation_weights"):
        HostRun(model, OPTIMIZERS["sgd"](model.parameters()), methods=[method()], num_steps=STEPS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"initial": math.nan}, "initial, the mask logit .* must lie within 80 of 0, .* got nan"),
        ({"initial": -800.0, "scaled": True}, "initial, the mask logit .* must lie within 80 of 0, .* got -800"),
        ({"final_beta": 0.5}, "final_beta must be finite and at least 1; got 0.5"),
        ({"final_beta": math.inf}, "final_beta must be finite"),
        ({"strength": -1.0}, "strength and penalty must be finite and not negative; got -1.0 and 0.4"),
        ({"penalty": math.inf}, "strength and penalty must be finite"),
        ({"ending": "sign"}, "ending is 'top-k' or 'threshold'; got 'sign'"),
        ({"mask_lr": 0.0}, "mask_lr must be positive and finite; got 0.0"),
        ({"sparsity": 1.0}, "fraction of weights removed"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        method(**settings)


def test_frozen_weights_and_an_optimizer_without_a_rate_are_refused() -> None:
    model = network()
    model[3].weight.requires_grad_(False)
    with pytest.raises(InputError, match=r"gradients of the weights, and 3.weight have none"):
        method().check(model, num_steps=5, steps_per_epoch=1)
    method(exclude="3").check(model, num_steps=5, steps_per_epoch=1)
    run = Started(partial(torch.optim.SGD, lr=0.0))
    with pytest.raises(InputError, match=r"SGD was made with lr=0.0"):
        method().start(run)


def test_logits_that_are_not_finite_are_in_no_checkpoint_and_no_model() -> None:
    run, own = Started(OPTIMIZERS["sgd"]), method()
    own.start(run)
    with torch.no_grad():
        own.logits["3.weight"].fill_(torch.nan)
    before = copy.deepcopy(run.model.state_dict())
    for act in (own.state_dict, lambda: own.finish(run)):
        with pytest.raises(NotFiniteError, match=r"the mask logits of 3.weight became NaN"):
            act()
    assert all(torch.equal(value, before[name]) for name, value in run.model.state_dict().items())
