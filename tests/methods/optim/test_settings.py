"""What is set, for all parameters, for a group or by a state that is loaded: what is taken, and what is refused."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import Adam

from paretorch.errors import InputError
from paretorch.methods.optim import AvaGrad, AvaGradW, DelayedAdam
from tests.methods.optim.formulas import assert_same, gradients, params, run

NAN, INF = float("nan"), float("inf")
every_optimizer = pytest.mark.parametrize("make", [AvaGrad, AvaGradW, DelayedAdam])


@every_optimizer
@pytest.mark.parametrize(
    "given",
    [
        lambda layer: [{"params": layer.parameters()}],
        lambda layer: layer.named_parameters(),
        lambda layer: [{"params": layer.named_parameters()}],
        lambda layer: [{"params": layer.weight}, {"params": layer.bias}],
    ],
    ids=["generator", "named", "named generator", "single tensors"],
)
def test_groups_are_given_in_every_way_that_torch_takes(
    make: Callable[..., Any], given: Callable[[nn.Linear], Any]
) -> None:
    layer, twin = nn.Linear(3, 2), nn.Linear(3, 2)
    twin.load_state_dict(layer.state_dict())
    for model, own in ((layer, given(layer)), (twin, list(twin.parameters()))):
        optimizer = make(own, lr=0.1)
        model(torch.ones(4, 3)).square().sum().backward()
        before = model.weight.detach().clone()
        optimizer.step()
        assert not torch.equal(model.weight, before)
    torch.testing.assert_close(layer.weight, twin.weight)


def test_the_state_of_another_optimizer_is_refused_and_nothing_is_loaded() -> None:
    lacks, holds = r"lacks \[.*'decoupled'", r"holds \['gamma_mode', 'norm_over'"
    for own, other, message in (
        (AvaGrad(params()), Adam(params()), lacks),
        (DelayedAdam(params(), 0.1), Adam(params()), lacks),
        (AvaGrad(params()), DelayedAdam(params(), 0.1), r"lacks \['gamma', 'gamma_mode'"),
        (DelayedAdam(params(), 0.1), AvaGrad(params(), norm_over="active"), holds),
    ):
        before = repr(own)
        with pytest.raises(InputError, match=f"a group of the state {message}.* of another optimizer than"):
            own.load_state_dict(other.state_dict())
        assert repr(own) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"eps": NAN}, "eps = nan must lie"), ({"lr": -1.0}, "lr = -1.0 must be"), ({"norm_over": "some"}, "is unknown")],
)
def test_a_state_with_settings_that_are_refused_is_not_loaded(changes: dict[str, Any], message: str) -> None:
    optimizer = AvaGrad([{"params": params()}, {"params": params()}])
    run(optimizer, [[torch.ones_like(p) for group in optimizer.param_groups for p in group["params"]]])
    state, before = copy.deepcopy(optimizer.state_dict()), copy.deepcopy(optimizer.state_dict())
    state["param_groups"][0]["betas"] = (0.5, 0.6)
    state["param_groups"][1].update(changes)
    with pytest.raises(InputError, match=message):
        optimizer.load_state_dict(state)
    assert optimizer.state_dict()["param_groups"] == before["param_groups"]


def test_avagradw_never_decays_in_the_gradient() -> None:
    """Settings come with a state, and AvaGrad's state would make it one."""
    optimizer = AvaGradW(params(), weight_decay=0.1)
    message = "says decoupled = False, decay in the gradient, which AvaGradW has not"
    with pytest.raises(InputError, match=message):
        optimizer.load_state_dict(AvaGrad(params(), weight_decay=0.2).state_dict())
    with pytest.raises(InputError, match=message):
        AvaGradW([{"params": params(), "decoupled": False}])
    group = optimizer.param_groups[0]
    assert (group["decoupled"], group["weight_decay"]) == (True, 0.1)


def test_avagrad_goes_on_from_the_state_of_avagradw_with_its_decay() -> None:
    tensors = params()
    steps = gradients(6, like=tensors)
    optimizer = AvaGradW(tensors, 0.03, weight_decay=0.2)
    run(optimizer, steps[:3])
    twin = AvaGrad([nn.Parameter(p.detach().clone()) for p in tensors])
    twin.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert_same(run(twin, steps[3:]), run(optimizer, steps[3:]), within=0.0)


def test_a_setting_that_there_is_not_is_refused() -> None:
    for make in (AvaGrad, AvaGradW, DelayedAdam):
        with pytest.raises(TypeError, match="epz"):
            make(params(), lr=0.1, epz=0.1)


