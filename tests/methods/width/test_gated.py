"""A gated model at gates of 0 and 1 is the masked model; without the absent units it is the cut one."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from paretorch.errors import InputError
from paretorch.measurement.macs import count_macs
from paretorch.methods.width.cutting import plan_cut
from paretorch.methods.width.extract import masked
from paretorch.methods.width.gated import GatedModel
from tests.methods.width import cut_models
from tests.methods.width.cut_models import Case
from tests.methods.width.handmade import perceptron, perceptron_groups

CASES = [
    cut_models.linear_chain, cut_models.convolutions, cut_models.depthwise, cut_models.group_norm,
    cut_models.key_value_heads, cut_models.queries,
]  # fmt: skip


def with_statistics(make) -> tuple[Case, list[torch.Tensor]]:
    """A case in float64 with statistics of its own, and units to keep that are no prefix."""
    torch.manual_seed(0)
    case = make()
    case.model.double()
    case.inputs = case.inputs.double()
    case.model.train()
    case.model(case.inputs)
    case.model.eval()
    keep = [torch.arange(size)[1::2] if size > 2 else torch.tensor([size - 1]) for size in case.groups.full]
    return case, keep


def gates(groups, keep, *, kept: float = 1.0) -> list[torch.Tensor]:
    return [
        torch.zeros(size, dtype=torch.float64).index_fill_(0, units, kept)
        for size, units in zip(groups.full, keep, strict=True)
    ]


@pytest.mark.parametrize("make", CASES)
def test_gates_of_zero_and_one_give_the_masked_model(make):
    case, keep = with_statistics(make)
    model = GatedModel(case.model, case.groups)
    assert not model.ungated
    expected = masked(case.model, case.groups, keep)(case.inputs)
    everything = case.groups.prefix(case.groups.full)
    with model.at(model.plan(everything), gates(case.groups, keep)):
        torch.testing.assert_close(case.model(case.inputs), expected, rtol=1e-12, atol=1e-12)
    model.fold_(gates(case.groups, keep))
    torch.testing.assert_close(case.model(case.inputs), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("make", CASES)
def test_present_units_run_as_the_cut_model_does_and_cost_as_much(make):
    case, keep = with_statistics(make)
    before = copy.deepcopy(case.model.state_dict())
    gated = GatedModel(case.model, case.groups)
    small = copy.deepcopy(case.model)
    plan_cut(case.groups, keep).apply_(small)
    with gated.at(gated.plan(keep), gates(case.groups, keep)):
        torch.testing.assert_close(case.model(case.inputs), small(case.inputs), rtol=1e-12, atol=1e-12)
        here = count_macs(case.model, case.inputs)
    assert here.dense == count_macs(small, case.inputs).dense < count_macs(case.model, case.inputs).dense
    after = case.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_unit_of_any_gate_scales_what_its_readers_see():
    model = perceptron(3, 4, 2).double()
    gated = GatedModel(model, perceptron_groups(3, 4, 2))
    scales = torch.rand(4, dtype=torch.float64)
    inputs = torch.randn(5, 3, dtype=torch.float64)
    expected = model[2](scales * model[1](model[0](inputs)))
    keep = torch.arange(4)
    with gated.at(gated.plan([keep]), [scales]):
        torch.testing.assert_close(model(inputs), expected, rtol=1e-14, atol=0)
    expected = model[2](scales * torch.tensor([0.0, 1.0, 1.0, 0.0]) * model[1](model[0](inputs)))
    with gated.at(gated.plan([keep[1:3]]), [scales]):
        torch.testing.assert_close(model(inputs), expected, rtol=1e-14, atol=0)


def test_gradients_of_absent_units_are_zero_and_those_of_weights_and_gates_are_the_closed_form():
    """With m = c sigma(beta s): dL/dw = g c m, dL/ds = (g . w) c beta m (1 - m)."""
    model = perceptron(3, 4, 2).double()
    gated = GatedModel(model, perceptron_groups(3, 4, 2))
    s = torch.randn(4, dtype=torch.float64, requires_grad=True)
    beta, c = 3.0, 1.7
    soft = torch.sigmoid(beta * s)
    present = torch.tensor([0, 2, 3])
    with gated.at(gated.plan([present]), [c * soft]):
        seen = model[2].weight
        seen.retain_grad()
        model(torch.randn(6, 3, dtype=torch.float64)).square().sum().backward()
    weight, upstream = model[2].weight, torch.zeros(2, 4, dtype=torch.float64)
    upstream[:, present] = seen.grad
    m = soft.detach()
    torch.testing.assert_close(weight.grad, upstream * c * m, rtol=1e-12, atol=0)
    torch.testing.assert_close(s.grad, (upstream * weight.detach()).sum(0) * c * beta * m * (1 - m), rtol=1e-12, atol=0)
    assert not model[0].weight.grad[1].any()
    assert not weight.grad[:, 1].any()
    assert model[0].weight.grad[present].any(1).all()


def test_a_training_pass_moves_the_running_statistics_of_present_units_alone():
    case, keep = with_statistics(cut_models.convolutions)
    small = copy.deepcopy(case.model)
    plan_cut(case.groups, keep).apply_(small)
    old = case.model[1].running_mean.clone()
    gated = GatedModel(case.model, case.groups)
    case.model.train()
    with gated.at(gated.plan(keep), gates(case.groups, keep)):
        case.model(case.inputs)
    small.train()(case.inputs)
    torch.testing.assert_close(case.model[1].running_mean[keep[0]], small[1].running_mean, rtol=1e-12, atol=0)
    absent = torch.ones(8, dtype=torch.bool).index_fill_(0, keep[0], False)
    assert torch.equal(case.model[1].running_mean[absent], old[absent])
    assert not torch.equal(case.model[1].running_mean, old)


def test_an_error_inside_leaves_the_model_as_it_was():
    case, keep = with_statistics(cut_models.convolutions)
    gated = GatedModel(case.model, case.groups)
    weight, expected = case.model[0].weight, case.model(case.inputs)
    with pytest.raises(RuntimeError), gated.at(gated.plan(keep), gates(case.groups, keep)):
        case.model(torch.zeros(2, 5, 8, 6, dtype=torch.float64))
    assert case.model[0].weight is weight
    assert torch.equal(case.model(case.inputs), expected)


def test_groups_that_an_rms_norm_sums_or_a_tied_weight_reads_have_no_gates_and_say_why():
    case = cut_models.residual()
    gated = GatedModel(case.model, case.groups)
    assert gated.ungated == {"tokens": "an RMS norm adds up its units before a gate could scale them"}
    keep = [torch.arange(8), torch.tensor([1, 4])]
    scales = [torch.full((8,), 9.0), torch.ones(6)]
    small = copy.deepcopy(case.model)
    plan_cut(case.groups, keep).apply_(small)
    with gated.at(gated.plan(keep), scales):
        torch.testing.assert_close(case.model(case.inputs), small(case.inputs))
    with pytest.raises(InputError, match=r"units of 'tokens' cannot be left out: an RMS norm"):
        gated.plan([torch.arange(7), torch.arange(6)])

    tied = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 4, bias=False))
    groups = perceptron_groups(4, 4, 4)
    kept = [axis for axis in groups.axes if not axis.tensor.endswith("bias")]
    tied[0].weight = tied[2].weight
    axes = tuple(type(axis)("0.weight", 1, axis.group, axis.unit) for axis in kept if axis.tensor == "2.weight")
    untouched = type(groups)(groups.groups, axes, params=groups.params, macs=groups.macs)
    assert GatedModel(tied, untouched).ungated == {"0": "a weight that reads it is tied to another layer's"}


def test_a_group_that_something_else_reads_has_no_gates():
    groups = perceptron_groups(3, 4, 2)
    read_by_a_norm = replace(groups, groups=(replace(groups.groups[0], consumers=("1",)),))
    reason = GatedModel(perceptron(3, 4, 2), read_by_a_norm).ungated["0"]
    assert reason == "not everything that reads it is a linear or convolutional layer"