def test_a_rule_for_gamma_in_a_group_is_gamma_mode() -> None:
    with pytest.raises(InputError, match="says 'stale' there; write gamma_mode = 'stale'"):
        AvaGrad([{"params": params(), "gamma": "stale", "skip_first": True}])
    optimizer = AvaGrad([{"params": params(), "gamma_mode": "stale", "skip_first": True}])
    assert float(optimizer.param_groups[0]["gamma"]) == 1.0


def test_numbers_of_numpy_are_numbers() -> None:
    tensors, plain = params(), params()
    steps = gradients(3, like=tensors)
    settings = {"eps": np.float64(0.5), "betas": [np.float64(0.5), np.float64(0.75)], "weight_decay": np.float32(0.5)}
    expected = run(AvaGrad(plain, 0.25, eps=0.5, betas=(0.5, 0.75), weight_decay=0.5), steps)
    assert_same(run(AvaGrad(tensors, np.float32(0.25), **settings), steps), expected, within=0.0)


@every_optimizer
@pytest.mark.parametrize("value", [NAN, INF, -INF, -1.0, "0.1", None, 1j])
@pytest.mark.parametrize("name", ["lr", "eps", "weight_decay"])
def test_what_is_no_finite_number_is_refused_with_its_name(make: Callable[..., Any], name: str, value: Any) -> None:
    message = rf"^{name} = {value!r} must ".replace("+", r"\+")
    with pytest.raises(InputError, match=message):
        make(params(), **{"lr": 0.1, name: value})
    with pytest.raises(InputError, match=message):
        make([{"params": params(), name: value}], lr=0.1)


@every_optimizer
@pytest.mark.parametrize("value", [NAN, INF, -1.0])
def test_a_rate_in_a_tensor_is_checked_too(make: Callable[..., Any], value: float) -> None:
    with pytest.raises(InputError, match=f"lr = {value} must be"):
        make(params(), torch.tensor(value), capturable=True)
    assert make(params(), torch.tensor(0.5), capturable=True).param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"lr": -1.0}, "lr = -1.0 must be"),
        ({"lr": float("nan")}, "lr = nan must be"),
        ({"lr": torch.tensor(0.1)}, r"lr is a tensor of shape \(\)"),
        ({"lr": torch.ones(2), "capturable": True}, r"lr is a tensor of shape \(2,\)"),
        ({"lr": torch.tensor(1j), "capturable": True}, "type torch.complex64; expected a number, or a real"),
        ({"eps": 0.0}, "eps = 0.0 must lie"),
        ({"eps": 1e-13}, "eps = 1e-13 must lie"),
        ({"eps": 1e16}, r"eps = 1e\+16 must lie"),
        ({"betas": (0.9, 1.0)}, r"betas = \(0.9, 1.0\) must be"),
        ({"betas": (0.9,)}, r"betas = \(0.9,\) must be"),
        ({"betas": 0.9}, "betas = 0.9 must be two"),
        ({"betas": (NAN, 0.9)}, r"betas = \(nan, 0.9\) must be two"),
        ({"betas": (0.9, INF)}, r"betas = \(0.9, inf\) must be two"),
        ({"betas": ("0.9", 0.9)}, r"betas = \('0.9', 0.9\) must be two"),
        ({"weight_decay": -0.1}, "weight_decay = -0.1 must be"),
        ({"gamma": "old"}, "gamma = 'old' is unknown; choose 'fresh' or 'stale'"),
        ({"norm_scope": "layer"}, "norm_scope = 'layer' is unknown"),
        ({"norm_over": "some"}, "norm_over = 'some' is unknown"),
        ({"gamma": "stale"}, "set skip_first=True"),
        ({"gamma": "stale", "skip_first": True, "norm_over": "active"}, "the rule of the authors"),
        ({"gamma": "stale", "skip_first": True, "bias_correction": False}, "the rule of the authors"),
    ],
)
def test_settings_that_cannot_be_worked_with_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AvaGrad(params(), **settings)


def test_a_group_with_a_bad_setting_of_its_own_and_complex_weights_are_refused() -> None:
    with pytest.raises(InputError, match="eps = -1 must lie"):
        DelayedAdam([{"params": params(), "eps": -1}], 0.1)
    with pytest.raises(InputError, match="a parameter is complex"):
        AvaGrad([nn.Parameter(torch.zeros(2, dtype=torch.complex64))])


@pytest.mark.parametrize("setting", [{"eps": 0.0}, {"norm_over": "some"}])
def test_a_group_that_is_refused_is_not_added(setting: dict[str, Any]) -> None:
    optimizer = AvaGrad([nn.Parameter(torch.ones(2))])
    with pytest.raises(InputError, match=next(iter(setting))):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))], **setting})
    assert len(optimizer.param_groups) == 1
